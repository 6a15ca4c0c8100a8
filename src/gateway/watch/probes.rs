//! The looks themselves: databases, API endpoints, other regions, Redis, external services. Each has a deadline of its own.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::{TcpStream, UnixStream};

use super::board::Board;
use super::state::RegionState;
use crate::clock;
use crate::config::{Endpoint, EndpointAddress, ExternalService};
use crate::domain::names::RegionId;
use crate::gateway::Gateway;
use crate::gateway::own_paths::STATE_PATH;
use crate::gateway::settings::Settings;
use crate::postgres::{self, Database};
use crate::upstream::{ControlLink, Limits};

/// One look that repeats for ever.
pub type Probe = Pin<Box<dyn Future<Output = ()>>>;

/// Questions to one region that may be under way at once: over long distances an answer takes longer than an interval.
const MOST_QUESTIONS: usize = 8;

/// External services are other people's; once in a while is enough.
const EXTERNAL_INTERVAL: Duration = Duration::from_secs(10);
const EXTERNAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Redis and the API processes are ours, and one look is a round trip within the region.
const LOCAL_INTERVAL: Duration = Duration::from_millis(500);
const LOCAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests that fail make a watcher look at once, but not more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

pub fn all(gateway: &Arc<Gateway>, settings: &Arc<Settings>, board: &Rc<Board>) -> Vec<Probe> {
    let config = &settings.config;
    let own = config.own_region();
    let mut probes: Vec<Probe> = Vec::new();
    // Twice an interval, so that what others are told of this database is never two intervals old.
    let cadence = postgres::Cadence { interval: config.health.interval / 2, ..postgres::Cadence::default() };
    for (jurisdiction, url) in &own.databases {
        match Database::open(url, postgres::Limits::default()) {
            Ok(database) => {
                let (monitor, states) = postgres::Monitor::new(database, cadence);
                board.databases.borrow_mut().push((*jurisdiction, states));
                probes.push(Box::pin(monitor.run()));
            }
            Err(error) => {
                let jurisdiction = config.topology.jurisdiction_name(*jurisdiction);
                tracing::error!(jurisdiction, %error, "database can't be watched");
            }
        }
    }
    for (index, watched) in board.endpoints.borrow().iter().enumerate() {
        probes.push(Box::pin(watch_endpoint(
            watched.endpoint.clone(),
            index,
            Arc::clone(settings),
            Rc::clone(board),
        )));
    }
    // The control plane's own connections, counted as a worker that serves nobody.
    let metrics = gateway.metrics.worker(super::super::control::METRICS_INDEX, Arc::clone(&settings.labels));
    for region in config.topology.regions().filter(|&region| region != config.region) {
        let endpoint = config.regions[region.index()].gateway.clone();
        if let (Some(endpoint), Ok(Some(dial))) = (endpoint, settings.dial(region)) {
            let limits = Limits {
                connections: MOST_QUESTIONS,
                connect: config.health.dead_after,
                idle: config.timeouts.upstream_idle,
            };
            let link = Rc::new(ControlLink::new(endpoint, dial, limits, &metrics, region.index()));
            let watch =
                watch_region(region, link, Arc::clone(gateway), Arc::clone(settings), Rc::clone(board));
            probes.push(Box::pin(watch));
        }
    }
    if let Some(url) = &own.redis {
        match redis::Client::open(String::from_utf8_lossy(url.expose()).as_ref()) {
            Ok(client) => probes.push(Box::pin(watch_redis(client, Rc::clone(board)))),
            Err(error) => *board.redis.borrow_mut() = Some(Err(format!("redis URL: {}", error.category()))),
        }
    }
    for (index, service) in config.health.external.iter().enumerate() {
        probes.push(Box::pin(watch_external(service.clone(), index, Rc::clone(board))));
    }
    probes
}

