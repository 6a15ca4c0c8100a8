//! One HTTP/1.1 connection to an upstream, driven by whoever holds it: the exchange's own task sends the request, its body as
//! it comes from the client, and reads the response. An answer wakes the task that waits for it, with no second one between.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use hyper::body::Body;
use tokio::time::Sleep;

use super::body::RequestBody;
use super::{FaultKind, Outgoing, Request, SendFault};
use crate::http1::{
    BodyFault, ClientConnection, Length, Name, Prefixed, RequestHead, ResponseHead, SendError, Stream,
};

/// How long an upstream may think about `Expect: 100-continue` before it gets the body all the same: it may never have heard
/// of that (RFC 9110 section 10.1.1).
const CONTINUE_WITHIN: Duration = Duration::from_secs(1);

pub(super) struct Connection {
    http: ClientConnection,
    upload: Upload,
    /// Of a request under way that changes nothing and has no body.
    repeatable: Option<Box<RequestHead>>,
}

/// What is left to send of the request under way.
enum Upload {
    Done,
    /// The upstream was asked whether it wants the body.
    Held(RequestBody, Pin<Box<Sleep>>),
    Streaming(RequestBody, Option<HeaderMap>),
    /// The upstream takes no more. It may have answered all the same.
    Refused,
}

type PolledFrame = Poll<Option<Result<hyper::body::Frame<Bytes>, BodyFault>>>;

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self { http: ClientConnection::new(stream), upload: Upload::Done, repeatable: None }
    }

    /// Ready for a request, as of now: neither ended nor still busy with the exchange before.
    pub(super) fn is_usable(&mut self) -> bool {
        matches!(self.upload, Upload::Done) && self.http.is_usable()
    }

    /// The exchange is over on both sides, and the upstream keeps the connection.
    pub(super) fn is_reusable(&self) -> bool {
        matches!(self.upload, Upload::Done) && self.http.is_reusable()
    }

    /// Holds no buffer until the next request.
    pub(super) fn rest(&mut self) {
        self.http.rest();
    }

    pub(super) const fn is_done(&self) -> bool {
        self.http.is_done()
    }

    pub(super) const fn bytes_left(&self) -> Option<u64> {
        self.http.bytes_left()
    }

    /// The stream behind the last head, for an upgrade.
    pub(super) fn into_stream(self) -> Prefixed {
        self.http.into_stream()
    }

    /// Sends the request and waits for the response's head. After a fault the request is still in `outgoing` if no byte of it
    /// was sent.
    pub(super) async fn exchange(&mut self, outgoing: &mut Outgoing) -> Result<ResponseHead, SendFault> {
        self.begin(outgoing).await?;
        poll_fn(|context| {
            self.poll_upload(context).map_err(|fault| SendFault(FaultKind::of_request(&fault)))?;
            loop {
                let head = ready!(self.http.poll_response(context)).map_err(|fault| {
                    SendFault(match fault {
                        SendError::Malformed(_) => FaultKind::Protocol,
                        SendError::Closed => FaultKind::Closed,
                    })
                })?;
                if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                    self.repeatable = None;
                    if matches!(self.upload, Upload::Held(..)) {
                        self.upload = Upload::Refused;
                    }
                    return Poll::Ready(Ok(head));
                }
                if head.status == StatusCode::CONTINUE {
                    self.release();
                    self.poll_upload(context).map_err(|fault| SendFault(FaultKind::of_request(&fault)))?;
                }
            }
        })
        .await
    }

    /// Sends the head, with what of the body is there already, until something of it is on its way.
    async fn begin(&mut self, outgoing: &mut Outgoing) -> Result<(), SendFault> {
        let Request { head, body } = outgoing.as_mut().expect("whoever sends a request has one");
        self.http.begin(head);
        let asks_first = !body.is_end_stream() && head.fields.has(Name::Expect);
        // Sent together with the head; kept in case nothing of both gets out.
        let mut first = None;
        let mut trailers = None;
        let mut looked = asks_first || body.is_end_stream();
        let mut ended = body.is_end_stream() && !asks_first;
        poll_fn(|context| {
            if !looked && let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(context) {
                looked = true;
                match frame.map(|frame| frame.map(hyper::body::Frame::into_data)) {
                    Some(Ok(Ok(data))) => {
                        first = Some(data.clone());
                        self.http.queue(data);
                    }
                    Some(Ok(Err(frame))) => trailers = frame.into_trailers().ok(),
                    Some(Err(fault)) => return Poll::Ready(Err(SendFault(FaultKind::of_request(&fault)))),
                    None => {}
                }
                // Behind a large piece there is no room for the end yet: it follows.
                if body.is_end_stream() && self.http.has_room() {
                    self.http.queue_end(trailers.as_ref());
                    ended = true;
                }
            }
            match self.http.poll_flush(context) {
                _ if self.http.has_sent() => Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
                Poll::Ready(Err(_)) => {
                    if let Some(data) = first.take() {
                        body.put_back(data);
                    }
                    Poll::Ready(Err(SendFault(FaultKind::Closed)))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
        let Request { head, body } = outgoing.take().expect("it was there a moment ago");
        let repeatable = head.length == Length::None && matches!(head.method, Method::GET | Method::HEAD);
        self.repeatable = repeatable.then_some(head);
        self.upload = if ended {
            Upload::Done
        } else if asks_first {
            Upload::Held(body, Box::pin(tokio::time::sleep(CONTINUE_WITHIN)))
        } else {
            Upload::Streaming(body, trailers)
        };
        Ok(())
    }

    /// The request under way once more, if it changes nothing and has no body: nobody waits for this answer any longer.
    pub(super) fn take_repeatable(&mut self) -> Option<Request> {
        Some(Request { head: self.repeatable.take()?, body: RequestBody::default() })
    }

    /// The upstream wants the body.
    fn release(&mut self) {
        self.upload = match std::mem::replace(&mut self.upload, Upload::Done) {
            Upload::Held(body, _) => Upload::Streaming(body, None),
            other => other,
        };
    }

    /// Sends what there is to send of the body. A fault is the client's.
    fn poll_upload(&mut self, context: &mut Context<'_>) -> Result<(), BodyFault> {
        if let Upload::Held(_, wait) = &mut self.upload
            && wait.as_mut().poll(context).is_ready()
        {
            self.release();
        }
        loop {
            let Upload::Streaming(body, trailers) = &mut self.upload else {
                self.flush(context);
                return Ok(());
            };
            if !self.http.has_room() {
                match self.http.poll_flush(context) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => {
                        self.upload = Upload::Refused;
                        return Ok(());
                    }
                    Poll::Pending => return Ok(()),
                }
            }
            match Pin::new(body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.http.queue(data),
                    Err(frame) => *trailers = frame.into_trailers().ok(),
                },
                Poll::Ready(Some(Err(fault))) => {
                    self.upload = Upload::Refused;
                    return Err(fault);
                }
                Poll::Ready(None) => {
                    self.http.queue_end(trailers.as_ref());
                    self.upload = Upload::Done;
                }
                Poll::Pending => {
                    self.flush(context);
                    return Ok(());
                }
            }
        }
    }

    /// Something of the request, perhaps its very end, is not on its way yet.
    fn has_to_send(&self) -> bool {
        match self.upload {
            Upload::Done => !self.http.is_flushed(),
            Upload::Held(..) | Upload::Streaming(..) => true,
            Upload::Refused => false,
        }
    }

    fn flush(&mut self, context: &mut Context<'_>) {
        if matches!(self.http.poll_flush(context), Poll::Ready(Err(_))) {
            // Whether the upstream has answered before it hung up, reading will tell.
            self.upload = Upload::Refused;
        }
    }

    /// The connection itself, for a response's body that goes past this process: nothing is left to send of the request's.
    pub(super) fn source(&mut self) -> Option<&mut ClientConnection> {
        (matches!(self.upload, Upload::Done) && self.http.is_flushed()).then_some(&mut self.http)
    }

    /// The next frame of the response's body; the request's goes on meanwhile.
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> PolledFrame {
        if self.has_to_send()
            && let Err(fault) = self.poll_upload(context)
        {
            return Poll::Ready(Some(Err(fault)));
        }
        self.http.poll_frame(context)
    }
}

#[cfg(test)]
mod tests;
