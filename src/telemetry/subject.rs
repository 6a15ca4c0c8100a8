//! Keyed hashes of subjects: the same person is the same string in a log, and nobody without the key can say who.
//!
//! Invariants
//! - HMAC-SHA-256, so without the key guessing subjects is of no use; cut to 128 bits, at which two of a billion
//!   subjects collide with a chance below 10⁻²⁰.
//! - The key in use is derived from the configured one under a label of its own: another use of the same configured key
//!   yields other hashes, and one can't be looked up in the other.
//! - Neither key can be printed.
//!
//! A keyed hash is still personal data (R7): it belongs where the subject's logs may be.

use std::fmt;

use aws_lc_rs::{hmac, rand};

use super::redaction::REDACTED;

const LABEL: &[u8] = b"residency telemetry subject v1";
const HASH_BYTES: usize = 16;

/// Hashes subjects under one key. Computing a hash costs two compressions of SHA-256: keep it with the verified token.
#[derive(Clone)]
pub struct SubjectHasher {
    key: hmac::Key,
}

/// The keyed hash of one subject; printed as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubjectHash([u8; HASH_BYTES]);

impl SubjectHasher {
    /// Hashes that are the same in every process with the same `secret`, so that logs of several gateways join.
    pub fn new(secret: &[u8]) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), LABEL);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()) }
    }

    /// Hashes under a key that exists only in this process.
    pub fn random() -> Self {
        let mut secret = [0; 32];
        rand::fill(&mut secret).expect("aws-lc's generator does not fail once seeded by the kernel");
        Self::new(&secret)
    }

    pub fn hash(&self, subject: &str) -> SubjectHash {
        let tag = hmac::sign(&self.key, subject.as_bytes());
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&tag.as_ref()[..HASH_BYTES]);
        SubjectHash(hash)
    }
}

impl fmt::Debug for SubjectHasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SubjectHasher({REDACTED})")
    }
}

impl SubjectHash {
    pub(super) fn hex(self) -> [u8; 2 * HASH_BYTES] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 2 * HASH_BYTES];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 0xf)];
        }
        hex
    }
}

impl fmt::Display for SubjectHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for SubjectHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_depend_on_key_and_subject_alone() {
        let hasher = SubjectHasher::new(b"key");
        let hash = hasher.hash("user-1");
        assert_eq!(hash, SubjectHasher::new(b"key").hash("user-1"));
        assert_ne!(hash, hasher.hash("user-2"));
        assert_ne!(hash, SubjectHasher::new(b"other").hash("user-1"));
        assert_ne!(SubjectHasher::random().hash("user-1"), SubjectHasher::random().hash("user-1"));
        assert_eq!(hash.to_string().as_bytes(), hash.hex());
    }

    /// Computed apart, with Python's `hmac`: derived = HMAC(key, label), hash = HMAC(derived, subject)[:16].
    #[test]
    fn hashes_are_what_they_are_said_to_be() {
        assert_eq!(SubjectHasher::new(b"key").hash("user-1").to_string(), "8402de207b9613feb43cd26e253d460b");
    }

    #[test]
    fn the_configured_key_itself_is_not_used() {
        let plain = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"key"), b"user-1");
        assert_ne!(SubjectHasher::new(b"key").hash("user-1").0, plain.as_ref()[..HASH_BYTES]);
    }

    #[test]
    fn a_hasher_does_not_print_its_key() {
        assert_eq!(format!("{:?}", SubjectHasher::new(b"key")), "SubjectHasher([redacted])");
    }
}
