//! The server's side of one connection: requests in, responses out, one after the other.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version};
use http_body::Body;

use super::body::{Decoder, IncomingBody, PolledFrame};
use super::client::ClientConnection;
use super::fault::HeadFault;
use super::framing::{Length, has_no_body};
use super::head::{HeadLimits, RequestHead, ResponseHead};
use super::name::Name;
use super::relay::{Lent, Pipes};
use super::stream::{Prefixed, Stream};
use super::wire::{Moved, Wire};

/// How HTTP/2 begins on a connection where nobody has agreed on it (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client may have sent ahead while its request is answered.
const MOST_AHEAD: usize = 4 * 1024;

/// How long a connection that ends waits for what the client is still sending: a socket that is closed with bytes unread
/// resets, and takes with it the answer that the client has not read yet.
const LINGER: Duration = Duration::from_secs(1);

/// One client's connection.
#[derive(Debug)]
pub struct ServerConnection {
    side: Rc<RefCell<Side>>,
}

/// What connection and body share.
#[derive(Debug)]
pub(super) struct Side {
    wire: Wire,
    decoder: Decoder,
    /// Counts the requests: a body that outlives its own is none of the next one's.
    turn: u64,
    /// Whether the client sends its body unasked.
    expects: Expects,
    /// An empty line before the request was passed over.
    skipped: bool,
}

/// Whether a client waits to be told to send its body (RFC 9110 section 10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    /// It sends, or was told to.
    Nothing,
    /// It asks, and was not told yet.
    Word,
    /// It got a response instead. It may go on with another request, or with the body after all: nobody knows.
    Either,
}

/// How bytes of a body `B` can go from socket to socket, past this process.
#[derive(Debug, Clone, Copy)]
pub struct Shortcut<'a, B> {
    pub pipes: &'a Rc<Pipes>,
    /// The connection that the body's next bytes come from, while there is nothing else to do for the body.
    pub source: fn(&mut B) -> Option<&mut ClientConnection>,
    /// So many of its bytes went to the client.
    pub moved: fn(&mut B, usize),
}

/// The client has a part of the response and will not get the rest.
struct Broken;

/// What of the request a response depends on.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    is_head: bool,
    version: Version,
    /// The client can use the connection again.
    keeps: bool,
}

/// A request whose body is still to be read.
pub type Incoming = (Box<RequestHead>, IncomingBody);

/// Why a response did not get through.
#[derive(Debug)]
pub enum Unfinished<E> {
    /// Its body failed before a byte of it was written: another response may be given.
    Unsent(E),
    /// The client has a part of it. The connection must end.
    Cut,
}

impl Turn {
    /// What `head` means for its response.
    pub fn of(head: &RequestHead) -> Self {
        let says = |word: &[u8]| head.fields.all(Name::Connection).any(|value| lists(value, word));
        let keeps = match head.version {
            Version::HTTP_10 => says(b"keep-alive") && !says(b"close"),
            _ => !says(b"close"),
        };
        Self { is_head: head.method == Method::HEAD, version: head.version, keeps }
    }

    /// For a request that could not be read.
    pub const fn unread() -> Self {
        Self { is_head: false, version: Version::HTTP_11, keeps: false }
    }
}

impl ServerConnection {
    /// `moved` counts the bytes that go through.
    pub fn new(stream: Stream, moved: Rc<Moved>) -> Self {
        let wire = Wire::new(stream, moved);
        let side = Side { wire, decoder: Decoder::Done, turn: 0, expects: Expects::Nothing, skipped: false };
        Self { side: Rc::new(RefCell::new(side)) }
    }

    /// No byte of a request is there.
    pub fn is_idle(&self) -> bool {
        self.side.borrow().wire.unread().is_empty()
    }

