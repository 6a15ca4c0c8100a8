//! What can be wrong with bytes that should be HTTP.

use std::io;

/// Bytes that are no HTTP/1.1, or that two readers could understand in two ways. Names the rule, never the bytes (R7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a line feed without a carriage return")]
    BareLineFeed,
    #[error("no request line (RFC 9112 section 3)")]
    RequestLine,
    #[error("no status line (RFC 9112 section 4)")]
    StatusLine,
    #[error("a version that is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    #[error("a header line that is none (RFC 9112 section 5)")]
    Field,
    #[error("a header's name spelt with an underscore")]
    Alias,
    #[error("a target with a character that no URI has, or in the wrong form")]
    Target,
    #[error("a length that is no number, or several lengths")]
    Length,
    #[error("a transfer coding other than chunked alone")]
    Coding,
    #[error("a length beside a transfer coding")]
    LengthAndCoding,
    #[error("a transfer coding in HTTP/1.0, or where no body may be")]
    CodingOutOfPlace,
    #[error("a chunk's size line that is none (RFC 9112 section 7.1)")]
    Chunk,
    #[error("chunk extensions or trailers beyond their bound")]
    ChunkBound,
    #[error("an upgrade that was not asked for, or a request that can't be upgraded")]
    Upgrade,
}

/// Why there is no head.
#[derive(Debug, thiserror::Error)]
pub enum HeadFault {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("the target is too long")]
    TargetTooLong,
    #[error("the head has too many bytes or lines")]
    TooLarge,
    /// The connection broke, or ended within the head.
    #[error("the connection ended within a head")]
    Io(#[source] io::Error),
}

/// Why a body has no end.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("the connection ended within a body")]
    Cut,
    #[error("the connection broke within a body")]
    Io(#[source] io::Error),
    #[error("the stream broke within a body")]
    Stream(#[source] hyper::Error),
}
