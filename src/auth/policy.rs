//! What the operator says about each issuer, checked as a whole before a verifier exists.
//!
//! Invariants of a checked list
//! - At most one issuer has no name, and then it is the only one: an unnamed issuer accepts any `iss`, and beside
//!   others it would make each of them optional.
//! - No two issuers share a name: the unverified `iss` must select exactly one set of keys.
//! - A shared secret verifies HS256 only, published keys never do: the public key of an RSA issuer can't be used as an
//!   HMAC secret (algorithm confusion).
//! - At most one issuer introspects: an opaque token names no issuer, and is nobody else's business.
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::fetch::is_plain_remote;
use super::introspection::Introspection;
use super::{Algorithm, ClaimPath};

/// RFC 7518 §3.2: an HS256 key has at least the hash's 256 bits.
const MIN_SECRET_BYTES: usize = 32;

/// One issuer and what its tokens must fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerPolicy {
    /// The exact `iss`. None: any, and then this must be the only issuer.
    pub issuer: Option<String>,
    /// A token's `aud` must name one of these. Empty: `aud` is not compared.
    pub audiences: Vec<String>,
    /// The only algorithms accepted from this issuer.
    pub algorithms: Vec<Algorithm>,
    /// Where the keys come from.
    pub keys: KeySource,
    /// Claims that must be present.
    pub required: RequiredClaims,
    /// Clock difference granted on `exp` and `nbf`; whole seconds count.
    pub leeway: Duration,
    /// How the issuer is asked about tokens that can't be verified here.
    pub introspection: Option<Introspection>,
    /// Where the claims stand that routing needs.
    pub claims: ClaimNames,
}

/// The claims that routing needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimNames {
    /// Names the user's jurisdiction.
    pub jurisdiction: ClaimPath,
    /// Names who owns the data.
    pub subject: ClaimPath,
}

/// Where an issuer's verification keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A JWKS document at an `https` (or, for a sidecar on loopback, `http`) URL.
    Url(String),
    /// A JWKS document in a file, or public keys in PEM.
    File(PathBuf),
    /// A shared secret for HS256.
    Secret(HmacSecret),
    /// There are none: the issuer introspects, and its JWTs can't be verified here.
    None,
}

/// Which registered claims must be present. What is present is checked in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent switches, named for the claims they stand for"
)]
pub struct RequiredClaims {
    pub iss: bool,
    pub aud: bool,
    pub exp: bool,
    pub nbf: bool,
}

/// An HS256 secret; shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct HmacSecret(Vec<u8>);

/// The HS256 secret has fewer than 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an HS256 secret needs at least {MIN_SECRET_BYTES} bytes (RFC 7518 §3.2)")]
pub struct SecretTooShort;

/// What is wrong with a list of policies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    #[error("no issuer is configured")]
    NoIssuer,
    #[error("issuer {0:?} is configured twice")]
    DuplicateIssuer(String),
    #[error("issuer number {index} has no `issuer`, which is possible only when it is the only one")]
    UnnamedAmongOthers { index: usize },
    #[error("issuer number {index} has an empty `issuer` or audience")]
    EmptyName { index: usize },
    #[error("issuer number {index} allows no algorithm")]
    NoAlgorithm { index: usize },
    #[error("issuer number {index} allows {algorithm}, which its key source can't verify")]
    AlgorithmWithoutKey { index: usize, algorithm: Algorithm },
    #[error("issuer number {index}: {url:?} is no http or https URL with a host and without credentials")]
    BadUrl { index: usize, url: String },
    #[error("issuer number {index} has neither keys nor introspection")]
    NothingToGoBy { index: usize },
    #[error("issuer number {index} introspects, and so does another one")]
    SeveralIntrospect { index: usize },
    #[error("issuer number {index} introspects beside a shared secret")]
    IntrospectionBesideSecret { index: usize },
    #[error("issuer number {index}: introspection needs an https URL with a host and without credentials")]
    BadIntrospectionUrl { index: usize },
}

impl HmacSecret {
    /// Takes the secret's raw bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretTooShort> {
        let bytes = bytes.into();
        if bytes.len() < MIN_SECRET_BYTES { Err(SecretTooShort) } else { Ok(Self(bytes)) }
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for HmacSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HmacSecret([redacted])")
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Secret(_) => f.write_str("secret"),
            Self::None => f.write_str("none"),
        }
    }
}

/// Every fault of the list, not only the first.
pub(super) fn check(policies: &[IssuerPolicy]) -> Vec<PolicyFault> {
    let mut faults = Vec::new();
    if policies.is_empty() {
        faults.push(PolicyFault::NoIssuer);
    }
    for (index, policy) in policies.iter().enumerate() {
        match &policy.issuer {
            None if policies.len() > 1 => faults.push(PolicyFault::UnnamedAmongOthers { index }),
            Some(name) if policies[..index].iter().any(|p| p.issuer.as_ref() == Some(name)) => {
                faults.push(PolicyFault::DuplicateIssuer(name.clone()));
            }
            _ => {}
        }
        if policy.issuer.iter().chain(&policy.audiences).any(String::is_empty) {
            faults.push(PolicyFault::EmptyName { index });
        }
        let keyless = policy.keys == KeySource::None;
        if policy.algorithms.is_empty() && !keyless {
            faults.push(PolicyFault::NoAlgorithm { index });
        }
        let secret = matches!(policy.keys, KeySource::Secret(_));
        let unfit = policy.algorithms.iter().filter(|a| keyless || a.is_symmetric() != secret);
        faults.extend(unfit.map(|a| PolicyFault::AlgorithmWithoutKey { index, algorithm: *a }));
        if let KeySource::Url(url) = &policy.keys
            && !is_fetchable(url)
        {
            faults.push(PolicyFault::BadUrl { index, url: url.clone() });
        }
        match &policy.introspection {
            None if keyless => faults.push(PolicyFault::NothingToGoBy { index }),
            None => {}
            Some(introspection) => {
                if policies[..index].iter().any(|policy| policy.introspection.is_some()) {
                    faults.push(PolicyFault::SeveralIntrospect { index });
                }
                if secret {
                    faults.push(PolicyFault::IntrospectionBesideSecret { index });
                }
                if !is_fetchable(&introspection.url) || is_plain_remote(&introspection.url) {
                    faults.push(PolicyFault::BadIntrospectionUrl { index });
                }
            }
        }
    }
    faults
}

fn is_fetchable(url: &str) -> bool {
    url.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'))
    })
}
