//! From what clients were told, and what really happened, to figures for each phase. Pure.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use super::{
    diary::{Asked, Diary, Outcome},
    phase::{Phase, Span},
    truth::Truth,
};
use crate::{
    latency::Distribution,
    world::{Jurisdiction, Region},
};

/// A request that takes longer than this was not told what is wrong: it waited for what did not come.
const IN_THE_DARK: Duration = Duration::from_secs(1);
/// What a home acknowledged in this time before it went away, replicas may not have.
const JUST_BEFORE: Duration = Duration::from_secs(1);
/// What was under way then is given up after this, at the latest.
const UNDER_WAY: Duration = Duration::from_secs(3);

/// One phase.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Account {
    pub(super) phase: Phase,
    pub(super) began_s: f64,
    /// What the phase begins with took so long.
    pub(super) act_s: f64,
    pub(super) lasted_s: f64,
    pub(super) requests: usize,
    pub(super) done: usize,
    /// By jurisdiction and kind.
    pub(super) errors: BTreeMap<&'static str, BTreeMap<String, usize>>,
    /// Those of users connected through the region that is away.
    pub(super) errors_through_it: BTreeMap<&'static str, BTreeMap<String, usize>>,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) unlawful: usize,
    pub(super) stale: usize,
    pub(super) lost: usize,
    /// Until nobody waits any more for an answer that does not come.
    pub(super) detected_after_s: Option<f64>,
    /// From the first to the last that was refused, since the command was given or the region was started.
    pub(super) recovered_after_s: Option<f64>,
}

/// A request that was not done.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failure {
    due_s: f64,
    took_s: f64,
    through: &'static str,
    jurisdiction: &'static str,
    writes: bool,
    /// When the user's latest order before it was placed, or may have been.
    wrote_s: Option<f64>,
    outcome: String,
}

/// All requests, with the phases that they fall into.
pub(super) struct Day<'a> {
    pub(super) diary: &'a Diary,
    pub(super) truth: &'a Truth,
    pub(super) spans: &'a [Span],
}

/// A choice of requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Which {
    pub(super) jurisdiction: Option<Jurisdiction>,
    pub(super) writes: Option<bool>,
    /// Not of users connected through this region.
    pub(super) not_through: Option<Region>,
    pub(super) through: Option<Region>,
}

impl Which {
    fn holds(self, asked: &Asked) -> bool {
        self.jurisdiction.is_none_or(|of| asked.jurisdiction == of)
            && self.writes.is_none_or(|writes| asked.writes == writes)
            && self.not_through != Some(asked.place)
            && self.through.is_none_or(|place| asked.place == place)
    }
}

