//! Bodies as they come: cut out of a connection's bytes, without a copy.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::chunked::{Chunked, Step};
use super::fault::BodyFault;
use super::framing::Length;
use super::server::Side;
use super::wire::Wire;

/// Cuts one body out of a connection's bytes.
#[derive(Debug)]
pub(super) enum Decoder {
    Done,
    Exact(u64),
    Chunked(Box<Chunked>),
    UntilClose,
    /// It failed: nothing behind it can be trusted.
    Lost,
}

pub(super) type PolledFrame = Poll<Option<Result<Frame<Bytes>, BodyFault>>>;

impl Decoder {
    pub(super) fn new(length: Length) -> Self {
        match length {
            Length::None | Length::Exact(0) => Self::Done,
            Length::Exact(length) => Self::Exact(length),
            Length::Chunked => Self::Chunked(Box::default()),
            Length::UntilClose => Self::UntilClose,
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    pub(super) const fn is_lost(&self) -> bool {
        matches!(self, Self::Lost)
    }

    pub(super) const fn size_hint(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Exact(left) => Some(*left),
            _ => None,
        }
    }

    /// Bytes to come of a body whose length is known.
    pub(super) const fn exact_left(&self) -> Option<u64> {
        match self {
            Self::Exact(left) => Some(*left),
            _ => None,
        }
    }

    /// `count` bytes went past the buffers.
    pub(super) fn moved(&mut self, count: u64) {
        if let Self::Exact(left) = self {
            *left -= count;
            if *left == 0 {
                *self = Self::Done;
            }
        }
    }

    pub(super) fn poll_frame(&mut self, wire: &mut Wire, context: &mut Context<'_>) -> PolledFrame {
        let polled = self.poll(wire, context);
        if let Poll::Ready(Some(Err(_))) = polled {
            *self = Self::Lost;
        }
        polled
    }

    fn poll(&mut self, wire: &mut Wire, context: &mut Context<'_>) -> PolledFrame {
        loop {
            let expected = match self {
                Self::Done => return Poll::Ready(None),
                Self::Lost => return Poll::Ready(Some(Err(BodyFault::Cut))),
                Self::Exact(left) => {
                    if !wire.unread().is_empty() {
                        let data = wire.take(usize::try_from(*left).unwrap_or(usize::MAX));
                        *left -= data.len() as u64;
                        if *left == 0 {
                            *self = Self::Done;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    *left
                }
                Self::UntilClose => {
                    if !wire.unread().is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(wire.take(usize::MAX)))));
                    }
                    u64::MAX
                }
                Self::Chunked(chunked) => match chunked.step(wire.unread()) {
                    Err(fault) => return Poll::Ready(Some(Err(fault.into()))),
                    Ok(Step::Skip(count)) => {
                        wire.skip(count);
                        continue;
                    }
                    Ok(Step::Data(left)) => {
                        let data = wire.take(usize::try_from(left).unwrap_or(usize::MAX));
                        chunked.took(data.len() as u64);
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Ok(Step::End(count, trailers)) => {
                        wire.skip(count);
                        *self = Self::Done;
                        match trailers {
                            Some(trailers) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                            None => continue,
                        }
                    }
                    Ok(Step::More) => chunked.expected(),
                },
            };
            match ready!(wire.poll_body_fill(context, expected)) {
                Ok(0) if matches!(self, Self::UntilClose) => *self = Self::Done,
                Ok(0) => return Poll::Ready(Some(Err(BodyFault::Cut))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(BodyFault::Io(error)))),
            }
        }
    }

    /// The end of a chunked body may be at hand already: an answer that came whole is over with its last data.
    pub(super) fn settle(&mut self, wire: &mut Wire) {
        let Self::Chunked(chunked) = self else { return };
        while let Ok(Step::Skip(count)) = chunked.step(wire.unread()) {
            wire.skip(count);
        }
        if let Ok(Step::End(count, None)) = chunked.step(wire.unread()) {
            wire.skip(count);
            *self = Self::Done;
        }
    }
}

/// The body of the request that a server's connection is at. Once the connection has gone on, it is broken off: whoever
/// still reads from it, for an upstream that answered early, say, must not get the next request's bytes.
#[derive(Debug)]
pub struct IncomingBody {
    side: Rc<RefCell<Side>>,
    turn: u64,
}

impl IncomingBody {
    pub(super) fn new(side: Rc<RefCell<Side>>, turn: u64) -> Self {
        Self { side, turn }
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> PolledFrame {
        let mut side = self.side.borrow_mut();
        if side.is_at(self.turn) { side.poll_frame(context) } else { Poll::Ready(Some(Err(BodyFault::Cut))) }
    }

    fn is_end_stream(&self) -> bool {
        let side = self.side.borrow();
        side.is_at(self.turn) && side.decoder().is_done()
    }

    fn size_hint(&self) -> SizeHint {
        let side = self.side.borrow();
        let left = side.decoder().size_hint().filter(|_| side.is_at(self.turn));
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
