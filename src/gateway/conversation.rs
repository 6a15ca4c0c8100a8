//! An HTTP/1.1 connection: requests and answers in turn, until either side has enough or a request can't be trusted.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use http::{Method, Version};

use super::body::ResponseBody;
use super::connection::{Client, Phase};
use super::exchange::{Outcome, exchange};
use super::problem::Problem;
use super::record::Record;
use super::reply::Reply;
use super::worker::Worker;
use crate::config::Limits;
use crate::http1::{
    HeadFault, HeadLimits, Incoming, Malformed, Name, ServerConnection, Shortcut, Turn, Unfinished,
};
use crate::upstream::{Request, RequestBody};

/// Serves one connection to its end.
pub async fn converse(worker: &Rc<Worker>, client: &Rc<Client>, connection: ServerConnection) {
    let (limits, most_unread) = {
        let limits = &worker.generation().settings.config.limits;
        (head_limits(limits), limits.peek_bytes)
    };
    loop {
        let (head, incoming) = match next_request(client, &connection, limits).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(fault) => return Box::pin(refuse(worker, client, &connection, &fault, most_unread)).await,
        };
        let turn = Turn::of(&head);
        let asks_for_upgrade = head.fields.has(Name::Upgrade);
        let body = RequestBody::http1(incoming, &client.activity.inflow);
        let Some(outcome) = answer(worker, client, &connection, Request { head, body }).await else { return };
        let reply = match outcome {
            Outcome::Reply(reply) => reply,
            Outcome::Upgrade(reply, tunnel) => {
                if connection.respond(turn, &reply.head, &mut Some(reply.body), false).await.is_ok()
                    && let Some(stream) = connection.into_stream()
                {
                    Box::pin(tunnel.run(stream)).await;
                }
                return;
            }
        };
        let keeps = give(worker, client, &connection, turn, reply).await;
        // What was sent for the protocol that was asked for, whoever refused it and why, is no request of this one.
        if keeps == Some(true) && asks_for_upgrade && connection.has_more() {
            let fault = HeadFault::Malformed(Malformed::Upgrade);
            return Box::pin(refuse(worker, client, &connection, &fault, most_unread)).await;
        }
        match keeps {
            Some(true) if connection.is_read() || Box::pin(connection.skip_body(most_unread)).await => {}
            Some(_) => return Box::pin(connection.linger(most_unread)).await,
            None => return,
        }
    }
}

/// What a head may have, whatever it comes by.
pub fn head_limits(limits: &Limits) -> HeadLimits {
    HeadLimits { bytes: limits.header_bytes, lines: limits.headers }
}

/// The next request; `None` when there will be none.
async fn next_request(
    client: &Client,
    connection: &ServerConnection,
    limits: HeadLimits,
) -> Result<Option<Incoming>, HeadFault> {
    poll_fn(|context| {
        let polled = connection.poll_request(context, limits);
        if polled.is_pending() {
            if !connection.is_idle() {
                client.activity.began();
            } else if client.activity.is_draining() {
                return Poll::Ready(Ok(None));
            }
        }
        polled
    })
    .await
}

/// The answer; `None` when the client has gone.
async fn answer(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    connection: &ServerConnection,
    request: Request,
) -> Option<Outcome> {
    // What a connection needs while it rests should be small.
    let mut work = Box::pin(exchange(worker, client, request));
    poll_fn(|context| {
        if let Poll::Ready(outcome) = work.as_mut().poll(context) {
            return Poll::Ready(Some(outcome));
        }
        if client.activity.is_held() && connection.has_hung_up() {
            return Poll::Ready(None);
        }
        connection.poll_gone(context).map(|()| None)
    })
    .await
}

/// Sends the answer. Says whether the connection can be used again; `None`: it is broken.
async fn give(
    worker: &Worker,
    client: &Client,
    connection: &ServerConnection,
    turn: Turn,
    reply: Reply,
) -> Option<bool> {
    let close = reply.last || client.activity.is_draining();
    let mut body = Some(reply.body);
    let shortcut =
        Shortcut { pipes: &worker.pipes, source: ResponseBody::source, moved: ResponseBody::moved };
    match connection.respond_by(turn, &reply.head, &mut body, close, Some(&shortcut)).await {
        Ok(keeps) => Some(keeps),
        Err(Unfinished::Cut) => None,
        // Nothing of the answer was on its way to the client when the upstream broke off, or when the rest of the request
        // turned out to be none.
        Err(Unfinished::Unsent(_)) => {
            let lost = connection.has_lost_body();
            let problem = if lost { Problem::BadRequest } else { Problem::UpstreamFailed };
            let reply = problem.reply().ending(body?.take_over(problem)?);
            connection.respond(turn, &reply.head, &mut Some(reply.body), close).await.ok()
        }
    }
}

/// Answers what is no request, and ends the connection: what follows can't be trusted either.
async fn refuse(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    connection: &ServerConnection,
    fault: &HeadFault,
    most_unread: usize,
) {
    let Some(problem) = Problem::of_head(fault) else { return };
    tracing::debug!(%fault, "request refused");
    client.activity.enter(Phase::Streaming);
    // Its method is unknown, or may be anything.
    let method = Method::from_bytes(b"-").expect("a token");
    let mut ending = Record::new(method, Version::HTTP_11, client).ending(client, &worker.generation());
    ending.record.refuse(problem);
    let reply = problem.reply().ending(ending);
    if connection.respond(Turn::unread(), &reply.head, &mut Some(reply.body), true).await.is_ok() {
        client.activity.enter(Phase::Streaming);
        connection.linger(most_unread).await;
    }
}
