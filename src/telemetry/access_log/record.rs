//! What one line says.

use std::time::{Duration, Instant};

use http::Method;

use crate::telemetry::address::TruncatedAddress;
use crate::telemetry::labels::{Access, Decision};
use crate::telemetry::subject::SubjectHash;

/// A request that has ended, as it is logged.
///
/// R7 by construction: there is no field for a path, a query, a header, a token or a body; the subject comes as a keyed
/// hash and the client as its network; a method that no standard names is the client's own text and is logged as
/// `other`. The strings are names from the configuration and from fixed lists, and must be nothing else.
#[derive(Debug, Clone, Copy)]
pub struct AccessRecord<'a> {
    /// When the answer had ended; the line's `ts`.
    pub ended: Instant,
    pub method: &'a Method,
    /// The pattern of the route rule that matched.
    pub route: Option<&'a str>,
    /// 0 if the request ended without an answer.
    pub status: u16,
    pub jurisdiction: Option<&'a str>,
    pub access: Access,
    pub decision: Decision,
    /// The region whose API answered.
    pub served_by: Option<&'a str>,
    /// The code of the refusal; of an observed request, what enforcing would have answered, or `other-region`.
    pub code: Option<&'a str>,
    pub subject: Option<SubjectHash>,
    pub client: TruncatedAddress,
    /// From the request's head to the end of its answer.
    pub duration: Duration,
    /// From sending upstream to the head of its answer; `null` if nothing was sent.
    pub upstream: Option<Duration>,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    pub protocol: Protocol,
}

/// What the client spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http10,
    Http11,
    Http2,
    WebSocket,
}

impl Protocol {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::Http2 => "h2",
            Self::WebSocket => "websocket",
        }
    }
}
