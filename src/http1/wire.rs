//! One connection's bytes, both ways, each side buffered only while there is something.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio_util::io::poll_read_buf;

use super::fault::{HeadFault, Malformed};
use super::head::HeadLimits;
use super::outbox::Outbox;
use super::scan::Scan;
use super::stream::Stream;

/// Room for a head: most requests and answers come whole in one read.
const HEAD_ROOM: usize = 4 * 1024;

/// Room for a body's next piece: from the least, doubled whenever a read fills it, halved when reads bring little. Large pieces
/// save wake-ups on both sides, which cost more than the processor's cache that is lost (`benches/TRIED.md`).
const LEAST_BODY_ROOM: usize = 64 * 1024;
const MOST_BODY_ROOM: usize = 512 * 1024;

/// Bytes that went through a connection, for whoever watches that it lives.
#[derive(Debug, Default)]
pub struct Moved {
    pub read: Cell<u64>,
    pub written: Cell<u64>,
}

#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    /// Read and not yet taken.
    inbox: BytesMut,
    body_room: usize,
    pub(super) outbox: Outbox,
    scan: Scan,
    moved: Rc<Moved>,
}

impl Wire {
    pub(super) fn new(stream: Stream, moved: Rc<Moved>) -> Self {
        Self {
            stream,
            inbox: BytesMut::new(),
            body_room: LEAST_BODY_ROOM,
            outbox: Outbox::default(),
            scan: Scan::default(),
            moved,
        }
    }

    pub(super) fn has_hung_up(&self) -> bool {
        self.stream.has_hung_up()
    }

    /// What was read and not yet taken.
    pub(super) fn unread(&self) -> &[u8] {
        &self.inbox
    }

    /// Takes up to `most` bytes of what was read.
    pub(super) fn take(&mut self, most: usize) -> Bytes {
        if most < self.inbox.len() {
            return self.inbox.split_to(most).freeze();
        }
        // With the buffer goes its memory: what is idle holds none.
        std::mem::take(&mut self.inbox).freeze()
    }

    pub(super) fn skip(&mut self, count: usize) {
        bytes::Buf::advance(&mut self.inbox, count);
    }

    /// Reads more; the count is 0 at the stream's end.
    fn poll_fill(&mut self, context: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_read_ready(context))?;
        if self.inbox.capacity() - self.inbox.len() < room.min(HEAD_ROOM) {
            self.inbox.reserve(room);
        }
        let polled = poll_read_buf(Pin::new(&mut self.stream), context, &mut self.inbox);
        match &polled {
            Poll::Ready(Ok(count)) => self.moved.read.set(self.moved.read.get() + *count as u64),
            _ if self.inbox.is_empty() => self.inbox = BytesMut::new(),
            _ => {}
        }
        polled
    }

    /// Reads more of something of which about `expected` bytes are to come.
    pub(super) fn poll_body_fill(
        &mut self,
        context: &mut Context<'_>,
        expected: u64,
    ) -> Poll<io::Result<usize>> {
        let room = usize::try_from(expected).unwrap_or(usize::MAX).clamp(HEAD_ROOM, self.body_room);
        let polled = self.poll_fill(context, room);
        if let Poll::Ready(Ok(count)) = polled {
            if count >= self.body_room {
                self.body_room = (2 * self.body_room).min(MOST_BODY_ROOM);
            } else if count < self.body_room / 4 && room >= self.body_room {
                self.body_room = (self.body_room / 2).max(LEAST_BODY_ROOM);
            }
        }
        polled
    }

    pub(super) fn poll_small_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.poll_fill(context, HEAD_ROOM)
    }

    /// The bytes of the next head, its empty line included; `None` when the stream ended before the first of them.
    pub(super) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        limits: HeadLimits,
    ) -> Poll<Result<Option<Bytes>, HeadFault>> {
        loop {
            if !self.inbox.is_empty() {
                if let Some(end) = self.scan.end_of_head(&self.inbox)? {
                    return Poll::Ready(if end > limits.bytes {
                        Err(HeadFault::TooLarge)
                    } else {
                        Ok(Some(self.take(end)))
                    });
                }
                // A first line begins with a method or a version; TLS on a plain port, for one, doesn't.
                if !self.inbox[0].is_ascii_graphic() {
                    return Poll::Ready(Err(Malformed::RequestLine.into()));
                }
                if self.inbox.len() >= limits.bytes {
                    return Poll::Ready(Err(HeadFault::TooLarge));
                }
            }
            match ready!(self.poll_small_fill(context)) {
                Ok(0) if self.inbox.is_empty() => return Poll::Ready(Ok(None)),
                Ok(0) => return Poll::Ready(Err(HeadFault::Io(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(HeadFault::Io(error))),
            }
        }
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut written = 0;
        let polled = self.outbox.poll_flush(&mut self.stream, context, &mut written);
        self.moved.written.set(self.moved.written.get() + written);
        polled
    }

    /// Writes what it can; what it can't stays for later.
    pub(super) fn try_flush(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.poll_flush(context) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Ok(()),
        }
    }

    pub(super) fn written(&self) -> u64 {
        self.moved.written.get()
    }

    /// The stream, for bytes that go past the buffers. Only while these are empty.
    pub(super) fn bare(&self) -> &Stream {
        debug_assert!(self.inbox.is_empty() && self.outbox.is_empty(), "bytes would overtake each other");
        &self.stream
    }

    pub(super) fn stream_is_plain(&self) -> bool {
        self.stream.is_plain()
    }

    /// Counts what went past the buffers.
    pub(super) fn count(&self, read: usize, written: usize) {
        self.moved.read.set(self.moved.read.get() + read as u64);
        self.moved.written.set(self.moved.written.get() + written as u64);
    }

    /// Gives the buffers back while nothing is under way.
    pub(super) fn rest(&mut self) {
        self.outbox.rest();
        if self.inbox.is_empty() && self.inbox.capacity() > 0 {
            self.inbox = BytesMut::new();
        }
    }

    /// Bytes of memory that the buffers hold, full or not.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.inbox.capacity() + self.outbox.held()
    }

    /// Whether the connection, when it is dropped, breaks instead of ending in good order.
    pub(super) fn break_on_drop(&self, breaks: bool) {
        self.stream.break_on_drop(breaks);
    }

    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut self.stream), context)
    }

    /// The stream, and what was read of it beyond HTTP.
    pub(super) fn into_parts(self) -> (Stream, Bytes) {
        (self.stream, self.inbox.freeze())
    }
}
