//! The versions of the schema, and what is to be applied to a database that has some of them.
//!
//! A version is never edited once it was released: its checksum is kept in every database it was applied to. What
//! comes later is another version.

use aws_lc_rs::digest::{SHA256, digest};

use crate::domain::hexadecimal::hexadecimal;

/// One version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Migration {
    pub(super) version: i32,
    pub(super) name: &'static str,
    /// Run one after the other in one transaction.
    pub(super) parts: &'static [&'static str],
}

/// All versions, in their order, without gaps.
pub(super) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "registers",
    parts: &[
        include_str!("migrations/0001_1_tables.sql"),
        include_str!("migrations/0001_2_triggers.sql"),
        include_str!("migrations/0001_3_entries.sql"),
        include_str!("migrations/0001_4_gateways.sql"),
    ],
}];

/// What a database says of a version it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) version: i32,
    pub(super) name: String,
    pub(super) checksum: String,
    /// As the database writes it.
    pub(super) at: String,
}

/// Why a database's versions and this program's don't go together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    Newer { found: i32, known: i32 },
    Changed { version: i32, name: String },
    Gap { missing: i32, found: i32 },
}

impl Migration {
    /// Of its text, in hex.
    pub(super) fn checksum(&self) -> String {
        let text = self.parts.concat();
        hexadecimal(digest(&SHA256, text.as_bytes()).as_ref())
    }
}

/// What of `known` is missing in a database that has `applied`, in ascending order.
pub(super) fn pending<'a>(applied: &[Applied], known: &'a [Migration]) -> Result<&'a [Migration], Mismatch> {
    for (index, found) in applied.iter().enumerate() {
        let Some(migration) = known.get(index) else {
            let newest = known.last().map_or(0, |last| last.version);
            return Err(Mismatch::Newer {
                found: applied.last().map_or(0, |last| last.version),
                known: newest,
            });
        };
        if found.version != migration.version {
            return Err(Mismatch::Gap { missing: migration.version, found: found.version });
        }
        if found.checksum != migration.checksum() {
            return Err(Mismatch::Changed { version: found.version, name: found.name.clone() });
        }
    }
    Ok(&known[applied.len()..])
}
