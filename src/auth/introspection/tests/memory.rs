use super::super::admission::Lane;
use super::super::memory::{Memory, TokenDigest};
use super::*;

fn good(expires_at: u64) -> Meaning {
    let subject = Some("someone".to_owned());
    Meaning { subject, jurisdiction: ClaimValue::Missing, expires_at, not_before: Some(NOW) }
}

fn memory() -> Memory {
    Memory::new(Duration::from_secs(10))
}

#[test]
fn answers_are_recalled_while_they_are_believed() {
    let mut memory = memory();
    let [one, other] = ["one", "other"].map(TokenDigest::of);
    assert_eq!(memory.recall(&one, NOW), Err(Lane::Stranger));
    memory.keep(one, &Ok(good(NOW + 5)), NOW);
    memory.keep(other, &Err(TokenFault::Inactive), NOW);
    assert_eq!(memory.recall(&one, NOW + 4), Ok(Ok(good(NOW + 5))));
    assert_eq!(memory.recall(&one, NOW + 5), Err(Lane::Known), "asked again, but as no stranger");
    assert_eq!(memory.recall(&one, NOW - 1), Err(Lane::Known));
    assert_eq!(memory.recall(&other, NOW + 9), Ok(Err(TokenFault::Inactive)));
    assert_eq!(memory.recall(&other, NOW + 10), Err(Lane::Stranger));
}

#[test]
fn the_newest_answer_counts() {
    let mut memory = memory();
    let token = TokenDigest::of("token");
    memory.keep(token, &Ok(good(NOW + 60)), NOW);
    memory.keep(token, &Err(TokenFault::Inactive), NOW);
    assert_eq!(memory.recall(&token, NOW), Ok(Err(TokenFault::Inactive)));
    memory.keep(token, &Ok(good(NOW + 60)), NOW + 1);
    assert_eq!(memory.recall(&token, NOW + 1), Ok(Ok(good(NOW + 60))));
    assert_eq!(memory.len(), (1, 0));
}

#[test]
fn a_flood_of_inventions_is_bounded_and_pushes_out_nothing_good() {
    let mut memory = memory();
    let active: Vec<TokenDigest> = (0..1000).map(|n| TokenDigest::of(&format!("active {n}"))).collect();
    for token in &active {
        memory.keep(*token, &Ok(good(NOW + 60)), NOW);
    }
    for n in 0..50_000 {
        memory.keep(TokenDigest::of(&format!("invented {n}")), &Err(TokenFault::Inactive), NOW);
        assert!(memory.len().1 <= 8_192);
    }
    assert!(active.iter().all(|token| memory.recall(token, NOW) == Ok(Ok(good(NOW + 60)))));
    for n in 0..50_000 {
        memory.keep(TokenDigest::of(&format!("active too {n}")), &Ok(good(NOW + 60)), NOW);
        assert!(memory.len().0 <= 32_768);
    }
}
