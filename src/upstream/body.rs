//! Bodies on their way through: nothing is gathered, back-pressure passes from one side to the other.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::connection::Connection;
use super::endpoint::{InFlight, Lease};
use crate::clock::Millis;
use crate::http1::{BodyFault, ClientConnection, IncomingBody, passing_trailers};

/// A request's body on its way to an upstream.
#[derive(Debug, Default)]
pub struct RequestBody {
    /// What a bounded look ahead has read already.
    head: Option<Bytes>,
    rest: Rest,
    inflow: Rc<Inflow>,
}

/// What a client sends, seen from where it is waited for.
#[derive(Debug, Default)]
pub struct Inflow {
    /// Bytes of bodies that came.
    received: Cell<u64>,
    cut: Cell<bool>,
    /// Of whoever sends the body on.
    waker: RefCell<Option<Waker>>,
}

#[derive(Debug, Default)]
enum Rest {
    #[default]
    None,
    Http1(IncomingBody),
    Http2(Incoming),
}

/// A response's body on its way from an upstream. Holds the connection until the body has ended.
pub struct UpstreamBody {
    source: Source,
}

enum Source {
    Ended,
    /// From a pool, and back to it.
    Pooled(Lease, Millis),
    /// From a connection that was opened for an upgrade that was not granted.
    Own(Box<Connection>),
    /// One stream of a connection that has many.
    Http2 {
        incoming: Incoming,
        _in_flight: InFlight,
    },
}

impl Inflow {
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// Nothing more is to be taken: a body that is still on its way breaks off.
    pub fn cut(&self) {
        self.cut.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn note(&self, frame: &Frame<Bytes>) {
        let count = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.received.set(self.received.get() + count);
    }

    fn poll_http2(
        &self,
        incoming: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if self.cut.get() {
            return Poll::Ready(Some(Err(BodyFault::Cut)));
        }
        let polled = poll_http2(incoming, context);
        if polled.is_pending() {
            *self.waker.borrow_mut() = Some(context.waker().clone());
        }
        polled
    }
}

impl RequestBody {
    /// A client's HTTP/1.1 body as it comes; `inflow` counts its bytes.
    pub fn http1(incoming: IncomingBody, inflow: &Rc<Inflow>) -> Self {
        let rest = if incoming.is_end_stream() { Rest::None } else { Rest::Http1(incoming) };
        Self { head: None, rest, inflow: Rc::clone(inflow) }
    }

    /// A client's HTTP/2 body as it comes; `inflow` counts its bytes.
    pub fn http2(incoming: Incoming, inflow: &Rc<Inflow>) -> Self {
        let rest = if incoming.is_end_stream() { Rest::None } else { Rest::Http2(incoming) };
        Self { head: None, rest, inflow: Rc::clone(inflow) }
    }

    /// A body that is here whole.
    pub fn full(bytes: Bytes) -> Self {
        Self { head: Some(bytes).filter(|bytes| !bytes.is_empty()), ..Self::default() }
    }

    /// Puts back in front what was read of the body.
    pub fn put_back(&mut self, head: Bytes) {
        // It is counted already.
        self.head = Some(head).filter(|bytes| !bytes.is_empty());
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        if let Some(head) = this.head.take() {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        let polled = match &mut this.rest {
            Rest::None => return Poll::Ready(None),
            Rest::Http1(body) => Pin::new(body).poll_frame(context),
            Rest::Http2(body) => this.inflow.poll_http2(body, context),
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.inflow.note(frame);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none()
            && match &self.rest {
                Rest::None => true,
                Rest::Http1(body) => body.is_end_stream(),
                Rest::Http2(body) => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.head.as_ref().map_or(0, Bytes::len) as u64;
        let mut hint = match &self.rest {
            Rest::None => SizeHint::with_exact(0),
            Rest::Http1(body) => body.size_hint(),
            Rest::Http2(body) => body.size_hint(),
        };
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + read);
        }
        hint.set_lower(hint.lower() + read);
        hint
    }
}

impl UpstreamBody {
    pub(super) fn pooled(lease: Lease, since: Millis) -> Self {
        let mut body = Self { source: Source::Pooled(lease, since) };
        body.give_back_if_ended();
        body
    }

    pub(super) fn own(connection: Box<Connection>) -> Self {
        Self { source: Source::Own(connection) }
    }

    pub(super) fn http2(incoming: Incoming, in_flight: InFlight) -> Self {
        Self { source: Source::Http2 { incoming, _in_flight: in_flight } }
    }

    /// The connection that the next bytes come from, while there is nothing else to do for the body.
    pub fn source(&mut self) -> Option<&mut ClientConnection> {
        match &mut self.source {
            Source::Pooled(lease, _) => lease.connection().source(),
            _ => None,
        }
    }

    fn give_back_if_ended(&mut self) {
        if let Source::Pooled(lease, _) = &mut self.source
            && lease.connection().is_done()
        {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Source::Pooled(lease, since) = std::mem::replace(&mut self.source, Source::Ended) {
            lease.give_back(since);
        }
    }
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("UpstreamBody").finish_non_exhaustive()
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        let polled = match &mut this.source {
            Source::Ended => return Poll::Ready(None),
            Source::Pooled(lease, _) => lease.connection().poll_frame(context),
            Source::Own(connection) => connection.poll_frame(context),
            Source::Http2 { incoming, .. } => poll_http2(incoming, context),
        };
        match &polled {
            Poll::Ready(Some(Ok(_))) => this.give_back_if_ended(),
            Poll::Ready(Some(Err(_))) => this.source = Source::Ended,
            Poll::Ready(None) => this.end(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Ended => true,
            // Given back as soon as it is done.
            Source::Pooled(..) => false,
            Source::Own(connection) => connection.is_done(),
            Source::Http2 { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match &self.source {
            Source::Ended => Some(0),
            Source::Pooled(lease, _) => lease.bytes_left(),
            Source::Own(connection) => connection.bytes_left(),
            Source::Http2 { incoming, .. } => return incoming.size_hint(),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn poll_http2(
    incoming: &mut Incoming,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
    Pin::new(incoming).poll_frame(context).map(|polled| {
        polled.map(|frame| match frame.map_err(BodyFault::Stream)?.into_trailers() {
            Ok(trailers) => Ok(Frame::trailers(passing_trailers(trailers))),
            Err(frame) => Ok(frame),
        })
    })
}
