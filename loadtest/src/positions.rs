//! `make bench-positions`: does anybody read a state older than their own last write, and what does knowing that cost?
//!
//! Two parts in one world, behind gateways of all regions, with a small API over the real clusters. First pairs: users write
//! through one region and at once read through any, by token, by cookie or with neither, while replay on every replica stops and
//! goes on at random, so that replicas lag from nothing to five seconds. Then a rate: writes at the home alone, open loop, and how
//! many questions the gateway asked for them.
//!
//! Invariants
//! - A pair whose write was not acknowledged asks for nothing, and a read without an answer shows nothing: both are counted.
//! - The lag is real: reads by strangers to the gateway, on the same replicas, must have been stale, or the run has failed.

mod api;
mod client;
mod lag;
mod report;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rand::RngExt as _;
use tokio::{task::JoinSet, time::sleep_until};

pub use self::report::Report;
use self::{
    api::Apis,
    client::{Lines, Means},
};
use crate::{
    programs::Programs,
    world::{Api, Call, Jurisdiction, Port, Region, World},
};

const JURISDICTION: Jurisdiction = Jurisdiction::Us;
/// Between words on how it goes.
const PROGRESS: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    pub programs: Programs,
    pub pairs: u64,
    /// Who write and read at once, each for themselves.
    pub users: usize,
    /// Of the second part, in writes per second.
    pub rate: u64,
    pub seconds: u64,
}

/// What the first part has counted.
#[derive(Debug, Default)]
struct Tally {
    begun: Cell<u64>,
    pairs: Cell<u64>,
    stale: Cell<u64>,
    unanswered: Cell<u64>,
    at_replicas: Cell<u64>,
    /// Reads by nobody's position, and how many of these were older than a write.
    unaware: Cell<u64>,
    unaware_stale: Cell<u64>,
    first_stale: RefCell<Vec<String>>,
    /// Requests without a good answer, by what came instead.
    faults: RefCell<BTreeMap<String, u64>>,
}

impl Tally {
    fn failed(&self, lines: &Lines) {
        add(&self.unanswered);
        *self.faults.borrow_mut().entry(lines.fault().to_owned()).or_default() += 1;
    }
}

