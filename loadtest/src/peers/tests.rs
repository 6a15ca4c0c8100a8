use super::*;

fn names<'a>(order: &[&'a Contender]) -> Vec<&'a str> {
    order.iter().map(|contender| contender.name()).collect()
}

#[test]
fn every_round_has_everyone_once_and_another_at_its_head() {
    let contenders = Contender::all();
    let mut heads = Vec::new();
    for round in 0..5 {
        let order = names(&order(&contenders, round));
        assert_eq!(order.len(), contenders.len());
        assert!(contenders.iter().all(|contender| order.contains(&contender.name())));
        assert!(!heads.contains(&order[0]), "{} leads twice", order[0]);
        heads.push(order[0]);
    }
}
