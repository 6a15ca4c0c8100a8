//! One HTTP/2 connection of the load (RFC 9113): several streams, one request each.
//!
//! As much of the protocol as a client needs that sends GET and checks answers: settings are acknowledged, pings
//! answered, windows opened again, header blocks read as far as the status. Streams never run dry, because answers
//! are small against the window that every stream begins with; the connection's window is kept open.
//!
//! Absent by design: request bodies, push (switched off in the settings), priorities.
use std::borrow::Cow;
use std::io;
use std::time::Instant;

use super::answer::Verdict;
use super::hpack::{Blocks, DEFAULT_TABLE_BYTES, Encoder};
use super::tally::Fault;
use super::wire::{Wire, is_not_yet};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
/// Neither side may send more in a frame without being asked to.
const MAX_FRAME: usize = 16_384;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;

/// What the connection's window is opened by at the start; what is consumed is given back by halves of it.
const WINDOW: u32 = 1 << 20;

#[derive(Debug)]
pub(super) struct Session {
    wire: Wire,
    encoder: Encoder,
    /// Bytes of a frame that has not arrived whole.
    inbox: Vec<u8>,
    /// Frames to send, and how much of them TLS took.
    outbox: Vec<u8>,
    sent: usize,
    streams: Vec<Stream>,
    /// How many at a time.
    limit: usize,
    next_id: u32,
    /// What the server's settings allow; none before they came.
    terms: Option<Terms>,
    consumed: u32,
    /// Bodies are kept where a check wants to see them.
    keep: bool,
}

#[derive(Debug, Clone, Copy)]
struct Terms {
    /// Whether the server's decoder has the table that [`Blocks`] count on.
    indexed: bool,
    /// Whether a request has been sent under these terms.
    begun: bool,
}

impl Terms {
    /// The form of a request that the next place on the connection asks for.
    fn block(self, request: &Blocks) -> Cow<'_, [u8]> {
        match self {
            Self { indexed: true, begun: false } => Cow::Borrowed(&request.opening),
            Self { indexed: true, begun: true } => Cow::Borrowed(&request.following),
            Self { indexed: false, begun: true } => Cow::Borrowed(&request.literal),
            // A table that shrank is acknowledged with its new size, here none (RFC 7541, section 4.2).
            Self { indexed: false, begun: false } => Cow::Owned([&[0x20], &request.literal[..]].concat()),
        }
    }
}

#[derive(Debug)]
struct Stream {
    id: u32,
    since: Instant,
    status: Option<u16>,
    /// Bytes of the body, and whether they were the right ones so far.
    arrived: usize,
    right: bool,
    kept: Vec<u8>,
}

/// A stream whose answer is complete.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) since: Instant,
    pub(super) status: u16,
    pub(super) verdict: Verdict,
    /// The body, if the session keeps bodies.
    pub(super) body: Vec<u8>,
}

impl Session {
    /// On a wire that is not used yet: the preface and settings go out first.
    pub(super) fn new(wire: Wire, limit: usize, keep: bool) -> Self {
        let mut outbox = PREFACE.to_vec();
        frame(&mut outbox, SETTINGS, 0, 0, &[0, ENABLE_PUSH as u8, 0, 0, 0, 0]);
        frame(&mut outbox, WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
        Self {
            wire,
            encoder: Encoder::new(),
            inbox: Vec::new(),
            outbox,
            sent: 0,
            streams: Vec::with_capacity(limit),
            limit,
            next_id: 1,
            terms: None,
            consumed: 0,
            keep,
        }
    }

    pub(super) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Whether a stream may be opened now.
    pub(super) fn has_room(&self) -> bool {
        self.terms.is_some() && self.streams.len() < self.limit
    }

    pub(super) fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.streams.iter().map(|stream| stream.since).min()
    }

    /// Puts a request on a new stream; [`Session::flush`] sends it.
    pub(super) fn begin(&mut self, request: &Blocks, now: Instant) {
        let Some(terms) = &mut self.terms else { return };
        let id = self.next_id;
        self.next_id += 2;
        let block = terms.block(request);
        terms.begun = true;
        frame(&mut self.outbox, HEADERS, END_STREAM | END_HEADERS, id, &block);
        let stream = Stream { id, since: now, status: None, arrived: 0, right: true, kept: Vec::new() };
        self.streams.push(stream);
    }

