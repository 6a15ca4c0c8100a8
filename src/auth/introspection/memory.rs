//! What the issuer has said lately, good and bad apart.
//!
//! Invariants
//! - Both memories are bounded in entries, and an entry's size doesn't depend on the token's.
//! - A refusal never pushes out a good answer.
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use quick_cache::UnitWeighter;
use quick_cache::unsync::{Cache, DefaultLifecycle};

use super::admission::Lane;
use super::{Meaning, Reply, TokenFault};

/// Tokens known to be good: as many active users between two questions. Some 200 bytes each.
const GOOD: usize = 32_768;
/// Refused tokens. A flood of new ones pushes out its own kind. Some 60 bytes each.
const REFUSED: usize = 8_192;

/// A token, for remembering it. Nobody finds two tokens with the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenDigest([u8; SHA256_OUTPUT_LEN]);

/// Answers by token.
pub(super) struct Memory {
    good: Bounded<Meaning>,
    refused: Bounded<(TokenFault, u64)>,
    keep_refused_s: u64,
}

type Bounded<V> = Cache<TokenDigest, V, UnitWeighter, ahash::RandomState>;

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        let digest = digest(&SHA256, token.as_bytes());
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl Memory {
    pub(super) fn new(keep_refused: Duration) -> Self {
        Self { good: bounded(GOOD), refused: bounded(REFUSED), keep_refused_s: keep_refused.as_secs() }
    }

    /// What was said of the token, while it is believed; else in which lane to ask again. A good answer that is no longer
    /// believed still tells that the token is no invention.
    pub(super) fn recall(&mut self, token: &TokenDigest, now_unix_s: u64) -> Result<Reply, Lane> {
        if let Some(meaning) = self.good.get(token) {
            let holds =
                now_unix_s < meaning.expires_at && meaning.not_before.is_none_or(|from| now_unix_s >= from);
            return if holds { Ok(Ok(meaning.clone())) } else { Err(Lane::Known) };
        }
        match self.refused.get(token) {
            Some((fault, until)) if now_unix_s < *until => Ok(Err(*fault)),
            _ => Err(Lane::Stranger),
        }
    }

    pub(super) fn keep(&mut self, token: TokenDigest, reply: &Reply, now_unix_s: u64) {
        match reply {
            Ok(meaning) => {
                self.refused.remove(&token);
                self.good.insert(token, meaning.clone());
            }
            Err(fault) => {
                self.good.remove(&token);
                self.refused.insert(token, (*fault, now_unix_s.saturating_add(self.keep_refused_s)));
            }
        }
    }

    /// Good answers and refusals held.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.good.len(), self.refused.len())
    }
}

fn bounded<V>(entries: usize) -> Bounded<V> {
    // Few estimated, many allowed: memory grows as it is used.
    Cache::with(256, entries as u64, UnitWeighter, ahash::RandomState::new(), DefaultLifecycle::default())
}
