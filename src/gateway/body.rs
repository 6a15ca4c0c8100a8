//! The body of every answer to a client, and the moment an exchange ends.
//!
//! Invariant: an exchange is counted and logged exactly once, when its body is dropped, whether it ended well or not.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::record::Ending;
use crate::upstream::UpstreamBody;

/// What the client gets after the head.
#[derive(Debug)]
pub struct ResponseBody {
    source: Source,
    ending: Option<Ending>,
}

#[derive(Debug)]
enum Source {
    Full(Option<Bytes>),
    Upstream(UpstreamBody),
    /// From a connection that was opened for an upgrade that was not granted.
    Unpooled(Incoming),
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
#[error("nothing moved for too long")]
struct Stalled;

impl ResponseBody {
    pub fn full(bytes: Bytes) -> Self {
        Self { source: Source::Full(Some(bytes).filter(|bytes| !bytes.is_empty())), ending: None }
    }

    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    pub fn upstream(body: UpstreamBody) -> Self {
        Self { source: Source::Upstream(body), ending: None }
    }

    pub fn unpooled(body: Incoming) -> Self {
        Self { source: Source::Unpooled(body), ending: None }
    }

    /// Hands over what is to happen when the exchange is over.
    #[must_use]
    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = Some(ending);
        self
    }

    /// The bytes, if they are all there already.
    pub fn into_full(mut self) -> Option<Bytes> {
        match &mut self.source {
            Source::Full(bytes) => bytes.take(),
            _ => None,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let polled = match &mut this.source {
            Source::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Upstream(body) => Pin::new(body).poll_frame(context),
            Source::Unpooled(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        };
        let Some(ending) = &mut this.ending else { return polled };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => ending.sent(frame.data_ref().map_or(0, Bytes::len)),
            Poll::Pending if ending.stalled() => return Poll::Ready(Some(Err(Stalled.into()))),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_none(),
            Source::Upstream(body) => body.is_end_stream(),
            Source::Unpooled(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Source::Upstream(body) => body.size_hint(),
            Source::Unpooled(body) => body.size_hint(),
        }
    }
}
