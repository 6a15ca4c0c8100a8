//! Heads between HTTP/1.1 and HTTP/2 (RFC 9113 section 8.3), whose framing is hyper's affair.

use http::header::{COOKIE, HeaderMap};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response};

use super::chunked::may_trail;
use super::fault::{HeadFault, Malformed};
use super::fields::Fields;
use super::framing::{self, Length};
use super::head::{HeadLimits, RequestHead, ResponseHead, is_target};
use super::name::Name;

impl Fields {
    /// As a map. Lines that are no header to the `http` crate are left out.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.len());
        for field in self.iter() {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(field.name_text), HeaderValue::from_bytes(field.value))
            {
                map.append(name, value);
            }
        }
        map
    }

    /// From a map, in its order. HTTP/2 may cut a cookie header into pieces, which no HTTP/1.1 server expects
    /// (RFC 9113 section 8.2.3).
    pub fn from_map(map: &HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in map.iter().filter(|(name, _)| *name != COOKIE) {
            fields.add(name.as_str(), value.as_bytes());
        }
        let cookies: Vec<&[u8]> = map.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if !cookies.is_empty() {
            fields.add("cookie", &cookies.join(&b"; "[..]));
        }
        fields
    }
}

/// The trailers that pass: all but those that would change what was understood of the head (RFC 9110 section 6.5.1), as from a
/// chunked body.
pub fn passing_trailers(trailers: HeaderMap) -> HeaderMap {
    let passes = |name: &HeaderName| may_trail(name.as_str().as_bytes());
    if trailers.keys().all(passes) {
        return trailers;
    }
    let lines = trailers.iter().filter(|(name, _)| passes(name));
    lines.map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl RequestHead {
    /// A request that came over HTTP/2. `ended`: it has no body.
    pub fn of_http2(parts: Parts, ended: bool, limits: HeadLimits) -> Result<Self, HeadFault> {
        let fields = Fields::from_map(&parts.headers);
        if fields.has(Name::Alias) {
            return Err(Malformed::Alias.into());
        }
        let uri = parts.uri.into_parts();
        let target = uri.path_and_query.ok_or(Malformed::Target)?;
        let in_place = match target.as_str() {
            "*" => parts.method == Method::OPTIONS,
            text => text.starts_with('/'),
        };
        if !in_place || !target.as_str().bytes().all(is_target) {
            return Err(Malformed::Target.into());
        }
        // As it would be written in HTTP/1.1, where it may go next.
        let lines = fields.iter().map(|field| field.name_text.len() + field.value.len() + 4);
        if fields.len() > limits.lines || target.as_str().len() + lines.sum::<usize>() > limits.bytes {
            return Err(HeadFault::TooLarge);
        }
        let length = match framing::of_request(parts.version, &fields)? {
            Length::Exact(1..) if ended => return Err(Malformed::Length.into()),
            _ if ended => Length::None,
            Length::None => Length::Chunked,
            length => length,
        };
        Ok(Self {
            method: parts.method,
            target,
            authority: uri.authority,
            version: parts.version,
            fields,
            length,
            takes_trailers: false,
        })
    }
}

impl ResponseHead {
    /// For HTTP/2, or for whoever else wants a map.
    pub fn into_http<B>(self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.fields.to_map();
        response
    }

    /// A response that came over HTTP/2, to a request with `method`.
    pub fn of_http2<B>(response: Response<B>, method: &Method) -> Result<(Self, B), Malformed> {
        let (parts, body) = response.into_parts();
        let mut fields = Fields::from_map(&parts.headers);
        if fields.has(Name::Alias) {
            return Err(Malformed::Alias);
        }
        let length = match framing::of_response(method, parts.status, parts.version, &fields)? {
            // Every stream has an end of its own.
            Length::UntilClose => Length::Chunked,
            length => length,
        };
        if framing::has_no_length(parts.status) {
            fields.retain(|field| field.name != Name::ContentLength);
        }
        Ok((Self { status: parts.status, version: parts.version, fields, length }, body))
    }
}
