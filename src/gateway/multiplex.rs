//! An HTTP/2 connection: streams side by side, each an exchange with a deadline of its own.
//!
//! Invariants
//! - A stream's deadline ends the stream and no other; a client that takes nothing of an answer meets it, too.
//! - A connection without a stream has a deadline, and is told before it ends: what the client sends in that moment can be sent
//!   again by the client without a doubt.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::ResponseBody;
use super::connection::{Activity, Client, OpenStream, Peer, Phase};
use super::conversation::head_limits;
use super::exchange::{Outcome, exchange};
use super::problem::Problem;
use super::record::Record;
use super::worker::Worker;
use crate::http1::{HeadLimits, RequestHead};
use crate::upstream::{self, RequestBody};

/// Requests under way on one connection. Browsers open one connection and ask for a page's hundred pieces at once.
const MOST_STREAMS: u32 = 250;

/// What a client may send of one body before we have taken any of it, and of all bodies of its connection: sixteen that nobody
/// takes leave the others room.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// What may wait for a stream's window, per stream.
const SEND_BUFFER: usize = 64 * 1024;

/// What a header line counts beyond its bytes (RFC 9113 section 6.5.2), and how many there are that HTTP/1.1 has no lines for.
const LINE_OVERHEAD: usize = 32;
const PSEUDO_HEADERS: usize = 4;

/// Serves one connection to its end. `activity` is the connection's own: it has a deadline while no stream is open.
pub async fn multiplex<S>(worker: &Rc<Worker>, peer: &Rc<Peer>, activity: &Rc<Activity>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = head_limits(&worker.generation().settings.config.limits);
    let open_streams = Rc::new(Cell::new(0));
    let streams = Streams::default();
    let service = {
        let (worker, peer, activity) = (Rc::clone(worker), Rc::clone(peer), Rc::clone(activity));
        let (open_streams, streams) = (Rc::clone(&open_streams), streams.clone());
        service_fn(move |request| {
            let own = Activity::new(&worker.clock, &worker.generation().settings.config.timeouts);
            streams.begin(&own);
            let client = Client {
                peer: Rc::clone(&peer),
                listed: Some(worker.list_stream(&own)),
                open: Some(OpenStream::new(&open_streams, &activity)),
                activity: own,
            };
            answer(Rc::clone(&worker), Rc::new(client), limits, request)
        })
    };
    let connection = Builder::new(streams)
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(MOST_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(most_that_can_fit(limits))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut told = false;
    loop {
        let serving = pin!(poll_fn(|context| {
            if activity.is_draining() && !told {
                told = true;
                connection.as_mut().graceful_shutdown();
                if open_streams.get() == 0 {
                    activity.enter(Phase::Head);
                }
            }
            connection.as_mut().poll(context)
        }));
        match activity.attend(serving).await {
            None if !told => {
                told = true;
                activity.forgive();
                activity.enter(Phase::Head);
                connection.as_mut().graceful_shutdown();
            }
            None | Some(Ok(())) => return,
            Some(Err(error)) => return tracing::debug!(%error, "connection ended"),
        }
    }
}

/// The size at which a head is beyond the limits in any case. hyper answers that one itself; smaller ones get a [`Problem`].
fn most_that_can_fit(limits: HeadLimits) -> u32 {
    let lines = limits.lines.saturating_add(PSEUDO_HEADERS);
    let bytes = lines.saturating_mul(LINE_OVERHEAD).saturating_add(limits.bytes);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Runs the tasks of a connection's streams, each under its deadline.
///
/// hyper asks an answer's body for more only when the client takes more, so the body is no place to find out that the client
/// takes nothing. The task is: with it goes the stream.
#[derive(Clone, Default)]
struct Streams {
    /// Of the request whose task comes next: hyper calls the service, then spawns.
    next: Rc<Cell<Option<Rc<Activity>>>>,
}

impl Streams {
    fn begin(&self, activity: &Rc<Activity>) {
        self.next.set(Some(Rc::clone(activity)));
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        let activity = self.next.take();
        tokio::task::spawn_local(async move {
            let Some(activity) = activity else { return future.await };
            if activity.attend(pin!(future)).await.is_none() {
                // What the client still sends may be on its way in another task.
                activity.inflow.cut();
            }
        });
    }
}

/// One stream: a request and its answer.
async fn answer(
    worker: Rc<Worker>,
    client: Rc<Client>,
    limits: HeadLimits,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let (parts, incoming) = request.into_parts();
    let (method, version) = (parts.method.clone(), parts.version);
    let reply = match RequestHead::of_http2(parts, incoming.is_end_stream(), limits) {
        Ok(head) => {
            let (head, body) = (Box::new(head), RequestBody::http2(incoming, &client.activity.inflow));
            match exchange(&worker, &client, upstream::Request { head, body }).await {
                Outcome::Reply(reply) | Outcome::Upgrade(reply, _) => reply,
            }
        }
        Err(fault) => {
            tracing::debug!(%fault, "request refused");
            client.activity.enter(Phase::Streaming);
            let problem = Problem::of_head(&fault).unwrap_or(Problem::BadRequest);
            let mut ending = Record::new(method, version, &client).ending(&client, &worker.generation());
            ending.record.refuse(problem);
            problem.reply().ending(ending)
        }
    };
    Ok(reply.into_http())
}
