//! The union of registers as a join, and cases for people to read.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const MOST: u8 = 4;

fn row(jurisdiction: u8, state: EntryState, generation: u64) -> RegisterEntry {
    RegisterEntry {
        state,
        generation: Generation(generation),
        jurisdiction: JurisdictionId::new(jurisdiction.into()),
        toward: None,
        move_id: None,
        floor: None,
        unknown: false,
    }
}

fn any_row() -> impl Strategy<Value = RegisterEntry> {
    let state = prop::sample::select(EntryState::ALL.to_vec());
    let toward = prop::option::of(0..MOST);
    let parts = (
        0..MOST,
        state,
        1_u64..6,
        toward,
        prop::option::of((any::<u128>(), 0_u32..3)),
        prop::bool::weighted(0.1),
    );
    parts.prop_map(|(jurisdiction, state, generation, toward, moved, unknown)| RegisterEntry {
        toward: toward.map(|toward| JurisdictionId::new(toward.into())),
        move_id: moved.map(|(id, attempt)| (MoveId(id), attempt)),
        unknown,
        ..row(jurisdiction, state, generation)
    })
}

/// What the registers have of one subject: at most one row each.
fn any_rows() -> impl Strategy<Value = Vec<RegisterEntry>> {
    prop::collection::vec(any_row(), 0..6).prop_map(|rows| {
        let mut of_registers: HashMap<_, RegisterEntry> = HashMap::new();
        for row in rows {
            of_registers.entry(row.jurisdiction).or_insert(row);
        }
        of_registers.into_values().collect()
    })
}

/// The join of two unions, as a gateway that hears one register after the other makes it.
fn join(a: Option<RegisterEntry>, b: Option<RegisterEntry>) -> Option<RegisterEntry> {
    union(a.iter().chain(b.iter())).copied()
}

proptest! {
    #[test]
    fn the_union_is_a_join((rows, other) in any_rows().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))) {
        let whole = union(&rows).copied();
        prop_assert_eq!(whole, union(&other).copied(), "commutative");
        prop_assert_eq!(whole, join(whole, whole), "idempotent");
        for cut in 0..=rows.len() {
            let (left, right) = rows.split_at(cut);
            prop_assert_eq!(whole, join(union(left).copied(), union(right).copied()), "associative");
            prop_assert_eq!(whole, join(whole, union(left).copied()), "hearing a part again changes nothing");
        }
    }

    #[test]
    fn of_any_two_rows_of_two_registers_exactly_one_is_right(a in any_row(), b in any_row()) {
        if a.jurisdiction != b.jurisdiction {
            prop_assert!(a.beats(&b) != b.beats(&a));
        }
        prop_assert!(!a.beats(&a));
    }

    #[test]
    fn closed_and_void_never_route(rows in any_rows()) {
        let winner = union(&rows);
        for row in &rows {
            if !row.unknown && matches!(row.state, EntryState::Closed | EntryState::Void) {
                prop_assert_eq!(row.placed(), None);
                // … and so never hide one that does.
                prop_assert!(winner != Some(row) || rows.iter().all(|row| row.placed().is_none()));
            }
        }
    }

    #[test]
    fn the_highest_generation_that_routes_wins_and_at_equal_ones_the_home(rows in any_rows()) {
        let routing: Vec<_> = rows.iter().filter(|row| row.routes()).collect();
        if let Some(highest) = routing.iter().map(|row| row.generation).max() {
            let winner = union(&rows).expect("there are rows");
            prop_assert_eq!(winner.generation, highest);
            let home = routing.iter().any(|row| row.generation == highest && row.state == EntryState::Home);
            prop_assert_eq!(home, winner.state == EntryState::Home);
        }
    }

    /// Each register raises its row's generation as it changes it. Whatever comes late, twice or never in between: who has
    /// heard each register's last word means the same.
    #[test]
    fn late_and_repeated_rows_change_nothing(
        histories in prop::collection::vec(prop::collection::vec(any_row(), 1..5), 1..4),
        order in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..40),
        lasts in Just(()).prop_perturb(|(), mut chance| chance.random::<u32>()),
    ) {
        let histories: Vec<Vec<RegisterEntry>> = histories.into_iter().enumerate().map(|(register, history)| {
            (1..).zip(history).map(|(generation, row)| RegisterEntry {
                generation: Generation(generation),
                jurisdiction: JurisdictionId::new(register),
                ..row
            }).collect()
        }).collect();
        let mut heard: Vec<RegisterEntry> = order.iter().map(|(register, row)| {
            let history = &histories[register.index(histories.len())];
            history[row.index(history.len())]
        }).collect();
        for (register, history) in histories.iter().enumerate() {
            let last = *history.last().expect("one at least");
            heard.insert((lasts as usize + register) % (heard.len() + 1), last);
        }
        let mut known: HashMap<JurisdictionId, RegisterEntry> = HashMap::new();
        for row in heard {
            let before = known.entry(row.jurisdiction).or_insert(row);
            if row.replaces(before) {
                *before = row;
            }
        }
        let finals: Vec<_> = histories.iter().map(|history| *history.last().expect("one at least")).collect();
        prop_assert_eq!(union(known.values()), union(&finals));
    }
}

