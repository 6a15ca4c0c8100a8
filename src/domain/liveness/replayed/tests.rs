use super::*;
use crate::domain::replication_lag::{Lsn, Timeline};

fn at(system_identifier: u64, timeline: u32, lsn: u64) -> ReplicaPosition {
    let position = LogPosition { timeline: Timeline(timeline), lsn: Lsn(lsn) };
    ReplicaPosition { position, system_identifier }
}

#[test]
fn a_region_has_caught_up_when_it_is_there_in_the_same_history() {
    let us = JurisdictionId::new(0);
    let replayed = Replayed::new(vec![vec![
        Some(at(7, 1, 100)),
        Some(at(7, 2, 99)),
        None,
        Some(at(7, 2, 100)),
        Some(at(8, 9, 900)),
    ]]);
    let caught_up = |wanted| {
        let set = replayed.caught_up(us, wanted);
        (0..5).filter(|&index| set.contains(RegionId::new(index))).collect::<Vec<_>>()
    };
    for (wanted, expect) in [
        (at(7, 1, 99), vec![0, 1, 3]),
        (at(7, 1, 100), vec![0, 3]),
        (at(7, 2, 100), vec![3]),
        (at(7, 2, 101), vec![]),
        (at(7, 3, 1), vec![]),
        (at(8, 1, 1), vec![4]),
    ] {
        assert_eq!(caught_up(wanted), expect, "{wanted:?}");
    }
    assert_eq!(replayed.at(us, RegionId::new(2)), None);
    assert_eq!(Replayed::default().caught_up(us, at(7, 1, 1)), RegionSet::EMPTY);
    assert_eq!(Replayed::default().at(us, RegionId::new(0)), None);
}
