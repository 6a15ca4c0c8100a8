use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn order(of: &[usize]) -> Vec<RegionId> {
    of.iter().copied().map(RegionId::new).collect()
}

/// Feeds these round trips, by region, for as long; the order after that.
fn after(proximity: &mut Proximity, from: u64, seconds: u64, round_trips: &[(usize, u64)]) -> Vec<RegionId> {
    for tick in 0..=seconds * 10 {
        for &(region, round_trip) in round_trips {
            proximity.measured(RegionId::new(region), ms(round_trip));
        }
        proximity.order(ms(from + tick * 100));
    }
    proximity.order(ms(from + seconds * 1000)).to_vec()
}

#[test]
fn the_measured_order_takes_over_when_it_was_clearly_another_for_a_while() {
    let configured = order(&[0, 1, 2, 3]);
    let mut proximity = Proximity::new(&configured);
    assert_eq!(after(&mut proximity, 0, 9, &[(1, 100), (2, 40), (3, 220)]), configured, "not yet");
    assert_eq!(after(&mut proximity, 9_000, 3, &[(1, 100), (2, 40), (3, 220)]), order(&[0, 2, 1, 3]));
    // A little nearer is not nearer, and 4 ms are nothing, whatever share they are.
    let now = order(&[0, 2, 1, 3]);
    assert_eq!(after(&mut proximity, 20_000, 60, &[(1, 35), (2, 40), (3, 220)]), now);
    assert_eq!(after(&mut proximity, 90_000, 60, &[(1, 1), (2, 5), (3, 220)]), now);
    assert_eq!(after(&mut proximity, 160_000, 60, &[(1, 1), (2, 7), (3, 220)]), order(&[0, 1, 2, 3]));
}

#[test]
fn a_burst_changes_nothing_and_what_was_never_measured_stays_where_it_is() {
    let configured = order(&[2, 0, 1, 3]);
    let mut proximity = Proximity::new(&configured);
    for round in 0..20 {
        let from = round * 20_000;
        assert_eq!(after(&mut proximity, from, 8, &[(0, 90), (3, 20)]), configured);
        assert_eq!(after(&mut proximity, from + 8_000, 10, &[(0, 20), (3, 20)]), configured);
    }
    assert_eq!(after(&mut proximity, 1_000_000, 20, &[(0, 90), (3, 20)]), order(&[2, 3, 1, 0]));
}

#[test]
fn a_handshake_is_no_distance() {
    let mut proximity = Proximity::new(&order(&[0, 1]));
    for index in 0..200 {
        proximity.measured(RegionId::new(1), ms(if index % 10 == 0 { 400 } else { 90 }));
    }
    let settled = proximity.round_trip(RegionId::new(1)).expect("measured");
    assert!(settled >= ms(90) && settled < ms(91), "{settled:?}");
}

proptest! {
    #[test]
    fn the_order_names_every_region_once_and_changes_for_a_reason(
        configured in Just((1usize..6).collect::<Vec<_>>()).prop_shuffle(),
        measured in proptest::collection::vec((1usize..6, 1u64..300, 0u64..4_000), 1..200),
    ) {
        let all: Vec<usize> = std::iter::once(0).chain(configured).collect();
        let mut proximity = Proximity::new(&order(&all));
        let mut now = 0;
        let mut last_change = 0;
        let mut before = order(&all);
        for (region, round_trip, pause) in measured {
            now += pause;
            proximity.measured(RegionId::new(region), ms(round_trip));
            let after = proximity.order(ms(now)).to_vec();
            let mut sorted: Vec<usize> = after.iter().map(|region| region.index()).collect();
            prop_assert_eq!(sorted[0], 0);
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..6).collect::<Vec<_>>());
            if after != before {
                prop_assert!(now - last_change >= FOR_AT_LEAST.as_millis() as u64, "too soon");
                last_change = now;
                // Nothing clearly nearer is left behind something farther.
                let known: Vec<Duration> =
                    after[1..].iter().filter_map(|&region| proximity.round_trip(region)).collect();
                prop_assert!(known.is_sorted());
                before = after;
            }
        }
    }
}