    /// Sends what is to be sent, as far as the kernel takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.outbox.len() {
            match self.wire.write(&self.outbox[self.sent..]) {
                Ok(0) => break,
                Ok(n) => self.sent += n,
                Err(error) if is_not_yet(&error) => break,
                Err(error) => return Err(error),
            }
        }
        if self.sent == self.outbox.len() {
            self.outbox.clear();
            self.sent = 0;
        }
        self.wire.flush()
    }

    /// Reads all that is there; answers that are complete are put into `done`.
    pub(super) fn receive(
        &mut self,
        scratch: &mut [u8],
        body: &[u8],
        done: &mut Vec<Done>,
    ) -> Result<(), Fault> {
        loop {
            let n = match self.wire.read(scratch) {
                Ok(0) => return Err(Fault::Closed),
                Ok(n) => n,
                Err(error) if is_not_yet(&error) => return Ok(()),
                Err(_) => return Err(Fault::Closed),
            };
            // Taken out so that frames may borrow it while the session changes.
            let mut inbox = std::mem::take(&mut self.inbox);
            let mut rest = if inbox.is_empty() {
                &scratch[..n]
            } else {
                inbox.extend_from_slice(&scratch[..n]);
                &inbox[..]
            };
            while let Some(length) = rest.get(..FRAME_HEAD).map(frame_length) {
                if length > MAX_FRAME {
                    return Err(Fault::Frames);
                }
                let Some(payload) = rest.get(FRAME_HEAD..FRAME_HEAD + length) else { break };
                let (kind, flags) = (rest[3], rest[4]);
                let stream = u32::from_be_bytes([rest[5] & 0x7f, rest[6], rest[7], rest[8]]);
                self.take(kind, flags, stream, payload, body, done)?;
                rest = &rest[FRAME_HEAD + length..];
            }
            self.inbox = rest.to_vec();
        }
    }

    fn take(
        &mut self,
        kind: u8,
        flags: u8,
        id: u32,
        payload: &[u8],
        body: &[u8],
        done: &mut Vec<Done>,
    ) -> Result<(), Fault> {
        match kind {
            SETTINGS if flags & ACK == 0 => self.settings(payload)?,
            PING if flags & ACK == 0 => frame(&mut self.outbox, PING, ACK, 0, payload),
            GOAWAY => return Err(Fault::Closed),
            // After its answer a server may give up what it will not read; for the load that stream is over.
            RST_STREAM if self.streams.iter().any(|stream| stream.id == id) => return Err(Fault::Frames),
            HEADERS => {
                let block = unpadded(flags, payload)?;
                let block =
                    if flags & PRIORITY == 0 { block } else { block.get(5..).ok_or(Fault::Frames)? };
                let status = self.encoder.status(block);
                let stream = self.stream(id)?;
                // Interim answers come before the one that counts; trailers after it have no status.
                if let Some(status @ 200..) = status {
                    stream.status = Some(status);
                }
            }
            DATA => {
                self.consume(payload.len() as u32);
                let keep = self.keep;
                let piece = unpadded(flags, payload)?;
                let stream = self.stream(id)?;
                let end = stream.arrived + piece.len();
                stream.right &= body.get(stream.arrived..end) == Some(piece);
                stream.arrived = end;
                if keep {
                    stream.kept.extend_from_slice(piece);
                }
            }
            _ => {}
        }
        if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            let at = self.streams.iter().position(|stream| stream.id == id).ok_or(Fault::Unasked)?;
            let stream = self.streams.swap_remove(at);
            let status = stream.status.ok_or(Fault::Frames)?;
            let verdict = match status {
                200 if stream.right && stream.arrived == body.len() => Verdict::Right,
                200 => Verdict::WrongBody,
                _ => Verdict::WrongStatus,
            };
            done.push(Done { since: stream.since, status, verdict, body: stream.kept });
        }
        Ok(())
    }

    fn settings(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let mut indexed = true;
        for setting in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match u16::from_be_bytes([setting[0], setting[1]]) {
                HEADER_TABLE_SIZE => indexed = value >= DEFAULT_TABLE_BYTES,
                MAX_CONCURRENT_STREAMS if (value as usize) < self.limit => return Err(Fault::Frames),
                _ => {}
            }
        }
        frame(&mut self.outbox, SETTINGS, ACK, 0, &[]);
        // Servers may change their mind later; none does about these two.
        self.terms.get_or_insert(Terms { indexed, begun: false });
        Ok(())
    }

    fn consume(&mut self, bytes: u32) {
        self.consumed += bytes;
        if self.consumed >= WINDOW / 2 {
            frame(&mut self.outbox, WINDOW_UPDATE, 0, 0, &self.consumed.to_be_bytes());
            self.consumed = 0;
        }
    }

    fn stream(&mut self, id: u32) -> Result<&mut Stream, Fault> {
        self.streams.iter_mut().find(|stream| stream.id == id).ok_or(Fault::Unasked)
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

fn frame_length(head: &[u8]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8], Fault> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(Fault::Frames)?;
    let end = rest.len().checked_sub(usize::from(*padding)).ok_or(Fault::Frames)?;
    Ok(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_takes_the_form_that_its_place_asks_for() {
        let request = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
        let blocks = Encoder::new().blocks(request).expect("a GET");
        let resized = [&[0x20], &blocks.literal[..]].concat();
        let cases = [
            (true, false, &blocks.opening[..]),
            (true, true, &blocks.following[..]),
            (false, false, &resized[..]),
            (false, true, &blocks.literal[..]),
        ];
        for (indexed, begun, block) in cases {
            assert_eq!(*Terms { indexed, begun }.block(&blocks), *block, "{indexed} {begun}");
        }
    }

    #[test]
    fn padding_is_taken_off_and_never_more_than_there_is() {
        let cases = [
            (0, "\x02abcd", Some("\x02abcd")),
            (PADDED, "\x02abcd", Some("ab")),
            (PADDED, "\x05abcd", None),
            (PADDED, "", None),
        ];
        for (flags, payload, expected) in cases {
            let rest = unpadded(flags, payload.as_bytes());
            assert_eq!(rest.ok(), expected.map(str::as_bytes), "{flags} {payload:?}");
        }
    }
}
