//! Header work: what a request loses and gains on its way to an API, and a response on its way back.
//!
//! Invariants
//! - R8: no `Residency-*` header of a client gets past here, nor one of an API back, but for the names listed.
//! - Hop-by-hop headers (RFC 9110 §7.6.1) and those that `Connection` names end here.
//! - `Forwarded` and `X-Forwarded-*` are kept only when the peer is one that is believed; else they are made anew.

use smallvec::SmallVec;

use super::connection::Peer;
use crate::domain::decide::Entry;
use crate::http1::{Fields, Name};

pub const SERVED_BY: &str = "residency-served-by";
pub const ACCESS: &str = "residency-access";
pub const JURISDICTION: &str = "residency-jurisdiction";
pub const DATABASE: &str = "residency-database";
pub const SUBJECT: &str = "residency-subject";
pub const MODE: &str = "residency-mode";
pub const SIGNATURE: &str = "residency-signature";
/// An API's wish to have the request again, at its subject's home; and, on the internal listener, that this is it.
pub const REPLAY: &str = "residency-replay";
/// An API's word that a database is not what it should be: `read-only`, where it was to write. Goes no further.
pub const FAULT: &str = "residency-fault";
/// How far its own writes have come, as a client keeps it; from an API, in another form, how far a write of its has come.
pub const POSITION: &str = "residency-position";
/// On a hop's refusal: the replica there lacks the position.
pub const BEHIND: &str = "residency-behind";
/// Over a hop: the generation of the home by which the request was sent, or by which it is refused. The side with the lower one
/// asks the registers.
pub const GENERATION: &str = "residency-generation";
/// The region whose edge sent the request on. Believed on the internal listener only.
pub const HOP: &str = "residency-hop";

/// Names that `Connection` lists, few as a rule.
type Names = SmallVec<[SmallVec<[u8; 24]>; 4]>;

/// What was seen on the way through a request's headers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub hosts: usize,
    /// An upgrade to a WebSocket was asked for as it has to be: by `Upgrade` and by `Connection`. Other protocols are not
    /// offered: one that the gateway can't read would carry anything past it (`h2c`, for one).
    pub websocket: bool,
    /// `TE: trailers`.
    pub takes_trailers: bool,
    /// A replay: it writes, whatever its method. Believed on the internal listener only.
    pub replay: bool,
    /// By which generation of its subject's home it was sent. Believed on the internal listener only.
    pub generation: Option<u64>,
}

/// Takes out what must not pass: hop-by-hop headers, those that `Connection` names, and our own. One pass, and a second only
/// when `Connection` names something that is none of the usual.
pub fn strip(fields: &mut Fields, keep_forwarded: bool) -> Seen {
    let mut seen = Seen::default();
    let mut doomed = Names::new();
    let (mut names_upgrade, mut upgrades, mut websocket) = (false, 0, false);
    fields.retain(|field| match field.name {
        Name::Other
        | Name::Authorization
        | Name::ContentLength
        | Name::ContentType
        | Name::Cookie
        | Name::Expect
        | Name::Origin
        | Name::Trailer => true,
        Name::Host => {
            seen.hosts += 1;
            true
        }
        Name::Forwarded
        | Name::XForwarded
        | Name::XForwardedFor
        | Name::XForwardedHost
        | Name::XForwardedProto => keep_forwarded,
        Name::Connection => {
            names_upgrade |= named_by_connection(field.value, &mut doomed);
            false
        }
        Name::Upgrade => {
            upgrades += 1;
            websocket = field.value.eq_ignore_ascii_case(b"websocket");
            false
        }
        Name::Te => {
            seen.takes_trailers |= field
                .value
                .split(|byte| *byte == b',')
                .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"));
            false
        }
        Name::Residency => {
            seen.replay |= field.name_text.eq_ignore_ascii_case(REPLAY.as_bytes());
            if field.name_text.eq_ignore_ascii_case(GENERATION.as_bytes()) {
                seen.generation = generation(field.value);
            }
            false
        }
        Name::Alias
        | Name::Http2Settings
        | Name::KeepAlive
        | Name::ProxyAuthenticate
        | Name::ProxyAuthorization
        | Name::ProxyConnection
        | Name::TransferEncoding => false,
    });
    if !doomed.is_empty() {
        fields.retain(|field| {
            !doomed.iter().any(|name| field.name == Name::Other && field.name_text.eq_ignore_ascii_case(name))
        });
    }
    seen.websocket = names_upgrade && upgrades == 1 && websocket;
    seen
}

