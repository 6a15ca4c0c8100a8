use proptest::prelude::*;

use super::*;

const DEAD_AFTER: Duration = Duration::from_millis(1500);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn silence_decides_and_signs_make_it_decide_sooner() {
    let mut region = Suspicion::new(ms(0), DEAD_AFTER);
    assert_eq!(region.verdict(ms(1499)), Verdict::Unheard);
    region.answered(ms(1000));
    assert_eq!(region.verdict(ms(2499)), Verdict::Alive);
    assert_eq!(region.clone().verdict(ms(2500)), Verdict::Dead);
    region.sign();
    region.sign();
    assert_eq!(region.verdict(ms(2499)), Verdict::Alive, "two signs are no verdict");
    region.sign();
    assert_eq!(region.verdict(ms(1749)), Verdict::Alive);
    assert_eq!(region.verdict(ms(1750)), Verdict::Dead);
    // What was asked before proves nothing, and one answer is no return.
    region.answered(ms(1700));
    for asked in [1800, 1900] {
        region.answered(ms(asked));
        assert_eq!(region.verdict(ms(asked + 90)), Verdict::Dead);
    }
    region.sign();
    for asked in [2000, 2100] {
        region.answered(ms(asked));
        assert_eq!(region.verdict(ms(asked + 90)), Verdict::Dead, "the count began again");
    }
    region.answered(ms(2200));
    assert_eq!(region.verdict(ms(2290)), Verdict::Alive);
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// Asked now, answered after so long.
    Answer(u64),
    Sign,
    Look,
}

fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let event = prop_oneof![
        3 => (0u64..400).prop_map(Event::Answer),
        2 => Just(Event::Sign),
        3 => Just(Event::Look),
    ];
    proptest::collection::vec((0u64..600, event), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_keeps_the_rules(events in events()) {
        let mut watched = Suspicion::new(ms(0), DEAD_AFTER);
        // The oracle's notes, in its own words.
        let mut now = 0;
        let mut newest_answered = 0;
        let mut died: Option<u64> = None;
        let mut good_since_death = 0;
        for (pause, event) in events {
            now += pause;
            match event {
                Event::Answer(round_trip) => {
                    let asked = now;
                    now += round_trip;
                    watched.answered(ms(asked));
                    newest_answered = newest_answered.max(asked);
                    if died.is_some_and(|died| asked >= died) {
                        good_since_death += 1;
                    }
                }
                Event::Sign => {
                    watched.sign();
                    good_since_death = 0;
                }
                Event::Look => {}
            }
            let silence = now - newest_answered;
            let verdict = watched.verdict(ms(now));
            if silence >= 1500 {
                prop_assert_eq!(verdict, Verdict::Dead, "silent for {} ms", silence);
            }
            if died.is_none() && silence < 750 {
                prop_assert_ne!(verdict, Verdict::Dead, "it answers, whatever the signs");
            }
            match (died, verdict) {
                (None, Verdict::Dead) => {
                    died = Some(now);
                    good_since_death = 0;
                }
                (Some(_), Verdict::Alive) => {
                    prop_assert!(good_since_death >= ANSWERS_TO_RETURN, "back after {}", good_since_death);
                    died = None;
                }
                (Some(_), Verdict::Unheard) => prop_assert!(false, "forgotten"),
                _ => {}
            }
        }
    }

    /// Questions every 100 ms over a way that loses some: one loss in a row changes nothing.
    #[test]
    fn lost_packets_one_at_a_time_flap_nothing(lost in proptest::collection::vec(any::<bool>(), 10..300)) {
        let mut watched = Suspicion::new(ms(0), DEAD_AFTER);
        let mut before = false;
        for (index, lost) in lost.into_iter().enumerate() {
            let now = 100 * index as u64;
            let lost = lost && !before && index > 0;
            before = lost;
            if lost { watched.sign() } else { watched.answered(ms(now)) }
            prop_assert_eq!(watched.verdict(ms(now)), Verdict::Alive);
        }
    }
}
