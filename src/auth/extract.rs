//! Where a request carries its token (RFC 6750 §2.1, RFC 6265 §5.4).
//!
//! The first configured place that holds a credential decides; if it can't be read the request is refused rather than
//! looked at elsewhere. Borrowed from the headers, no allocation.
//!
//! Absent by design: tokens in the query or the body (RFC 6750 §5.3 advises against, and they end up in logs).
use super::TokenFault;

/// A place to look for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `Authorization: Bearer …`, the scheme in any case.
    Bearer,
    /// A cookie.
    Cookie(CookieName),
}

/// A cookie's name: an RFC 9110 token. Compared case-sensitively.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieName(String);

/// The configured name is no cookie name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cookie's name has letters, digits and !#$%&'*+-.^_`|~ only")]
pub struct CookieNameFault;

impl CookieName {
    /// Takes the configured name as it is.
    pub fn new(name: impl Into<String>) -> Result<Self, CookieNameFault> {
        let name = name.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(allowed) { Err(CookieNameFault) } else { Ok(Self(name)) }
    }

    /// The configured name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A token as it stands in a header: where to look it up, but nothing to believe before [`Credential::token`].
#[derive(Debug, Clone, Copy)]
pub struct Credential<'h> {
    bytes: &'h [u8],
    /// What it is if it has characters no token has.
    malformed: TokenFault,
}

impl<'h> Credential<'h> {
    /// The bytes, unchecked. A cache that holds only verified tokens and compares whole ones needs no check.
    pub const fn bytes(&self) -> &'h [u8] {
        self.bytes
    }

    /// The text, if all its characters are ones a token may have.
    pub fn token(&self) -> Result<&'h str, TokenFault> {
        token68(self.bytes).ok_or(self.malformed)
    }
}

/// The request's token, if it carries one. Several `Authorization` headers are refused wherever the token is: which of
/// them the API would believe is anyone's guess.
///
/// Takes the values of the request's `Authorization` and `Cookie` headers.
pub fn extract<'h>(
    mut authorizations: impl Iterator<Item = &'h [u8]>,
    cookies: &(impl Iterator<Item = &'h [u8]> + Clone),
    from: &[TokenSource],
) -> Result<Option<Credential<'h>>, TokenFault> {
    let authorization = authorizations.next();
    if authorizations.next().is_some() {
        return Err(TokenFault::SeveralAuthorizations);
    }
    for source in from {
        let found = match source {
            TokenSource::Bearer => authorization.map_or(Ok(None), bearer)?,
            TokenSource::Cookie(name) => cookie(cookies.clone(), name.0.as_bytes())?,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// None for another scheme: it is the API's business.
fn bearer(value: &[u8]) -> Result<Option<Credential<'_>>, TokenFault> {
    const SCHEME: &[u8] = b"bearer";
    let value = value.trim_ascii();
    let Some((scheme, rest)) = value.split_at_checked(SCHEME.len()) else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Ok(None);
    }
    match rest {
        [b' ', ..] => {
            let bytes = rest.trim_ascii_start();
            Ok(Some(Credential { bytes, malformed: TokenFault::BearerMalformed }))
        }
        // `Bearer\t…` is malformed, `BearerX …` another scheme.
        [] | [b'\t', ..] => Err(TokenFault::BearerMalformed),
        _ => Ok(None),
    }
}

/// A cookie of this name in two versions is refused: a subdomain can plant one beside the real one. An empty value is
/// what logging out leaves behind, and counts as none.
fn cookie<'h>(
    headers: impl Iterator<Item = &'h [u8]>,
    name: &[u8],
) -> Result<Option<Credential<'h>>, TokenFault> {
    let mut found: Option<&'h [u8]> = None;
    for header in headers {
        for pair in header.split(|b| *b == b';') {
            let Some(equals) = memchr::memchr(b'=', pair) else { continue };
            if pair[..equals].trim_ascii() != name {
                continue;
            }
            let value = unquoted(pair[equals + 1..].trim_ascii());
            if value.is_empty() {
                continue;
            }
            if found.is_some_and(|earlier| earlier != value) {
                return Err(TokenFault::CookieAmbiguous);
            }
            found = Some(value);
        }
    }
    Ok(found.map(|bytes| Credential { bytes, malformed: TokenFault::CookieMalformed }))
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// RFC 6750's `b64token`, which RFC 9110 §11.2 calls token68: what JWTs and opaque tokens are made of.
fn token68(value: &[u8]) -> Option<&str> {
    let padding = value.iter().rev().take_while(|b| **b == b'=').count();
    let body = &value[..value.len() - padding];
    // Folded without early exit: this runs on each request, and so the compiler makes vector instructions of it.
    if body.is_empty() || !body.iter().fold(true, |all, byte| all & is_token68(*byte)) {
        return None;
    }
    // ASCII by the check above.
    std::str::from_utf8(value).ok()
}

/// Letters, digits and `-._~+/`, without a branch: from `+` to `9` lie `+,-./` and the digits.
#[expect(clippy::needless_bitwise_bool, reason = "lazy operators are branches, which can't be vectorised")]
const fn is_token68(byte: u8) -> bool {
    ((byte.wrapping_sub(b'+') < 15) & (byte != b','))
        | ((byte | 0x20).wrapping_sub(b'a') < 26)
        | (byte == b'_')
        | (byte == b'~')
}
