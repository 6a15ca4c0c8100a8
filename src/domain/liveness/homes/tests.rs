use proptest::prelude::*;

use super::*;

fn region(index: usize) -> RegionId {
    RegionId::new(index)
}

fn row(home: Option<usize>, generation: u64, read_only: bool) -> HomeRow {
    HomeRow { home: home.map(region), generation: Generation(generation), read_only }
}

#[test]
fn a_promotion_is_believed_and_what_came_before_it_is_not() {
    let lawful: RegionSet = [0, 1].map(region).into_iter().collect();
    let mut known = KnownHome::configured(region(0));
    for (from, said, expect, home, generation) in [
        (0, row(Some(0), 1, false), Heard::Raised, 0, 1),
        (1, row(Some(0), 1, true), Heard::Known, 0, 1),
        (0, row(Some(0), 1, true), Heard::ReadOnly, 0, 1),
        (1, row(Some(1), 2, false), Heard::Raised, 1, 2),
        (0, row(Some(0), 1, false), Heard::Behind, 1, 2),
        (0, row(Some(0), 2, false), Heard::Refused(HomeFault::TwoHomes), 1, 2),
        (0, row(Some(2), 3, false), Heard::Refused(HomeFault::Unlawful), 1, 2),
        (0, row(None, 3, false), Heard::Refused(HomeFault::Unlawful), 1, 2),
        (0, row(Some(1), 4, true), Heard::Raised, 1, 4),
    ] {
        assert_eq!(known.hear(lawful, region(from), said), expect, "{said:?} from {from}");
        assert_eq!((known.home, known.generation), (region(home), Generation(generation)), "{said:?}");
    }
    assert!(known.read_only);
    assert!(known.is_written_at(region(1), Some(row(Some(1), 4, true))));
    assert!(!known.is_written_at(region(0), Some(row(Some(1), 4, true))), "a primary, and not at home");
    assert!(!known.is_written_at(region(1), Some(row(Some(1), 3, false))), "of an older generation");
    assert!(!known.is_written_at(region(1), None), "it shows no row, and there was one");
    assert!(KnownHome::configured(region(0)).is_written_at(region(0), None), "nobody has a row");
}

proptest! {
    #[test]
    fn the_home_is_lawful_and_never_goes_back_in_whatever_order_rows_are_heard(
        lawful in proptest::collection::btree_set(0usize..4, 1..4),
        rows in proptest::collection::vec((0usize..4, proptest::option::of(0usize..5), 0u64..6, any::<bool>()), 0..40),
    ) {
        let set: RegionSet = lawful.iter().copied().map(region).collect();
        let mut known = KnownHome::configured(region(*lawful.first().expect("one at least")));
        for (from, home, generation, read_only) in rows {
            let before = known;
            let said = row(home, generation, read_only);
            let heard = known.hear(set, region(from), said);
            prop_assert!(set.contains(known.home));
            prop_assert!(known.generation >= before.generation);
            if known.generation == before.generation {
                prop_assert_eq!(known.home, before.home);
            }
            prop_assert_eq!(heard == Heard::Raised, known.generation > before.generation);
            prop_assert_eq!(heard == Heard::Behind, said.generation < before.generation);
            if matches!(heard, Heard::Refused(_) | Heard::Behind | Heard::Known) {
                prop_assert_eq!(known, before);
            }
            // What is written to shows the newest generation itself.
            for at in 0..4 {
                if known.is_written_at(region(at), Some(said)) {
                    prop_assert!(said.generation >= known.generation && region(at) == known.home);
                }
            }
        }
    }

    #[test]
    fn every_gateway_that_hears_the_same_honest_rows_comes_to_the_same_home(
        homes in proptest::collection::vec(0usize..4, 1..6),
        order in proptest::collection::vec((0usize..4, any::<proptest::sample::Index>()), 1..60),
    ) {
        let all: RegionSet = (0..4).map(region).collect();
        let mut known = KnownHome::configured(region(0));
        let mut newest = 0;
        for (from, which) in order {
            let generation = which.index(homes.len());
            newest = newest.max(generation);
            known.hear(all, region(from), row(Some(homes[generation]), generation as u64 + 1, false));
            prop_assert_eq!((known.home, known.generation), (region(homes[newest]), Generation(newest as u64 + 1)));
        }
    }
}
