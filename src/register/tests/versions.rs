//! Which versions are missing, and when a database and a program don't go together.

use super::super::migrations::{Applied, MIGRATIONS, Migration, Mismatch, pending};

const TWO: &[Migration] = &[
    Migration { version: 1, name: "one", parts: &["SELECT 1;", "SELECT 2;"] },
    Migration { version: 2, name: "two", parts: &["SELECT 3;"] },
];

fn applied(migrations: &[Migration]) -> Vec<Applied> {
    let one = |migration: &Migration| Applied {
        version: migration.version,
        name: migration.name.to_owned(),
        checksum: migration.checksum(),
        at: String::new(),
    };
    migrations.iter().map(one).collect()
}

#[test]
fn what_is_missing_is_found_in_order() {
    for there in 0..=2 {
        let missing = pending(&applied(&TWO[..there]), TWO).expect("they go together");
        let versions: Vec<i32> = missing.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..=2).skip(there).collect::<Vec<_>>());
    }
}

#[test]
fn what_does_not_go_together_is_named() {
    let edited = [Migration { parts: &["SELECT 1;", "SELECT 2 ;"], ..TWO[0] }, TWO[1]];
    let table = [
        (applied(TWO), &TWO[..1], Mismatch::Newer { found: 2, known: 1 }),
        (applied(TWO), &edited[..], Mismatch::Changed { version: 1, name: "one".to_owned() }),
        (applied(&TWO[1..]), TWO, Mismatch::Gap { missing: 1, found: 2 }),
    ];
    for (there, known, expected) in table {
        assert_eq!(pending(&there, known).map(<[_]>::len), Err(expected));
    }
}

#[test]
fn this_programs_own_versions_have_no_gaps() {
    let numbers: Vec<i32> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    assert_eq!(numbers, (1..).take(MIGRATIONS.len()).collect::<Vec<_>>());
}
