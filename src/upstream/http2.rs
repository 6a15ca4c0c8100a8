//! An endpoint that speaks HTTP/2 by prior knowledge (RFC 9113 section 3.3): gRPC servers do. One connection a worker carries
//! all its requests; it is opened with the first and opened anew when it has ended.
//!
//! Invariants
//! - A request is handed back only if the upstream can't have looked at it: nothing was sent, or the upstream says so itself
//!   (`GOAWAY` with a lower stream, `REFUSED_STREAM`; RFC 9113 section 8.7).
//! - Those who need a connection at the same time wait for one and the same.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::time::{Duration, Instant};

use http::Version;
use http::header::{EXPECT, HOST, HeaderValue, TE};
use http::uri::{Authority, Scheme, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Mutex, MutexGuard};

use super::io::{Heard, Listening};
use super::retained::Retained;
use super::{FaultKind, Outgoing, Request, SendFault};
use crate::clock::{self, Millis};
use crate::http1::{RequestHead, ResponseHead, Stream};

/// What the upstream may send of one response before we have taken any of it.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// A connection on which nothing was heard for so long, although an answer was waited for, is not trusted with more requests
/// when the wait is given up. Pings could tell more, but servers end connections that ping them (gRPC's `too_many_pings`).
const SUSPECT_AFTER: Duration = Duration::from_secs(1);

/// Spawns on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// The connection, while there is one.
#[derive(Default)]
pub(super) struct Link {
    way: RefCell<Option<Way>>,
    opening: Mutex<()>,
    /// Attempts to open one that failed.
    failures: Cell<u64>,
    /// When it was last seen in use.
    used: Cell<Millis>,
}

/// The way onto a connection.
#[derive(Clone)]
pub(super) struct Way {
    sender: SendRequest<Retained>,
    heard: Heard,
}

impl Link {
    /// The way onto the connection, if there is one that takes requests.
    pub(super) fn way(&self) -> Option<Way> {
        self.way.borrow().as_ref().filter(|way| !way.sender.is_closed()).cloned()
    }

    /// The right to open a connection; `None` when whoever had it meanwhile has failed.
    pub(super) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        let before = self.failures.get();
        let turn = self.opening.lock().await;
        (self.failures.get() == before).then_some(turn)
    }

    pub(super) fn failed(&self) {
        self.failures.set(self.failures.get() + 1);
    }

    /// Makes `stream` the connection. `open` is dropped when it has ended.
    pub(super) async fn start(&self, stream: Stream, open: impl Sized + 'static) -> Result<Way, SendFault> {
        let heard = Heard::default();
        let (sender, driver) = Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(Listening::new(stream, heard.clone())))
            .await
            .map_err(|_| SendFault(FaultKind::Connect))?;
        tokio::task::spawn_local(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "upstream connection ended");
            }
            drop(open);
        });
        let way = Way { sender, heard };
        *self.way.borrow_mut() = Some(way.clone());
        Ok(way)
    }

    /// Lets the connection end once its streams have.
    pub(super) fn close(&self) {
        self.way.borrow_mut().take();
    }

    /// The same, if that is still the connection.
    fn leave(&self, left: &Way) {
        let mut way = self.way.borrow_mut();
        if way.as_ref().is_some_and(|way| way.heard.same(&left.heard)) {
            way.take();
        }
    }

    /// It is needed now.
    pub(super) fn touch(&self, now: Millis) {
        self.used.set(now);
    }

    /// Lets a connection go that nobody has used since `oldest`. Called once a tick.
    pub(super) fn sweep(&self, in_use: bool, now: Millis, oldest: Millis) {
        if in_use {
            self.used.set(now);
        } else if self.used.get() <= oldest {
            self.close();
        }
    }

    /// Sends one request on a connection. After a fault it is still in `outgoing` if the upstream can't have looked at it.
    pub(super) async fn exchange(
        &self,
        mut way: Way,
        outgoing: &mut Outgoing,
    ) -> Result<(ResponseHead, Incoming), SendFault> {
        if way.sender.ready().await.is_err() {
            self.leave(&way);
            return Err(SendFault(FaultKind::Closed));
        }
        let Request { head, body } = outgoing.take().expect("whoever sends a request has one");
        let Some(request) = request_of(&head) else {
            *outgoing = Some(Request { head, body });
            return Err(SendFault(FaultKind::Protocol));
        };
        let (body, back) = Retained::new(body);
        let request = request.map(|()| body);
        let waiting = Waiting { link: self, way: &way, since: clock::now(), heard: way.heard.count() };
        let mut sender = way.sender.clone();
        let answered = sender.try_send_request(request).await;
        waiting.over();
        let mut error = match answered {
            Ok(response) => {
                let read = ResponseHead::of_http2(response, &head.method);
                return read.map_err(|_| SendFault(FaultKind::Protocol));
            }
            Err(error) => error,
        };
        let (kind, body) = match (error.take_message(), Cause::of(error.error())) {
            (Some(request), _) => {
                self.leave(&way);
                (FaultKind::Closed, request.into_body().into_inner())
            }
            (None, Cause::GoingAway) => {
                self.leave(&way);
                (FaultKind::Closed, back.body().await)
            }
            (None, Cause::Refused) => (FaultKind::Exhausted, back.body().await),
            (None, Cause::Body) => (FaultKind::Request, None),
            (None, Cause::Broken) => (FaultKind::Closed, None),
        };
        *outgoing = body.map(|body| Request { head, body });
        Err(SendFault(kind))
    }
}

/// Somebody waits for an answer on a connection.
struct Waiting<'a> {
    link: &'a Link,
    way: &'a Way,
    since: Instant,
    /// Bytes that had come when the wait began.
    heard: u64,
}

impl Waiting<'_> {
    fn over(self) {
        std::mem::forget(self);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.way.heard.count() == self.heard && clock::now() - self.since >= SUSPECT_AFTER {
            tracing::debug!("nothing heard from an upstream: not used for more requests");
            self.link.leave(self.way);
        }
    }
}

/// Why a stream ended before its answer began.
enum Cause {
    /// The upstream takes no more on this connection, and did nothing about this request.
    GoingAway,
    /// Nor did it about this one: it has too much to do.
    Refused,
    /// We broke it off ourselves, because the client's body broke off.
    Body,
    /// Whatever the upstream did about the request, it says no more.
    Broken,
}

impl Cause {
    fn of(error: &hyper::Error) -> Self {
        let Some(error) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
            return Self::Broken;
        };
        if error.is_remote() {
            // Streams up to the one that GOAWAY names end with their connection, not with this error.
            return match error.reason() {
                _ if error.is_go_away() => Self::GoingAway,
                Some(h2::Reason::REFUSED_STREAM) => Self::Refused,
                _ => Self::Broken,
            };
        }
        if error.is_reset() && !error.is_library() { Self::Body } else { Self::Broken }
    }
}

/// The request in HTTP/2's terms: the host is its authority, and there is no `Host` beside it. Its body is still to be put there.
fn request_of(head: &RequestHead) -> Option<http::Request<()>> {
    let mut headers = head.fields.to_map();
    headers.remove(EXPECT);
    let authority = Authority::try_from(headers.remove(HOST)?.as_bytes()).ok()?;
    let uri =
        Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(head.target.clone()).build();
    // The only coding of transfers that HTTP/2 knows of, and gRPC asks for it (RFC 9113 section 8.2.2).
    if head.takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    let mut request = http::Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri.ok()?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Some(request)
}
