//! `make bench-peers`: what a request costs our gateway with its full policy, and what it costs nginx and `HAProxy`.
//!
//! Every contender gets the same bytes from the same load, forwards them to the same upstream over a kept pool, and
//! runs with one worker on a core of its own; load and upstream have the other. Rounds are interleaved and their
//! order rotates, each contender is started afresh for each of its turns, and the figures are medians over rounds.
//! Ratios are medians of the rounds' own ratios: what drifts between rounds drifts for both sides.
//!
//! The figure that counts is CPU time a request, of every thread of every process of the contender, as the kernel
//! accounts it (`schedstat`, nanoseconds). Rates and latencies are those of a saturated core.
//!
//! What is compared ([`Scenario`]): small requests, over TCP and over a Unix socket to the upstream; the same over TLS
//! as HTTP/1.1, as HTTP/2, and with a handshake each; bodies of 1 MiB; memory for resting connections; two workers
//! against one. All in the same rounds, or each by itself.
//!
//! What keeps it honest
//! - Before a turn is measured the contender proves its role: the right answer to a good token; 401 to a token
//!   signed by a stranger where it verifies, 200 where it does not; the gateway's headers at the upstream; TLS and
//!   protocol as they were asked for; the upstream reached over the socket that it should be reached over.
//! - A turn reports how busy both cores were. The load is no limit where the proxy's core is the full one.
//! - Log lines are counted against requests: who drops lines has saved itself work.
//! - Faults are counted, and any fault fails the run.
//!
//! Absent by design: absolute goals for speed. Machines differ; ratios on one machine hold. Bytes a connection are the
//! same everywhere, and have a goal.
mod added;
mod beside;
mod bodies;
mod contender;
mod cpu;
mod drain;
mod figures;
mod gateway;
mod haproxy;
mod identity;
mod idle;
mod nginx;
mod origin;
mod process;
mod programs;
mod prove;
mod report;
mod rounds;
mod row;
mod scaling;
mod scenario;
mod scene;
mod stage;
mod text;
mod turn;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use added::{Added, Percentiles, Round, added};
pub use contender::Contender;
pub use haproxy::LogPath;
pub use report::Report;
pub use scenario::Scenario;

use contender::Load;
use cpu::Cores;
use idle::Resting;
use rounds::Rounds;
use scene::Scene;
use turn::Turn;

/// What to run and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    pub rounds: usize,
    /// Measured part of a turn.
    pub span: Duration,
    /// Part of a turn before that: fills token caches and upstream pools.
    pub warm_up: Duration,
    pub connections: usize,
    /// Tokens in circulation, one a user.
    pub users: usize,
    /// What to compare; all when empty.
    pub scenarios: Vec<Scenario>,
    /// Contenders by name; all when empty.
    pub only: Vec<String>,
    /// A shell command to run while each contender is measured, such as a profiler.
    pub beside: Option<String>,
    /// How many connections rest where that is measured.
    pub idle_connections: usize,
    /// Our program. Needed unless `only` names peers alone.
    pub gateway: PathBuf,
    pub proxy_core: usize,
    pub load_core: usize,
    pub haproxy_log: LogPath,
    /// `peers.json` and the contenders' own directories go here.
    pub directory: PathBuf,
}

impl Options {
    /// The contenders that were asked for, in their usual order.
    pub fn contenders(&self) -> Result<Vec<Contender>> {
        let all = Contender::all();
        if let Some(stranger) = self.only.iter().find(|name| all.iter().all(|c| c.name() != name.as_str())) {
            let mut names: Vec<_> = all.iter().map(Contender::name).collect();
            names.sort_unstable();
            names.dedup();
            bail!("no contender is called {stranger:?}; there are: {}", names.join(", "));
        }
        let scenarios = if self.scenarios.is_empty() { Scenario::all() } else { &self.scenarios };
        let chosen: Vec<_> = all
            .into_iter()
            .filter(|c| {
                c.serves(scenarios) && (self.only.is_empty() || self.only.iter().any(|n| n == c.name()))
            })
            .collect();
        if chosen.is_empty() {
            bail!("none of these contenders takes part in these scenarios");
        }
        Ok(chosen)
    }
}

/// Runs all rounds, tells `progress` of each turn, and writes `peers.json`.
///
/// Fails when a contender cannot be started or does not do its work. Faults under load are in the report.
pub fn compare(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Report> {
    let contenders = options.contenders()?;
    for contender in &contenders {
        programs::locate(contender.program, options)?;
    }
    let cores = Cores::claim(options.proxy_core, options.load_core)?;
    if contenders.iter().any(|contender| contender.load == Load::Idle) {
        idle::make_room(options.idle_connections)?;
    }
    fs::create_dir_all(&options.directory).context("the directory for results")?;
    progress(&format!("signing {} tokens", options.users));
    let mut scene = Scene::prepare(options)?;
    let mut rounds = Rounds::new(&contenders);
    for round in 0..options.rounds {
        let mut tell = |line: String| progress(&format!("round {}/{} {line}", round + 1, options.rounds));
        if contenders.iter().any(|contender| contender.load == Load::Requests) {
            let direct = turn::direct(&mut scene, &cores, options)?;
            tell(direct.line("no proxy"));
            rounds.add_direct(direct);
        }
        for contender in order(&contenders, round) {
            let label = contender.label();
            let outcome = match contender.load {
                Load::Idle => Resting::take(contender, &mut scene, &cores, options).map(|resting| {
                    tell(resting.line(&label));
                    rounds.add_resting(contender, resting);
                }),
                _ => Turn::take(contender, &mut scene, &cores, options).map(|turn| {
                    tell(turn.line(&label));
                    rounds.add_turn(contender, turn);
                }),
            };
            cores.reclaim()?;
            outcome.with_context(|| format!("{label} in round {}", round + 1))?;
        }
    }
    let report = Report::of(&rounds, options);
    let path = options.directory.join("peers.json");
    fs::write(&path, report.json()?).with_context(|| format!("writing {}", path.display()))?;
    Ok(report)
}

/// Load by load, so that those who are compared follow each other closely. Within a load each round starts one
/// contender further on, and every other one runs backwards: nobody always follows the same neighbour, nor always
/// comes first.
fn order(contenders: &[Contender], round: usize) -> Vec<&Contender> {
    let of = |load| contenders.iter().filter(|contender| contender.load == load).collect();
    Load::ALL.into_iter().flat_map(|load| rotated(of(load), round)).collect()
}

fn rotated(mut order: Vec<&Contender>, round: usize) -> Vec<&Contender> {
    if order.is_empty() {
        return order;
    }
    let mut start = round % order.len();
    if round % 2 == 1 {
        order.reverse();
        start = order.len() - 1 - start;
    }
    order.rotate_left(start);
    order
}

#[cfg(test)]
mod tests;
