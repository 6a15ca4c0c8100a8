//! One request, phase by phase: own paths, identify, locate, classify, decide, forward, answer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::header::{HOST, HeaderMap, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::body::ResponseBody;
use super::connection::{Activity, Client, Phase};
use super::forward::Forwarding;
use super::headers;
use super::identify::identify;
use super::own_paths;
use super::peek;
use super::problem::Problem;
use super::record::{Ending, Record};
use super::worker::{Generation, Worker};
use crate::domain::decide::{Access, Entry, Location};
use crate::domain::routes::{RouteMatch, is_unambiguous};
use crate::upstream::RequestBody;

/// Answers one request. Never fails: what goes wrong becomes a [`Problem`].
pub async fn exchange(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let generation = worker.generation();
    client.activity.enter(Phase::Waiting);
    let mut ending =
        Record::new(request.method().clone(), request.version(), client).ending(client, &generation);
    if let Some(mut response) = own_paths::answer(worker, &generation.settings, client.entry, &request) {
        ending.record.status = response.status().as_u16();
        if request.method() == Method::HEAD {
            *response.body_mut() = ResponseBody::empty();
        }
        return finish(client, response, ending);
    }
    let outcome =
        within_deadline(&client.activity, answer(worker, &generation, client, &mut ending.record, request))
            .await
            .unwrap_or(Err(Problem::UpstreamTimeout));
    let response = match outcome {
        Ok(Answer::Plain(response)) => response,
        Ok(Answer::Upgraded(response, tunnel)) => {
            ending.record.status = response.status().as_u16();
            client.activity.enter(Phase::Streaming);
            tunnel.start(ending);
            return response;
        }
        Err(problem) => {
            ending.record.refuse(problem);
            problem.response()
        }
    };
    ending.record.status = response.status().as_u16();
    finish(client, response, ending)
}

/// What an exchange has come to.
pub enum Answer {
    Plain(Response<ResponseBody>),
    /// The head to send; then the connection is a tunnel.
    Upgraded(Response<ResponseBody>, super::tunnel::Tunnel),
}

fn finish(client: &Client, response: Response<ResponseBody>, ending: Ending) -> Response<ResponseBody> {
    client.activity.enter(Phase::Streaming);
    response.map(|body| body.ending(ending))
}

async fn answer(
    worker: &Rc<Worker>,
    generation: &Rc<Generation>,
    client: &Client,
    record: &mut Record,
    mut request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let config = &generation.settings.config;
    let upgrade =
        request.headers().get(UPGRADE).cloned().map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
    let (mut parts, body) = request.into_parts();
    normalise(&mut parts)?;
    let peer_believed = client.entry == Entry::Hop || is_believed(generation, client);
    let asks_upgrade = headers::strip(&mut parts.headers, peer_believed);
    let upgrade = upgrade.filter(|_| asks_upgrade);

    let route = config.routes.find(parts.method.as_str(), parts.uri.path());
    record.route = route.as_ref().map(|found| found.index);
    let access = classify(&parts.method, upgrade.is_some(), route.as_ref());
    record.access = access;

    let identity = identify(generation, &parts.headers, worker.clock.unix_seconds()).await;
    let mut subject = None;
    let mut body = RequestBody::streaming(body, &client.activity.body_bytes);
    let location = match identity {
        Ok(Some(identity)) => {
            record.subject = identity.subject_hash;
            subject.clone_from(&identity.subject);
            identity.location
        }
        Ok(None) => without_token(generation, route.as_ref(), &mut body).await?,
        Err(refusal) => Location::Unknown(refusal),
    };
    if let Some(named) = route.as_ref().and_then(|found| found.subject) {
        let named = subject_of_path(named)?;
        record.subject = named.to_str().ok().map(|text| generation.settings.hasher.hash(text));
        subject = Some(named);
    }
    headers::add_forwarded(&mut parts.headers, client, peer_believed);
    let forwarding = Forwarding { worker, generation, entry: client.entry, access, location, subject };
    forwarding.run(record, Request::from_parts(parts, body), upgrade).await
}

/// Whose data a request without a token is about, as far as its route says.
async fn without_token(
    generation: &Generation,
    route: Option<&RouteMatch<'_, '_>>,
    body: &mut RequestBody,
) -> Result<Location, Problem> {
    let Some(RouteMatch { rule, .. }) = route else { return Ok(Location::Anonymous) };
    if let Some(jurisdiction) = rule.jurisdiction {
        return Ok(Location::Jurisdiction(jurisdiction));
    }
    let Some(source) = &rule.country else { return Ok(Location::Anonymous) };
    let config = &generation.settings.config;
    let read = peek::peek(body, config.limits.peek_bytes).await?;
    Ok(peek::country(&config.topology, source, &read))
}

pub fn classify(method: &Method, upgrade: bool, route: Option<&RouteMatch<'_, '_>>) -> Access {
    if let Some(access) = route.and_then(|found| found.rule.access) {
        return access;
    }
    match *method {
        _ if upgrade => Access::Write,
        Method::GET | Method::HEAD | Method::OPTIONS => Access::Read,
        _ => Access::Write,
    }
}

/// Brings the request into the one form that goes upstream, or refuses what could be read in two ways.
fn normalise(parts: &mut Parts) -> Result<(), Problem> {
    if parts.method == Method::CONNECT || !is_unambiguous(parts.uri.path()) {
        return Err(Problem::BadRequest);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() || (host.is_none() && parts.version == Version::HTTP_11) {
        return Err(Problem::BadRequest);
    }
    if let Some(authority) = parts.uri.authority() {
        // Absolute form: the target's host replaces the header's (RFC 9112 §3.2.2).
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Problem::BadRequest)?;
        parts.headers.insert(HOST, host);
        let path = parts.uri.path_and_query().cloned().ok_or(Problem::BadRequest)?;
        parts.uri = path.into();
    }
    parts.version = Version::HTTP_11;
    Ok(())
}

fn is_believed(generation: &Generation, client: &Client) -> bool {
    generation.settings.config.trusted_proxies.iter().any(|network| network.contains(&client.peer))
}

fn subject_of_path(segment: &str) -> Result<HeaderValue, Problem> {
    let decoded =
        percent_encoding::percent_decode_str(segment).decode_utf8().map_err(|_| Problem::BadRequest)?;
    HeaderValue::from_str(&decoded).map_err(|_| Problem::BadRequest)
}

/// Runs `work` until it is done or the connection's deadline passes.
async fn within_deadline<F: Future>(activity: &Activity, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    poll_fn(|context| {
        if activity.expired() {
            activity.forgive();
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// The downstream side of an upgrade, and the protocol asked for.
pub type Upgrade = (HeaderValue, OnUpgrade);

/// Takes out what a response must not carry to a client.
pub fn strip_response(headers: &mut HeaderMap, keep_served_by: bool) {
    let served_by = keep_served_by.then(|| headers.get(headers::SERVED_BY).cloned()).flatten();
    headers::strip(headers, true);
    if let Some(region) = served_by {
        headers.insert(headers::SERVED_BY, region);
    }
}
