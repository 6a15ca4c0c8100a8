//! Identity: from a request's headers to claims somebody with the right key has signed.
//!
//! The way of a token: `extract` finds it in the headers, the worker's `TokenCache` knows it or `Verifier::authenticate`
//! checks it against its issuer's `IssuerPolicy` with a key of the `KeyRing`, or by the issuer's word where it can't be read
//! here. `KeyRefresher` keeps the ring fresh and `IntrospectionService` asks the issuer, both on the control-plane runtime;
//! workers only ever load a snapshot, or put a question and wait.
//!
//! Invariants
//! - Nothing is believed before the signature holds, or the issuer has said so. The unverified `iss` and `kid` choose which key
//!   must fit, nothing else.
//! - A key verifies only algorithms of its own kind, and only those its issuer's policy lists. Keys never come from a token.
//! - A verification and the cache entry it leads to carry the version of the key set they used; an entry of another
//!   version is never served.
//! - What could be read two ways is refused: duplicate JSON names, lax base64, two credentials, two fitting keys.
//! - Time is passed in as Unix seconds; only the refresher, the refetch limit and introspection use clocks of their own.
//!
//! Absent by design: sessions, revocation lists of single tokens (introspection tells), decrypting tokens (JWE), and any mapping
//! of faults to HTTP answers beyond [`FaultClass`].
mod algorithm;
mod claim_path;
mod claims;
mod extract;
mod fault;
mod fetch;
mod flight;
mod introspection;
mod jwks;
mod key_ring;
mod key_set;
mod pem_keys;
mod policy;
mod refresher;
mod strict_json;
mod token;
mod token_cache;
mod verifier;

#[cfg(test)]
mod tests;

pub use algorithm::Algorithm;
pub use claim_path::{ClaimPath, ClaimPathFault, ClaimValue};
pub use extract::{CookieName, CookieNameFault, Credential, TokenSource, extract};
pub use fault::{FaultClass, RegisteredClaim, TokenFault};
pub use fetch::{FetchFault, FetchSetupFault, MAX_JWKS_BYTES};
pub use introspection::{
    ClientCredentials, IntrospectedTokens, Introspection, IntrospectionResult, IntrospectionService,
};
pub use jwks::{JwkRefusal, JwksDocument, JwksFault};
pub use key_ring::{KeyRing, KeyStatus, KeysVersion, Refetch};
pub use key_set::KeySet;
pub use pem_keys::PemFault;
pub use policy::{
    ClaimNames, HmacSecret, IssuerPolicy, KeySource, PolicyFault, RequiredClaims, SecretTooShort,
};
use refresher::causes;
pub use refresher::{KeyRefresher, RefreshOptions};
pub use strict_json::{JsonFault, parse_object};
pub use token::MAX_TOKEN_BYTES;
pub use token_cache::TokenCache;
pub use verifier::{VerifiedToken, Verifier};
