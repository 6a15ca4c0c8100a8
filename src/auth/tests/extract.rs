use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderValue};

use super::*;

/// Header values, and the token in them.
type Case = (&'static [&'static str], Result<Option<&'static str>, TokenFault>);

fn extract_from<'h>(
    headers: &'h HeaderMap,
    from: &[TokenSource],
) -> Result<Option<Credential<'h>>, TokenFault> {
    let values = |name| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let cookies: Vec<&[u8]> = values(COOKIE).collect();
    extract(values(AUTHORIZATION), &cookies.iter().copied(), from)
}

/// What a request without a cached token goes through.
fn token<'h>(headers: &'h HeaderMap, from: &[TokenSource]) -> Result<Option<&'h str>, TokenFault> {
    extract_from(headers, from)?.map(|credential| credential.token()).transpose()
}

fn headers(authorizations: &[&str], cookies: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in authorizations {
        headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    for value in cookies {
        headers.append(COOKIE, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn cookie_source(name: &str) -> TokenSource {
    TokenSource::Cookie(CookieName::new(name).unwrap())
}

#[test]
fn bearer() {
    let malformed = Err(TokenFault::BearerMalformed);
    let cases: [Case; 22] = [
        (&[], Ok(None)),
        (&["Bearer a.b-c_d~e+f/g=="], Ok(Some("a.b-c_d~e+f/g=="))),
        (&["bearer abc"], Ok(Some("abc"))),
        (&["BEARER abc"], Ok(Some("abc"))),
        (&["Bearer    abc"], Ok(Some("abc"))),
        (&["Basic dXNlcjpwYXNz"], Ok(None)),
        (&["BearerX abc"], Ok(None)),
        (&["Bear abc"], Ok(None)),
        (&[""], Ok(None)),
        (&["Bearer"], malformed),
        (&["Bearer "], malformed),
        (&["Bearer ="], malformed),
        (&["Bearer\tabc"], malformed),
        (&["Bearer a b"], malformed),
        (&["Bearer a,Bearer b"], malformed),
        (&["Bearer a, Basic b"], malformed),
        (&["Bearer \"abc\""], malformed),
        (&["Bearer a=b"], malformed),
        (&["Bearer é"], malformed),
        (&["Bearer a", "Bearer a"], Err(TokenFault::SeveralAuthorizations)),
        (&["Basic a", "Bearer b"], Err(TokenFault::SeveralAuthorizations)),
        (&["", "Bearer b"], Err(TokenFault::SeveralAuthorizations)),
    ];
    for (values, expected) in cases {
        assert_eq!(token(&headers(values, &[]), &[TokenSource::Bearer]), expected, "{values:?}");
    }
}

#[test]
fn cookies() {
    let ambiguous = Err(TokenFault::CookieAmbiguous);
    let malformed = Err(TokenFault::CookieMalformed);
    let cases: [Case; 20] = [
        (&[], Ok(None)),
        (&["access=abc"], Ok(Some("abc"))),
        (&["a=1; access=abc; b=2"], Ok(Some("abc"))),
        (&["a=1;access=abc"], Ok(Some("abc"))),
        (&["a=1", "access=abc"], Ok(Some("abc"))),
        (&["access=\"abc\""], Ok(Some("abc"))),
        (&["access=abc=="], Ok(Some("abc=="))),
        (&["name=Jürgen; access=abc"], Ok(Some("abc"))),
        (&["ACCESS=abc"], Ok(None)),
        (&["xaccess=abc"], Ok(None)),
        (&["access"], Ok(None)),
        (&["access="], Ok(None)),
        (&["access=\"\""], Ok(None)),
        (&["x=access=abc"], Ok(None)),
        (&["access=abc; access=abc"], Ok(Some("abc"))),
        (&["access=; access=abc"], Ok(Some("abc"))),
        (&["access=abc; access=xyz"], ambiguous),
        (&["access=abc", "access=xyz"], ambiguous),
        (&["access=a b"], malformed),
        (&["access=ä"], malformed),
    ];
    for (values, expected) in cases {
        assert_eq!(token(&headers(&[], values), &[cookie_source("access")]), expected, "{values:?}");
    }
    for name in ["", "a b", "a=b", "a;b", "ä"] {
        assert_eq!(CookieName::new(name), Err(CookieNameFault), "{name}");
    }
}

#[test]
fn the_first_place_that_holds_one_decides() {
    let both = headers(&["Bearer from-header"], &["a=from-a; b=from-b"]);
    let (bearer, a, b) = (TokenSource::Bearer, cookie_source("a"), cookie_source("b"));
    let order = |from: &[&TokenSource]| {
        let from: Vec<_> = from.iter().map(|source| (*source).clone()).collect();
        token(&both, &from).map(|token| token.map(str::to_owned))
    };
    assert_eq!(order(&[&bearer, &a]), Ok(Some("from-header".to_owned())));
    assert_eq!(order(&[&a, &bearer]), Ok(Some("from-a".to_owned())));
    assert_eq!(order(&[&b, &a]), Ok(Some("from-b".to_owned())));
    assert_eq!(order(&[]), Ok(None));
    // A malformed credential is not skipped, and two Authorization headers are refused even for cookies.
    let malformed = headers(&["Bearer"], &["a=abc"]);
    assert_eq!(token(&malformed, &[bearer.clone(), a.clone()]), Err(TokenFault::BearerMalformed));
    let several = headers(&["Basic x", "Bearer y"], &["a=abc"]);
    assert_eq!(token(&several, &[a]), Err(TokenFault::SeveralAuthorizations));
    let basic = headers(&["Basic x"], &["b=abc"]);
    assert_eq!(token(&basic, &[bearer, b]), Ok(Some("abc")));
}

/// The branch-free check against RFC 6750's grammar, for each byte.
#[test]
fn token_characters() {
    for byte in (0x21..=0xff_u8).filter(|byte| *byte != 0x7f) {
        let value = [b"Bearer a".as_slice(), &[byte], b"a"].concat();
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_bytes(&value).unwrap());
        let allowed = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        assert_eq!(token(&headers, &[TokenSource::Bearer]).is_ok(), allowed, "{byte:#x}");
    }
}
