//! The keys under which subjects and identifiers are hashed: what a register holds of them, and nobody without the key reads.
//!
//! Invariants
//! - HMAC-SHA-256, cut to 128 bits. The key in use is derived from the configured secret under a label of its own, one for
//!   subjects and one for identifiers: the same text as subject and as identifier has two hashes, and neither is the one that
//!   logs show.
//! - A subject is hashed as it is. An identifier is normalised first, by the one function [`normalise`], for look-up, assignment
//!   and import alike.
//! - Two registers and a gateway find out whether they mean the same key by its id, which tells nothing of the key.
//! - While a key is being replaced, both are looked up, the current one first.

use std::{borrow::Cow, fmt};

use aws_lc_rs::hmac;
use smallvec::SmallVec;
use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::domain::{register::SubjectKey, secret::Secret};

const SUBJECTS: &[u8] = b"residency register subject v1";
const IDENTIFIERS: &[u8] = b"residency register identifier v1";
/// What is hashed to name a key.
const ID: &[u8] = b"key id";

/// What to look up, the current key's first. One, and a second while keys are being replaced.
pub type SubjectKeys = SmallVec<[SubjectKey; 2]>;

/// All keys of this gateway.
#[derive(Debug, Clone)]
pub struct RegisterKeys {
    pub subjects: KeyPair,
    pub identifiers: KeyPair,
}

/// The key in use, and the one before it while both are.
#[derive(Debug, Clone)]
pub struct KeyPair {
    current: RegisterKey,
    previous: Option<RegisterKey>,
}

/// One derived key. `Debug` shows its id only.
#[derive(Clone)]
pub struct RegisterKey {
    key: hmac::Key,
    id: KeyId,
}

/// The name of a key: 8 hexadecimal digits of a hash under it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

/// What a row is the hash of: the register's column `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    Subject,
    Identifier,
}

impl RegisterKeys {
    pub fn new(subjects: (&Secret, Option<&Secret>), identifiers: (&Secret, Option<&Secret>)) -> Self {
        let pair = |label, (current, previous): (&Secret, Option<&Secret>)| KeyPair {
            current: RegisterKey::derive(label, current),
            previous: previous.map(|secret| RegisterKey::derive(label, secret)),
        };
        Self { subjects: pair(SUBJECTS, subjects), identifiers: pair(IDENTIFIERS, identifiers) }
    }

    /// Of a subject, exactly as its claim or its path parameter spells it.
    pub fn subject(&self, subject: &str) -> SubjectKeys {
        self.subjects.hash(subject)
    }

    /// Of an identifier, however it is spelled.
    pub fn identifier(&self, identifier: &str) -> SubjectKeys {
        self.identifiers.hash(&normalise(identifier))
    }

    pub fn of(&self, kind: KeyKind) -> &KeyPair {
        match kind {
            KeyKind::Subject => &self.subjects,
            KeyKind::Identifier => &self.identifiers,
        }
    }
}

impl KeyPair {
    /// Under which new rows are written.
    pub fn current(&self) -> &RegisterKey {
        &self.current
    }

    /// The keys in use, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = &KeyId> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().map(RegisterKey::id)
    }

    fn hash(&self, text: &str) -> SubjectKeys {
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .map(|key| key.hash(text))
            .collect()
    }
}

impl RegisterKey {
    fn derive(label: &[u8], secret: &Secret) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose()), label);
        let key = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
        let id = hmac::sign(&key, ID);
        let id = u32::from_be_bytes(id.as_ref()[..4].try_into().expect("a tag has 32 bytes"));
        Self { key, id: KeyId(format!("{id:08x}")) }
    }

    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Of text that is normalised already.
    pub fn hash(&self, text: &str) -> SubjectKey {
        let tag = hmac::sign(&self.key, text.as_bytes());
        SubjectKey(tag.as_ref()[..16].try_into().expect("a tag has 32 bytes"))
    }
}

impl fmt::Debug for RegisterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RegisterKey({})", self.id)
    }
}

