//! The table against a plain model of it: any changes, reloads and packings, in any order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    names::JurisdictionId,
    register::{EntryState, Generation, MoveId, RegisterEntry, SubjectKey, union},
    replication_lag::{LogPosition, Lsn, Timeline},
    topology::{JurisdictionSpec, Mode, RegionSpec, Topology},
};

const REGISTERS: usize = 3;

pub(super) fn topology(jurisdictions: &[&str]) -> Topology {
    let regions = vec![RegionSpec { name: "here".to_owned(), nearest: Vec::new() }];
    let jurisdiction = |name: &&str| JurisdictionSpec {
        name: (*name).to_owned(),
        home: "here".to_owned(),
        ..JurisdictionSpec::default()
    };
    let jurisdictions: Vec<_> = jurisdictions.iter().map(jurisdiction).collect();
    Topology::new(regions, &jurisdictions, Mode::Enforce).expect("a valid topology")
}

pub(super) fn registers() -> Vec<JurisdictionId> {
    topology(&["us", "eu", "sg"]).jurisdictions().collect()
}

pub(super) fn home(register: JurisdictionId, generation: u64) -> RegisterEntry {
    RegisterEntry {
        state: EntryState::Home,
        generation: Generation(generation),
        jurisdiction: register,
        toward: None,
        move_id: None,
        floor: None,
        unknown: false,
    }
}

/// Few enough that registers meet, spread over the whole range and with neighbours.
pub(super) fn key(number: u8) -> SubjectKey {
    let mut key = [0; 16];
    key[0] = number / 8 * 37;
    key[1] = number & 4;
    key[15] = number & 3;
    SubjectKey(key)
}

pub(super) fn any_entry(register: usize) -> impl Strategy<Value = RegisterEntry> {
    let state = prop::sample::select(EntryState::ALL.to_vec());
    let moved = prop::option::weighted(0.3, (any::<u128>(), any::<u32>(), any::<u64>()));
    (state, 1_u64..4, prop::option::of(0..REGISTERS), moved, prop::bool::weighted(0.1)).prop_map(
        move |(state, generation, toward, moved, unknown)| RegisterEntry {
            state,
            toward: toward.map(|toward| registers()[toward]),
            move_id: moved.map(|(id, attempt, _)| (MoveId(id), attempt)),
            floor: moved.map(|(_, _, lsn)| LogPosition { timeline: Timeline(1), lsn: Lsn(lsn) }),
            unknown,
            ..home(registers()[register], generation)
        },
    )
}

#[derive(Debug, Clone)]
enum Step {
    Change(Change),
    Pack,
    Reload { register: JurisdictionId, rows: BTreeMap<u8, RegisterEntry>, since: Vec<Change> },
}

