//! A request's body on its way over HTTP/2, to be had back if the upstream says that it did nothing about the request.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use super::body::RequestBody;
use crate::http1::BodyFault;

/// What of a body is kept until the answer begins: a call's message as a rule.
const MOST_KEPT: usize = 64 * 1024;

/// The body, and what of it has been sent.
#[derive(Debug)]
pub(super) struct Retained {
    body: RequestBody,
    sent: Vec<Bytes>,
    kept: usize,
    back: Option<oneshot::Sender<RequestBody>>,
}

/// Where the body comes back to.
pub(super) struct Back(oneshot::Receiver<RequestBody>);

impl Retained {
    pub(super) fn new(body: RequestBody) -> (Self, Back) {
        let (back, receiver) = oneshot::channel();
        (Self { body, sent: Vec::new(), kept: 0, back: Some(back) }, Back(receiver))
    }

    /// The body as it was, if it is still whole.
    pub(super) fn into_inner(mut self) -> Option<RequestBody> {
        self.back.take().map(|_| self.whole())
    }

    fn whole(&mut self) -> RequestBody {
        let mut body = std::mem::take(&mut self.body);
        if !self.sent.is_empty() {
            let mut sent = BytesMut::with_capacity(self.kept);
            self.sent.drain(..).for_each(|part| sent.extend_from_slice(&part));
            body.put_back(sent.freeze());
        }
        body
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(back) = &self.back else { return };
        let room = MOST_KEPT - self.kept;
        match frame.data_ref() {
            Some(data) if data.len() <= room && !back.is_closed() => {
                self.kept += data.len();
                self.sent.push(data.clone());
            }
            // Too much, or trailers, or the answer has begun.
            _ => {
                self.back = None;
                self.sent = Vec::new();
            }
        }
    }
}

impl Drop for Retained {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            // Nobody wants it as a rule.
            let _ = back.send(self.whole());
        }
    }
}

impl Back {
    /// The body, as soon as whoever sent it has let go of it; `None` if it is not whole any more.
    pub(super) async fn body(self) -> Option<RequestBody> {
        self.0.await.ok()
    }
}

impl Body for Retained {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => this.keep(frame),
            Poll::Ready(Some(Err(_))) => this.back = None,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
