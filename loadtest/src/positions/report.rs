//! What the scenario found, as JSON for machines and as text for people.
use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{Counts, Options, Rate, Tally};
use crate::checks::Checks;

/// Questions to the primary for each write, at the most.
const MOST_QUERIES: f64 = 0.1;
/// Of the pairs, the least that must have come through.
const LEAST_ANSWERED: f64 = 0.999;
/// Of the rate asked for, the least at which the second part says something.
const LEAST_RATE: f64 = 0.9;

/// The whole result.
#[derive(Debug, Serialize)]
pub struct Report {
    pub pairs: u64,
    /// Reads that were older than the write before them.
    pub stale: u64,
    pub first_stale: Vec<String>,
    pub unanswered: u64,
    /// By what came instead.
    pub faults: BTreeMap<String, u64>,
    /// Pairs whose read a replica answered.
    pub at_replicas: u64,
    /// Reads of edges that were told nothing, and how many of them were stale: what positions prevent.
    pub unaware: u64,
    pub unaware_stale: u64,
    pub pairs_per_second: f64,
    pub stops_of_replay: usize,
    pub longest_stop_s: f64,
    /// Of the first part.
    pub pairs_counts: Counts,
    pub rate_asked: u64,
    pub writes: u64,
    pub writes_failed: u64,
    pub writes_per_second: f64,
    pub queries_per_write: f64,
    /// Of the second part.
    pub rate_counts: Counts,
    pub checks: Checks,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        tally: &Tally,
        took: Duration,
        stops: Vec<Duration>,
        pairs_counts: Counts,
        rate: &Rate,
        rate_counts: Counts,
    ) -> Self {
        let mut report = Self {
            pairs: tally.pairs.get(),
            stale: tally.stale.get(),
            first_stale: tally.first_stale.take(),
            unanswered: tally.unanswered.get(),
            faults: tally.faults.take(),
            at_replicas: tally.at_replicas.get(),
            unaware: tally.unaware.get(),
            unaware_stale: tally.unaware_stale.get(),
            pairs_per_second: tally.pairs.get() as f64 / took.as_secs_f64(),
            stops_of_replay: stops.len(),
            longest_stop_s: stops.into_iter().max().unwrap_or_default().as_secs_f64(),
            pairs_counts,
            rate_asked: options.rate,
            writes: rate.answered,
            writes_failed: rate.failed,
            writes_per_second: rate.answered as f64 / rate.took.as_secs_f64(),
            queries_per_write: rate_counts.primary_queries / (rate.answered as f64).max(1.0),
            rate_counts,
            checks: Checks::default(),
        };
        report.check_all(options, rate);
        report
    }

    fn check_all(&mut self, options: &Options, rate: &Rate) {
        let detail = format!("{} of {}; {}", self.stale, self.pairs, self.first_stale.join("; "));
        self.check("no read was older than its user's own last write", self.stale == 0, detail);
        let enough = self.pairs as f64 >= LEAST_ANSWERED * options.pairs as f64;
        let detail = format!("{} of {}, unanswered: {:?}", self.pairs, options.pairs, self.faults);
        self.check("the pairs came through", enough, detail);
        let detail = format!("{} of {}", self.unaware_stale, self.unaware);
        self.check("without positions there would have been stale reads", self.unaware_stale > 0, detail);
        let detail = format!("{} of {}", self.at_replicas, self.pairs);
        self.check("replicas that had caught up were used", self.at_replicas > 0, detail);
        let detail = format!("{:.4} at {:.0} writes/s", self.queries_per_write, self.writes_per_second);
        self.check("one question serves ten writes", self.queries_per_write <= MOST_QUERIES, detail);
        let fast = self.writes_per_second >= LEAST_RATE * options.rate as f64;
        let detail = format!("{:.0} of {} a second", self.writes_per_second, options.rate);
        self.check("the writes came as fast as they were to", fast, detail);
        let detail = format!("{} of {}, {} failed", rate.with_position, rate.answered, rate.failed);
        let all = rate.with_position == rate.answered && rate.failed == 0;
        self.check("every write was answered with a position", all, detail);
    }

    pub(super) fn check(&mut self, name: &str, passed: bool, detail: String) {
        self.checks.check(name, passed, detail);
    }
}