impl KeyId {
    /// As a register or a snapshot has it.
    pub fn named(id: &str) -> Self {
        Self(id.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl KeyKind {
    /// As the register's column has it.
    pub const fn number(self) -> i16 {
        match self {
            Self::Subject => 1,
            Self::Identifier => 2,
        }
    }

    pub fn numbered(number: i16) -> Option<Self> {
        [Self::Subject, Self::Identifier].into_iter().find(|kind| kind.number() == number)
    }
}

/// One spelling for all that people type for the same: without white space around it, in lower case, composed (Unicode's
/// form NFC). An app that tells `Ann@example.com` from `ann@example.com` shares one row between the two.
pub fn normalise(identifier: &str) -> Cow<'_, str> {
    let trimmed = identifier.trim();
    let plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if trimmed.bytes().all(plain) {
        return Cow::Borrowed(trimmed);
    }
    let lower = trimmed.to_lowercase();
    Cow::Owned(if is_nfc(&lower) { lower } else { lower.nfc().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes())
    }

    fn keys() -> RegisterKeys {
        let (a, b) =
            (secret("subject key, long enough to be one"), secret("identifier key, long enough too..."));
        RegisterKeys::new((&a, None), (&b, None))
    }

    #[test]
    fn subjects_and_identifiers_never_meet() {
        let same = secret("one secret for both, against the manual");
        let keys = RegisterKeys::new((&same, None), (&same, None));
        assert_ne!(keys.subject("ann@example.com"), keys.identifier("ann@example.com"));
        assert_ne!(keys.subjects.current().id(), keys.identifiers.current().id());
    }

    #[test]
    fn identifiers_are_one_however_they_are_spelled() {
        let keys = keys();
        for (spelled, plain) in [
            (" Ann@Example.COM\n", "ann@example.com"),
            ("ANN@ÉCOLE.FR", "ann@école.fr"),
            ("ann@e\u{301}cole.fr", "ann@école.fr"),
            ("\u{a0}ann@example.com\u{2003}", "ann@example.com"),
            ("+49 30 1234", "+49 30 1234"),
        ] {
            assert_eq!(normalise(spelled), plain);
            assert_eq!(keys.identifier(spelled), keys.identifier(plain), "{spelled:?}");
            assert_eq!(normalise(&normalise(spelled)), plain, "once more changes nothing");
        }
        assert_ne!(keys.identifier("ann@example.com"), keys.identifier("bob@example.com"));
    }

    #[test]
    fn a_subject_is_taken_as_it_is() {
        assert_ne!(keys().subject("User-1"), keys().subject("user-1"));
        assert_ne!(keys().subject("user-1 "), keys().subject("user-1"));
    }

    #[test]
    fn both_keys_answer_while_one_is_replaced() {
        let (old, new, other) = (secret("old"), secret("new"), secret("identifiers"));
        let before = RegisterKeys::new((&old, None), (&other, None));
        let during = RegisterKeys::new((&new, Some(&old)), (&other, None));
        let after = RegisterKeys::new((&new, None), (&other, None));
        let found = during.subject("user-1");
        assert_eq!(found[..], [after.subject("user-1")[0], before.subject("user-1")[0]]);
        assert_eq!(during.subjects.ids().count(), 2);
        assert_eq!(during.subjects.ids().nth(1), before.subjects.ids().next());
    }

    /// Computed apart, with Python's `hmac`: derived = HMAC(secret, label), hash = HMAC(derived, text)[:16].
    #[test]
    fn hashes_are_what_they_are_said_to_be() {
        let keys = RegisterKeys::new((&secret("key"), None), (&secret("key"), None));
        let hex = |SubjectKey(key)| format!("{:032x}", u128::from_be_bytes(key));
        assert_eq!(hex(keys.subject("user-1")[0]), "b1cac5d55ede8ccb8c83bce9127525d5");
        assert_eq!(hex(keys.identifier(" Ann@example.com")[0]), "1b049803d01c7c12dff8999af056fda6");
        assert_eq!(keys.subjects.current().id().as_str(), "5d39f4ff");
    }

    #[test]
    fn a_key_is_not_printed() {
        let shown = format!("{:?}", keys());
        assert!(
            shown.contains(keys().subjects.current().id().as_str()) && !shown.contains("long enough"),
            "{shown}"
        );
    }
}
