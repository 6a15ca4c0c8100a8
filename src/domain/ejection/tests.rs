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
    one.pass(10_999);
    assert_eq!(one.standing(), Standing::Out);
    one.pass(11_000);
    assert_eq!(one.standing(), Standing::Trial);
    one.tried();
    assert_eq!(one.standing(), Standing::Out, "one request, no more");
    assert!(one.failed(), "and it failed");
    one.eject(11_100, false);
    one.pass(13_099);
    assert_eq!(one.standing(), Standing::Out, "twice as long");
    one.pass(13_100);
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
    one.pass(60_000);
    assert_eq!(one.standing(), Standing::Out);
    assert!(!one.is_to_be_asked(999) && one.is_to_be_asked(1_000));
    one.asked(1_000, false);
    assert!(!one.is_to_be_asked(2_999) && one.is_to_be_asked(3_000));
    one.asked(3_000, true);
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
    Asked(bool),
}

proptest! {
    #[test]
    fn no_history_sets_more_than_half_aside_or_one_for_ever(
        size in 1usize..6,
        events in proptest::collection::vec(
            (any::<proptest::sample::Index>(), 0u64..3_000, prop_oneof![
                Just(Event::Answered), Just(Event::Failed), Just(Event::Failed), Just(Event::Hung),
                Just(Event::Tried), Just(Event::Untried), any::<bool>().prop_map(Event::Asked),
            ]),
            0..300,
        ),
    ) {
        let mut group = vec![Conduct::default(); size];
        let mut now = 0;
        for (which, pause, event) in events {
            now += pause;
            for one in &mut group {
                one.pass(now);
            }
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
                Event::Asked(answers) => group[index].asked(now, answers),
            }
            let out = group.iter().filter(|one| one.is_out()).count();
            prop_assert!(out * 2 <= size, "{} of {} are out", out, size);
            prop_assert!(group.iter().any(|one| one.standing() == Standing::Good));
        }
        // However bad it was, after the longest time it may prove itself.
        now += LONGEST_MS;
        for one in &mut group {
            one.pass(now);
            one.asked(now, true);
            one.untried();
            prop_assert_ne!(one.standing(), Standing::Out);
            one.tried();
            one.answered();
            prop_assert_eq!(one.standing(), Standing::Good);
        }
    }
}
