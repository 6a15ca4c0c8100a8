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
//! What keeps it honest
//! - Before a turn is measured the contender proves its role: the right answer to a good token; 401 to a token
//!   signed by a stranger where it verifies, 200 where it does not; the gateway's headers at the upstream.
//! - A turn reports how busy both cores were. The load is no limit where the proxy's core is the full one.
//! - Log lines are counted against requests: who drops lines has saved itself work.
//! - Faults are counted, and any fault fails the run.
//!
//! Absent by design: absolute goals. Machines differ; ratios on one machine hold.
mod contender;
mod cpu;
mod drain;
mod gateway;
mod haproxy;
mod identity;
mod nginx;
mod process;
mod programs;
mod report;
mod scene;
mod turn;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use contender::Contender;
pub use haproxy::LogPath;
pub use report::Report;

use cpu::Cores;
use report::Rounds;
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
    /// Contenders by name; all when empty.
    pub only: Vec<String>,
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
            let names: Vec<_> = all.iter().map(Contender::name).collect();
            bail!("no contender is called {stranger:?}; there are: {}", names.join(", "));
        }
        let chosen =
            all.into_iter().filter(|c| self.only.is_empty() || self.only.iter().any(|n| n == c.name()));
        Ok(chosen.collect())
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
    fs::create_dir_all(&options.directory).context("the directory for results")?;
    progress(&format!("signing {} tokens", options.users));
    let mut scene = Scene::prepare(options)?;
    let mut rounds = Rounds::new(&contenders);
    for round in 0..options.rounds {
        let direct = turn::direct(&mut scene, &cores, options)?;
        progress(&format!("round {}/{} {}", round + 1, options.rounds, direct.line("no proxy")));
        rounds.direct(direct);
        for contender in order(&contenders, round) {
            let turn = Turn::take(contender, &mut scene, &cores, options)
                .with_context(|| format!("{} in round {}", contender.name(), round + 1))?;
            progress(&format!("round {}/{} {}", round + 1, options.rounds, turn.line(contender.name())));
            rounds.turn(contender, turn);
        }
    }
    let report = rounds.report(options);
    let path = options.directory.join("peers.json");
    fs::write(&path, report.json()?).with_context(|| format!("writing {}", path.display()))?;
    Ok(report)
}

/// Each round starts one contender further on, and every other one runs backwards: nobody always follows the same
/// neighbour, nor always comes first.
fn order(contenders: &[Contender], round: usize) -> Vec<&Contender> {
    let mut order: Vec<_> = contenders.iter().collect();
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