fn add(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

/// Runs both parts; must be called within a `LocalSet`.
pub async fn run(options: &Options, say: impl Fn(&str) + Clone + Send + Sync + 'static) -> Result<Report> {
    let world = World::builder()
        .gateway_bin(&options.programs.gateway)
        .migrate_bin(&options.programs.migrate)
        .root(options.programs.worlds())
        .api(Api::Caller)
        .api_processes(1)
        .fsync(false)
        // However late a replica is, it is used: what sends a read elsewhere is its user's position alone.
        .gateway_env("RESIDENCY_HEALTH__LAG_LIMIT_MS", "60000")
        .gateway_ready("/health/basic")
        .progress(say.clone())
        .start()
        .await?;
    let world = Rc::new(world);
    let apis = Apis::start(&world, JURISDICTION).await?;
    client::healthy(&world).await?;
    let signer = world.keys().signer()?;
    let gateways: Vec<_> =
        Region::ALL.map(|region| (region, world.address(region, Port::GatewayHttp))).into();
    let tokens: Vec<Arc<str>> = (0..options.users)
        .map(|user| Ok(signer.token(&format!("user-{user}"), JURISDICTION)?.into()))
        .collect::<Result<_>>()?;

    say(&format!("{} pairs by {} users, replicas 0-5 s late", options.pairs, options.users));
    let tally = Rc::new(Tally::default());
    let lag = lag::start(&world, JURISDICTION).await?;
    let before = Counts::of(&world).await?;
    let began = Instant::now();
    let mut users = JoinSet::new();
    for (user, token) in tokens.iter().enumerate() {
        let lines = Lines::new(gateways.clone(), Arc::clone(token));
        users.spawn_local(pairs(user, lines, Rc::clone(&tally), options.pairs));
    }
    let mut news = tokio::time::interval(PROGRESS);
    while !users.is_empty() {
        tokio::select! {
            ended = users.join_next() => if let Some(ended) = ended { ended.context("a user")? },
            _ = news.tick() => say(&format!("{} pairs, {} stale", tally.pairs.get(), tally.stale.get())),
        }
    }
    let took = began.elapsed();
    let lags = lag.stop().await?;
    let pairs_cost = Counts::of(&world).await?.since(before);
    world.caught_up(JURISDICTION).await?;

    say(&format!("{} writes a second for {} s", options.rate, options.seconds));
    let before = Counts::of(&world).await?;
    let rate = writes(&world, &tokens, options).await?;
    let cost = Counts::of(&world).await?.since(before);
    let mut report = Report::new(options, &tally, took, lags, pairs_cost, &rate, cost);
    apis.stop().await;
    let world = Rc::into_inner(world).context("somebody still holds the world")?;
    let ended = world.stop().err().map(|error| format!("{error:#}")).unwrap_or_default();
    report.check("no gateway ended by itself, and the world left no trace", ended.is_empty(), ended);
    Ok(report)
}

/// One user's pairs, one after the other.
async fn pairs(user: usize, mut lines: Lines, tally: Rc<Tally>, all: u64) {
    let mut value = 0;
    while tally.begun.get() < all {
        add(&tally.begun);
        value += 1;
        let (write_at, mut read_at, means) = {
            let mut random = rand::rng();
            let region = |random: &mut rand::rngs::ThreadRng| Region::ALL[random.random_range(0..4)];
            let means = [Means::Header, Means::Cookie, Means::Nothing][random.random_range(0..3)];
            (region(&mut random), region(&mut random), means)
        };
        if means == Means::Nothing {
            // Whoever keeps nothing is known where the write went through.
            read_at = write_at;
        }
        let Some(kept) = lines.write(write_at, value).await else {
            tally.failed(&lines);
            continue;
        };
        match lines.read(read_at, means, &kept).await {
            None => tally.failed(&lines),
            Some(read) => {
                add(&tally.pairs);
                if read.by != JURISDICTION.home().name() {
                    add(&tally.at_replicas);
                }
                if read.value < value {
                    add(&tally.stale);
                    let mut first = tally.first_stale.borrow_mut();
                    if first.len() < 10 {
                        first.push(format!(
                            "user {user} wrote {value} at {write_at}, read {} at {read_at} by {} ({means:?})",
                            read.value, read.by
                        ));
                    }
                }
            }
        }
        // What the same would have been without positions: an edge that was told nothing.
        if value % 8 == 0
            && means != Means::Nothing
            && read_at != write_at
            && let Some(read) = lines.read(read_at, Means::Nothing, &kept).await
        {
            add(&tally.unaware);
            if read.value < value {
                add(&tally.unaware_stale);
            }
        }
    }
}

/// What became of the second part.
#[derive(Debug, Default)]
struct Rate {
    answered: u64,
    failed: u64,
    with_position: u64,
    took: Duration,
}

/// Writes that begin evenly, whatever becomes of those before.
async fn writes(world: &World, tokens: &[Arc<str>], options: &Options) -> Result<Rate> {
    let home = JURISDICTION.home();
    let gateway = vec![(home, world.address(home, Port::GatewayHttp))];
    let count = options.rate * options.seconds;
    let interval = Duration::from_secs(1).div_f64(options.rate as f64);
    let began = Instant::now();
    let next = Rc::new(Cell::new(0_u64));
    let result = Rc::new(RefCell::new(Rate::default()));
    let mut writers = JoinSet::new();
    for token in tokens {
        let (mut lines, next, result) =
            (Lines::new(gateway.clone(), Arc::clone(token)), Rc::clone(&next), Rc::clone(&result));
        writers.spawn_local(async move {
            loop {
                let turn = next.get();
                if turn >= count {
                    break;
                }
                next.set(turn + 1);
                sleep_until((began + interval.mul_f64(turn as f64)).into()).await;
                let written = lines.write(home, 1_000_000 + turn).await;
                let mut result = result.borrow_mut();
                match written {
                    Some(kept) => {
                        result.answered += 1;
                        result.with_position += u64::from(!kept.header.is_empty());
                    }
                    None => result.failed += 1,
                }
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.context("a writer")?;
    }
    let mut rate = std::mem::take(&mut *result.borrow_mut());
    rate.took = began.elapsed();
    Ok(rate)
}

/// What the gateways of all regions have counted.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Counts {
    pub primary_queries: f64,
    pub replica_queries: f64,
    pub learned: f64,
    pub not_learned: f64,
    pub caught_up: f64,
    pub behind: f64,
}

impl Counts {
    async fn of(world: &World) -> Result<Self> {
        let mut counts = Self::default();
        for region in Region::ALL {
            let call = Call::new(world.address(region, Port::GatewayAdmin), http::Method::GET, "/metrics");
            let text = String::from_utf8_lossy(&call.send().await?.body).into_owned();
            for (name, value) in text.lines().filter_map(|line| line.rsplit_once(' ')) {
                let Some(rest) = name.strip_prefix("residency_position_") else { continue };
                let Ok(value) = value.parse::<f64>() else { continue };
                let has = |start: &str, label: &str| rest.starts_with(start) && rest.contains(label);
                let count = match () {
                    () if has("queries_total", "\"primary\"") => &mut counts.primary_queries,
                    () if has("queries_total", "\"replica\"") => &mut counts.replica_queries,
                    () if has("writes_total", "\"learned\"") => &mut counts.learned,
                    () if has("writes_total", "") => &mut counts.not_learned,
                    () if has("waits_total", "\"caught-up\"") => &mut counts.caught_up,
                    () if has("waits_total", "\"behind\"") => &mut counts.behind,
                    () => continue,
                };
                *count += value;
            }
        }
        Ok(counts)
    }

    fn since(self, before: Self) -> Self {
        Self {
            primary_queries: self.primary_queries - before.primary_queries,
            replica_queries: self.replica_queries - before.replica_queries,
            learned: self.learned - before.learned,
            not_learned: self.not_learned - before.not_learned,
            caught_up: self.caught_up - before.caught_up,
            behind: self.behind - before.behind,
        }
    }
}
