//! Which scripts may read what the gateway itself answers (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! The API answers for what it serves, preflights among it, and the gateway leaves that alone. But a refusal without these headers
//! is a "network error" to a script, and its code can't be read; and a preflight that no API can answer must succeed before the
//! browser sends the request whose refusal is to be read.
//!
//! Invariants
//! - An origin that isn't configured gets nothing; one that is gets its own name back, never another's.
//! - Anyone (`*`) never comes with credentials: browsers refuse that, and a mirror that gives every origin its own name would be
//!   worse than what they refuse.
//! - What depends on the origin says so to caches (`Vary`).

use std::fmt;

use smallvec::SmallVec;

/// Headers in lower case, with their values.
pub type CorsHeaders<'a> = SmallVec<[(&'static str, &'a [u8]); 6]>;

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";
const EXPOSE_HEADERS: &str = "access-control-expose-headers";
const ALLOW_METHODS: &str = "access-control-allow-methods";
const ALLOW_HEADERS: &str = "access-control-allow-headers";
const MAX_AGE: &str = "access-control-max-age";
const VARY: &str = "vary";

/// Headers that scripts could use and would not see otherwise: when to try again, and what to bring with the next request.
const ALWAYS_EXPOSED: [&str; 2] = ["retry-after", POSITION];

/// A script that keeps its position itself sends it back.
const POSITION: &str = "residency-position";

/// What was configured, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CorsSpec {
    pub origins: Vec<OriginPattern>,
    /// Cookies and the like are sent, and answers to them may be read.
    pub credentials: bool,
    /// Names of headers that scripts may read beside the usual ones; `*` for all.
    pub expose: Vec<String>,
    /// Names of headers that requests may have beside the usual ones; `*` for all but `authorization`.
    pub allow_headers: Vec<String>,
    /// Seconds for which a browser may keep a preflight's answer.
    pub max_age_s: u32,
}

/// An origin, or many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// `*`
    Anyone,
    /// `https://app.example.com`
    Exact(Box<str>),
    /// `https://*.example.com`: every host below, not the host itself.
    Below { scheme: Box<str>, host: Box<str> },
}

/// Why a text is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginFault {
    #[error("is no origin")]
    Form,
    #[error("names the scheme's own port, which browsers leave out")]
    DefaultPort,
    #[error("is as good as everyone: nobody owns all hosts below")]
    TooWide,
}

/// What is wanted of `*` and can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CorsFault {
    #[error("`*` can't be had with credentials: browsers refuse the answer")]
    AnyoneWithCredentials,
    #[error("`*` is no wildcard with credentials: browsers take it for a header's name")]
    AnyHeaderExposed,
    #[error("`*` is no wildcard with credentials: browsers take it for a header's name")]
    AnyHeaderAllowed,
}

/// A rule, ready for use.
#[derive(Clone, PartialEq, Eq)]
pub struct Cors {
    spec: CorsSpec,
    anyone: bool,
    expose: Box<str>,
    allow_headers: Box<str>,
    max_age: Box<str>,
}

/// The question a browser puts before a request that is out of the ordinary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preflight<'request> {
    origin: &'request [u8],
    /// Of the request that is to come; a token (RFC 9110 §9.1).
    method: &'request [u8],
}

impl Cors {
    pub fn new(spec: CorsSpec) -> Result<Self, Vec<CorsFault>> {
        let anyone = spec.origins.contains(&OriginPattern::Anyone);
        let any = |names: &[String]| names.iter().any(|name| name == "*");
        let faults: Vec<CorsFault> = [
            (anyone, CorsFault::AnyoneWithCredentials),
            (any(&spec.expose), CorsFault::AnyHeaderExposed),
            (any(&spec.allow_headers), CorsFault::AnyHeaderAllowed),
        ]
        .into_iter()
        .filter_map(|(wanted, fault)| (spec.credentials && wanted).then_some(fault))
        .collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut expose: Vec<&str> = spec.expose.iter().map(String::as_str).collect();
        for name in ALWAYS_EXPOSED {
            if !expose.contains(&"*") && !expose.contains(&name) {
                expose.push(name);
            }
        }
        let mut allow_headers: Vec<&str> = spec.allow_headers.iter().map(String::as_str).collect();
        if !allow_headers.contains(&"*") && !allow_headers.contains(&POSITION) {
            allow_headers.push(POSITION);
        }
        Ok(Self {
            anyone,
            expose: expose.join(", ").into(),
            allow_headers: allow_headers.join(", ").into(),
            max_age: spec.max_age_s.to_string().into(),
            spec,
        })
    }

    /// No origin is configured: nothing is ever added.
    pub fn is_off(&self) -> bool {
        self.spec.origins.is_empty()
    }

