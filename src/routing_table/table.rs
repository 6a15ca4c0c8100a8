//! One version of the routing table: what a request looks into.
//!
//! Invariant: it never changes. A newer version stands beside it until the last reader has gone over to that one.

use std::sync::Arc;

use crate::domain::{
    names::JurisdictionId,
    register::{RegisterEntry, SubjectKey},
};

use super::{overlay::Overlay, rows::Rows, run::Run};

/// The union of all registers, as far as they were heard.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub(super) base: Arc<Run>,
    /// On its way into the next base.
    pub(super) frozen: Overlay,
    pub(super) overlay: Overlay,
    pub(super) moving: Arc<[(SubjectKey, RegisterEntry)]>,
    pub(super) census: Arc<[usize]>,
    pub(super) len: usize,
    pub(super) version: u64,
}

impl Table {
    /// What is right of a subject or an identifier; `None`: no register speaks of it, the claim answers.
    pub fn get(&self, key: &SubjectKey) -> Option<RegisterEntry> {
        match self.changed(key) {
            Some(rows) => rows.winner().copied(),
            None => self.base.get(key),
        }
    }

    /// What each register says of it, the right one first: to explain.
    pub fn rows(&self, key: &SubjectKey) -> Vec<RegisterEntry> {
        self.all_rows(key).as_slice().to_vec()
    }

    /// The subjects that nobody may write to at the moment, by rising key.
    pub fn moving(&self) -> &[(SubjectKey, RegisterEntry)] {
        &self.moving
    }

    /// Subjects and identifiers that any register speaks of.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Rows of one register.
    pub fn rows_of(&self, register: JurisdictionId) -> usize {
        self.census.get(register.index()).copied().unwrap_or_default()
    }

    /// Rises with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Bytes of the packed base: nearly all there is.
    pub fn bytes(&self) -> usize {
        self.base.bytes()
    }

    pub(super) fn all_rows(&self, key: &SubjectKey) -> Rows {
        self.changed(key).cloned().unwrap_or_else(|| self.base.rows(key))
    }

    fn changed(&self, key: &SubjectKey) -> Option<&Rows> {
        self.overlay.get(key).or_else(|| self.frozen.get(key))
    }
}
