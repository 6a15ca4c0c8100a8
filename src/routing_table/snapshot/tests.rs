//! Snapshots come back as they were; damaged and foreign ones do not come back.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::{
    Change, RegisterLoad,
    tests::{any_entry, home, key, registers, topology},
};
use super::*;
use crate::domain::{
    register::{Generation, SubjectKey},
    replication_lag::Timeline,
    secret::Secret,
};

fn keys(subjects: &str) -> RegisterKeys {
    let (subjects, identifiers) = (Secret::new(subjects.as_bytes()), Secret::new(b"identifiers".as_slice()));
    RegisterKeys::new((&subjects, None), (&identifiers, None))
}

fn here() -> Topology {
    topology(&["us", "eu", "sg"])
}

fn progress() -> Vec<Progress> {
    let source =
        super::super::cursor::SourceIdentity { system_identifier: 7, timeline: Timeline(2), started: -1 };
    let cursor = Cursor { source, xmin: 42, snapshot: "42:50:42,44".to_owned() };
    let height = Height { generation: Generation(3), system_identifier: 7, timeline: Timeline(2) };
    let us = Progress { cursor: Some(cursor), height: Some(height), outside: false };
    vec![us, Progress { outside: true, ..Progress::default() }, Progress::default()]
}

const OUTSIDE: [bool; 3] = [false, true, false];

/// A table with words, stories, slots and changes, a tombstone among these.
async fn lively() -> TableWriter {
    let [us, eu, _] = registers()[..] else { panic!("three registers") };
    let writer = TableWriter::new();
    let mut load = RegisterLoad::new(us, 0);
    let mut sorted: Vec<SubjectKey> = (0..48).map(key).collect();
    sorted.sort();
    assert!(sorted.iter().all(|key| load.push(*key, home(us, 1))));
    let moved = |number| Change {
        register: eu,
        key: key(number),
        entry: Some(crate::domain::register::RegisterEntry {
            move_id: Some((crate::domain::register::MoveId(u128::MAX - 1), 2)),
            floor: Some(crate::domain::replication_lag::LogPosition {
                timeline: Timeline(1),
                lsn: crate::domain::replication_lag::Lsn(u64::MAX),
            }),
            toward: Some(us),
            ..home(eu, 2)
        }),
    };
    writer.apply([moved(3), moved(9)]);
    writer.reload(load, Vec::new()).await;
    writer.apply([moved(4), Change { register: us, key: key(5), entry: None }]);
    writer
}

fn same(a: &Table, b: &Table) {
    for key in (0..48).map(key) {
        assert_eq!(a.rows(&key), b.rows(&key));
    }
    assert_eq!((a.len(), a.moving()), (b.len(), b.moving()));
    for register in registers() {
        assert_eq!(a.rows_of(register), b.rows_of(register));
    }
}

fn saved(writer: &TableWriter) -> (TempDir, SnapshotFile) {
    let directory = TempDir::new().expect("a directory");
    let file = SnapshotFile::within(directory.path());
    file.save(&here(), &keys("a"), &writer.table(), &progress()).expect("writable");
    (directory, file)
}

#[tokio::test]
async fn it_comes_back_as_it_was() {
    let writer = lively().await;
    let (directory, file) = saved(&writer);
    let (read, progress_read) = file.load(&here(), &keys("a"), &OUTSIDE).expect("a good snapshot");
    same(&writer.table(), &read.table());
    assert_eq!(progress_read, progress());
    assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1, "nothing beside it");
    // The next one takes its place.
    writer.apply([Change { register: registers()[2], key: key(7), entry: Some(home(registers()[2], 9)) }]);
    file.save(&here(), &keys("a"), &writer.table(), &progress()).expect("writable");
    let (read, _) = file.load(&here(), &keys("a"), &OUTSIDE).expect("a good snapshot");
    same(&writer.table(), &read.table());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_table_comes_back(rows in prop::collection::vec((0..48_u8, (0..3_usize).prop_flat_map(any_entry)), 0..60)) {
        let writer = TableWriter::new();
        writer.apply(rows.into_iter().map(|(number, entry)| Change {
            register: entry.jurisdiction,
            key: key(number),
            entry: Some(entry),
        }));
        let (_directory, file) = saved(&writer);
        let (read, _) = file.load(&here(), &keys("a"), &OUTSIDE).expect("a good snapshot");
        same(&writer.table(), &read.table());
    }
}

