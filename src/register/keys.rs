//! The configured keys, as the jobs use them: names and bytes for statements.
//!
//! Hashing itself is the routing table's, so that what is written here is what gateways look up.

use crate::config::{KeyPair, RegisterSettings};
use crate::domain::{register::SubjectKey, secret::Secret};
use crate::routing_table::{self, KeyId, KeyKind};

/// All keys that the configuration names.
pub(super) struct RegisterKeys(routing_table::RegisterKeys);

/// Both kinds, in the order in which they are shown.
pub(super) const KINDS: [KeyKind; 2] = [KeyKind::Subject, KeyKind::Identifier];

pub(super) const fn kind_name(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Subject => "subject",
        KeyKind::Identifier => "identifier",
    }
}

impl RegisterKeys {
    pub(super) fn new(settings: &RegisterSettings) -> Self {
        let pair =
            |pair: &'_ KeyPair| -> (Secret, Option<Secret>) { (pair.current.clone(), pair.previous.clone()) };
        let (subject, identifier) = (pair(&settings.subject_key), pair(&settings.identifier_key));
        Self(routing_table::RegisterKeys::new(
            (&subject.0, subject.1.as_ref()),
            (&identifier.0, identifier.1.as_ref()),
        ))
    }

    /// The keys' names, the current one's first.
    pub(super) fn ids(&self, kind: KeyKind) -> Vec<&str> {
        self.0.of(kind).ids().map(KeyId::as_str).collect()
    }

    /// Under each key, the current one's first. As its claim spells it.
    pub(super) fn subject(&self, subject: &str) -> Vec<[u8; 16]> {
        self.0.subject(subject).iter().map(|SubjectKey(hash)| *hash).collect()
    }

    /// Likewise, however it is spelled.
    pub(super) fn identifier(&self, identifier: &str) -> Vec<[u8; 16]> {
        self.0.identifier(identifier).iter().map(|SubjectKey(hash)| *hash).collect()
    }
}
