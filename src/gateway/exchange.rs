//! One request, phase by phase: own paths, identify, locate, classify, decide, forward, answer.

use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, Method, StatusCode, Version};

use super::connection::{Client, Phase};
use super::control_api;
use super::forward::{Forwarding, Known as KnownRequest};
use super::headers::{self, Seen};
use super::identify::{Known, known_identity, verify};
use super::own_paths;
use super::peek::{self, Read};
use super::position::Presented;
use super::problem::Problem;
use super::record::Record;
use super::reply::Reply;
use super::script::Script;
use super::tunnel::Tunnel;
use super::worker::{self, Worker};
use crate::config::Config;
use crate::domain::classify::{self, Classified, Hint, Identified};
use crate::domain::decide::{Access, Entry, Location};
use crate::domain::graphql::{GraphQlRequest, GraphQlRule};
use crate::domain::named::{self, NameSource, Named, WholeBody};
use crate::domain::register::Generation;
use crate::domain::routes::is_unambiguous;
use crate::domain::upstream_groups::UpstreamGroup;
use crate::http1::{Length, Name, Prefixed, RequestHead};
use crate::routing_table::SubjectKeys;
use crate::telemetry::UpstreamFailure;
use crate::upstream::{Request, RequestBody};

/// What an exchange has come to.
pub enum Outcome {
    Reply(Reply),
    /// The head to send; then the connection is a tunnel.
    Upgrade(Reply, Box<Tunnel>),
}

/// What forwarding has come to.
pub enum Answer {
    Plain(Reply),
    /// The head to send, and the upstream's side.
    Upgraded(Reply, Prefixed),
}

/// Answers one request. Never fails: what goes wrong becomes a [`Problem`].
pub async fn exchange(worker: &Rc<Worker>, client: &Rc<Client>, request: Request) -> Outcome {
    let generation = worker.generation();
    client.activity.enter(Phase::Waiting);
    let mut ending =
        Record::new(request.head.method.clone(), request.head.version, client).ending(client, &generation);
    let entry = client.peer.entry;
    if let Some(program) = &client.peer.control {
        let reply = {
            let call = control_api::answer(worker, &generation, program, &mut ending.record, request);
            client.activity.wait_for(pin!(Box::pin(call))).await
        };
        client.activity.enter(Phase::Streaming);
        let reply = reply.unwrap_or_else(|| {
            ending.record.code = Some(Problem::RequestTimeout.code());
            Problem::RequestTimeout.reply()
        });
        return Outcome::Reply(reply.ending(ending));
    }
    if let Some(reply) = own_paths::answer(worker, &generation.settings, entry, &request.head) {
        client.activity.enter(Phase::Streaming);
        return Outcome::Reply(reply.ending(ending));
    }
    let config = &generation.settings.config;
    let script = Script::of(config, &request.head);
    let answered = {
        let work = pin!(answer(worker, &generation, client, &mut ending.record, request));
        client.activity.wait_for(work).await
    };
    let answered = answered.unwrap_or_else(|| Err(too_late(&generation, &ending.record)));
    client.activity.enter(Phase::Streaming);
    let give = |record: &mut Record, reply: &mut Reply| {
        if let Some(positions) = &generation.settings.positions {
            let fields = &mut reply.head.fields;
            positions.attach(&mut record.positions, entry, client.peer.secure, fields, &generation.metrics);
        }
    };
    match answered {
        Ok(Answer::Plain(mut reply)) => {
            give(&mut ending.record, &mut reply);
            Outcome::Reply(reply.ending(ending))
        }
        Ok(Answer::Upgraded(mut reply, upstream)) => {
            give(&mut ending.record, &mut reply);
            ending.record.status = reply.head.status.as_u16();
            Outcome::Upgrade(reply, Box::new(Tunnel { upstream, ending }))
        }
        Err(problem) => {
            ending.record.refuse(problem);
            let rule = ending.record.route.map(|index| &config.routes.rules()[index]);
            let mut reply = problem.reply();
            if entry == Entry::Hop && reply.head.status == StatusCode::MISDIRECTED_REQUEST {
                let mut digits = itoa::Buffer::new();
                let Generation(home) = ending.record.home_generation;
                reply.head.fields.add(headers::GENERATION, digits.format(home).as_bytes());
            }
            let mut reply = match script {
                Some(script) => script.may_read(config, rule, reply),
                None => reply,
            };
            give(&mut ending.record, &mut reply);
            Outcome::Reply(reply.ending(ending))
        }
    }
}

/// Whose fault it is that nothing happened for too long: before a region was chosen only the client's body was awaited.
fn too_late(generation: &worker::Generation, record: &Record) -> Problem {
    let Some(region) = record.served_by else { return Problem::RequestTimeout };
    generation.metrics.upstream_failed(region.index(), UpstreamFailure::Timeout);
    generation.settings.signs.failed(region);
    Problem::UpstreamTimeout
}