#[tokio::test]
async fn jurisdictions_are_known_by_name_and_not_by_number() {
    let writer = lively().await;
    let (_directory, file) = saved(&writer);
    let turned = topology(&["sg", "us", "eu"]);
    let (read, progress_read) =
        file.load(&turned, &keys("a"), &[false, false, true]).expect("the same jurisdictions");
    for key in (0..48).map(key) {
        let names = |topology: &Topology, table: &Table| {
            let named = |id| topology.jurisdiction_name(id).to_owned();
            let entry = table.get(&key);
            entry.map(|entry| {
                (named(entry.jurisdiction), entry.toward.map(named), entry.generation, entry.state)
            })
        };
        assert_eq!(names(&here(), &writer.table()), names(&turned, &read.table()));
    }
    assert_eq!(progress_read[1], progress()[0]);
}

#[tokio::test]
async fn foreign_snapshots_are_refused_each_for_its_reason() {
    let (directory, file) = saved(&lively().await);
    let reason = |topology: &Topology, keys: &RegisterKeys, outside: &[bool]| {
        file.load(topology, keys, outside).map_or_else(|fault| fault.label(), |_| "taken")
    };
    assert_eq!(reason(&here(), &keys("a"), &OUTSIDE), "taken");
    assert_eq!(reason(&here(), &keys("b"), &OUTSIDE), "keys");
    assert_eq!(reason(&topology(&["us", "eu", "uk"]), &keys("a"), &OUTSIDE), "jurisdictions");
    assert_eq!(reason(&topology(&["us", "eu"]), &keys("a"), &OUTSIDE), "jurisdictions");
    assert_eq!(reason(&topology(&["us", "eu", "sg", "uk"]), &keys("a"), &[false; 4]), "jurisdictions");
    assert_eq!(reason(&here(), &keys("a"), &[false; 3]), "view");
    let rewrite = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(file.path()).expect("there");
        change(&mut bytes);
        let beside = SnapshotFile::within(&directory.path().join("other"));
        fs::create_dir_all(directory.path().join("other")).expect("writable");
        fs::write(beside.path(), bytes).expect("writable");
        beside.load(&here(), &keys("a"), &OUTSIDE).map_or_else(|fault| fault.label(), |_| "taken")
    };
    assert_eq!(rewrite(&|bytes| bytes[16] = 2), "version");
    assert_eq!(rewrite(&|bytes| bytes.clear()), "torn");
    assert_eq!(rewrite(&|bytes| bytes[0] = 0), "no_snapshot");
    assert_eq!(
        SnapshotFile::within(&directory.path().join("nowhere"))
            .load(&here(), &keys("a"), &OUTSIDE)
            .map_or_else(|fault| fault.label(), |_| "taken"),
        "missing"
    );
}

/// Every byte of a file, changed in every one of some ways, and every length that is too short or too long.
#[tokio::test]
async fn no_damage_goes_unnoticed() {
    let (directory, file) = saved(&lively().await);
    let whole = fs::read(file.path()).expect("there");
    let damaged = SnapshotFile::within(&directory.path().join("damaged"));
    fs::create_dir(directory.path().join("damaged")).expect("writable");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(damaged.path(), bytes).expect("writable");
        let fault = damaged.load(&here(), &keys("a"), &OUTSIDE).err();
        let fault = fault.unwrap_or_else(|| panic!("taken with {what}"));
        assert!(!matches!(fault, SnapshotFault::Missing | SnapshotFault::Unreadable(_)), "{what}: {fault}");
    };
    for place in 0..whole.len() {
        for bit in [0, 7] {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << bit;
            refused(&bytes, &format!("bit {bit} of byte {place} of {}", whole.len()));
        }
    }
    for length in 0..whole.len() {
        refused(&whole[..length], &format!("{length} bytes of {}", whole.len()));
    }
    refused(&[&whole[..], b"\n"].concat(), "one byte more");
    // Two pages that changed places.
    let mut bytes = whole.clone();
    let half = whole.len() / 2;
    bytes[..half].rotate_left(64);
    refused(&bytes, "pages in another order");
}

/// A file that was put together wrongly by somebody who knows how to sum it up does not get in either, and stops nothing.
#[tokio::test]
async fn a_checksum_alone_does_not_make_a_table() {
    let (_directory, file) = saved(&lively().await);
    let whole = fs::read(file.path()).expect("there");
    let body = whole.len() - SHA256_OUTPUT_LEN;
    let mut taken = 0;
    for place in OPENING..body {
        let mut bytes = whole[..body].to_vec();
        bytes[place] ^= 0x80;
        let digest = aws_lc_rs::digest::digest(&SHA256, &bytes);
        bytes.extend_from_slice(digest.as_ref());
        fs::write(file.path(), bytes).expect("writable");
        taken += usize::from(file.load(&here(), &keys("a"), &OUTSIDE).is_ok());
    }
    // Keys and generations may be any numbers; states, jurisdictions, counts and the order of keys may not.
    assert!(taken > 0 && taken < body - OPENING, "{taken}");
}
