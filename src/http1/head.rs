//! Heads: the first line and the fields, read from bytes and written to bytes.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{Method, StatusCode, Version};

use super::fault::{HeadFault, Malformed};
use super::fields::Fields;
use super::framing::{self, Length};
use super::name::Name;

/// Header lines that are parsed without an allocation.
const USUAL_HEADERS: usize = 100;

/// A longer target is none that `http` takes.
const LONGEST_TARGET: usize = 65_534;

/// A longer name is no name that anyone has a use for.
const LONGEST_NAME: usize = 4096;

/// Bytes of a head beside target and fields: first line, framing, connection, and a little for a short body.
const ROOM_FOR_FRAMING: usize = 512;

/// Bounds on a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    pub bytes: usize,
    pub lines: usize,
}

/// A request's head.
#[derive(Debug, Clone)]
pub struct RequestHead {
    pub method: Method,
    pub target: PathAndQuery,
    /// The host of a target in absolute form, or HTTP/2's `:authority`: it counts, and not the `Host` field.
    pub authority: Option<Authority>,
    pub version: Version,
    pub fields: Fields,
    pub length: Length,
    /// The client understands trailers and says so (`TE: trailers`).
    pub takes_trailers: bool,
}

/// A response's head.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    pub status: StatusCode,
    pub version: Version,
    pub fields: Fields,
    pub length: Length,
}

