//! Tokens a worker has already verified.
//!
//! Invariants
//! - A hit means: byte for byte this token, verified with the keys that are current now, valid at `now`. The whole token is
//!   compared; its hash only finds the place.
//! - Bounded: an entry weighs one for each 2 KiB of token, so the tokens take at most `entries` × 2 KiB.
//! - The hash is keyed at random for each cache, and nothing enters that has not been verified, so nobody can choose what
//!   collides.
//!
//! Absent by design: sharing. Each worker has its own; a hit takes no lock and allocates nothing. Refusals are not kept:
//! a bad token must not push out a good one.
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use super::{KeysVersion, VerifiedToken};

/// Twice a large token of everyday; larger ones count as several entries.
const BYTES_PER_WEIGHT: usize = 2 * 1024;

/// A bounded map from verified tokens to what the worker made of their claims.
pub struct TokenCache<V> {
    entries: Cache<Box<[u8]>, Entry<V>, ByTokenLength, ByTail>,
    /// The keys all entries were verified with.
    version: Option<KeysVersion>,
}

struct Entry<V> {
    expires_at: u64,
    not_before: u64,
    value: Rc<V>,
}

#[derive(Clone)]
struct ByTokenLength;

/// Hashes a token's last bytes: a signature's, or the random ones of an opaque token. No two that anybody verified have the
/// same, and the rest would be hashed for nothing.
#[derive(Clone)]
struct ByTail(ahash::RandomState);

struct TailHasher(ahash::AHasher);

const TAIL_BYTES: usize = 32;

impl BuildHasher for ByTail {
    type Hasher = TailHasher;

    fn build_hasher(&self) -> TailHasher {
        TailHasher(self.0.build_hasher())
    }
}

impl Hasher for TailHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
    }

    fn write_usize(&mut self, length: usize) {
        self.0.write_usize(length);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

impl<V> Weighter<Box<[u8]>, Entry<V>> for ByTokenLength {
    fn weight(&self, token: &Box<[u8]>, _: &Entry<V>) -> u64 {
        token.len().div_ceil(BYTES_PER_WEIGHT).max(1) as u64
    }
}

impl<V> TokenCache<V> {
    /// For at most `entries` tokens of up to 2 KiB; 0 keeps nothing.
    pub fn new(entries: usize) -> Self {
        let hasher = ByTail(ahash::RandomState::new());
        let lifecycle = quick_cache::unsync::DefaultLifecycle::default();
        Self {
            entries: Cache::with(entries, entries as u64, ByTokenLength, hasher, lifecycle),
            version: None,
        }
    }

    /// What was made of this token, if it may still be believed. `keys_version` is the ring's, read for this request; a
    /// newer one, or another ring's, empties the cache.
    pub fn get(&mut self, token: &[u8], now_unix_s: u64, keys_version: KeysVersion) -> Option<Rc<V>> {
        self.adopt(keys_version);
        let entry = self.entries.get(token)?;
        if now_unix_s >= entry.expires_at {
            self.entries.remove(token);
            return None;
        }
        (now_unix_s >= entry.not_before).then(|| Rc::clone(&entry.value))
    }

    /// Keeps what was made of a verified token. Dropped silently if the keys have changed since the verification began.
    pub fn insert(&mut self, token: &[u8], verified: &VerifiedToken, value: Rc<V>) {
        match self.version {
            Some(current) if verified.keys_version.is_after(current) => self.adopt(verified.keys_version),
            Some(current) if verified.keys_version != current => return,
            Some(_) => {}
            None => self.version = Some(verified.keys_version),
        }
        let entry = Entry {
            expires_at: verified.expires_at.unwrap_or(u64::MAX),
            not_before: verified.not_before.unwrap_or(0),
            value,
        };
        self.entries.insert(token.into(), entry);
    }

    /// How many tokens are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no token is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An older version of the same ring changes nothing: the entries are newer than the caller's reading.
    #[inline]
    fn adopt(&mut self, version: KeysVersion) {
        if self.version == Some(version) {
            return;
        }
        if self.version.is_none_or(|current| version.is_after(current) || !version.same_ring(current)) {
            self.entries.clear();
            self.version = Some(version);
        }
    }
}