/// A generation as one gateway tells another.
pub fn generation(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Collects the names that `Connection` lists and that nobody else takes care of. Returns whether `upgrade` is one.
///
/// Names that mean something here are no client's to drop: without `Authorization`, say, the request would be another one.
fn named_by_connection(value: &[u8], doomed: &mut Names) -> bool {
    let mut upgrade = false;
    for name in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        match Name::of(name) {
            Name::Upgrade => upgrade = true,
            Name::Other if !name.is_empty() && !name.eq_ignore_ascii_case(b"close") => {
                doomed.push(name.into());
            }
            _ => {}
        }
    }
    upgrade
}

/// Takes out what a response must not carry to a client. `keep` says which of our own it may.
pub fn strip_response(fields: &mut Fields, keep: impl Fn(&[u8]) -> bool) {
    let mut doomed = Names::new();
    fields.retain(|field| match field.name {
        Name::Residency => keep(field.name_text),
        Name::Connection => {
            named_by_connection(field.value, &mut doomed);
            false
        }
        Name::Http2Settings
        | Name::KeepAlive
        | Name::ProxyAuthenticate
        | Name::ProxyAuthorization
        | Name::ProxyConnection
        | Name::Te
        | Name::TransferEncoding
        | Name::Upgrade => false,
        _ => true,
    });
    if !doomed.is_empty() {
        fields.retain(|field| {
            !doomed.iter().any(|name| field.name == Name::Other && field.name_text.eq_ignore_ascii_case(name))
        });
    }
}

/// Says for whom the request is sent on. A gateway's hop has said so already.
pub fn add_forwarded(fields: &mut Fields, peer: &Peer, believed: bool) {
    if peer.entry == Entry::Hop {
        return;
    }
    let mut made = peer.forwarded.borrow_mut();
    let host = fields.first(Name::Host).unwrap_or_default();
    if made.1.is_empty() || made.0 != host {
        *made = (host.to_vec(), forwarded(peer, host));
    }
    let (host, forwarded) = (&made.0, &made.1);
    let proto: &[u8] = if peer.secure { b"https" } else { b"http" };
    if believed {
        append(fields, Name::Forwarded, "forwarded", forwarded);
        append(fields, Name::XForwardedFor, "x-forwarded-for", peer.text.as_bytes());
        if !fields.has(Name::XForwardedProto) {
            fields.add("x-forwarded-proto", proto);
        }
        if !host.is_empty() && !fields.has(Name::XForwardedHost) {
            fields.add("x-forwarded-host", host);
        }
    } else {
        fields.add("forwarded", forwarded);
        fields.add("x-forwarded-for", peer.text.as_bytes());
        fields.add("x-forwarded-proto", proto);
        if !host.is_empty() {
            fields.add("x-forwarded-host", host);
        }
    }
}

/// The `Forwarded` element (RFC 7239 §4) for the connection's client.
fn forwarded(peer: &Peer, host: &[u8]) -> Vec<u8> {
    let mut text = match peer.address {
        std::net::IpAddr::V4(address) => format!("for={address}"),
        std::net::IpAddr::V6(address) => format!("for=\"[{address}]\""),
    }
    .into_bytes();
    // A host that could end the quoted string is left out rather than repaired.
    if !host.is_empty() && !host.iter().any(|byte| matches!(byte, b'"' | b'\\')) {
        text.extend_from_slice(b";host=\"");
        text.extend_from_slice(host);
        text.push(b'"');
    }
    text.extend_from_slice(if peer.secure { b";proto=https" } else { b";proto=http" });
    text
}

/// One list-valued header with one more element.
fn append(fields: &mut Fields, name: Name, text: &'static str, element: &[u8]) {
    let mut joined: Vec<u8> = Vec::new();
    for value in fields.all(name) {
        joined.extend_from_slice(value);
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(element);
    fields.replace(text, &joined);
}

/// What an upgrade needs and `strip` took out.
pub fn restore_upgrade(fields: &mut Fields) {
    fields.add("connection", b"upgrade");
    fields.add("upgrade", b"websocket");
}

/// What a URI's host, with a port or without, may be made of (RFC 3986 §3.2.2).
pub fn is_host(host: &[u8]) -> bool {
    host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte))
}

#[cfg(test)]
mod tests;
