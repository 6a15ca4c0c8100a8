//! Header work: what a request loses and gains on its way to an API, and a response on its way back.
//!
//! Invariants
//! - R8: no `Residency-*` header of a client gets past here, nor one of an API back, but for the names listed.
//! - Hop-by-hop headers (RFC 9110 §7.6.1) and those that `Connection` names end here.
//! - `Forwarded` and `X-Forwarded-*` are kept only when the peer is one that is believed; else they are made anew.

use http::header::{CONNECTION, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use smallvec::SmallVec;

use super::connection::Client;
use crate::domain::decide::Entry;

pub const SERVED_BY: HeaderName = HeaderName::from_static("residency-served-by");
pub const ACCESS: HeaderName = HeaderName::from_static("residency-access");
pub const JURISDICTION: HeaderName = HeaderName::from_static("residency-jurisdiction");
pub const DATABASE: HeaderName = HeaderName::from_static("residency-database");
pub const SUBJECT: HeaderName = HeaderName::from_static("residency-subject");
pub const MODE: HeaderName = HeaderName::from_static("residency-mode");
pub const SIGNATURE: HeaderName = HeaderName::from_static("residency-signature");
/// The region whose edge sent the request on. Believed on the internal listener only.
pub const HOP: HeaderName = HeaderName::from_static("residency-hop");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Names to take out, few as a rule.
type Names = SmallVec<[HeaderName; 8]>;

/// What was seen on the way through a request's headers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub hosts: usize,
    /// The protocol to upgrade to, if that was asked for as it has to be: by `Upgrade` and by `Connection`.
    pub upgrade: Option<HeaderValue>,
    pub coding: Coding,
}

/// How a request's body was framed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Coding {
    /// By its length, or there is none.
    #[default]
    None,
    Chunked,
    /// Something the API would not learn of, since the header ends here.
    Other,
}

/// What is done with a header.
enum Fate {
    Passes,
    /// It passes, and is counted: a second one makes the request ambiguous.
    Host,
    Ends,
    /// It ends, and names others that do.
    Connection,
    Upgrade,
    TransferEncoding,
    /// It passes from peers that are believed.
    Forwarded,
}

/// Takes out what must not pass: hop-by-hop headers, those that `Connection` names, and our own. One pass, and no look-up
/// by name unless there is something to take out.
pub fn strip(headers: &mut HeaderMap, keep_forwarded: bool) -> Seen {
    let mut doomed = Names::new();
    let (mut hosts, mut upgrade, mut named_upgrade, mut coding) = (0, None, false, Coding::None);
    for (name, value) in &*headers {
        match fate(name) {
            Fate::Passes => continue,
            Fate::Host => {
                hosts += 1;
                continue;
            }
            Fate::Forwarded if keep_forwarded => continue,
            Fate::Forwarded | Fate::Ends => {}
            Fate::Connection => named_upgrade |= named_by_connection(value, &mut doomed),
            Fate::Upgrade => upgrade = Some(value.clone()),
            Fate::TransferEncoding => {
                let alone = coding == Coding::None && value.as_bytes().eq_ignore_ascii_case(b"chunked");
                coding = if alone { Coding::Chunked } else { Coding::Other };
            }
        }
        doomed.push(name.clone());
    }
    for name in doomed {
        headers.remove(name);
    }
    Seen { hosts, upgrade: upgrade.filter(|_| named_upgrade), coding }
}

/// Looks at the first letter first: most names are none of ours.
fn fate(name: &HeaderName) -> Fate {
    let name = name.as_str();
    let ends = match name.as_bytes().first() {
        Some(b'h') if name == "host" => return Fate::Host,
        Some(b'c') if name == "connection" => return Fate::Connection,
        Some(b'u') if name == "upgrade" => return Fate::Upgrade,
        Some(b'f') if name == "forwarded" => return Fate::Forwarded,
        Some(b'x') if name.starts_with("x-forwarded-") => return Fate::Forwarded,
        Some(b'r') => name.starts_with("residency-"),
        Some(b't') if name == "transfer-encoding" => return Fate::TransferEncoding,
        Some(b't') => matches!(name, "te" | "trailer"),
        Some(b'k') => name == "keep-alive",
        Some(b'p') => matches!(name, "proxy-connection" | "proxy-authenticate" | "proxy-authorization"),
        _ => false,
    };
    if ends { Fate::Ends } else { Fate::Passes }
}