fn any_change(register: usize) -> impl Strategy<Value = Change> {
    (0..48_u8, prop::option::weighted(0.8, any_entry(register))).prop_map(move |(number, entry)| Change {
        register: registers()[register],
        key: key(number),
        entry,
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let reload = (0..REGISTERS).prop_flat_map(|register| {
        let rows = prop::collection::btree_map(0..48_u8, any_entry(register), 0..20);
        let since = prop::collection::vec(any_change(register), 0..3);
        (rows, since).prop_map(move |(rows, since)| Step::Reload {
            register: registers()[register],
            rows,
            since,
        })
    });
    prop_oneof![
        20 => (0..REGISTERS).prop_flat_map(any_change).prop_map(Step::Change),
        1 => Just(Step::Pack),
        2 => reload,
    ]
}

/// What each register says, as the rules have it.
#[derive(Default)]
struct Model(BTreeMap<(JurisdictionId, SubjectKey), RegisterEntry>);

impl Model {
    fn change(&mut self, change: Change) {
        let place = (change.register, change.key);
        match change.entry {
            None => {
                self.0.remove(&place);
            }
            Some(entry) => {
                if self.0.get(&place).is_none_or(|known| entry.replaces(known)) {
                    self.0.insert(place, entry);
                }
            }
        }
    }

    fn compare(&self, table: &Table) {
        let rows_of = |wanted: SubjectKey| {
            self.0.iter().filter(move |((_, key), _)| *key == wanted).map(|(_, row)| row)
        };
        let mut subjects = 0;
        let mut moving = Vec::new();
        for key in (0..48).map(key) {
            let right = union(rows_of(key)).copied();
            assert_eq!(table.get(&key), right);
            let mut rows = table.rows(&key);
            rows.sort_by_key(|row| row.jurisdiction);
            assert_eq!(rows, rows_of(key).copied().collect::<Vec<_>>());
            subjects += usize::from(right.is_some());
            let closed = |row: &RegisterEntry| matches!(row.state, EntryState::Closing | EntryState::Fenced);
            moving.extend(right.filter(|row| closed(row) && !row.unknown).map(|row| (key, row)));
        }
        moving.sort_by_key(|(key, _)| *key);
        assert_eq!(table.moving(), moving);
        assert_eq!(table.len(), subjects);
        for register in registers() {
            assert_eq!(table.rows_of(register), self.0.keys().filter(|(of, _)| *of == register).count());
        }
    }
}

fn run(steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let writer = TableWriter::new();
    let mut model = Model::default();
    for step in steps {
        let before = writer.table();
        let version = before.version();
        match step {
            Step::Change(change) => {
                let known = model.0.get(&(change.register, change.key)).copied();
                let applied = writer.apply([change]);
                model.change(change);
                let now = model.0.get(&(change.register, change.key)).copied();
                assert_eq!(applied.changed, usize::from(known != now));
                assert_eq!(writer.table().version(), version + applied.changed as u64);
            }
            Step::Pack => runtime.block_on(writer.pack_now()),
            Step::Reload { register, rows, since } => {
                let mut sorted: Vec<_> =
                    rows.into_iter().map(|(number, entry)| (key(number), entry)).collect();
                sorted.sort_by_key(|(key, _)| *key);
                model.0.retain(|(of, _), _| *of != register);
                let mut load = RegisterLoad::new(register, sorted.len());
                for (key, entry) in sorted {
                    assert!(load.push(key, entry));
                    model.0.insert((register, key), entry);
                }
                for change in &since {
                    model.change(*change);
                }
                runtime.block_on(writer.reload(load, since));
            }
        }
        model.compare(&writer.table());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_table_is_what_its_registers_say(steps in prop::collection::vec(any_step(), 0..60)) {
        run(steps);
    }
}

/// Another register's change arrives while a reload is being packed: neither loses the other's.
#[tokio::test]
async fn a_reload_loses_nothing_that_others_change_meanwhile() {
    let [us, eu, ..] = registers()[..] else { panic!("three registers") };
    let writer = TableWriter::new();
    writer.apply((0..40).map(|number| Change { register: us, key: key(number), entry: Some(home(us, 1)) }));
    let mut load = RegisterLoad::new(us, 0);
    let mut kept: Vec<_> = (0..20).map(key).collect();
    kept.sort();
    assert!(kept.iter().all(|key| load.push(*key, home(us, 2))));
    let change = |number| Change { register: eu, key: key(number), entry: Some(home(eu, 3)) };
    tokio::join!(biased; writer.reload(load, Vec::new()), async {
        // The reload has frozen the overlay and waits for its thread.
        writer.apply([change(1), change(30)]);
    });
    let table = writer.table();
    assert_eq!(table.rows(&key(1)), [home(eu, 3), home(us, 2)]);
    assert_eq!(table.rows(&key(30)), [home(eu, 3)], "what the register said before is gone");
    assert_eq!(table.rows(&key(31)), []);
    assert_eq!((table.len(), table.rows_of(us), table.rows_of(eu)), (21, 20, 2));
}

#[tokio::test]
async fn a_dropped_packing_is_made_up_for() {
    let us = registers()[0];
    let writer = TableWriter::new();
    let change = |number| Change { register: us, key: key(number), entry: Some(home(us, 1)) };
    writer.apply([change(1)]);
    tokio::select! {
        biased;
        () = writer.pack_now() => panic!("it waits for its thread"),
        () = async {} => {}
    }
    writer.apply([change(2)]);
    writer.pack_now().await;
    let table = writer.table();
    assert!(table.get(&key(1)).is_some() && table.get(&key(2)).is_some());
    assert_eq!((table.len(), table.rows_of(us)), (2, 2));
}

/// Versions are freed by a thread that serves nobody, and only when no reader holds them.
#[tokio::test]
async fn what_a_reader_holds_stays_and_is_freed_afterwards() {
    let us = registers()[0];
    let writer = TableWriter::new();
    writer.apply([Change { register: us, key: key(1), entry: Some(home(us, 1)) }]);
    writer.pack_now().await;
    let held = writer.table();
    writer.apply([Change { register: us, key: key(1), entry: None }]);
    writer.pack_now().await;
    writer.reap().await;
    assert!(writer.retired() > 0, "held by a reader");
    assert!(held.get(&key(1)).is_some() && writer.table().get(&key(1)).is_none());
    drop(held);
    writer.reap().await;
    assert_eq!(writer.retired(), 0);
}

#[tokio::test]
async fn many_changes_are_packed_without_being_told_to() {
    let us = registers()[0];
    let writer = TableWriter::new();
    let changes = (0..10_000_u32).map(|number| {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
        Change { register: us, key: SubjectKey(key), entry: Some(home(us, 1)) }
    });
    let changes: Vec<_> = changes.collect();
    writer.apply(changes.iter().copied());
    let packed = async {
        while writer.table().bytes() < 10_000 * 20 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = writer.run() => panic!("it runs until dropped"),
        done = tokio::time::timeout(std::time::Duration::from_mins(1), packed) => done.expect("packed"),
    }
    let table = writer.table();
    assert!(changes.iter().all(|change| table.get(&change.key) == change.entry));
    assert_eq!(table.len(), 10_000);
}