/// What httparse found in the fields, as places in the bytes.
type Places<'a> = &'a [httparse::Header<'a>];

impl RequestHead {
    /// A request of the gateway's own.
    pub fn get(target: &'static str, host: &str) -> Self {
        let mut fields = Fields::default();
        fields.add("host", host.as_bytes());
        Self {
            method: Method::GET,
            target: PathAndQuery::from_static(target),
            authority: None,
            version: Version::HTTP_11,
            fields,
            length: Length::None,
            takes_trailers: false,
        }
    }

    /// Reads a whole head, its last empty line included.
    pub(super) fn parse(wire: &Bytes, limits: HeadLimits) -> Result<Self, HeadFault> {
        with_headers(limits.lines, |headers| {
            let mut parsed = httparse::Request::new(&mut []);
            let status = httparse::ParserConfig::default()
                .parse_request_with_uninit_headers(&mut parsed, wire, headers)
                .map_err(|error| fault(error, Malformed::RequestLine))?;
            let (Some(method), Some(target), Some(minor), true) =
                (parsed.method, parsed.path, parsed.version, status.is_complete())
            else {
                return Err(Malformed::RequestLine.into());
            };
            let version = version(minor)?;
            let method = Method::from_bytes(method.as_bytes()).map_err(|_| Malformed::RequestLine)?;
            if target.len() > LONGEST_TARGET {
                return Err(HeadFault::TargetTooLong);
            }
            let (target, authority) = target_of(wire, target, &method)?;
            let fields = fields(wire, parsed.headers)?;
            let length = framing::of_request(version, &fields)?;
            Ok(Self { method, target, authority, version, fields, length, takes_trailers: false })
        })
    }

    /// The target's path, without its query.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// Writes the head, with the framing that `length` says.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.target.as_str().len() + self.fields.written_length() + ROOM_FOR_FRAMING);
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target.as_str().as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        self.fields.write_to(out);
        if self.length == Length::Chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        if self.takes_trailers {
            out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl ResponseHead {
    /// A response of the gateway's own.
    pub fn new(status: StatusCode) -> Self {
        Self { status, version: Version::HTTP_11, fields: Fields::default(), length: Length::None }
    }

    /// Reads a whole head, its last empty line included: the response to a request with `method`.
    pub(super) fn parse(wire: &Bytes, limits: HeadLimits, method: &Method) -> Result<Self, HeadFault> {
        with_headers(limits.lines, |headers| {
            let mut parsed = httparse::Response::new(&mut []);
            let complete = httparse::ParserConfig::default()
                .parse_response_with_uninit_headers(&mut parsed, wire, headers)
                .map_err(|error| fault(error, Malformed::StatusLine))?;
            let (Some(code), Some(minor), true) = (parsed.code, parsed.version, complete.is_complete())
            else {
                return Err(Malformed::StatusLine.into());
            };
            let version = version(minor)?;
            let status = StatusCode::from_u16(code).map_err(|_| Malformed::StatusLine)?;
            let mut fields = fields(wire, parsed.headers)?;
            let length = framing::of_response(method, status, version, &fields)?;
            if framing::has_no_length(status) {
                fields.retain(|field| field.name != Name::ContentLength);
            }
            Ok(Self { status, version, fields, length })
        })
    }

    /// Writes status line and fields, and no end: framing and connection follow.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.fields.written_length() + ROOM_FOR_FRAMING);
        out.extend_from_slice(b"HTTP/1.1 ");
        if self.status == StatusCode::OK {
            out.extend_from_slice(b"200 OK\r\n");
        } else {
            out.extend_from_slice(self.status.as_str().as_bytes());
            out.push(b' ');
            out.extend_from_slice(self.status.canonical_reason().unwrap_or_default().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        self.fields.write_to(out);
    }
}

/// Gives `parse` room for as many header lines as may come.
fn with_headers<'wire, T>(
    lines: usize,
    parse: impl FnOnce(&mut [MaybeUninit<httparse::Header<'wire>>]) -> T,
) -> T {
    if lines <= USUAL_HEADERS {
        let mut room = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
        parse(&mut room[..lines])
    } else {
        let mut room: Vec<_> = std::iter::repeat_with(MaybeUninit::uninit).take(lines).collect();
        parse(&mut room)
    }
}

fn fault(error: httparse::Error, otherwise: Malformed) -> HeadFault {
    match error {
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Malformed::Field.into(),
        httparse::Error::Version => Malformed::Version.into(),
        httparse::Error::TooManyHeaders => HeadFault::TooLarge,
        _ => otherwise.into(),
    }
}

fn version(minor: u8) -> Result<Version, Malformed> {
    match minor {
        0 => Ok(Version::HTTP_10),
        1 => Ok(Version::HTTP_11),
        _ => Err(Malformed::Version),
    }
}

/// The places of the parsed lines in `wire`.
fn fields(wire: &Bytes, parsed: Places<'_>) -> Result<Fields, HeadFault> {
    let base = wire.as_ptr().addr();
    let mut fields = Fields::of_wire(wire.clone());
    for header in parsed {
        let (name, value) = (header.name.as_ptr().addr() - base, header.value.as_ptr().addr() - base);
        if header.name.len() > LONGEST_NAME {
            return Err(HeadFault::TooLarge);
        }
        fields.note(name..name + header.name.len(), value..value + header.value.len());
    }
    if fields.has(Name::Alias) {
        return Err(Malformed::Alias.into());
    }
    Ok(fields)
}

/// Origin form, absolute form, or `*` for OPTIONS (RFC 9112 section 3.2).
fn target_of(
    wire: &Bytes,
    target: &str,
    method: &Method,
) -> Result<(PathAndQuery, Option<Authority>), Malformed> {
    if !target.bytes().all(is_target) {
        return Err(Malformed::Target);
    }
    let start = target.as_ptr().addr() - wire.as_ptr().addr();
    let slice = |from: usize, to: usize| wire.slice(start + from..start + to);
    let path = |from: usize| {
        PathAndQuery::from_maybe_shared(slice(from, target.len())).map_err(|_| Malformed::Target)
    };
    if target.starts_with('/') {
        return Ok((path(0)?, None));
    }
    if target == "*" {
        return if *method == Method::OPTIONS { Ok((path(0)?, None)) } else { Err(Malformed::Target) };
    }
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let Some(scheme) = scheme else { return Err(Malformed::Target) };
    let rest = &target[scheme.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    if rest[..end].contains('@') {
        // User information: whose host is it?
        return Err(Malformed::Target);
    }
    let authority = Authority::from_maybe_shared(slice(scheme.len(), scheme.len() + end))
        .map_err(|_| Malformed::Target)?;
    let path = if rest[end..].starts_with('/') {
        path(scheme.len() + end)?
    } else {
        let text = format!("/{}", &rest[end..]);
        PathAndQuery::try_from(text).map_err(|_| Malformed::Target)?
    };
    Ok((path, Some(authority)))
}

/// Visible ASCII without what servers disagree about: some take `\` for `/`, and some end the target at `#`. Others that no
/// URI has (RFC 3986 section 2) pass, as browsers send them.
pub(super) const fn is_target(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && !matches!(byte, b'#' | b'<' | b'>' | b'\\' | b'`')
}