#[test]
fn the_story_of_a_move_as_its_two_registers_tell_it() {
    use EntryState::{Closed, Closing, Fenced, Gone, Home, Pending, Void};
    let (us, eu) = (JurisdictionId::new(0), JurisdictionId::new(1));
    for (source, target, placed) in [
        (Some((Home, 1)), None, Some(Placed::At(us))),
        (Some((Pending, 1)), None, Some(Placed::At(us))),
        (Some((Pending, 1)), Some((Closed, 2)), Some(Placed::At(us))),
        (Some((Closing, 2)), Some((Closed, 2)), Some(Placed::Moving(us))),
        (Some((Fenced, 2)), Some((Closed, 2)), Some(Placed::Moving(us))),
        // Given up: the target says so before the source opens again.
        (Some((Fenced, 2)), Some((Void, 2)), Some(Placed::Moving(us))),
        (Some((Home, 3)), Some((Void, 2)), Some(Placed::At(us))),
        // Flipped: from here on the source's word counts for nothing.
        (Some((Fenced, 2)), Some((Home, 2)), Some(Placed::At(eu))),
        (Some((Gone, 2)), Some((Home, 2)), Some(Placed::At(eu))),
        // The target's register is not known here.
        (Some((Gone, 2)), None, Some(Placed::Left(us))),
        (Some((Gone, 2)), Some((Closed, 2)), Some(Placed::Left(us))),
        (None, Some((Closed, 2)), None),
        (None, None, None),
    ] {
        let source = source.map(|(state, generation)| row(0, state, generation));
        let target = target.map(|(state, generation)| row(1, state, generation));
        let union = union(source.iter().chain(&target));
        assert_eq!(union.and_then(RegisterEntry::placed), placed, "{source:?} {target:?}");
    }
}

#[test]
fn a_row_of_an_unknown_jurisdiction_is_refused_until_something_newer_is_known() {
    let unknown = RegisterEntry { unknown: true, ..row(0, EntryState::Closed, 3) };
    let (older, newer) = (row(1, EntryState::Home, 2), row(1, EntryState::Home, 4));
    assert_eq!(union([&unknown, &older]).and_then(RegisterEntry::placed), Some(Placed::Unknown));
    assert_eq!(
        union([&unknown, &newer]).and_then(RegisterEntry::placed),
        Some(Placed::At(newer.jurisdiction))
    );
}

#[test]
fn states_have_the_names_of_the_column() {
    for state in EntryState::ALL {
        assert_eq!(EntryState::named(state.name()), Some(state));
    }
    assert_eq!(EntryState::named("Home"), None);
}