/// Collects the names that `Connection` lists. Returns whether `upgrade` is one of them.
fn named_by_connection(value: &HeaderValue, doomed: &mut Names) -> bool {
    let mut upgrade = false;
    for name in value.as_bytes().split(|byte| *byte == b',') {
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"keep-alive") || name.eq_ignore_ascii_case(b"close") {
            continue;
        }
        upgrade |= name.eq_ignore_ascii_case(b"upgrade");
        if let Ok(name) = HeaderName::from_bytes(name)
            && !is_end_to_end(&name)
        {
            doomed.push(name);
        }
    }
    upgrade
}

/// Headers that a client can't have us drop by naming them in `Connection`: the request would mean something else.
fn is_end_to_end(name: &HeaderName) -> bool {
    use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE};
    [HOST, AUTHORIZATION, COOKIE, CONTENT_LENGTH, CONTENT_TYPE].contains(name)
}

/// Says for whom the request is sent on. A gateway's hop has said so already.
pub fn add_forwarded(headers: &mut HeaderMap, client: &Client, peer_believed: bool) {
    if client.entry == Entry::Hop {
        return;
    }
    let host = headers.get(HOST).cloned();
    let forwarded = forwarded(client, host.as_ref());
    if peer_believed {
        append(headers, FORWARDED, &forwarded);
        append(headers, X_FORWARDED_FOR, &client.peer_text);
        headers.entry(X_FORWARDED_PROTO).or_insert_with(|| proto(client));
        if let Some(host) = host {
            headers.entry(X_FORWARDED_HOST).or_insert(host);
        }
    } else {
        headers.insert(FORWARDED, forwarded);
        headers.insert(X_FORWARDED_FOR, client.peer_text.clone());
        headers.insert(X_FORWARDED_PROTO, proto(client));
        if let Some(host) = host {
            headers.insert(X_FORWARDED_HOST, host);
        }
    }
}

fn proto(client: &Client) -> HeaderValue {
    HeaderValue::from_static(if client.secure { "https" } else { "http" })
}

/// The `Forwarded` element (RFC 7239 §4) for the connection's client.
fn forwarded(client: &Client, host: Option<&HeaderValue>) -> HeaderValue {
    if let Some((made_for, value)) = &*client.forwarded.borrow()
        && made_for.as_ref() == host
    {
        return value.clone();
    }
    let mut text = match client.peer {
        std::net::IpAddr::V4(address) => format!("for={address}"),
        std::net::IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    // A host that could end the quoted string is left out rather than repaired.
    if let Some(host) = host.and_then(|host| host.to_str().ok()).filter(|host| !host.contains(['"', '\\'])) {
        text.push_str(";host=\"");
        text.push_str(host);
        text.push('"');
    }
    text.push_str(if client.secure { ";proto=https" } else { ";proto=http" });
    let value =
        HeaderValue::from_str(&text).expect("an address and a header value without quotes make one again");
    *client.forwarded.borrow_mut() = Some((host.cloned(), value.clone()));
    value
}

/// One list-valued header with one more element.
fn append(headers: &mut HeaderMap, name: HeaderName, element: &HeaderValue) {
    let mut joined: Vec<u8> = Vec::new();
    for value in headers.get_all(&name) {
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(element.as_bytes());
    let joined = HeaderValue::from_bytes(&joined).expect("header values joined by a comma are one");
    headers.insert(name, joined);
}

/// What an upgrade needs and `strip` took out.
pub fn restore_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

#[cfg(test)]
mod tests;
