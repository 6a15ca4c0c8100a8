//! An introspection answer (RFC 7662 §2.2), judged like a JWT's claims.
//!
//! Pure. A body that can't be read, or that doesn't say whether the token is active, is no answer at all: nobody may conclude
//! from it that the token is good, nor that it is bad.
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Meaning, Reply};
use crate::auth::strict_json::parse_object;
use crate::auth::{IssuerPolicy, RequiredClaims, TokenFault, claims};

/// The body is no introspection answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is no JSON object with a boolean `active` and each name once")]
pub(super) struct NoAnswer;

/// Judges bodies by one issuer's policy.
pub(super) struct Judge {
    /// For tokens of which the answer is all there is.
    opaque: IssuerPolicy,
    /// For tokens whose own claims have been judged already.
    signed: IssuerPolicy,
    keep: Duration,
}

impl Judge {
    /// Answers are believed for at most `keep`.
    pub(super) fn new(policy: &IssuerPolicy, keep: Duration) -> Self {
        // The answer comes from the issuer itself, so that it need not name itself. What it says must be true.
        let of_issuer = RequiredClaims { iss: false, ..policy.required };
        let nothing = RequiredClaims { iss: false, aud: false, exp: false, nbf: false };
        Self {
            opaque: IssuerPolicy { required: of_issuer, ..policy.clone() },
            signed: IssuerPolicy { required: nothing, ..policy.clone() },
            keep,
        }
    }

    /// Reads an answer that came at `now_unix_s`.
    pub(super) fn read(&self, body: &[u8], signed: bool, now_unix_s: u64) -> Result<Reply, NoAnswer> {
        let answer = parse_object(body).map_err(|_| NoAnswer)?;
        match answer.get("active") {
            Some(Value::Bool(true)) => Ok(self.judge(&answer, signed, now_unix_s)),
            Some(Value::Bool(false)) => Ok(Err(TokenFault::Inactive)),
            _ => Err(NoAnswer),
        }
    }

    fn judge(&self, answer: &Map<String, Value>, signed: bool, now_unix_s: u64) -> Reply {
        let policy = if signed { &self.signed } else { &self.opaque };
        if !is_for_access(answer) {
            return Err(TokenFault::NotAnAccessToken);
        }
        let validity = claims::check(answer, policy, now_unix_s)?;
        let believed_until = now_unix_s.saturating_add(self.keep.as_secs());
        Ok(Meaning {
            subject: claims::subject(answer, policy)?,
            jurisdiction: policy.claims.jurisdiction.read(answer),
            expires_at: validity.expires_at.unwrap_or(u64::MAX).min(believed_until),
            not_before: validity.not_before,
        })
    }
}

/// Refresh and ID tokens are active too. Servers that tell them apart do so in `token_use` (Ory, Cognito) or `typ` (Keycloak).
fn is_for_access(answer: &Map<String, Value>) -> bool {
    let says = |name: &str| answer.get(name).map(|value| value.as_str().unwrap_or_default());
    let uses = says("token_use").is_none_or(|usage| matches!(usage, "access_token" | "access"));
    let kind = says("typ").is_none_or(|typ| {
        !["refresh", "offline", "id", "logout"].iter().any(|other| typ.eq_ignore_ascii_case(other))
    });
    uses && kind
}
