//! One request, phase by phase: own paths, identify, locate, classify, decide, forward, answer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::header::{CONNECTION, EXPECT, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;

use super::body::ResponseBody;
use super::connection::{Client, Phase};
use super::forward::Forwarding;
use super::headers::{self, Coding, Seen};
use super::identify::{Known, known_identity, verify};
use super::own_paths;
use super::peek;
use super::problem::Problem;
use super::record::{Ending, Record};
use super::tunnel::Tunnel;
use super::worker::{Generation, Worker};
use crate::domain::classify::{Classified, Head};
use crate::domain::decide::{Access, Entry, Location};
use crate::domain::named_country::{self, WholeBody};
use crate::domain::routes::{CountrySource, RouteMatch, is_unambiguous};
use crate::telemetry::UpstreamFailure;
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
        ending.record.last = is_last(client, request.headers().contains_key(TRANSFER_ENCODING));
        return finish(client, response, ending);
    }
    let outcome = {
        let mut work = pin!(answer(worker, &generation, client, &mut ending.record, request));
        poll_fn(|context| {
            if client.activity.expired() {
                client.activity.forgive();
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    };
    let outcome = outcome.unwrap_or_else(|| Err(too_late(&generation, &ending.record)));
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

/// Whose fault it is that nothing happened for too long: before a region was chosen only the client's body was awaited.
fn too_late(generation: &Generation, record: &Record) -> Problem {
    let Some(region) = record.served_by else { return Problem::RequestTimeout };
    generation.metrics.upstream_failed(region.index(), UpstreamFailure::Timeout);
    Problem::UpstreamTimeout
}

/// What an exchange has come to.
pub enum Answer {
    Plain(Response<ResponseBody>),
    /// The head to send; then the connection is a tunnel.
    Upgraded(Response<ResponseBody>, Box<Tunnel>),
}

/// A length beside the chunks is gone by now: hyper goes by the chunks alone. Whoever is before us may have gone by the
/// length, so nothing that follows may be taken for a request (RFC 9112 §6.1). Other gateways send no such thing.
fn is_last(client: &Client, chunked: bool) -> bool {
    chunked && client.entry == Entry::Edge
}

fn finish(client: &Client, mut response: Response<ResponseBody>, ending: Ending) -> Response<ResponseBody> {
    client.activity.enter(Phase::Streaming);
    if ending.record.last {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| body.ending(ending))
}

async fn answer(
    worker: &Worker,
    generation: &Rc<Generation>,
    client: &Client,
    record: &mut Record,
    request: Request<Incoming>,
) -> Result<Answer, Problem> {
    let config = &generation.settings.config;
    let (mut parts, body) = request.into_parts();
    let peer_believed = client.entry == Entry::Hop || is_believed(generation, client);
    let seen = headers::strip(&mut parts.headers, peer_believed);
    record.last = is_last(client, seen.coding != Coding::None);
    normalise(&mut parts, &seen)?;
    let upgrade = seen.upgrade.zip(parts.extensions.remove::<OnUpgrade>());

    let route = config.routes.find(parts.method.as_str(), parts.uri.path());
    record.route = route.as_ref().map(|found| found.index);
    let access = classify(&parts.method, upgrade.is_some(), route.as_ref());
    record.access = access;

    if body.size_hint().exact().is_none() {
        // Else hyper, as a client, leaves a GET's or a HEAD's body out.
        parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut body = RequestBody::streaming(body, &client.activity.body_bytes);
    let now = worker.clock.unix_seconds();
    let known = match known_identity(generation, &parts.headers, now) {
        // Rare: a token's first request. Kept out of the state that every request carries.
        Ok(Known::Unverified(token)) => Box::pin(verify(generation, token, now)).await.map(Some),
        Ok(Known::Verified(identity)) => Ok(Some(identity)),
        Ok(Known::NoToken) => Ok(None),
        Err(refusal) => Err(refusal),
    };
    let verified = matches!(known, Ok(Some(_)));
    let mut subject = None;
    let location = match known {
        Ok(Some(identity)) => {
            record.subject = identity.subject_hash;
            subject.clone_from(&identity.subject);
            identity.location
        }
        Ok(None) => match without_token(route.as_ref()) {
            Hint::Located(location) => location,
            Hint::Body(source) => {
                let read = if source.reads_body() {
                    Box::pin(peek::peek(&mut body, config.limits.peek_bytes)).await?
                } else {
                    bytes::Bytes::new()
                };
                let content_type = parts.headers.get(http::header::CONTENT_TYPE).map(HeaderValue::as_bytes);
                let whole = WholeBody { content_type, bytes: &read };
                named_country::locate(&config.topology, source, &whole, |name| {
                    parts.headers.get_all(name).iter().map(HeaderValue::as_bytes)
                })
            }
        },
        Err(refusal) => Location::Unknown(refusal),
    };
    if let Some(named) = route.as_ref().and_then(|found| found.subject) {
        let named = subject_of_path(named)?;
        record.subject = named.to_str().ok().map(|text| generation.settings.hasher.hash(text));
        // Without a verified token nobody is anybody (R8).
        if verified {
            subject = Some(named);
        }
    }
    headers::add_forwarded(&mut parts.headers, client, peer_believed);
    let forwarding = Forwarding { worker, generation, entry: client.entry, access, location, subject };
    let mut request = Some(Request::from_parts(parts, body));
    let answer = match upgrade {
        None => forwarding.run(record, &mut request).await.map(Answer::Plain),
        Some(upgrade) => Box::pin(forwarding.run_upgrade(record, &mut request, upgrade)).await,
    };
    if let (Err(_), Some(unsent)) = (&answer, request)
        && !unsent.body().is_end_stream()
    {
        // Who asks whether to send a body hasn't sent it yet; reading would tell them to.
        let asks_first = unsent.headers().contains_key(EXPECT);
        let read = !asks_first && Box::pin(peek::discard(unsent.into_body(), config.limits.peek_bytes)).await;
        record.last |= !read;
    }
    answer
}

/// The downstream side of an upgrade, and the protocol asked for.
pub type Upgrade = (HeaderValue, OnUpgrade);

/// What a request without a token says about whose data it concerns.
enum Hint<'table> {
    Located(Location),
    /// The body names a country, here.
    Body(&'table CountrySource),
}

fn without_token<'table>(route: Option<&RouteMatch<'table, '_>>) -> Hint<'table> {
    let Some(RouteMatch { rule, .. }) = route else { return Hint::Located(Location::Anonymous) };
    match (rule.jurisdiction, &rule.country) {
        (Some(jurisdiction), _) => Hint::Located(Location::Jurisdiction(jurisdiction)),
        (None, Some(source)) => Hint::Body(source),
        (None, None) => Hint::Located(Location::Anonymous),
    }
}

pub fn classify(method: &Method, upgrade: bool, route: Option<&RouteMatch<'_, '_>>) -> Access {
    let head = Head { method: method.as_str(), upgrade, has_token: true };
    match head.classify(route.map(|found| found.rule)) {
        Classified::As(access) => access,
        // Until its body is looked at.
        Classified::GraphQl(_) => Access::Write,
    }
}

/// Brings the request into the one form that goes upstream, or refuses what could be read in two ways.
fn normalise(parts: &mut Parts, seen: &Seen) -> Result<(), Problem> {
    let hosts_fit = seen.hosts == 1 || (seen.hosts == 0 && parts.version != Version::HTTP_11);
    let fits = hosts_fit && seen.coding != Coding::Other && parts.method != Method::CONNECT;
    if !fits || !is_unambiguous(parts.uri.path()) {
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

/// Takes out what a response must not carry to a client.
pub fn strip_response(headers: &mut HeaderMap, keep_served_by: bool) {
    let served_by = keep_served_by.then(|| headers.get(headers::SERVED_BY).cloned()).flatten();
    headers::strip(headers, true);
    if let Some(region) = served_by {
        headers.insert(headers::SERVED_BY, region);
    }
}