impl<'a> Day<'a> {
    /// The phase's span, if it took place.
    pub(super) fn span(&self, phase: Phase) -> Option<&'a Span> {
        self.spans.iter().find(|span| span.phase == phase)
    }

    /// The requests of a choice that count in `[from, to)`.
    pub(super) fn asked(
        &self,
        which: Which,
        from: Duration,
        to: Duration,
    ) -> impl Iterator<Item = &'a Asked> + use<'a> {
        let within = move |asked: &&Asked| (from..to).contains(&asked.counts_at()) && which.holds(asked);
        self.diary.asked.iter().filter(within)
    }

    /// Until nobody waits any more for an answer that does not come, since the phase began. Users connected through the
    /// region that is away don't count.
    pub(super) fn detected_after(&self, span: &Span) -> Duration {
        let which = Which { not_through: span.phase.away(), ..Which::default() };
        let last = self
            .asked(which, span.began, span.ended)
            .filter(|asked| {
                !asked.outcome.is_done() && (asked.took >= IN_THE_DARK || !is_told(&asked.outcome))
            })
            .map(|asked| asked.due)
            .max();
        last.map_or(Duration::ZERO, |last| last.saturating_sub(span.began))
    }

    /// How long requests of a choice were not done: since the first that was not after the operator gave the command that opens
    /// a database, or since a region's start was done. None when none was done after the last that was not.
    pub(super) fn recovered_after(&self, span: &Span, which: Which) -> Option<Duration> {
        let opens = span.phase.opens().is_some();
        let after = || self.asked(which, if opens { span.began } else { span.acted }, span.ended);
        let failed = || after().filter(|asked| !asked.outcome.is_done()).map(Asked::counts_at);
        let last = failed().max();
        let done = after().any(|asked| asked.outcome.is_done() && last.is_none_or(|last| asked.due > last));
        let from = if opens { failed().min().unwrap_or_default() } else { span.acted };
        done.then(|| last.unwrap_or_default().saturating_sub(from))
    }

    /// Whether a read was refused because its user's own last write had just been acknowledged when the home went away, or was
    /// under way, so that nobody who answers is known to have it: anything older is what R5 forbids to show.
    pub(super) fn is_behind_its_own_write(&self, phase: Phase, asked: &Asked) -> bool {
        let fault = phase.homeless_since().and_then(|since| self.span(since));
        let last = fault.zip(asked.wrote).is_some_and(|(fault, wrote)| {
            wrote + JUST_BEFORE >= fault.began && wrote <= fault.began + UNDER_WAY
        });
        last && !asked.writes && asked.outcome.is_unseen()
    }

    /// Orders that were acknowledged and are nowhere: which, and when they were acknowledged.
    pub(super) fn lost(&self) -> impl Iterator<Item = (&'a str, Jurisdiction, Duration)> + use<'a> {
        let truth = self.truth;
        let gone = move |order: &str| !truth.rows.contains_key(order);
        self.diary
            .acknowledged
            .iter()
            .filter(move |acknowledged| gone(&acknowledged.order))
            .map(|acknowledged| (acknowledged.order.as_str(), acknowledged.jurisdiction, acknowledged.at))
    }

    /// Those of them that no promotion admitted: acknowledged before the time that it named, or where none named any.
    pub(super) fn lost_unadmitted(&self) -> usize {
        let admitted = |jurisdiction: Jurisdiction, at: Duration| {
            let named = self.truth.admitted.get(&jurisdiction);
            named.is_some_and(|named| named.iter().any(|after| at >= *after))
        };
        self.lost().filter(|(_, jurisdiction, at)| !admitted(*jurisdiction, *at)).count()
    }

    /// Orders that are there more than once.
    pub(super) fn doubled(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.truth.rows.iter().filter(|(_, count)| **count > 1).map(|(order, _)| order.as_str())
    }

    /// Reads that lacked an acknowledged order which the databases have: when they were due, and the order.
    pub(super) fn stale(&self) -> impl Iterator<Item = (Duration, &'a str)> + use<'a> {
        let truth = self.truth;
        let there = move |order: &str| truth.rows.contains_key(order);
        let missing = self.diary.missing.iter().filter(move |missing| there(&missing.order));
        missing.map(|missing| (missing.due, missing.order.as_str()))
    }

    /// In the order in which they were due.
    pub(super) fn failures(&self) -> Vec<Failure> {
        let mut failures: Vec<_> = self.diary.asked.iter().filter(|asked| !asked.outcome.is_done()).collect();
        failures.sort_by_key(|asked| asked.due);
        let told = |asked: &Asked| Failure {
            due_s: seconds(asked.due),
            took_s: seconds(asked.took),
            through: asked.place.name(),
            jurisdiction: asked.jurisdiction.name(),
            writes: asked.writes,
            wrote_s: asked.wrote.map(seconds),
            outcome: asked.outcome.to_string(),
        };
        failures.into_iter().map(told).collect()
    }

    pub(super) fn accounts(&self) -> Vec<Account> {
        self.spans.iter().map(|span| self.account(span)).collect()
    }

    fn account(&self, span: &Span) -> Account {
        let away = span.phase.away();
        let all: Vec<_> = self.asked(Which::default(), span.began, span.ended).collect();
        let mut errors = BTreeMap::new();
        let mut errors_through_it = BTreeMap::new();
        for asked in all.iter().filter(|asked| !asked.outcome.is_done()) {
            let book = if away == Some(asked.place) { &mut errors_through_it } else { &mut errors };
            let of: &mut BTreeMap<_, _> = book.entry(asked.jurisdiction.name()).or_default();
            *of.entry(asked.outcome.to_string()).or_insert(0) += 1;
        }
        let took = || all.iter().filter(|asked| asked.outcome.is_done()).map(|asked| asked.took);
        let disturbed = span.phase != Phase::Calm && span.phase != Phase::CalmAgain;
        let opens = span.phase.opens().map(|jurisdiction| Which {
            jurisdiction: Some(jurisdiction),
            writes: Some(true),
            not_through: away,
            ..Which::default()
        });
        let heals = span.phase.heals().map(|region| Which { through: Some(region), ..Which::default() });
        Account {
            phase: span.phase,
            began_s: seconds(span.began),
            act_s: seconds(span.acted.saturating_sub(span.began)),
            lasted_s: seconds(span.ended.saturating_sub(span.began)),
            requests: all.len(),
            done: took().count(),
            errors,
            errors_through_it,
            p50_ms: within(took(), 0.50),
            p99_ms: within(took(), 0.99),
            unlawful: self.truth.astray.iter().filter(|(at, _)| span.contains(*at)).count(),
            stale: distinct(self.stale().filter(|(due, _)| span.contains(*due))),
            lost: self.lost().filter(|(_, _, at)| span.contains(*at)).count(),
            detected_after_s: disturbed.then(|| seconds(self.detected_after(span))),
            recovered_after_s: opens
                .or(heals)
                .and_then(|which| self.recovered_after(span, which))
                .map(seconds),
        }
    }
}

/// The latency in ms that the given share stayed within; 0 of none.
pub(super) fn within(latencies: impl Iterator<Item = Duration>, share: f64) -> f64 {
    Distribution::of(latencies).within(share).map_or(0.0, |ms| (ms * 10.0).round() / 10.0)
}

/// The gateway said itself that it can't be done now.
fn is_told(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Refused(503, _))
}

fn distinct<'a>(stale: impl Iterator<Item = (Duration, &'a str)>) -> usize {
    stale.map(|(due, _)| due).collect::<BTreeSet<_>>().len()
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}