async fn answer(
    worker: &Worker,
    generation: &Rc<worker::Generation>,
    client: &Client,
    record: &mut Record,
    request: Request,
) -> Result<Answer, Problem> {
    let config = &generation.settings.config;
    let Request { mut head, mut body } = request;
    let entry = client.peer.entry;
    let peer_believed = entry == Entry::Hop || is_believed(generation, client);
    let positions = generation.settings.positions.as_ref();
    let presented =
        positions.map(|positions| Presented::take(positions, &mut head.fields, &generation.metrics));
    let seen = headers::strip(&mut head.fields, peer_believed);
    normalise(&mut head, &seen).inspect_err(|_| record.last = true)?;

    let route = config.routes.find(head.method.as_str(), head.path());
    record.route = route.as_ref().map(|found| found.index);
    let rule = route.as_ref().map(|found| found.rule);

    let now = worker.clock.unix_seconds();
    let known = match known_identity(generation, &head.fields, now) {
        // Rare: a token's first request. Kept out of the state that every request carries.
        Ok(Known::Unverified(token)) => Box::pin(verify(generation, token, now)).await.map(Some),
        Ok(Known::Verified(identity)) => Ok(Some(identity)),
        Ok(Known::NoToken) => Ok(None),
        Err(refusal) => Err(refusal),
    };
    let (method, has_token) = (head.method.as_str(), !matches!(known, Ok(None)));
    let facts = classify::Head { method, upgrade: seen.websocket, has_token };
    let access = match facts.classify(rule) {
        // The edge has classified it, and its API asked for this.
        _ if seen.replay && entry == Entry::Hop => Access::Write,
        Classified::As(access) => access,
        Classified::GraphQl(_) if known.is_err() => Access::Write,
        Classified::GraphQl(graphql) => {
            Box::pin(by_operation(graphql, &head, &mut body, config.limits.peek_bytes)).await?
        }
    };
    record.access = access;
    let verified = matches!(known, Ok(Some(_)));
    let registers = generation.settings.registers.as_ref();
    let (mut subject, mut slot, mut keys) = (None, None, SubjectKeys::new());
    let location = match known {
        Ok(Some(identity)) => {
            record.subject = identity.subject_hash;
            subject.clone_from(&identity.subject);
            slot = identity.slot;
            keys.clone_from(&identity.keys);
            identity.location
        }
        Ok(None) => match facts.hint(rule) {
            Hint::Located(location) => location,
            Hint::Country(source) => Box::pin(by_country(source, config, &head, &mut body)).await?,
            Hint::Identifier(identified) => {
                let parameter = route.as_ref().and_then(|found| found.identifier);
                let found = by_identifier(identified, generation, &head, &mut body, parameter);
                let (of_nobody, found) = Box::pin(found).await?;
                keys = found;
                of_nobody
            }
        },
        Err(refusal) => Location::Unknown(refusal),
    };
    if let Some(named) = route.as_ref().and_then(|found| found.subject) {
        let named = subject_of_path(named)?;
        record.subject = named.to_str().ok().map(|text| generation.settings.hasher.hash(text));
        // Without a verified token nobody is anybody (R8).
        if verified {
            slot = positions.map(|positions| positions.slot(named.as_bytes()));
            keys = registers
                .zip(named.to_str().ok())
                .map(|(it, text)| it.keys.subject(text))
                .unwrap_or_default();
            subject = Some(named);
        }
    }
    let (reads, group) = (classify::reads(rule), rule.map_or(UpstreamGroup::API, |rule| rule.upstream));
    headers::add_forwarded(&mut head.fields, &client.peer, peer_believed);
    let heard = Generation::max(
        presented.as_ref().map(Presented::generation).unwrap_or_default(),
        Generation(seen.generation.filter(|_| entry == Entry::Hop).unwrap_or_default()),
    );
    let claimed = location;
    let mut forwarding = Forwarding::new(
        worker,
        generation,
        &client.activity,
        KnownRequest { entry, access, reads, group, subject, claimed, keys, presented, slot },
    );
    forwarding.place();
    if forwarding.placement.left || heard > forwarding.placement.generation {
        Box::pin(forwarding.ask_registers()).await;
    }
    let request = Request { head, body };
    if seen.websocket {
        Box::pin(forwarding.run_upgrade(record, request)).await
    } else {
        forwarding.run(record, request).await.map(Answer::Plain)
    }
}

/// Read or write, by the operation that the body or the query names.
async fn by_operation(
    rule: GraphQlRule,
    head: &RequestHead,
    body: &mut RequestBody,
    limit: usize,
) -> Result<Access, Problem> {
    let method = head.method.as_str();
    let read = if GraphQlRule::reads_body(method) {
        match peek::read_up_to(body, limit).await? {
            Read::Whole(bytes) => Some(bytes),
            Read::Part => None,
        }
    } else {
        Some(Bytes::new())
    };
    let content_type = content_type(head);
    let query = head.target.query();
    Ok(rule.access_of(&GraphQlRequest { method, query, content_type, body: read.as_deref() }))
}

