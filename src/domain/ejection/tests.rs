use proptest::prelude::*;

use super::*;

#[test]
fn one_that_fails_goes_and_returns_by_proving_itself() {
    let mut one = Conduct::default();
    for _ in 1..FAILURES_TO_EJECT {
        assert!(!one.failed());
    }
    one.answered();
    for _ in 1..FAILURES_TO_EJECT {
        assert!(!one.failed(), "an answer in between begins the count again");
    }
    assert!(one.failed());
    one.eject(10_000, false);
    one.asked(10_999, Said::Well);
    assert_eq!(one.standing(), Standing::Out);
    one.asked(11_000, Said::Well);
    assert_eq!(one.standing(), Standing::Trial);
    one.tried();
    assert_eq!(one.standing(), Standing::Out, "one request, no more");
    assert!(one.failed(), "and it failed");
    one.eject(11_100, false);
    one.pass(13_099);
    assert_eq!(one.standing(), Standing::Out, "twice as long");
    one.pass(13_100);
    assert_eq!(one.standing(), Standing::Trial, "who can't be asked is tried");
    one.tried();
    one.untried();
    assert_eq!(one.standing(), Standing::Trial, "nobody waited for the verdict");
    one.tried();
    one.answered();
    assert_eq!(one.standing(), Standing::Good);
}

#[test]
fn one_that_hung_is_asked_before_it_gets_a_request() {
    let mut one = Conduct::default();
    one.eject(0, true);
    assert!(!one.is_to_be_asked(999) && one.is_to_be_asked(1_000));
    one.asked(1_000, Said::Nothing);
    assert!(!one.is_to_be_asked(2_999) && one.is_to_be_asked(3_000));
    one.asked(3_000, Said::Error);
    assert_eq!(one.standing(), Standing::Trial, "it answers again");
}

#[test]
fn one_that_answers_its_question_with_an_error_gets_no_request_until_it_was_out_for_the_longest_time() {
    let mut one = Conduct::default();
    one.eject(0, false);
    let (mut now, mut asked) = (0, 0);
    while one.standing() == Standing::Out {
        now += 1;
        if one.is_to_be_asked(now) {
            asked += 1;
            one.asked(now, Said::Error);
        }
    }
    assert_eq!((asked, now), (6, 1_000 + 2_000 + 4_000 + 8_000 + 16_000 + LONGEST_MS));
    assert_eq!(one.standing(), Standing::Trial);
}

#[test]
fn a_group_spares_half_and_only_for_one_that_does_well() {
    let well = {
        let mut one = Conduct::default();
        (0..FAILURES_TO_EJECT).for_each(|_| one.answered());
        one
    };
    let out = {
        let mut one = Conduct::default();
        one.eject(0, false);
        one
    };
    let failing = {
        let mut one = Conduct::default();
        one.failed();
        one
    };
    for (group, expect) in [
        (vec![failing], false),
        (vec![failing, failing], false),
        (vec![failing, Conduct::default()], false),
        (vec![failing, well], true),
        (vec![failing, well, out], false),
        (vec![failing, well, failing], true),
        (vec![failing, well, out, well], true),
        (vec![failing, well, out, out], false),
    ] {
        assert_eq!(can_spare(&group, 0), expect, "{group:?}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Answered,
    Failed,
    Hung,
    Tried,
    Untried,
    Asked(Said),
}

proptest! {
    #[test]
    fn no_history_sets_more_than_half_aside_or_one_for_ever(
        size in 1usize..6,
        events in proptest::collection::vec(
            (any::<proptest::sample::Index>(), 0u64..3_000, prop_oneof![
                Just(Event::Answered), Just(Event::Failed), Just(Event::Failed), Just(Event::Hung),
                Just(Event::Tried), Just(Event::Untried),
                prop_oneof![Just(Said::Nothing), Just(Said::Error), Just(Said::Well)].prop_map(Event::Asked),
            ]),
            0..300,
        ),
    ) {
        let mut group = vec![Conduct::default(); size];
        let mut now = 0;
        for (which, pause, event) in events {
            now += pause;
            let index = which.index(size);
            match event {
                Event::Answered => group[index].answered(),
                Event::Failed => {
                    if group[index].failed() && (group[index].is_out() || can_spare(&group, index)) {
                        group[index].eject(now, false);
                    }
                }
                Event::Hung => {
                    if !group[index].is_out() && can_spare(&group, index) {
                        group[index].eject(now, true);
                    }
                }
                Event::Tried => group[index].tried(),
                Event::Untried => group[index].untried(),
                Event::Asked(said) => group[index].asked(now, said),
            }
            let out = group.iter().filter(|one| one.is_out()).count();
            prop_assert!(out * 2 <= size, "{} of {} are out", out, size);
            prop_assert!(group.iter().any(|one| one.standing() == Standing::Good));
        }
        // However bad it was, after the longest time it may prove itself.
        now += LONGEST_MS;
        for one in &mut group {
            one.asked(now, Said::Well);
            one.untried();
            prop_assert_ne!(one.standing(), Standing::Out);
            one.tried();
            one.answered();
            prop_assert_eq!(one.standing(), Standing::Good);
        }
    }
}