    /// What a refusal carries. `origin` is the value of the only `Origin` line of the request, `None` without one or with several.
    pub fn headers_for<'a>(&'a self, origin: Option<&'a [u8]>) -> CorsHeaders<'a> {
        let mut headers = CorsHeaders::new();
        if self.is_off() {
            return headers;
        }
        if let Some(origin) = origin
            && self.allow(origin, &mut headers)
        {
            headers.push((EXPOSE_HEADERS, self.expose.as_bytes()));
        }
        if !self.anyone {
            headers.push((VARY, b"origin"));
        }
        headers
    }

    /// What the answer to a preflight carries that no API can answer; it has status 204 and no body. `None`: the origin may not,
    /// and the preflight is refused like any other request.
    pub fn preflight_headers<'a>(&'a self, preflight: Preflight<'a>) -> Option<CorsHeaders<'a>> {
        let mut headers = CorsHeaders::new();
        if !self.allow(preflight.origin, &mut headers) {
            return None;
        }
        // Which methods there are only the API knows, and it will be asked when the request comes.
        headers.push((ALLOW_METHODS, preflight.method));
        if !self.allow_headers.is_empty() {
            headers.push((ALLOW_HEADERS, self.allow_headers.as_bytes()));
        }
        headers.push((MAX_AGE, self.max_age.as_bytes()));
        headers.push((VARY, b"origin, access-control-request-method, access-control-request-headers"));
        Some(headers)
    }

    fn allow<'a>(&'a self, origin: &'a [u8], headers: &mut CorsHeaders<'a>) -> bool {
        if self.anyone {
            headers.push((ALLOW_ORIGIN, b"*"));
            return true;
        }
        if !self.spec.origins.iter().any(|pattern| pattern.matches(origin)) {
            return false;
        }
        headers.push((ALLOW_ORIGIN, origin));
        if self.spec.credentials {
            headers.push((ALLOW_CREDENTIALS, b"true"));
        }
        true
    }
}

impl fmt::Debug for Cors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(formatter)
    }
}

impl<'request> Preflight<'request> {
    /// `OPTIONS` with `Origin` and `Access-Control-Request-Method`. `header` gives the value of the only line of that name, in
    /// lower case.
    pub fn of(method: &str, header: impl Fn(&str) -> Option<&'request [u8]>) -> Option<Self> {
        if method != "OPTIONS" {
            return None;
        }
        let (origin, method) = (header("origin")?, header("access-control-request-method")?);
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        (!method.is_empty() && method.iter().all(is_token)).then_some(Self { origin, method })
    }
}

impl OriginPattern {
    /// Reads `*`, `https://app.example.com`, `http://localhost:3000`, `https://*.example.com`.
    pub fn parse(text: &str) -> Result<Self, OriginFault> {
        if text == "*" {
            return Ok(Self::Anyone);
        }
        let (scheme, authority) = text.split_once("://").ok_or(OriginFault::Form)?;
        let below = authority.strip_prefix("*.");
        let host_and_port = below.unwrap_or(authority);
        let (host, port) = split_port(host_and_port).ok_or(OriginFault::Form)?;
        let scheme_fits = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte));
        let host_fits = is_host(host) || (below.is_none() && is_address(host));
        if !scheme_fits || !host_fits {
            return Err(OriginFault::Form);
        }
        if matches!((scheme, port), ("https", Some(443)) | ("http", Some(80))) {
            return Err(OriginFault::DefaultPort);
        }
        if below.is_none() {
            return Ok(Self::Exact(text.into()));
        }
        if !host.contains('.') && host != "localhost" {
            return Err(OriginFault::TooWide);
        }
        Ok(Self::Below { scheme: scheme.into(), host: host_and_port.into() })
    }

    /// Compared byte by byte: browsers write an origin in one way only.
    fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Anyone => true,
            Self::Exact(exact) => exact.as_bytes() == origin,
            Self::Below { scheme, host } => origin
                .strip_prefix(scheme.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"://"))
                .and_then(|rest| rest.strip_suffix(host.as_bytes()))
                .and_then(|rest| rest.strip_suffix(b"."))
                .and_then(|labels| std::str::from_utf8(labels).ok())
                .is_some_and(is_host),
        }
    }
}

/// A port, where there is one, is written as browsers do, without zeros before it.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let number = port.parse::<u16>().ok()?;
            (number != 0 && number.to_string() == port).then_some((host, Some(number)))
        }
        _ => Some((text, None)),
    }
}

/// Labels of a name in the form that browsers send: lower case, punycode.
fn is_host(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    text.split('.').all(|label| !label.is_empty() && label.bytes().all(fits))
}

/// An IPv6 address in brackets, in the form that browsers send.
fn is_address(text: &str) -> bool {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(|inside| {
        !inside.is_empty() && inside.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b':'))
    })
}

#[cfg(test)]
mod tests;
