//! A compact JWS taken apart (RFC 7515 §7.1), before anything in it is believed.
//!
//! Base64url is strict: no padding, no other alphabet, no stray trailing bits, so that one token has one spelling.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::strict_json::{JsonFault, parse_object};
use super::{Algorithm, RegisteredClaim, TokenFault};

/// Longer tokens are refused unread: twice what servers commonly grant a whole header field.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Header fields that carry or point to a key (RFC 7515 §4.1.2, 4.1.3, 4.1.5, 4.1.6). A token that brings its own key
/// proves nothing; some libraries used to believe it.
const EMBEDDED_KEYS: [&str; 4] = ["jwk", "jku", "x5u", "x5c"];

/// A well-formed token whose signature nobody has checked.
pub(super) struct UnverifiedToken<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) claims: Map<String, Value>,
    /// What was signed: header and payload as they came, with the dot.
    pub(super) message: &'t [u8],
    /// Still base64url.
    pub(super) signature: &'t str,
}

impl<'t> UnverifiedToken<'t> {
    pub(super) fn parse(token: &'t str) -> Result<Self, TokenFault> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenFault::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenFault::Malformed)?;
        if payload.contains('.') {
            return Err(TokenFault::Malformed);
        }
        let (algorithm, kid) = read_header(header)?;
        // After the header, so that an unsigned token is called that rather than malformed.
        if signature.is_empty() || URL_SAFE_NO_PAD.decode(signature).is_err() {
            return Err(TokenFault::Malformed);
        }
        let claims = object(payload, TokenFault::PayloadMalformed)?;
        Ok(Self { algorithm, kid, claims, message: message.as_bytes(), signature })
    }

    /// The issuer the token claims to be from; good only for choosing whose keys must fit.
    pub(super) fn claimed_issuer(&self) -> Result<Option<&str>, TokenFault> {
        match self.claims.get("iss") {
            None => Ok(None),
            Some(Value::String(issuer)) => Ok(Some(issuer)),
            Some(_) => Err(TokenFault::ClaimWrongType(RegisteredClaim::Iss)),
        }
    }
}

/// Whether the token says of itself that it is a signed JWT: a first part that is a JSON object, and not the five parts of an
/// encrypted one (RFC 7516 §9). All else is for the issuer alone to read.
pub(super) fn is_signed_jwt(token: &str) -> bool {
    let Some((header, rest)) = token.split_once('.') else { return false };
    let encrypted = rest.bytes().filter(|byte| *byte == b'.').count() == 3;
    let begins_object = |bytes: Vec<u8>| bytes.trim_ascii_start().first() == Some(&b'{');
    !encrypted && URL_SAFE_NO_PAD.decode(header).is_ok_and(begins_object)
}

fn read_header(part: &str) -> Result<(Algorithm, Option<String>), TokenFault> {
    let mut header = object(part, TokenFault::HeaderMalformed)?;
    if EMBEDDED_KEYS.iter().any(|name| header.contains_key(*name)) {
        return Err(TokenFault::EmbeddedKey);
    }
    if header.contains_key("crit") {
        return Err(TokenFault::CriticalExtension);
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(typ)) if is_access_type(typ) => {}
        Some(Value::String(_)) => return Err(TokenFault::NotAnAccessToken),
        Some(_) => return Err(TokenFault::HeaderMalformed),
    }
    let algorithm = match header.get("alg") {
        Some(Value::String(name)) if name.eq_ignore_ascii_case("none") => Err(TokenFault::AlgorithmNone),
        Some(Value::String(name)) => name.parse().map_err(|()| TokenFault::AlgorithmUnknown),
        _ => Err(TokenFault::HeaderMalformed),
    }?;
    let kid = match header.remove("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid),
        Some(_) => return Err(TokenFault::HeaderMalformed),
    };
    Ok((algorithm, kid))
}

/// RFC 8725 §3.11: logout tokens, security events, proofs and the like are signed by the same issuer with the same keys.
/// They name themselves `something+jwt`; of those only `at+jwt` (RFC 9068) is for access. Other values are free text.
fn is_access_type(typ: &str) -> bool {
    let name = typ.to_ascii_lowercase();
    let name = name.strip_prefix("application/").unwrap_or(&name);
    name == "at+jwt" || !name.ends_with("+jwt")
}

fn object(part: &str, malformed: TokenFault) -> Result<Map<String, Value>, TokenFault> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed)?;
    parse_object(&bytes).map_err(|fault| match fault {
        JsonFault::DuplicateName => TokenFault::DuplicateName,
        JsonFault::Malformed | JsonFault::NotAnObject => malformed,
    })
}
