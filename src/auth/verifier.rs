//! The whole check of one token.
use std::sync::Arc;

use super::introspection::{IntrospectedTokens, IntrospectionService, Introspector};
use super::key_ring::{KeyRing, KeysVersion};
use super::token::{UnverifiedToken, is_signed_jwt};
use super::{
    ClaimValue, IssuerPolicy, KeySource, MAX_TOKEN_BYTES, PolicyFault, RegisteredClaim, TokenFault, claims,
    policy,
};

/// Checks tokens against the configured issuers. Shared by all workers.
pub struct Verifier {
    policies: Vec<IssuerPolicy>,
    ring: Arc<KeyRing>,
    introspector: Option<Introspector>,
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
    /// there at once). `previous` hands on the keys of sources that stay, and what an issuer that stays has said.
    pub fn new(policies: Vec<IssuerPolicy>, previous: Option<&Self>) -> Result<Self, Vec<PolicyFault>> {
        let faults = policy::check(&policies);
        if !faults.is_empty() {
            return Err(faults);
        }
        let sources = policies.iter().map(|policy| policy.keys.clone());
        let ring = Arc::new(KeyRing::new(sources, previous.map(|verifier| &*verifier.ring)));
        let introspector =
            Introspector::of(&policies, previous.and_then(|verifier| verifier.introspector.as_ref()));
        Ok(Self { policies, ring, introspector })
    }

    /// The keys, for the refresher, for refetches, and for the version caches need.
    pub const fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// The issuers, in the order `issuer_index` counts.
    pub fn policies(&self) -> &[IssuerPolicy] {
        &self.policies
    }

    /// What asks the issuer that introspects; whoever takes it must run it. None when there is no such issuer, or when it is
    /// taken already, by way of this verifier or of the one before. It ends by itself once the last verifier that needs it is
    /// dropped.
    pub fn take_introspection(&self) -> Option<IntrospectionService> {
        self.introspector.as_ref().and_then(Introspector::take_service)
    }

    /// Checks a token at `now_unix_s` by all means there are: the keys at hand, keys newly fetched if those don't have its
    /// own, and its issuer's word where that is configured.
    pub async fn authenticate(&self, token: &str, now_unix_s: u64) -> Result<VerifiedToken, TokenFault> {
        let Some(introspector) = &self.introspector else {
            return self.verify_fetching(token, now_unix_s).await;
        };
        if self.is_for_issuer_alone(introspector, token)? {
            // Before the question, so that keys that change meanwhile make a cache forget the answer.
            let keys_version = self.ring.version();
            let meaning = introspector.ask(token, false).await?;
            return Ok(VerifiedToken {
                issuer_index: introspector.issuer_index,
                subject: meaning.subject,
                jurisdiction: meaning.jurisdiction,
                expires_at: Some(meaning.expires_at),
                not_before: meaning.not_before,
                keys_version,
            });
        }
        let verified = self.verify_fetching(token, now_unix_s).await?;
        if introspector.tokens == IntrospectedTokens::Opaque
            || introspector.issuer_index != verified.issuer_index
        {
            return Ok(verified);
        }
        let meaning = introspector.ask(token, true).await?;
        let other_subject = meaning.subject.is_some() && meaning.subject != verified.subject;
        let elsewhere =
            meaning.jurisdiction != ClaimValue::Missing && meaning.jurisdiction != verified.jurisdiction;
        if other_subject || elsewhere {
            return Err(TokenFault::AnswerDiffers);
        }
        let expires_at = verified.expires_at.map_or(meaning.expires_at, |own| own.min(meaning.expires_at));
        Ok(VerifiedToken { expires_at: Some(expires_at), ..verified })
    }

    /// Whether the token can be judged by the issuer's answer only.
    fn is_for_issuer_alone(&self, introspector: &Introspector, token: &str) -> Result<bool, TokenFault> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenFault::TooLong);
        }
        let policy = &self.policies[introspector.issuer_index];
        if !is_signed_jwt(token) {
            return Ok(true);
        }
        if introspector.tokens == IntrospectedTokens::Opaque || policy.keys != KeySource::None {
            return Ok(false);
        }
        // Its own JWTs, by the issuer they claim to be of; a false claim gets a truthful answer.
        let claimed = || self.issuer_of(&UnverifiedToken::parse(token)?);
        Ok(self.policies.len() == 1 || claimed()? == introspector.issuer_index)
    }

    async fn verify_fetching(&self, token: &str, now_unix_s: u64) -> Result<VerifiedToken, TokenFault> {
        match self.verify(token, now_unix_s) {
            Err(fault) => match fault.refetch() {
                Some(issuer_index) => {
                    self.ring.refetch(issuer_index).await;
                    self.verify(token, now_unix_s)
                }
                None => Err(fault),
            },
            verified => verified,
        }
    }

    /// Checks a signed JWT at `now_unix_s`. Does no I/O: on a fault with a `refetch` index the caller may await
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
