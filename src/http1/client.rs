//! The client's side of one connection: a request out, its response in, and the next.
//!
//! Driven by whoever has the request: nothing here waits on a task of its own, so that an answer wakes the one who waits
//! for it and nobody else.

use std::io;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version};

use super::body::{Decoder, PolledFrame};
use super::fault::{BodyFault, HeadFault, Malformed};
use super::framing::Length;
use super::head::{HeadLimits, RequestHead, ResponseHead};
use super::name::Name;
use super::relay::{self, Pipe};
use super::server::lists;
use super::stream::{Prefixed, Stream};
use super::wire::Wire;

/// Bounds on a response's head: Node writes none beyond 16 KiB unless told to.
const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, lines: 100 };

/// Interim responses to one request.
const MOST_INTERIM: usize = 16;

/// One connection to an upstream.
#[derive(Debug)]
pub struct ClientConnection {
    wire: Wire,
    /// Of the response under way.
    decoder: Decoder,
    /// Of the request under way.
    method: Method,
    length: Length,
    /// Bytes written before the request under way.
    written_before: u64,
    interim: usize,
    /// The server keeps the connection, as far as it has said.
    keeps: bool,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("the connection ended before the response")]
    Closed,
}

impl ClientConnection {
    pub fn new(stream: Stream) -> Self {
        Self {
            wire: Wire::new(stream, std::rc::Rc::default()),
            decoder: Decoder::Done,
            method: Method::GET,
            length: Length::None,
            written_before: 0,
            interim: 0,
            keeps: true,
        }
    }

    /// The response before has ended well, the server keeps the connection and has said nothing unasked.
    pub fn is_reusable(&self) -> bool {
        self.keeps && self.decoder.is_done() && self.wire.unread().is_empty() && self.wire.outbox.is_empty()
    }

    /// The same, and as of now neither ended nor unasked for more.
    pub fn is_usable(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.is_reusable() && self.wire.poll_small_fill(&mut context).is_pending()
    }

    /// Gives the buffers back until the next request.
    pub fn rest(&mut self) {
        self.wire.rest();
    }

    /// Queues a request's head; its body follows with [`ClientConnection::queue`], as `head.length` says.
    pub fn begin(&mut self, head: &RequestHead) {
        self.method.clone_from(&head.method);
        self.length = head.length;
        self.written_before = self.wire.written();
        self.interim = 0;
        head.write_to(self.wire.outbox.flat());
    }

    /// The upstream may have seen something of the request.
    pub fn has_sent(&self) -> bool {
        self.wire.written() > self.written_before
    }

    /// All that was queued is on its way.
    pub fn is_flushed(&self) -> bool {
        self.wire.outbox.is_empty()
    }

    /// More of the body may be queued.
    pub fn has_room(&self) -> bool {
        self.wire.outbox.has_room()
    }

    pub fn queue(&mut self, data: Bytes) {
        self.wire.outbox.data(data, self.length);
    }

    pub fn queue_end(&mut self, trailers: Option<&HeaderMap>) {
        self.wire.outbox.end(self.length, trailers);
    }

    /// Writes what is queued.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_flush(context)
    }

    /// The next head: an interim one (RFC 9110 section 15.2), or the response's.
    pub fn poll_response(&mut self, context: &mut Context<'_>) -> Poll<Result<ResponseHead, SendError>> {
        let head = match ready!(self.wire.poll_head(context, LIMITS)) {
            Ok(Some(wire)) => ResponseHead::parse(&wire, LIMITS, &self.method),
            Ok(None) => return Poll::Ready(Err(SendError::Closed)),
            Err(fault) => Err(fault),
        };
        let head = head.map_err(|fault| match fault {
            HeadFault::Malformed(malformed) => SendError::Malformed(malformed),
            HeadFault::TargetTooLong | HeadFault::TooLarge => SendError::Malformed(Malformed::StatusLine),
            HeadFault::Io(_) => SendError::Closed,
        })?;
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            self.interim += 1;
            return Poll::Ready(if self.interim > MOST_INTERIM {
                Err(Malformed::StatusLine.into())
            } else {
                Ok(head)
            });
        }
        let says = |word: &[u8]| head.fields.all(Name::Connection).any(|value| lists(value, word));
        self.keeps = head.length != Length::UntilClose
            && !says(b"close")
            && (head.version == Version::HTTP_11 || says(b"keep-alive"));
        self.decoder = Decoder::new(head.length);
        Poll::Ready(Ok(head))
    }

    /// The next frame of the response's body.
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> PolledFrame {
        let polled = self.decoder.poll_frame(&mut self.wire, context);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.decoder.settle(&mut self.wire);
        }
        polled
    }

    /// So much of the body is to come, and none of it has been read: it can be moved by [`ClientConnection::poll_into`].
    pub(super) fn can_be_moved(&self) -> bool {
        self.wire.stream_is_plain()
            && self.wire.unread().is_empty()
            && self.decoder.exact_left().is_some_and(|left| left >= relay::LEAST)
    }

    /// Moves the body's next bytes into an empty pipe. 0: there are none left.
    pub(super) fn poll_into(
        &mut self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, BodyFault>> {
        let Some(left) = self.decoder.exact_left() else { return Poll::Ready(Ok(0)) };
        match ready!(self.wire.bare().poll_into(context, pipe, left)) {
            Ok(0) => Poll::Ready(Err(BodyFault::Cut)),
            Ok(count) => {
                self.decoder.moved(count as u64);
                self.wire.count(count, 0);
                Poll::Ready(Ok(count))
            }
            Err(error) => Poll::Ready(Err(BodyFault::Io(error))),
        }
    }

    /// The response has no more to come.
    pub const fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Bytes of the response's body still to come, if that is known.
    pub const fn bytes_left(&self) -> Option<u64> {
        self.decoder.size_hint()
    }

    /// Bytes of memory that buffers hold.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.wire.held()
    }

    /// The stream with what was read ahead of it.
    pub fn into_stream(self) -> Prefixed {
        let (stream, unread) = self.wire.into_parts();
        Prefixed::new(unread, stream)
    }
}
