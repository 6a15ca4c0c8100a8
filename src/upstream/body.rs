//! Bodies on their way through: nothing is gathered, back-pressure passes from one side to the other.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::connection::ProtocolFault;
use super::endpoint::Lease;
use crate::clock::Millis;

/// A request's body on its way to an upstream.
#[derive(Debug)]
pub enum RequestBody {
    Empty,
    Streaming(Incoming),
    /// What a bounded look ahead has read, then the rest.
    Peeked {
        head: Option<Bytes>,
        rest: Incoming,
    },
}

/// A response's body on its way from an upstream. Holds the connection until the body has ended.
pub struct UpstreamBody {
    incoming: Incoming,
    lease: Option<Lease>,
    since: Millis,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Peeked { head, rest } => match head.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Pin::new(rest).poll_frame(context),
            },
            Self::Streaming(incoming) => Pin::new(incoming).poll_frame(context),
            Self::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Peeked { head, rest } => head.is_none() && rest.is_end_stream(),
            Self::Streaming(incoming) => incoming.is_end_stream(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streaming(incoming) => incoming.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
            Self::Peeked { head, rest } => {
                let read = head.as_ref().map_or(0, Bytes::len) as u64;
                let mut hint = rest.size_hint();
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper + read);
                }
                hint.set_lower(hint.lower() + read);
                hint
            }
        }
    }
}

impl RequestBody {
    /// The body with what was read of it put back in front.
    #[must_use]
    pub fn with_head(self, head: Option<Bytes>) -> Self {
        match self {
            Self::Streaming(rest) | Self::Peeked { rest, .. } => Self::Peeked { head, rest },
            Self::Empty => Self::Empty,
        }
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
        let ended = match &mut this.lease {
            Some(lease) => lease.connection().poll_drive(context).is_ready(),
            None => false,
        };
        match Pin::new(&mut this.incoming).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                this.give_back_if_ended();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.lease = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                if let Some(lease) = this.lease.take().filter(|_| !ended) {
                    lease.give_back(this.since);
                }
                Poll::Ready(None)
            }
            // A driver that has ended wakes nobody any more.
            Poll::Pending if ended => Poll::Ready(Some(Err(ProtocolFault.into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
