//! The whole check of one token.
use std::sync::Arc;

use super::key_ring::{KeyRing, KeysVersion};
use super::token::UnverifiedToken;
use super::{ClaimValue, IssuerPolicy, PolicyFault, RegisteredClaim, TokenFault, claims, policy};

/// Checks tokens against the configured issuers. Shared by all workers.
pub struct Verifier {
    policies: Vec<IssuerPolicy>,
    ring: Arc<KeyRing>,
}

/// What a token says, once its signature and registered claims have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// Position in the configured list.
    pub issuer_index: usize,
    /// The configured subject claim.
    pub subject: Option<String>,
    /// The configured jurisdiction claim.
    pub jurisdiction: ClaimValue,
    /// The first Unix second at which the token is refused, leeway included.
    pub expires_at: Option<u64>,
    /// The first Unix second at which the token is accepted, leeway included.
    pub not_before: Option<u64>,
    /// The keys this was verified with; a cache takes the result only for this version.
    pub keys_version: KeysVersion,
}

impl Verifier {
    /// All faults of the list at once, or a verifier with a ring that is empty until a `KeyRefresher` runs (secrets are
    /// there at once). `previous` hands on the keys of sources that stay.
    pub fn new(policies: Vec<IssuerPolicy>, previous: Option<&Self>) -> Result<Self, Vec<PolicyFault>> {
        let faults = policy::check(&policies);
        if !faults.is_empty() {
            return Err(faults);
        }
        let sources = policies.iter().map(|policy| policy.keys.clone());
        let ring = Arc::new(KeyRing::new(sources, previous.map(|verifier| &*verifier.ring)));
        Ok(Self { policies, ring })
    }

    /// The keys, for the refresher, for refetches, and for the version caches need.
    pub const fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// The issuers, in the order `issuer_index` counts.
    pub fn policies(&self) -> &[IssuerPolicy] {
        &self.policies
    }

    /// Checks a token at `now_unix_s`. Does no I/O: on a fault with a `refetch` index the caller may await
    /// [`KeyRing::refetch`] and verify once more.
    pub fn verify(&self, token: &str, now_unix_s: u64) -> Result<VerifiedToken, TokenFault> {
        let token = UnverifiedToken::parse(token)?;
        let issuer_index = self.issuer_of(&token)?;
        let policy = &self.policies[issuer_index];
        if !policy.algorithms.contains(&token.algorithm) {
            return Err(TokenFault::AlgorithmNotAllowed);
        }
        let snapshot = self.ring.snapshot();
        let keys = snapshot.set(issuer_index).ok_or(TokenFault::KeysUnavailable { issuer_index })?;
        let key = keys.select(token.kid.as_deref(), token.algorithm, issuer_index)?;
        if !key.verifies(token.algorithm, token.message, token.signature) {
            return Err(TokenFault::SignatureInvalid);
        }
        let validity = claims::check(&token.claims, policy, now_unix_s)?;
        Ok(VerifiedToken {
            issuer_index,
            subject: claims::subject(&token.claims, policy)?,
            jurisdiction: policy.claims.jurisdiction.read(&token.claims),
            expires_at: validity.expires_at,
            not_before: validity.not_before,
            keys_version: snapshot.version,
        })
    }

    fn issuer_of(&self, token: &UnverifiedToken<'_>) -> Result<usize, TokenFault> {
        match (token.claimed_issuer()?, &*self.policies) {
            (None, [_]) | (Some(_), [IssuerPolicy { issuer: None, .. }]) => Ok(0),
            (None, _) => Err(TokenFault::ClaimMissing(RegisteredClaim::Iss)),
            (Some(issuer), policies) => {
                let named = policies.iter().position(|policy| policy.issuer.as_deref() == Some(issuer));
                named.ok_or(TokenFault::IssuerUnknown)
            }
        }
    }
}
