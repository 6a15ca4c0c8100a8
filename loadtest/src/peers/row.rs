//! Medians of one contender over its turns, and what makes them worth less than they look.
use std::collections::BTreeMap;

use serde::Serialize;

use super::bodies;
use super::contender::{Contender, Load};
use super::report::{median, median_of, rounded};
use super::turn::Turn;

/// The proxy's core counts as full from this share of CPU time on, so that the load was no limit.
const FULL: f64 = 0.95;
/// More waiting than this for a core that should be its own, and the figures are not to be relied on.
const UNREST: f64 = 0.02;
/// Upstream connections must be kept: fewer new ones a request than this.
const CHURN: f64 = 0.001;
/// Below this, two workers do not share the work.
const SPREAD: f64 = 0.5;

/// One contender under one load.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: &'static str,
    #[serde(skip)]
    pub(super) load: Load,
    pub(super) cpu_us_per_request: f64,
    pub(super) rps: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) requests: u64,
    /// Of all rounds, by kind.
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// The worst of all rounds.
    pub(super) upstream_reuse: f64,
    pub(super) upstream_connections: u64,
    /// The worst of all rounds.
    #[serde(skip)]
    upstream_churn: f64,
    pub(super) generator_cpu_share: f64,
    pub(super) load_core_idle_share: f64,
    pub(super) proxy_cpu_share: f64,
    pub(super) proxy_core_idle_share: f64,
    pub(super) proxy_wait_share: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log_lines_per_request: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_misses_per_request: Option<f64>,
    /// The worst of all rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) spread: Option<f64>,
    /// CPU microseconds a request, round by round.
    pub(super) cpu_us_by_round: Vec<f64>,
}

impl Row {
    pub(super) fn of(contender: &Contender, turns: &[Turn]) -> Self {
        let optional = |figure: fn(&Turn) -> Option<f64>| {
            median(&mut turns.iter().filter_map(figure).collect::<Vec<_>>()).map(|value| rounded(value, 4))
        };
        let spread = turns.iter().filter_map(|turn| turn.spread).reduce(f64::min);
        Self {
            name: contender.name(),
            load: contender.load,
            cpu_us_per_request: median_of(turns, |turn| turn.cpu_us_per_request),
            rps: median_of(turns, |turn| turn.rps),
            p50_us: median_of(turns, |turn| turn.p50_us),
            p99_us: median_of(turns, |turn| turn.p99_us),
            requests: turns.iter().map(|turn| turn.requests).sum(),
            errors: errors(turns.iter().map(|turn| &turn.faults)),
            upstream_reuse: rounded(turns.iter().map(|turn| turn.upstream_reuse).fold(1.0, f64::min), 6),
            upstream_connections: turns.iter().map(|turn| turn.upstream_connections).max().unwrap_or(0),
            upstream_churn: turns.iter().map(|turn| turn.upstream_churn).fold(0.0, f64::max),
            generator_cpu_share: median_of(turns, |turn| turn.generator_cpu_share),
            load_core_idle_share: median_of(turns, |turn| turn.load_core_idle_share),
            proxy_cpu_share: median_of(turns, |turn| turn.proxy_cpu_share),
            proxy_core_idle_share: median_of(turns, |turn| turn.proxy_core_idle_share),
            proxy_wait_share: median_of(turns, |turn| turn.proxy_wait_share),
            log_lines_per_request: optional(|turn| turn.log_lines_per_request),
            token_misses_per_request: optional(|turn| turn.token_misses_per_request),
            spread: spread.map(|spread| rounded(spread, 3)),
            cpu_us_by_round: turns.iter().map(|turn| rounded(turn.cpu_us_per_request, 3)).collect(),
        }
    }

    /// All that went wrong.
    pub(super) fn faults(&self) -> u64 {
        self.errors.values().sum()
    }

    /// What makes this row's figures worth less than they look.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let name = match bodies::key(self.load) {
            Some(key) => format!("{} ({key})", self.name),
            None => self.name.to_owned(),
        };
        let apart = !self.load.shares_cores();
        if apart && self.proxy_cpu_share < FULL && self.proxy_wait_share < UNREST {
            warnings.push(format!(
                "{name}: its core was not full ({:.0} %), so rate and latency are limited by the load; CPU a request stands",
                self.proxy_cpu_share * 100.0
            ));
        }
        if apart && self.proxy_wait_share >= UNREST {
            warnings.push(format!(
                "{name}: something else had its core for {:.0} % of the time; run again on a quiet machine",
                self.proxy_wait_share * 100.0
            ));
        }
        if self.upstream_churn > CHURN {
            warnings.push(format!(
                "{name}: keeps its upstream connections badly, {} for {:.3} % reuse",
                self.upstream_connections,
                self.upstream_reuse * 100.0
            ));
        }
        if self.log_lines_per_request.is_some_and(|lines| lines < 0.99) {
            warnings.push(format!("{name}: its access log lacks lines of requests that it served"));
        }
        if self.spread.is_some_and(|spread| spread < SPREAD) {
            warnings.push(format!("{name}: one worker does more than twice the work of the other"));
        }
        warnings
    }
}

/// Faults by kind, added up.
pub(super) fn errors<'a>(
    turns: impl Iterator<Item = &'a BTreeMap<&'static str, u64>>,
) -> BTreeMap<&'static str, u64> {
    let mut errors = BTreeMap::new();
    for (kind, count) in turns.flatten() {
        *errors.entry(*kind).or_default() += count;
    }
    errors
}
