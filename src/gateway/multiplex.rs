//! An HTTP/2 connection: streams side by side, each an exchange with a deadline of its own.

use std::cell::Cell;
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
use super::connection::{Activity, Client, OpenStream, Peer};
use super::exchange::{Outcome, exchange};
use super::problem::Problem;
use super::record::Record;
use super::worker::Worker;
use crate::http1::RequestHead;
use crate::upstream::{self, Local, RequestBody};

/// Requests under way on one connection. Browsers open one connection and ask for a page's hundred pieces at once.
const MOST_STREAMS: u32 = 250;

/// What a client may send of one body, and of all bodies of its connection, before we have taken any of it.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What may wait for a stream's window, per stream.
const SEND_BUFFER: usize = 256 * 1024;

/// Serves one connection to its end. `activity` is the connection's own: it has a deadline while no stream is open.
pub async fn multiplex<S>(worker: &Rc<Worker>, peer: &Rc<Peer>, activity: &Rc<Activity>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = worker.generation().settings.config.limits.clone();
    let streams = Rc::new(Cell::new(0));
    let service = {
        let (worker, peer, activity) = (Rc::clone(worker), Rc::clone(peer), Rc::clone(activity));
        service_fn(move |request| {
            let open = OpenStream::new(&streams, &activity);
            answer(Rc::clone(&worker), Rc::clone(&peer), open, request)
        })
    };
    let connection = Builder::new(Local)
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(MOST_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut told = false;
    let serving = pin!(poll_fn(|context| {
        if activity.is_draining() && !told {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(context)
    }));
    if let Some(Err(error)) = activity.attend(serving).await {
        tracing::debug!(%error, "connection ended");
    }
}

/// One stream: a request and its answer.
async fn answer(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    open: OpenStream,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, std::convert::Infallible> {
    let activity = Activity::new(&worker.clock, &worker.generation().settings.config.timeouts);
    let listed = worker.list_stream(&activity);
    let client = Client { peer, activity: Rc::clone(&activity), listed: Some(listed), open: Some(open) };
    let client = Rc::new(client);
    let (parts, incoming) = request.into_parts();
    let method = parts.method.clone();
    let refuse = |problem: Problem| {
        let record = Record::new(method.clone(), http::Version::HTTP_2, &client);
        let mut ending = record.ending(&client, &worker.generation());
        ending.record.refuse(problem);
        problem.reply().ending(ending)
    };
    let reply = match RequestHead::of_http2(parts, incoming.is_end_stream()) {
        Err(_) => refuse(Problem::BadRequest),
        Ok(head) => {
            let (head, body) = (Box::new(head), RequestBody::http2(incoming, &activity.received));
            let work = pin!(exchange(&worker, &client, upstream::Request { head, body }));
            match activity.attend(work).await {
                Some(Outcome::Reply(reply) | Outcome::Upgrade(reply, _)) => reply,
                None => refuse(Problem::RequestTimeout),
            }
        }
    };
    Ok(reply.into_http())
}
