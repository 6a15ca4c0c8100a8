//! What is to be written next: heads and small pieces copied together, a large piece beside them, in one system call.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use tokio::io::AsyncWrite;

use super::chunked::may_trail;
use super::framing::Length;
use super::stream::Stream;

/// A piece up to this size is copied: cheaper than a second slice for the kernel to walk.
const COPIED_UP_TO: usize = 8 * 1024;

/// With this much gathered it is time to write.
const ENOUGH: usize = 16 * 1024;

/// Bytes on their way to a stream: `flat`, then `large`, then `tail`.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    flat: Vec<u8>,
    /// Of `flat`.
    sent: usize,
    large: Bytes,
    tail: &'static [u8],
}

impl Outbox {
    /// Where heads are written. Only while [`Outbox::has_room`].
    pub(super) fn flat(&mut self) -> &mut Vec<u8> {
        debug_assert!(
            self.large.is_empty() && self.tail.is_empty(),
            "what follows a large piece comes after it"
        );
        &mut self.flat
    }

    /// More may be added before this is written.
    pub(super) fn has_room(&self) -> bool {
        self.large.is_empty() && self.tail.is_empty() && self.flat.len() - self.sent < ENOUGH
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.flat.len() && self.large.is_empty() && self.tail.is_empty()
    }

    /// Adds a piece of a body. Only while [`Outbox::has_room`].
    pub(super) fn data(&mut self, bytes: Bytes, length: Length) {
        if bytes.is_empty() {
            // As a chunk it would be the last.
            return;
        }
        let chunked = length == Length::Chunked;
        if chunked {
            self.size_line(bytes.len());
        }
        if bytes.len() <= COPIED_UP_TO {
            self.flat().extend_from_slice(&bytes);
            if chunked {
                self.flat.extend_from_slice(b"\r\n");
            }
        } else {
            self.large = bytes;
            self.tail = if chunked { b"\r\n" } else { b"" };
        }
    }

    /// Ends a body. Only while [`Outbox::has_room`].
    pub(super) fn end(&mut self, length: Length, trailers: Option<&HeaderMap>) {
        if length != Length::Chunked {
            return;
        }
        self.flat().extend_from_slice(b"0\r\n");
        // HTTP/2's come as they are; those of chunks were looked at when they came.
        for (name, value) in
            trailers.into_iter().flatten().filter(|(name, _)| may_trail(name.as_str().as_bytes()))
        {
            self.flat.extend_from_slice(name.as_str().as_bytes());
            self.flat.extend_from_slice(b": ");
            self.flat.extend_from_slice(value.as_bytes());
            self.flat.extend_from_slice(b"\r\n");
        }
        self.flat.extend_from_slice(b"\r\n");
    }

    fn size_line(&mut self, size: usize) {
        let mut digits = [0; 16];
        let mut left = size;
        let mut start = digits.len();
        while left > 0 {
            start -= 1;
            digits[start] = b"0123456789abcdef"[left & 15];
            left >>= 4;
        }
        let flat = self.flat();
        flat.extend_from_slice(&digits[start..]);
        flat.extend_from_slice(b"\r\n");
    }

    /// Forgets what was not written.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes everything; adds what the kernel took to `written`.
    pub(super) fn poll_flush(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        written: &mut u64,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let flat = &self.flat[self.sent..];
            let count = if self.large.is_empty() && self.tail.is_empty() {
                ready!(Pin::new(&mut *stream).poll_write(context, flat))?
            } else {
                let slices = [IoSlice::new(flat), IoSlice::new(&self.large), IoSlice::new(self.tail)];
                ready!(Pin::new(&mut *stream).poll_write_vectored(context, &slices))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += count as u64;
            self.advance(count);
        }
        if self.sent > 0 {
            self.sent = 0;
            self.flat.clear();
        }
        Pin::new(stream).poll_flush(context)
    }

    fn advance(&mut self, count: usize) {
        let of_flat = count.min(self.flat.len() - self.sent);
        self.sent += of_flat;
        let of_large = (count - of_flat).min(self.large.len());
        self.large.advance(of_large);
        self.tail = &self.tail[count - of_flat - of_large..];
        if self.large.is_empty() {
            // The piece's memory is somebody's read buffer.
            self.large = Bytes::new();
        }
    }

    /// Gives the buffer back while there is nothing to write.
    pub(super) fn rest(&mut self) {
        if self.is_empty() && self.flat.capacity() > 0 {
            self.clear();
        }
    }
}