    /// Whether the client begins as one that knows the other side to speak HTTP/2.
    pub fn poll_preface(&self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let wire = &mut self.side.borrow_mut().wire;
        loop {
            let unread = wire.unread();
            let known = unread.len().min(PREFACE.len());
            if unread[..known] != PREFACE[..known] {
                return Poll::Ready(Ok(false));
            }
            if known == PREFACE.len() {
                return Poll::Ready(Ok(true));
            }
            if ready!(wire.poll_small_fill(context))? == 0 {
                return Poll::Ready(Ok(false));
            }
        }
    }

    /// The next request; `None` when the client has ended the connection before one.
    pub fn poll_request(
        &self,
        context: &mut Context<'_>,
        limits: HeadLimits,
    ) -> Poll<Result<Option<Incoming>, HeadFault>> {
        let mut side = self.side.borrow_mut();
        let polled = side.poll_head(context, limits);
        if polled.is_pending() {
            side.wire.rest();
        }
        let Some(head) = ready!(polled)? else { return Poll::Ready(Ok(None)) };
        let turn = side.turn;
        drop(side);
        Poll::Ready(Ok(Some((head, IncomingBody::new(Rc::clone(&self.side), turn)))))
    }

    /// Ready when the client has gone while its request is being answered. What it sends ahead is read, within a bound.
    pub fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.side.borrow_mut().poll_gone(context)
    }

    /// The client has ended its side, or the connection has broken, whatever of the request's body is still unread. Costs a
    /// system call: for who waits without reading.
    pub fn has_hung_up(&self) -> bool {
        self.side.borrow().wire.has_hung_up()
    }

    /// The request's body broke off, or could be read in two ways.
    pub fn has_lost_body(&self) -> bool {
        self.side.borrow().decoder.is_lost()
    }

    /// Bytes came behind the request.
    pub fn has_more(&self) -> bool {
        !self.side.borrow().wire.unread().is_empty()
    }

    /// Sends a response. With `close`, or when the request or the response demands it, the connection is not to be used
    /// again, which is said in the response, and `false` comes back.
    ///
    /// The body is dropped when it has ended, before its last bytes are written: who has read them can rely on what that
    /// brings about.
    pub async fn respond<B>(
        &self,
        turn: Turn,
        head: &ResponseHead,
        body: &mut Option<B>,
        close: bool,
    ) -> Result<bool, Unfinished<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        self.respond_by(turn, head, body, close, None).await
    }

    /// The same, with a shortcut for bodies that come from a socket.
    pub async fn respond_by<B>(
        &self,
        turn: Turn,
        head: &ResponseHead,
        body: &mut Option<B>,
        close: bool,
        shortcut: Option<&Shortcut<'_, B>>,
    ) -> Result<bool, Unfinished<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let none = turn.is_head || has_no_body(head.status);
        if none {
            *body = None;
        }
        let length = match body.as_ref().map_or(Some(0), |body| body.size_hint().exact()) {
            _ if none => Length::None,
            Some(exact) => Length::Exact(exact),
            None if turn.version == Version::HTTP_10 => Length::UntilClose,
            None => Length::Chunked,
        };
        let began = {
            let mut side = self.side.borrow_mut();
            if side.expects == Expects::Word {
                side.expects = Expects::Either;
            }
            let goes_on = side.expects == Expects::Nothing && !side.decoder.is_lost();
            let keeps = turn.keeps && !close && goes_on && length != Length::UntilClose;
            let began = (side.wire.written(), keeps);
            write_head(side.wire.outbox.flat(), turn, head, length, keeps);
            if length == Length::UntilClose {
                // Its end is the connection's: until it is whole, whatever ends this, that must not look like one.
                side.wire.break_on_drop(true);
            }
            began
        };
        let (written_before, keeps) = began;
        let mut trailers: Option<HeaderMap> = None;
        let shortcut = shortcut.filter(|_| matches!(length, Length::Exact(_)));
        let mut pipe = None;
        poll_fn(|context| {
            loop {
                let mut side = self.side.borrow_mut();
                let Some(source) = body else {
                    let flushed = ready!(side.wire.poll_flush(context));
                    if length == Length::UntilClose && flushed.is_ok() {
                        side.wire.break_on_drop(false);
                    }
                    return Poll::Ready(flushed.map(|()| keeps).map_err(|_| Unfinished::Cut));
                };
                if let Some(shortcut) = shortcut
                    && ready!(side.poll_shortcut(context, shortcut, &mut pipe, source)).is_err()
                {
                    return Poll::Ready(Err(Unfinished::Cut));
                }
                if !side.wire.outbox.has_room() && ready!(side.wire.poll_flush(context)).is_err() {
                    return Poll::Ready(Err(Unfinished::Cut));
                }
                // The body may need the connection: it may be what the request's own body makes of it.
                drop(side);
                let frame = Pin::new(source).poll_frame(context);
                let mut side = self.side.borrow_mut();
                let wire = &mut side.wire;
                match frame {
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => wire.outbox.data(data, length),
                        Err(frame) => trailers = frame.into_trailers().ok(),
                    },
                    Poll::Ready(Some(Err(error))) => {
                        let unsent = wire.written() == written_before;
                        if unsent {
                            wire.outbox.clear();
                            wire.break_on_drop(false);
                            return Poll::Ready(Err(Unfinished::Unsent(error)));
                        }
                        return Poll::Ready(Err(Unfinished::Cut));
                    }
                    Poll::Ready(None) => {
                        wire.outbox.end(length, trailers.as_ref());
                        drop(side);
                        *body = None;
                    }
                    Poll::Pending => {
                        if !wire.outbox.is_empty() && ready!(wire.poll_flush(context)).is_err() {
                            return Poll::Ready(Err(Unfinished::Cut));
                        }
                        return side.poll_gone(context).map(|()| Err(Unfinished::Cut));
                    }
                }
            }
        })
        .await
    }

    /// The request's body was read to its end.
    pub fn is_read(&self) -> bool {
        self.side.borrow().decoder.is_done()
    }

    /// Reads what is left of the request's body, up to `most` bytes, so that another request can follow.
    pub async fn skip_body(&self, most: usize) -> bool {
        // Whoever still holds the body gets no more of it.
        self.side.borrow_mut().turn += 1;
        let mut left = most;
        let skipping = poll_fn(|context| {
            let mut side = self.side.borrow_mut();
            while !side.decoder.is_done() {
                match ready!(side.poll_frame(context)) {
                    Some(Ok(frame)) => match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                        Some(rest) => left = rest,
                        None => return Poll::Ready(false),
                    },
                    Some(Err(_)) => return Poll::Ready(false),
                    None => {}
                }
            }
            Poll::Ready(true)
        });
        tokio::time::timeout(LINGER, skipping).await.unwrap_or(false)
    }

    /// Ends the connection such that the client can still read what it was sent.
    pub async fn linger(&self, most: usize) {
        let mut left = most;
        let ending = poll_fn(|context| {
            let wire = &mut self.side.borrow_mut().wire;
            if ready!(wire.poll_shutdown(context)).is_err() {
                return Poll::Ready(());
            }
            loop {
                let count = wire.unread().len();
                wire.skip(count);
                match ready!(wire.poll_small_fill(context)) {
                    Ok(count @ 1..) if count <= left => left -= count,
                    _ => return Poll::Ready(()),
                }
            }
        });
        // Whoever goes on longer has to take the reset.
        let _ = tokio::time::timeout(LINGER, ending).await;
    }

    /// Bytes of memory that buffers hold, and bytes that were read and not yet taken.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        let wire = &self.side.borrow().wire;
        (wire.held(), wire.unread().len())
    }

    /// The stream with what was read ahead of it. `None` while a body still needs the connection.
    pub fn into_stream(self) -> Option<Prefixed> {
        let side = Rc::try_unwrap(self.side).ok()?.into_inner();
        let (stream, unread) = side.wire.into_parts();
        Some(Prefixed::new(unread, stream))
    }
}

