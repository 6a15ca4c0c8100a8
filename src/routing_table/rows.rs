//! What all registers say of one subject.
//!
//! Invariants
//! - At most one row of a register; a row's register is its `jurisdiction`.
//! - The first row is the union of all.

use smallvec::SmallVec;

use crate::domain::{
    names::JurisdictionId,
    register::{RegisterEntry, union},
};

/// Mostly one row; none says that no register speaks of the subject (any more).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rows(SmallVec<[RegisterEntry; 1]>);

impl Rows {
    pub(super) fn one(row: RegisterEntry) -> Self {
        Self(SmallVec::from_buf([row]))
    }

    /// `None` when two rows are of one register.
    pub(super) fn of(rows: impl IntoIterator<Item = RegisterEntry>) -> Option<Self> {
        let mut all = Self::default();
        for row in rows {
            if all.of_register(row.jurisdiction).is_some() {
                return None;
            }
            all.set(row.jurisdiction, Some(row));
        }
        Some(all)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_slice(&self) -> &[RegisterEntry] {
        &self.0
    }

    pub(super) fn winner(&self) -> Option<&RegisterEntry> {
        self.0.first()
    }

    pub(super) fn of_register(&self, register: JurisdictionId) -> Option<&RegisterEntry> {
        self.0.iter().find(|row| row.jurisdiction == register)
    }

    /// Replaces what one register says; `None`: it says nothing any more.
    pub(super) fn set(&mut self, register: JurisdictionId, row: Option<RegisterEntry>) {
        self.0.retain(|known| known.jurisdiction != register);
        self.0.extend(row);
        let winner = union(&self.0).and_then(|winner| self.0.iter().position(|row| row == winner));
        if let Some(winner) = winner {
            self.0.swap(0, winner);
            // The rest in one order, so that equal sets are equal.
            self.0[1..].sort_unstable_by_key(|row| row.jurisdiction);
        }
    }
}
