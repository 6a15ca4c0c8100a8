//! The body of every answer to a client, and the moment an exchange ends.
//!
//! Invariant: an exchange is counted and logged exactly once, when its body is dropped, whether it ended well or not.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::presence::Present;
use super::problem::Problem;
use super::record::Ending;
use crate::http1::{BodyFault, ClientConnection};
use crate::upstream::UpstreamBody;

/// What the client gets after the head.
#[derive(Debug)]
pub struct ResponseBody {
    source: Source,
    ending: Option<Box<Ending>>,
    until: Option<Until>,
}

/// When a stream without an end of its own is to end.
struct Until(Pin<Box<dyn Future<Output = ()>>>);

impl std::fmt::Debug for Until {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Until")
    }
}

#[derive(Debug)]
enum Source {
    Full(Option<Bytes>),
    Upstream(UpstreamBody),
}

impl ResponseBody {
    pub fn full(bytes: Bytes) -> Self {
        Self {
            source: Source::Full(Some(bytes).filter(|bytes| !bytes.is_empty())),
            ending: None,
            until: None,
        }
    }

    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    pub fn upstream(body: UpstreamBody) -> Self {
        Self { source: Source::Upstream(body), ending: None, until: None }
    }

    /// Hands over what is to happen when the exchange is over.
    #[must_use]
    pub fn ending(mut self, ending: Box<Ending>) -> Self {
        let present = ending.record.present.as_ref();
        self.until = present.and_then(Present::told_to_end).map(Until);
        self.ending = Some(ending);
        self
    }

    /// The connection that the next bytes come from, while there is nothing else to do for the body.
    pub fn source(&mut self) -> Option<&mut ClientConnection> {
        if self.until.is_some() {
            return None;
        }
        match &mut self.source {
            Source::Full(_) => None,
            Source::Upstream(body) => body.source(),
        }
    }

    /// So many bytes went to the client past [`Body::poll_frame`].
    pub fn moved(&mut self, count: usize) {
        if let Some(ending) = &mut self.ending {
            ending.sent(count);
        }
    }

    /// The exchange comes to something else: another body will end it.
    pub fn take_over(mut self, problem: Problem) -> Option<Box<Ending>> {
        let mut ending = self.ending.take()?;
        ending.record.refuse(problem);
        ending.record.status = problem.status().as_u16();
        Some(ending)
    }

    /// The bytes, if they are all there already.
    pub fn into_full(mut self) -> Option<Bytes> {
        match &mut self.source {
            Source::Full(bytes) => bytes.take(),
            Source::Upstream(_) => None,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        // A stream that ends like this is whole: its client opens another one, which goes to the new home.
        if let Some(Until(told)) = &mut this.until
            && told.as_mut().poll(context).is_ready()
        {
            (this.source, this.until) = (Source::Full(None), None);
        }
        let polled = match &mut this.source {
            Source::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Upstream(body) => Pin::new(body).poll_frame(context),
        };
        let Some(ending) = &mut this.ending else { return polled };
        ending.look();
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            ending.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_none(),
            Source::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Source::Upstream(body) => body.size_hint(),
        }
    }
}
