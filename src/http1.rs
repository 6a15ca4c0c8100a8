//! HTTP/1.1 on the wire (RFC 9112), read as strictly as it can be and written in one form only.
//!
//! A proxy and the server behind it that disagree about where a message ends, or what a header is called, serve one user
//! another's request. So nothing here is repaired: what could be read in two ways is a [`Malformed`], toward clients and
//! toward upstreams alike, and the connection ends.
//!
//! Heads stay the bytes they came as, with the place of each line beside them ([`Fields`]): a header that passes through
//! unchanged is never parsed into a map and never written anew, it is copied.
//!
//! Invariants
//! - What is sent is made of what was understood: names and values from [`Fields`], one framing header, no line of its own.
//! - Every head, line, extension and trailer is bounded.
//! - A connection that waits for nothing holds no buffer.
//!
//! Absent by design: what headers mean beyond framing (the gateway's), pools (the upstream's), HTTP/2 (hyper's).

mod body;
mod chunked;
mod client;
mod fault;
mod fields;
mod framing;
mod head;
mod name;
mod outbox;
mod relay;
mod scan;
mod server;
mod stream;
mod translate;
mod wire;

#[cfg(test)]
mod tests;

pub use body::IncomingBody;
pub use client::{ClientConnection, SendError};
pub use fault::{BodyFault, HeadFault, Malformed};
pub use fields::{Field, Fields};
pub use framing::Length;
pub use head::{HeadLimits, RequestHead, ResponseHead};
pub use name::Name;
pub use relay::Pipes;
pub use server::{Incoming, ServerConnection, Shortcut, Turn, Unfinished};
pub use stream::{Prefixed, Stream};
pub use translate::passing_trailers;
pub use wire::Moved;