async fn watch_endpoint(endpoint: Endpoint, index: usize, settings: Arc<Settings>, board: Rc<Board>) {
    let own = settings.config.region;
    loop {
        // Dropped here: a connection kept until the next look would be one that the API waits on for ever.
        let connect = async {
            match endpoint.address() {
                EndpointAddress::Tcp(address) => TcpStream::connect(address).await.map(drop),
                EndpointAddress::Unix(path) => UnixStream::connect(path).await.map(drop),
            }
        };
        let up = tokio::time::timeout(LOCAL_TIMEOUT, connect).await.is_ok_and(|connected| connected.is_ok());
        board.endpoints.borrow_mut()[index].up = Some(up);
        tokio::time::sleep(SHORTEST_PAUSE).await;
        tokio::select! {
            () = tokio::time::sleep(LOCAL_INTERVAL) => {}
            () = settings.signs.of_region(own) => {}
        }
    }
}

async fn watch_region(
    region: RegionId,
    link: Rc<ControlLink>,
    gateway: Arc<Gateway>,
    settings: Arc<Settings>,
    board: Rc<Board>,
) {
    let under_way = Rc::new(Cell::new(0));
    let mut interval = tokio::time::interval(settings.config.health.interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = settings.signs.of_region(region) => {}
        }
        board.failed(region, settings.signs.take_failures(region));
        link.sweep();
        if under_way.get() >= MOST_QUESTIONS {
            continue;
        }
        under_way.set(under_way.get() + 1);
        let (link, board, under_way) = (Rc::clone(&link), Rc::clone(&board), Rc::clone(&under_way));
        let (gateway, settings) = (Arc::clone(&gateway), Arc::clone(&settings));
        tokio::task::spawn_local(async move {
            let asked = clock::now();
            let answer = tokio::time::timeout(settings.config.health.dead_after, link.get(STATE_PATH)).await;
            under_way.set(under_way.get() - 1);
            let name = settings.config.topology.region_name(region);
            match answer {
                Ok(Ok(bytes)) => match serde_json::from_slice::<RegionState>(&bytes) {
                    Ok(state) if state.region == name => {
                        board.heard(&settings, gateway.metrics.control(), region, asked, state);
                    }
                    Ok(state) => {
                        tracing::error!(expected = name, got = state.region, "another region answers");
                    }
                    Err(error) => tracing::warn!(region = name, %error, "state not understood"),
                },
                Ok(Err(error)) => {
                    board.failed(region, 1);
                    tracing::debug!(region = name, %error, "no state");
                }
                Err(_) => {
                    board.failed(region, 1);
                    tracing::debug!(region = name, "no state in time");
                }
            }
        });
        tokio::time::sleep(SHORTEST_PAUSE).await;
    }
}

async fn watch_redis(client: redis::Client, board: Rc<Board>) {
    let mut connection = None;
    loop {
        let look = async {
            if connection.is_none() {
                connection = Some(client.get_multiplexed_async_connection().await?);
            }
            let connection = connection.as_mut().expect("connected just above");
            redis::cmd("PING").query_async::<String>(connection).await
        };
        let seen = match tokio::time::timeout(LOCAL_TIMEOUT, look).await {
            Ok(Ok(_)) => Ok(()),
            // The category only: a URL may carry a password.
            Ok(Err(error)) => Err(error.category().to_owned()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        if seen.is_err() {
            connection = None;
        }
        *board.redis.borrow_mut() = Some(seen);
        tokio::time::sleep(LOCAL_INTERVAL).await;
    }
}

async fn watch_external(service: ExternalService, index: usize, board: Rc<Board>) {
    let seen = |result| board.external.borrow_mut()[index] = Some(result);
    let connector = match HttpsConnectorBuilder::new().with_provider_and_native_roots(crate::tls::provider())
    {
        Ok(builder) => builder.https_or_http().enable_http1().build(),
        Err(error) => return seen(Err(format!("no root certificates: {error}"))),
    };
    let client: Client<_, Empty<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let uri: http::Uri = match service.url.parse() {
        Ok(uri) => uri,
        Err(error) => return seen(Err(format!("bad URL: {error}"))),
    };
    loop {
        seen(match tokio::time::timeout(EXTERNAL_TIMEOUT, client.get(uri.clone())).await {
            Ok(Ok(response)) if response.status().is_server_error() => {
                Err(format!("answers {}", response.status()))
            }
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("no answer: {error}")),
            Err(_) => Err("no answer in time".to_owned()),
        });
        tokio::time::sleep(EXTERNAL_INTERVAL).await;
    }
}
