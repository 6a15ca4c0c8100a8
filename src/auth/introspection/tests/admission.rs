use proptest::prelude::*;
use tokio::time::Instant;

use super::super::admission::{AT_ONCE, Admission, Lane, STRANGERS_AT_ONCE, WAITING};
use super::*;

const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn strangers_get_a_burst_of_one_second_and_then_the_rate() {
    let start = Instant::now() + Duration::from_hours(1);
    let at = |ms| start + Duration::from_millis(ms);
    let mut admission = Admission::new(10, PATIENCE);
    for n in 0..30 {
        admission.join(Lane::Stranger, n, at(0)).unwrap();
    }
    let mut started_by = |now| {
        let mut started = 0;
        while let Some((lane, _)) = admission.next(now) {
            admission.finish(lane);
            started += 1;
        }
        started
    };
    assert_eq!(started_by(at(0)), 10);
    assert_eq!(started_by(at(99)), 0);
    assert_eq!(started_by(at(100)), 1);
    assert_eq!(started_by(at(350)), 2);
    assert_eq!(admission.wake_at(at(350)), Some(at(400)));
    assert_eq!(admission.give_up(at(1_999)), None);
    assert_eq!(admission.give_up(at(2_000)), Some(13), "the one that has waited longest");
}

#[test]
fn those_who_are_known_pass_the_queue_and_cost_no_rate() {
    let now = Instant::now() + Duration::from_hours(1);
    let mut admission = Admission::new(1, PATIENCE);
    for n in 0..5 {
        admission.join(Lane::Stranger, n, now).unwrap();
    }
    assert_eq!(admission.next(now), Some((Lane::Stranger, 0)));
    assert_eq!(admission.next(now), None);
    for n in 100..105 {
        admission.join(Lane::Known, n, now).unwrap();
        assert_eq!(admission.next(now), Some((Lane::Known, n)));
    }
    assert_eq!(admission.next(now), None);
}

#[test]
fn strangers_leave_places_for_those_who_are_known() {
    let now = Instant::now() + Duration::from_hours(1);
    let mut admission = Admission::new(100_000, PATIENCE);
    for n in 0..WAITING {
        admission.join(Lane::Stranger, n, now).unwrap();
    }
    assert_eq!(admission.join(Lane::Stranger, WAITING, now), Err(WAITING));
    let strangers = std::iter::from_fn(|| admission.next(now)).count();
    assert_eq!(strangers, STRANGERS_AT_ONCE);
    assert_eq!(admission.wake_at(now), Some(now + PATIENCE), "time alone frees no place");
    for n in 0..WAITING {
        admission.join(Lane::Known, n, now).unwrap();
    }
    let known = std::iter::from_fn(|| admission.next(now)).count();
    assert_eq!(known, AT_ONCE - STRANGERS_AT_ONCE);
    admission.finish(Lane::Stranger);
    assert!(matches!(admission.next(now), Some((Lane::Known, _))));
}

proptest! {
    /// Whatever order tokens, answers and time come in: the bounds hold, nothing is lost, and who may go on goes on.
    #[test]
    fn any_history_of_questions(
        per_second in 1..50_u32,
        events in prop::collection::vec((0..5_u8, 0..400_u64), 1..300),
    ) {
        let mut now = Instant::now() + Duration::from_hours(1);
        let begun = now;
        let mut admission = Admission::new(per_second, PATIENCE);
        let (mut joined, mut left) = (0_u32, 0_u32);
        let mut running: Vec<Lane> = Vec::new();
        let mut strangers_started: Vec<Instant> = Vec::new();
        for (event, ms) in events {
            match event {
                0 | 1 => {
                    let lane = if event == 0 { Lane::Known } else { Lane::Stranger };
                    for _ in 0..ms % 20 {
                        joined += u32::from(admission.join(lane, joined, now).is_ok());
                    }
                }
                2 => now += Duration::from_millis(ms),
                3 if !running.is_empty() => {
                    admission.finish(running.remove(ms as usize % running.len()));
                }
                _ => {
                    if let Some(at) = admission.wake_at(now) {
                        prop_assert!(at >= begun);
                        now = now.max(at);
                    }
                }
            }
            while admission.give_up(now).is_some() {
                left += 1;
            }
            while let Some((lane, _)) = admission.next(now) {
                left += 1;
                running.push(lane);
                if lane == Lane::Stranger {
                    strangers_started.push(now);
                }
            }
            let strangers = running.iter().filter(|lane| **lane == Lane::Stranger).count();
            prop_assert!(running.len() <= AT_ONCE && strangers <= STRANGERS_AT_ONCE);
            // What still waits does so for a place, or for a moment that is ahead.
            if left < joined {
                let wake = admission.wake_at(now).expect("what waits is given up at some time");
                prop_assert!(wake > now, "{wake:?} {now:?}");
            }
        }
        for (first, from) in strangers_started.iter().enumerate() {
            for (last, to) in strangers_started.iter().enumerate().skip(first) {
                let span = (*to - *from).as_secs_f64();
                let most = f64::from(per_second) * (span + 1.0) + 1e-6;
                prop_assert!((last - first + 1) as f64 <= most.max(1.0), "{} in {span} s", last - first + 1);
            }
        }
    }
}
