//! The registered claims of a token whose signature holds (RFC 7519 §4.1).
//!
//! A claim that is present has the right JSON type or the token is refused, required or not: a verifier that skips an
//! `exp` it can't read has no expiry.
use serde_json::{Map, Value};

use super::{ClaimValue, IssuerPolicy, RegisteredClaim, TokenFault};

/// When a token is good, in Unix seconds, leeway included: from `not_before` until just before `expires_at`.
pub(super) struct Validity {
    pub(super) expires_at: Option<u64>,
    pub(super) not_before: Option<u64>,
}

/// Checks `iss`, `aud`, `exp`, `nbf` and the type of `sub` against the policy.
pub(super) fn check(
    claims: &Map<String, Value>,
    policy: &IssuerPolicy,
    now_unix_s: u64,
) -> Result<Validity, TokenFault> {
    check_issuer(claims, policy)?;
    check_audience(claims, policy)?;
    if !matches!(claims.get("sub"), None | Some(Value::String(_))) {
        return Err(TokenFault::ClaimWrongType(RegisteredClaim::Sub));
    }
    let leeway_s = policy.leeway.as_secs();
    let expires_at = numeric_date(claims, RegisteredClaim::Exp, policy.required.exp, f64::floor)?;
    let not_before = numeric_date(claims, RegisteredClaim::Nbf, policy.required.nbf, f64::ceil)?;
    let validity = Validity {
        expires_at: expires_at.map(|s| s.saturating_add(leeway_s)),
        not_before: not_before.map(|s| s.saturating_sub(leeway_s)),
    };
    if validity.expires_at.is_some_and(|s| now_unix_s >= s) {
        return Err(TokenFault::Expired);
    }
    if validity.not_before.is_some_and(|s| now_unix_s < s) {
        return Err(TokenFault::NotYetValid);
    }
    Ok(validity)
}

/// The configured subject. Empty would be everyone's subject, a number has two spellings: neither is one.
pub(super) fn subject(
    claims: &Map<String, Value>,
    policy: &IssuerPolicy,
) -> Result<Option<String>, TokenFault> {
    match policy.claims.subject.read(claims) {
        ClaimValue::Missing => Ok(None),
        ClaimValue::Text(subject) if !subject.is_empty() => Ok(Some(subject)),
        ClaimValue::Text(_) | ClaimValue::WrongType => Err(TokenFault::SubjectWrongType),
    }
}

fn check_issuer(claims: &Map<String, Value>, policy: &IssuerPolicy) -> Result<(), TokenFault> {
    match (claims.get("iss"), &policy.issuer) {
        (None, _) if policy.required.iss => Err(TokenFault::ClaimMissing(RegisteredClaim::Iss)),
        (Some(Value::String(issuer)), Some(expected)) if issuer != expected => Err(TokenFault::IssuerUnknown),
        (None | Some(Value::String(_)), _) => Ok(()),
        (Some(_), _) => Err(TokenFault::ClaimWrongType(RegisteredClaim::Iss)),
    }
}

fn check_audience(claims: &Map<String, Value>, policy: &IssuerPolicy) -> Result<(), TokenFault> {
    let ours = |name: &str| policy.audiences.iter().any(|a| a == name);
    let matched = match claims.get("aud") {
        None if policy.required.aud => return Err(TokenFault::ClaimMissing(RegisteredClaim::Aud)),
        None => return Ok(()),
        Some(Value::String(name)) => ours(name),
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
            names.iter().filter_map(Value::as_str).any(ours)
        }
        Some(_) => return Err(TokenFault::ClaimWrongType(RegisteredClaim::Aud)),
    };
    if matched || policy.audiences.is_empty() { Ok(()) } else { Err(TokenFault::AudienceMismatch) }
}

/// A `NumericDate` (RFC 7519 §2), fractions allowed, brought to whole seconds: `exp` down, `nbf` up. `now` is rounded down,
/// so whole dates are exact and fractions shorten a token's life by less than a second. Before 1970 counts as 1970.
fn numeric_date(
    claims: &Map<String, Value>,
    claim: RegisteredClaim,
    required: bool,
    to_whole: fn(f64) -> f64,
) -> Result<Option<u64>, TokenFault> {
    let Some(value) = claims.get(claim.name()) else {
        return if required { Err(TokenFault::ClaimMissing(claim)) } else { Ok(None) };
    };
    let Value::Number(number) = value else { return Err(TokenFault::ClaimWrongType(claim)) };
    if let Some(seconds) = number.as_u64() {
        return Ok(Some(seconds));
    }
    let seconds = number.as_f64().ok_or(TokenFault::ClaimWrongType(claim))?;
    // A float-to-integer cast saturates: negative becomes 0, too large u64::MAX.
    Ok(Some(to_whole(seconds) as u64))
}
