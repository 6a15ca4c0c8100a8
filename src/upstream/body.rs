//! Bodies on their way through: nothing is gathered, back-pressure passes from one side to the other.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::endpoint::Lease;
use crate::clock::Millis;

/// A request's body on its way to an upstream.
#[derive(Debug, Default)]
pub struct RequestBody {
    /// What a bounded look ahead has read already.
    head: Option<Bytes>,
    rest: Option<Incoming>,
    /// Counts the bytes that came from the client.
    received: Option<Arc<AtomicU64>>,
}

/// A response's body on its way from an upstream. Holds the connection until the body has ended.
pub struct UpstreamBody {
    incoming: Incoming,
    lease: Option<Lease>,
    since: Millis,
}

impl RequestBody {
    /// The client's body as it comes; `received` counts its bytes.
    pub fn streaming(incoming: Incoming, received: &Arc<AtomicU64>) -> Self {
        if incoming.is_end_stream() {
            return Self::default();
        }
        Self { head: None, rest: Some(incoming), received: Some(Arc::clone(received)) }
    }

    /// Puts back in front what was read of the body.
    pub fn put_back(&mut self, head: Bytes) {
        // It is counted already.
        self.head = Some(head).filter(|bytes| !bytes.is_empty());
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if let Some(head) = this.head.take() {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        let Some(rest) = &mut this.rest else { return Poll::Ready(None) };
        let polled = Pin::new(rest).poll_frame(context);
        if let (Poll::Ready(Some(Ok(frame))), Some(received)) = (&polled, &this.received) {
            received.fetch_add(frame.data_ref().map_or(0, Bytes::len) as u64, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.rest.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.head.as_ref().map_or(0, Bytes::len) as u64;
        let mut hint = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + read);
        }
        hint.set_lower(hint.lower() + read);
        hint
    }
}

impl UpstreamBody {
    pub(super) fn new(incoming: Incoming, lease: Lease, since: Millis) -> Self {
        let mut body = Self { incoming, lease: Some(lease), since };
        body.give_back_if_ended();
        body
    }

    fn give_back_if_ended(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back(self.since);
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
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        // Without its connection all of the body is here already.
        let Some(lease) = &mut this.lease else {
            return Pin::new(&mut this.incoming).poll_frame(context).map_err(Into::into);
        };
        let polled = lease.connection().poll_frame(&mut this.incoming, context);
        match &polled {
            Poll::Ready(Some(Ok(_))) => this.give_back_if_ended(),
            Poll::Ready(Some(Err(_))) => this.lease = None,
            Poll::Ready(None) => {
                if let Some(lease) = this.lease.take() {
                    lease.give_back(this.since);
                }
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
