//! Hashes of subjects and identifiers as registers hold them, under every key in use.
//!
//! The key is derived from the configured secret under a label of its own kind, the hash is HMAC-SHA-256 cut to 128 bits,
//! and the first 4 bytes of a hash of a fixed text name the key. Identifiers are normalised first: people type one address in
//! several spellings.

use aws_lc_rs::hmac;

use crate::config::{KeyPair, RegisterSettings};
use crate::domain::secret::Secret;

const SUBJECTS: &[u8] = b"residency register subject v1";
const IDENTIFIERS: &[u8] = b"residency register identifier v1";
const ID: &[u8] = b"key id";

/// What a row is the hash of: the register's column `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Subject,
    Identifier,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Subject, Self::Identifier];

    pub(super) const fn number(self) -> i16 {
        match self {
            Self::Subject => 1,
            Self::Identifier => 2,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Identifier => "identifier",
        }
    }
}

/// The keys of one kind, the current one first.
pub(super) struct Keys(Vec<(String, hmac::Key)>);

/// All keys that the configuration names.
pub(super) struct RegisterKeys {
    subjects: Keys,
    identifiers: Keys,
}

impl RegisterKeys {
    pub(super) fn new(settings: &RegisterSettings) -> Self {
        Self {
            subjects: Keys::derive(SUBJECTS, &settings.subject_key),
            identifiers: Keys::derive(IDENTIFIERS, &settings.identifier_key),
        }
    }

    pub(super) fn of(&self, kind: Kind) -> &Keys {
        match kind {
            Kind::Subject => &self.subjects,
            Kind::Identifier => &self.identifiers,
        }
    }

    /// Under each key, the current one's first. As its claim spells it.
    pub(super) fn subject(&self, subject: &str) -> Vec<[u8; 16]> {
        self.subjects.hash(subject)
    }

    /// Likewise, however it is spelled.
    pub(super) fn identifier(&self, identifier: &str) -> Vec<[u8; 16]> {
        self.identifiers.hash(&identifier.trim().to_lowercase())
    }
}

impl Keys {
    fn derive(label: &[u8], pair: &KeyPair) -> Self {
        let derive = |secret: &Secret| {
            let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose()), label);
            let key = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
            let id = hmac::sign(&key, ID).as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
            (id, key)
        };
        Self([Some(&pair.current), pair.previous.as_ref()].into_iter().flatten().map(derive).collect())
    }

    /// The keys' names, the current one's first.
    pub(super) fn ids(&self) -> Vec<&str> {
        self.0.iter().map(|(id, _)| id.as_str()).collect()
    }

    fn hash(&self, text: &str) -> Vec<[u8; 16]> {
        let hash = |(_, key): &(String, hmac::Key)| {
            hmac::sign(key, text.as_bytes()).as_ref()[..16].try_into().expect("a tag has 32 bytes")
        };
        self.0.iter().map(hash).collect()
    }
}
