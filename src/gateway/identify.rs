//! Who is asking: from the request's token to an identity this worker remembers.

use std::rc::Rc;

use http::HeaderValue;

use super::worker::Generation;
use crate::auth::{ClaimValue, Credential, FaultClass, TokenFault, VerifiedToken, extract};
use crate::config::Config;
use crate::domain::decide::{Location, Refusal};
use crate::domain::position::Slot;
use crate::http1::{Fields, Name};
use crate::routing_table::SubjectKeys;
use crate::telemetry::{SubjectHash, SubjectHasher};

/// What a verified token means here.
#[derive(Debug)]
pub struct Identity {
    /// The subject claim, as the API gets it.
    pub subject: Option<HeaderValue>,
    /// What logs carry in its place.
    pub subject_hash: Option<SubjectHash>,
    /// By what registers know it.
    pub keys: SubjectKeys,
    /// Where its writes are remembered.
    pub slot: Option<Slot>,
    /// Where the claim says the subject's data lives.
    pub location: Location,
}

/// What is known of a request's sender without computing anything.
pub enum Known<'headers> {
    NoToken,
    Verified(Rc<Identity>),
    Unverified(Credential<'headers>),
}

/// Finds the request's token, and the identity behind it if this worker has verified it before.
pub fn known_identity<'headers>(
    generation: &Generation,
    fields: &'headers Fields,
    now_unix_s: u64,
) -> Result<Known<'headers>, Refusal> {
    let settings = &generation.settings;
    let found =
        extract(fields.all(Name::Authorization), &fields.all(Name::Cookie), &settings.config.token.from);
    let credential = match found {
        Ok(Some(credential)) => credential,
        Ok(None) => return Ok(Known::NoToken),
        Err(fault) => return Err(refuse(generation, &fault)),
    };
    let version = settings.verifier.ring().version();
    let known = generation.tokens.borrow_mut().get(credential.bytes(), now_unix_s, version);
    generation.metrics.token_cache_lookup(known.is_some());
    Ok(known.map_or(Known::Unverified(credential), Known::Verified))
}

/// Verifies a token, with newly fetched keys or by its issuer's word if need be, and remembers it.
pub async fn verify(
    generation: &Generation,
    credential: Credential<'_>,
    now_unix_s: u64,
) -> Result<Rc<Identity>, Refusal> {
    let settings = &generation.settings;
    let token = credential.token().map_err(|fault| refuse(generation, &fault))?;
    let verified = settings.verifier.authenticate(token, now_unix_s).await;
    let verified = verified.map_err(|fault| refuse(generation, &fault))?;
    let mut identity = Identity::new(&settings.config, &settings.hasher, &verified)?;
    let positions = settings.positions.as_ref();
    identity.slot = positions.zip(identity.subject.as_ref()).map(|(it, subject)| it.slot(subject.as_bytes()));
    if let (Some(registers), Some(subject)) = (&settings.registers, &verified.subject) {
        identity.keys = registers.keys.subject(subject);
    }
    let identity = Rc::new(identity);
    generation.tokens.borrow_mut().insert(token.as_bytes(), &verified, Rc::clone(&identity));
    Ok(identity)
}

fn refuse(generation: &Generation, fault: &TokenFault) -> Refusal {
    generation.metrics.token_fault(fault.index());
    tracing::debug!(%fault, "token refused");
    refusal_for(fault)
}

impl Identity {
    fn new(config: &Config, hasher: &SubjectHasher, token: &VerifiedToken) -> Result<Self, Refusal> {
        let subject = match &token.subject {
            // A subject that can't stand in a header can't be handed to the API unchanged.
            Some(subject) => Some(HeaderValue::from_str(subject).map_err(|_| Refusal::TokenInvalid)?),
            None => None,
        };
        Ok(Self {
            subject,
            subject_hash: token.subject.as_deref().map(|subject| hasher.hash(subject)),
            keys: SubjectKeys::new(),
            slot: None,
            location: locate(config, &token.jurisdiction),
        })
    }
}

/// Where a verified claim says the data lives, by the configuration's rules for claims that don't.
pub fn locate(config: &Config, claim: &ClaimValue) -> Location {
    let settings = &config.token;
    let (default, refusal) = match claim {
        ClaimValue::Text(value) => match config.topology.jurisdiction_of_claim(value) {
            Some(found) => return Location::Jurisdiction(found),
            None => (settings.on_unknown, Refusal::JurisdictionUnknown),
        },
        ClaimValue::WrongType => (settings.on_unknown, Refusal::JurisdictionUnknown),
        ClaimValue::Missing => (settings.on_missing, Refusal::JurisdictionMissing),
    };
    default.map_or(Location::Unknown(refusal), Location::Jurisdiction)
}

pub fn refusal_for(fault: &TokenFault) -> Refusal {
    match fault.class() {
        FaultClass::Invalid => Refusal::TokenInvalid,
        FaultClass::Expired => Refusal::TokenExpired,
        FaultClass::KeysUnavailable => Refusal::KeysUnavailable,
        FaultClass::IntrospectionUnavailable => Refusal::IntrospectionUnavailable,
    }
}