impl Side {
    pub(super) const fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Whether the connection is still at the request with that number.
    pub(super) const fn is_at(&self, turn: u64) -> bool {
        self.turn == turn
    }

    /// Moves what can be moved of a body. Ready when the rest, if there is one, has to be read.
    fn poll_shortcut<B>(
        &mut self,
        context: &mut Context<'_>,
        shortcut: &Shortcut<'_, B>,
        lent: &mut Option<Lent>,
        body: &mut B,
    ) -> Poll<Result<(), Broken>> {
        if lent.is_none() {
            let can_be_moved = (shortcut.source)(body).is_some_and(|source| source.can_be_moved());
            if !can_be_moved || !self.wire.stream_is_plain() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.wire.poll_flush(context)).is_err() {
                return Poll::Ready(Err(Broken));
            }
            *lent = shortcut.pipes.lend();
        }
        let Some(lending) = lent else { return Poll::Ready(Ok(())) };
        let pipe = lending.pipe();
        loop {
            while !pipe.is_empty() {
                match ready!(self.wire.bare().poll_out_of(context, pipe)) {
                    Ok(count @ 1..) => {
                        self.wire.count(0, count);
                        (shortcut.moved)(body, count);
                    }
                    Ok(0) | Err(_) => return Poll::Ready(Err(Broken)),
                }
            }
            let source = (shortcut.source)(body);
            match source.map_or(Poll::Ready(Ok(0)), |source| source.poll_into(context, pipe)) {
                Poll::Ready(Ok(0)) => {
                    *lent = None;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken)),
                Poll::Pending => return self.poll_gone(context).map(|()| Err(Broken)),
            }
        }
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.decoder.is_done() && self.wire.unread().len() < MOST_AHEAD {
            if matches!(ready!(self.wire.poll_small_fill(context)), Ok(0) | Err(_)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        limits: HeadLimits,
    ) -> Poll<Result<Option<Box<RequestHead>>, HeadFault>> {
        // One empty line before a request is passed over (RFC 9112 section 2.2).
        while !self.skipped {
            match self.wire.unread() {
                [b'\r', b'\n', ..] => {
                    self.wire.skip(2);
                    self.skipped = true;
                }
                [] | [b'\r'] => match ready!(self.wire.poll_small_fill(context)) {
                    Ok(0) if self.wire.unread().is_empty() => return Poll::Ready(Ok(None)),
                    Ok(0) => return Poll::Ready(Err(HeadFault::Io(io::ErrorKind::UnexpectedEof.into()))),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Err(HeadFault::Io(error))),
                },
                _ => break,
            }
        }
        let Some(wire) = ready!(self.wire.poll_head(context, limits))? else { return Poll::Ready(Ok(None)) };
        self.skipped = false;
        let head = Box::new(RequestHead::parse(&wire, limits)?);
        self.decoder = Decoder::new(head.length);
        self.turn += 1;
        let asks = head.version == Version::HTTP_11
            && !self.decoder.is_done()
            && head.fields.all(Name::Expect).any(|value| value.eq_ignore_ascii_case(b"100-continue"));
        self.expects = if asks { Expects::Word } else { Expects::Nothing };
        Poll::Ready(Ok(Some(head)))
    }

    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> PolledFrame {
        if self.expects == Expects::Word {
            self.expects = Expects::Nothing;
            self.wire.outbox.flat().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            // A fault shows when the response is written.
            let _ = self.wire.try_flush(context);
        }
        self.decoder.poll_frame(&mut self.wire, context)
    }
}

fn write_head(out: &mut Vec<u8>, turn: Turn, head: &ResponseHead, length: Length, keeps: bool) {
    head.write_to(out);
    match length {
        Length::Exact(exact) if !head.fields.has(Name::ContentLength) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(exact).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Length::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        _ => {}
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        // What becomes of the connection is the other protocol's to say.
    } else if !keeps {
        out.extend_from_slice(b"connection: close\r\n");
    } else if turn.version == Version::HTTP_10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a comma-separated list has that word, in any case.
pub(super) fn lists(value: &[u8], word: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(word))
}
