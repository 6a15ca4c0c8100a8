//! What a gateway has of registers: the keys under which they hash, and the routing table's latest version.
//!
//! Invariant: a look-up takes no lock and waits for nobody.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::{KeyPair, RegisterSettings};
use crate::domain::decide::{Location, Refusal};
use crate::domain::register::{Placed, RegisterEntry, SubjectKey};
use crate::routing_table::{RegisterKeys, Table};

/// With `[register]` in the configuration.
pub struct Registers {
    pub keys: RegisterKeys,
    /// Where whoever follows the registers puts it.
    pub table: Arc<ArcSwap<Table>>,
}

impl Registers {
    /// `previous` of a configuration in which the same jurisdictions have the same numbers: what is known stays known.
    pub fn new(settings: &RegisterSettings, previous: Option<&Self>) -> Self {
        let pair = |pair: &KeyPair| (pair.current.clone(), pair.previous.clone());
        let (subjects, identifiers) = (pair(&settings.subject_key), pair(&settings.identifier_key));
        let keys =
            RegisterKeys::new((&subjects.0, subjects.1.as_ref()), (&identifiers.0, identifiers.1.as_ref()));
        let table = previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.table));
        Self { keys, table }
    }

    /// What is right of the first of these keys that any register speaks of.
    pub fn entry(&self, keys: &[SubjectKey]) -> Option<RegisterEntry> {
        let table = self.table.load();
        keys.iter().find_map(|key| table.get(key))
    }

    /// Where the subject is that has this identifier; `None`: nobody has it.
    pub fn locate_identifier(&self, identifier: &str) -> Option<Location> {
        match self.entry(&self.keys.identifier(identifier))?.placed()? {
            Placed::At(jurisdiction) | Placed::Left(jurisdiction) => {
                Some(Location::Jurisdiction(jurisdiction))
            }
            Placed::Moving(jurisdiction) => Some(Location::Moving(jurisdiction)),
            Placed::Unknown => Some(Location::Unknown(Refusal::JurisdictionUnknown)),
        }
    }
}

#[cfg(test)]
mod tests;
