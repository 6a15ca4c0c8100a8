//! The oracle: random requests through a failing world, and a judge in place of every API.
//!
//! Users of both jurisdictions, strangers and forgers ask all four gateways, while links between the regions fall
//! silent, are reset and heal, gateways are killed, drained and reloaded, and API processes die. In place of the API
//! stands a judge that knows the truth about every request, since it can draw it again from its number, and holds each
//! delivery against the law in its own words ([`law`]): where it may arrive, as what, and how often. What clients are
//! told is held against what arrived ([`ledger`]).
//!
//! Invariants
//! - The judge believes nothing that a gateway says. The one thing it takes from a delivery is the request's number.
//! - The same seed asks the same requests and has the same storms. What meets what is the machine's affair.
//! - A gateway that refuses everything fails too: in calm, what is lawful must be answered.
//!
//! Absent by design: the data. That no byte of it lies where it must not is the demo's scan; here nothing is stored.
mod api;
mod client;
mod credentials;
mod dice;
mod draw;
mod law;
mod ledger;
mod pieces;
pub mod report;
mod request;
mod sky;
#[cfg(test)]
mod tests;
mod weather;

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, sleep},
};

use self::{
    api::Apis,
    client::Load,
    credentials::Population,
    draw::Draw,
    ledger::Ledger,
    report::Report,
    sky::Sky,
    weather::{SETTLE, Weather, recovered},
};
use crate::{
    programs::Programs,
    world::{Api, Port, Region, World},
};

/// A short run is stretched to this, so that it has storms too.
const LEAST_RUN: Duration = Duration::from_secs(40);
/// For what is still on its way when the last client has ended.
const STRAGGLERS: Duration = Duration::from_secs(2);
const HEALTHY: Duration = Duration::from_mins(1);
const PROGRESS: Duration = Duration::from_secs(10);

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct Options {
    pub programs: Programs,
    pub requests: u64,
    pub seed: u64,
    /// No request begins after that.
    pub bound: Option<Duration>,
    /// Clients that ask at once.
    pub clients: usize,
    /// Most requests that begin in a second.
    pub rate: u64,
    /// Users of each jurisdiction.
    pub subjects: usize,
}

/// Runs the scenario to its end. The world is gone when it returns.
pub async fn run(options: &Options, say: impl Fn(&str) + Clone + Send + Sync + 'static) -> Result<Report> {
    LocalSet::new().run_until(scenario(options, say)).await
}

async fn scenario(options: &Options, say: impl Fn(&str) + Clone + Send + Sync + 'static) -> Result<Report> {
    let world = World::builder()
        .gateway_bin(&options.programs.gateway)
        .migrate_bin(&options.programs.migrate)
        .root(options.programs.worlds())
        .api(Api::Caller)
        // The API comes after the world here, and in a storm nobody finds everything healthy.
        .gateway_ready("/health/basic")
        .edit_config(|configuration| with_more_routes(&configuration))
        .progress(say.clone())
        .start()
        .await?;
    say("users and their tokens");
    let run = Duration::from_secs(options.requests / options.rate.max(1)).max(LEAST_RUN);
    let interval = run.div_f64(options.requests.max(1) as f64);
    let population =
        Population::new(&world.keys().signer()?, &world.keys().active()?, options.subjects, run)?;
    let draw = Draw { seed: options.seed, population: Arc::new(population) };
    let sky = Arc::new(Sky::default());
    let ledger = Arc::new(Mutex::new(Ledger::new(draw.clone(), options.requests)));
    let places =
        world.api_processes().iter().map(|&place| (place, world.address(place.0, Port::Api(place.1))));
    let apis = Rc::new(Apis::start(places, &ledger, &sky)?);
    recovered(&world, HEALTHY).await.context("before the first request")?;
    sleep(SETTLE).await;

    say(&format!("{} requests, {} clients, seed {}", options.requests, options.clients, options.seed));
    let (world, over) = (Rc::new(world), Rc::new(Cell::new(false)));
    let load = Rc::new(Load {
        draw,
        ledger: Arc::clone(&ledger),
        sky: Arc::clone(&sky),
        gateways: Region::ALL.map(|region| (region, world.address(region, Port::GatewayHttp))).to_vec(),
        requests: options.requests,
        until: options.bound.map(|bound| Instant::now() + bound),
        interval,
        next: Cell::new(0),
        due: Cell::new(Instant::now()),
    });
    let weather = Weather {
        world: Rc::clone(&world),
        apis: Rc::clone(&apis),
        sky,
        seed: options.seed,
        over: Rc::clone(&over),
        say: Rc::new(say.clone()),
    };
    let began = Instant::now();
    let asking = async {
        let mut clients = JoinSet::new();
        for _ in 0..options.clients {
            clients.spawn_local(Rc::clone(&load).client());
        }
        let mut news = tokio::time::interval(PROGRESS);
        while !clients.is_empty() {
            tokio::select! {
                ended = clients.join_next() => if let Some(ended) = ended { ended.context("a client")? },
                _ = news.tick() => say(&format!("{} requests begun", load.begun())),
            }
        }
        over.set(true);
        anyhow::Ok(began.elapsed())
    };
    let (took, past) = tokio::join!(asking, weather.run());
    world.heal_all();
    sleep(STRAGGLERS).await;

    drop((weather, apis));
    let mut report = {
        let mut ledger = ledger.lock().expect("no code panics while it holds the ledger");
        ledger.close();
        let wanted = options.bound.is_none().then_some(options.requests);
        Report::new(options.seed, wanted, &ledger, &past, took?)
    };
    let world = Rc::into_inner(world).context("somebody still holds the world")?;
    let ended = world.stop();
    let detail = ended.err().map(|error| format!("{error:#}")).unwrap_or_default();
    report.checks.check("no gateway ended by itself, and the world left no trace", detail.is_empty(), detail);
    Ok(report)
}

/// Rules of every kind that the gateways know.
fn with_more_routes(configuration: &str) -> String {
    const MORE: &str = "[routes]\n\"/orgs/{org}/**\" = { subject = \"path:org\" }\n\
                        \"/webhooks/**\" = { jurisdiction = \"us\" }\n";
    let edited = configuration.replacen("[routes]\n", MORE, 1);
    assert_ne!(edited, configuration, "the world's configuration has routes");
    edited
}