/// Where the country that the request names has its data.
async fn by_country(
    source: &NameSource,
    config: &Config,
    head: &RequestHead,
    body: &mut RequestBody,
) -> Result<Location, Problem> {
    let bytes = read_for([Some(source)], config, body).await?;
    Ok(named::country::locate(&config.topology, &find(source, head, &bytes, None)))
}

/// Where requests go whose identifier nobody has, and the keys of the one that the request names. `parameter` is the path's part in
/// it.
async fn by_identifier(
    identified: Identified<'_>,
    generation: &worker::Generation,
    head: &RequestHead,
    body: &mut RequestBody,
    parameter: Option<&str>,
) -> Result<(Location, SubjectKeys), Problem> {
    let config = &generation.settings.config;
    let Identified { identifier, country, .. } = identified;
    let bytes = read_for([Some(identifier), country], config, body).await?;
    let named = find(identifier, head, &bytes, parameter);
    let registers = generation.settings.registers.as_deref();
    let keys = registers.zip(named::identifier::only(&named)).map(|(it, text)| it.keys.identifier(text));
    let country =
        country.map(|source| named::country::locate(&config.topology, &find(source, head, &bytes, None)));
    Ok((identified.of_nobody(country), keys.unwrap_or_default()))
}

/// The body, if one of these needs it.
async fn read_for<const SOURCES: usize>(
    sources: [Option<&NameSource>; SOURCES],
    config: &Config,
    body: &mut RequestBody,
) -> Result<Bytes, Problem> {
    if sources.into_iter().flatten().any(NameSource::reads_body) {
        peek::peek(body, config.limits.peek_bytes).await
    } else {
        Ok(Bytes::new())
    }
}

/// What the request names there.
fn find<'request>(
    source: &NameSource,
    head: &'request RequestHead,
    body: &'request [u8],
    parameter: Option<&'request str>,
) -> Named<'request> {
    let whole = WholeBody { content_type: content_type(head), bytes: body };
    source.find(&whole, parameter, |name| -> Vec<&[u8]> {
        head.fields
            .iter()
            .filter(|field| field.name_text.eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value)
            .collect()
    })
}

/// The only such header's value.
fn content_type(head: &RequestHead) -> Option<&[u8]> {
    let mut values = head.fields.all(Name::ContentType);
    values.next().filter(|_| values.next().is_none())
}

/// Brings the request into the one form that goes upstream, or refuses what could be read in two ways.
fn normalise(head: &mut RequestHead, seen: &Seen) -> Result<(), Problem> {
    let optional = head.version == Version::HTTP_10 || head.version == Version::HTTP_2;
    if seen.hosts > 1 || head.method == Method::CONNECT || !is_unambiguous(head.path()) {
        return Err(Problem::BadRequest);
    }
    // Behind a body nobody could say where the other protocol begins, and HTTP/1.0 knows of none.
    let upgradable =
        head.version == Version::HTTP_11 && head.method == Method::GET && head.length == Length::None;
    if seen.websocket && !upgradable {
        return Err(Problem::BadRequest);
    }
    match (&head.authority, head.fields.first(Name::Host)) {
        // Some go by the one and some by the other (RFC 9112 §3.2.2, RFC 9113 §8.3.1).
        (Some(authority), Some(host)) if !is_same_host(authority, host) => return Err(Problem::BadRequest),
        (_, Some(host)) if !host.is_empty() && headers::is_host(host) => {}
        // An authority of HTTP/2, or of an HTTP/1.0 that knows of no other place for it.
        (Some(authority), None) if optional && headers::is_host(authority.as_str().as_bytes()) => {
            let host = authority.clone();
            head.fields.add("host", host.as_str().as_bytes());
        }
        // An API may insist on there being one (RFC 9112 §3.2).
        (None, None) if optional => head.fields.add("host", b""),
        _ => return Err(Problem::BadRequest),
    }
    head.takes_trailers = seen.takes_trailers;
    Ok(())
}

fn is_same_host(authority: &Authority, host: &[u8]) -> bool {
    authority.as_str().as_bytes().eq_ignore_ascii_case(host)
}

fn is_believed(generation: &worker::Generation, client: &Client) -> bool {
    generation.settings.config.trusted_proxies.iter().any(|network| network.contains(&client.peer.address))
}

fn subject_of_path(segment: &str) -> Result<HeaderValue, Problem> {
    let decoded =
        percent_encoding::percent_decode_str(segment).decode_utf8().map_err(|_| Problem::BadRequest)?;
    HeaderValue::from_str(&decoded).map_err(|_| Problem::BadRequest)
}
