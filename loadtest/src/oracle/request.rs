//! A request as its generator made it: the ground truth that the law is applied to.
//!
//! Nothing here is what anybody on the way found out about the request. What a token says is true of it because the
//! generator wrote it there, not because somebody verified it.
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::Method;

use super::credentials::Credential;
use crate::world::Region;

/// The header by which everybody finds the truth about a request.
pub(super) const ID: &str = "x-oracle-id";
/// Bytes of a body that are the request's own number, so that no two bodies are alike.
const MARK: usize = 16;
/// Longest body, in bytes.
pub(super) const MOST_BODY: usize = 256 << 10;

/// One request, and what becomes of it when it arrives.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) id: u64,
    /// The region whose gateway is asked.
    pub(super) edge: Region,
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    /// Sent as `http://host/path`.
    pub(super) absolute: bool,
    pub(super) meaning: Meaning,
    pub(super) credential: Option<Arc<Credential>>,
    pub(super) carrier: Carrier,
    /// Headers that no client may set, in the order they are sent.
    pub(super) forged: Vec<(&'static str, &'static str)>,
    pub(super) body: Body,
    /// On a connection of its own.
    pub(super) afresh: bool,
    /// The client leaves without waiting for the answer.
    pub(super) hasty: bool,
    pub(super) conduct: Conduct,
}

/// What a request is for, by the route rules that the gateways were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// No rule: the method says.
    Plain,
    /// `POST /search`, a read.
    Search,
    /// `GET /live`, a write.
    Live,
    /// Someone who has no account yet: what stands where the body names the billing country.
    Arrival(Country),
    /// `/webhooks/**`, of the US when nobody says who asks.
    Webhook,
    /// `/orgs/{org}/**`: the organisation is the subject.
    Organisation(&'static str),
    /// The path can be read in two ways.
    Crooked,
    /// A path of the gateway's own.
    Own,
}

/// The country in an arrival's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Country {
    Named(&'static str),
    /// In two members of one name: most parsers take the last, some the first (RFC 8259 section 4).
    Twice(&'static str, &'static str),
    /// JSON of the wrong kind, or no JSON at all, in its place.
    Garbled(&'static str),
    Missing,
    /// The body is larger than what a gateway reads ahead.
    TooDeep,
}

/// Where the credential stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Bearer,
    Cookie,
    /// In two `Authorization` headers.
    Twice,
}

/// What is uploaded.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    pub(super) length: usize,
    /// The text at its beginning; the rest is filled.
    pub(super) text: Option<String>,
    pub(super) manner: Manner,
}

/// How a body travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Manner {
    /// With a length said before.
    #[default]
    Whole,
    /// In that many chunks, of a length that nobody says.
    Chunked(usize),
    /// Chunked, with forged headers behind the last chunk.
    Trailed(usize),
    /// Chunked, and the client breaks off before the end.
    BrokenOff(usize),
    /// Not a body but an upgrade: the connection becomes a WebSocket.
    Upgrade,
}

/// What the API does with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conduct {
    Answer(Answer),
    /// Takes the request and closes without a word.
    Vanish,
}

/// How the API answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Length of the answer's body.
    pub(super) length: usize,
    pub(super) chunked: bool,
    /// Thinks for so long, in milliseconds.
    pub(super) thinks_ms: u64,
    /// Closes the connection soon after, without having said so.
    pub(super) hangs_up: bool,
    /// Adds `Residency-*` headers that are not for clients.
    pub(super) leaks: bool,
}

impl Request {
    /// The body, from first to last byte.
    pub(super) fn payload(&self) -> Bytes {
        let Body { length, text, .. } = &self.body;
        let mut payload = BytesMut::with_capacity(*length);
        match text {
            Some(text) => payload.put_slice(text.as_bytes()),
            None => payload.put_slice(format!("{:0MARK$x}", self.id).as_bytes()),
        }
        payload.truncate(*length);
        let missing = length - payload.len();
        // JSON stays JSON with spaces behind it.
        payload.put_bytes(if text.is_some() { b' ' } else { b'.' }, missing);
        payload.freeze()
    }

    /// The client never sends the end of the body.
    pub(super) fn breaks_off(&self) -> bool {
        matches!(self.body.manner, Manner::BrokenOff(_))
    }

    pub(super) fn is_upgrade(&self) -> bool {
        self.body.manner == Manner::Upgrade
    }

    /// The body of the answer that this request and no other gets.
    pub(super) fn answer(id: u64, length: usize) -> Bytes {
        let mark = format!("{id:0MARK$x}");
        mark.as_bytes().iter().copied().cycle().take(length).collect()
    }
}
