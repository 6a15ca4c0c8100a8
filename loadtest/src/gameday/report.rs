//! The day's report: figures for each phase, and whether it is what was to be reached.
use std::{fmt::Write as _, time::Duration};

use anyhow::Result;
use serde::Serialize;

use super::{
    Options,
    diary::{Asked, Diary, Outcome},
    phase::{Phase, Span},
    script::{Past, Promotion},
    truth::Truth,
    verdict::{Account, Day, Failure, Which, within},
};
use crate::{
    checks::Checks,
    world::{Jurisdiction, Region},
};

/// A region's silence is noticed after this, at the latest.
const DETECTED: Duration = Duration::from_secs(3);
/// Reads go on from this on after it was noticed.
const SETTLED: Duration = Duration::from_secs(1);
/// The share of them that is answered.
const READS: f64 = 0.999;
/// A write that can't be done is told so within this.
const TOLD_MS: f64 = 50.0;
/// Writes go on after this, at the latest, from when the operator gives the command.
const RESUMED: Duration = Duration::from_secs(5);
/// Names of what was wrong that are quoted.
const QUOTED: usize = 10;

/// The whole result.
#[derive(Debug, Serialize)]
pub struct Report {
    rate: f64,
    seed: u64,
    requests: usize,
    acknowledged_writes: usize,
    deliveries: usize,
    scanned_bytes: u64,
    unlawful: usize,
    stale_reads: usize,
    lost_writes: usize,
    doubled_writes: usize,
    phases: Vec<Account>,
    promotions: Vec<Promotion>,
    /// The first of everything that must not be.
    quoted: Vec<String>,
    /// Every request that was not done.
    failures: Vec<Failure>,
    pub checks: Checks,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        diary: &Diary,
        truth: Result<Truth>,
        past: Past,
        ended: Result<()>,
    ) -> Self {
        let mut checks = Checks::default();
        let Past { spans, promotions, failed } = past;
        for span in &spans {
            let why = failed.iter().find(|(phase, _)| *phase == span.phase).map(|(_, why)| why.clone());
            checks.check(
                format!("{}: it could be done", span.phase.name()),
                why.is_none(),
                why.unwrap_or_default(),
            );
        }
        let looked = truth.as_ref().err().map(|error| format!("{error:#}"));
        checks.check(
            "databases, logs and disks could be looked at",
            looked.is_none(),
            looked.unwrap_or_default(),
        );
        let truth = truth.unwrap_or_default();
        let day = Day { diary, truth: &truth, spans: &spans };
        goals(&day, &mut checks);
        totals(&day, &mut checks);
        let ended = ended.err().map(|error| format!("{error:#}")).unwrap_or_default();
        checks.check("the world ended without a trace: no process, port or file", ended.is_empty(), ended);
        Self {
            rate: options.rate,
            seed: options.seed,
            requests: diary.asked.len(),
            acknowledged_writes: diary.acknowledged.len(),
            deliveries: truth.deliveries,
            scanned_bytes: truth.scanned_bytes,
            unlawful: truth.astray.len() + truth.leaks.len(),
            stale_reads: day.stale().count(),
            lost_writes: day.lost().count(),
            doubled_writes: day.doubled().count(),
            phases: day.accounts(),
            promotions,
            quoted: quoted(&day),
            failures: day.failures(),
            checks,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "\n{} requests at {} a second, {} writes acknowledged, {} deliveries\n\n\
             {:<19}{:>6}{:>6}{:>8}{:>7}{:>8}{:>8}{:>9}{:>6}{:>6}{:>9}{:>9}\n",
            self.requests,
            self.rate,
            self.acknowledged_writes,
            self.deliveries,
            "phase",
            "s",
            "act s",
            "asked",
            "us err",
            "eu err",
            "p50 ms",
            "p99 ms",
            "stale",
            "lost",
            "noticed",
            "resumed"
        );
        let count = |account: &Account, of: Jurisdiction| -> usize {
            account.errors.get(of.name()).map_or(0, |kinds| kinds.values().sum())
        };
        let after =
            |after: Option<f64>| after.map_or_else(|| "-".to_owned(), |after| format!("{after:.1} s"));
        for account in &self.phases {
            let _ = writeln!(
                text,
                "{:<19}{:>6.0}{:>6.1}{:>8}{:>7}{:>8}{:>8.1}{:>9.1}{:>6}{:>6}{:>9}{:>9}",
                account.phase.name(),
                account.lasted_s,
                account.act_s,
                account.requests,
                count(account, Jurisdiction::Us),
                count(account, Jurisdiction::Eu),
                account.p50_ms,
                account.p99_ms,
                account.stale,
                account.lost,
                after(account.detected_after_s),
                after(account.recovered_after_s)
            );
            for (whose, kinds) in [("", &account.errors), (" through it", &account.errors_through_it)] {
                for (jurisdiction, kinds) in kinds {
                    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
                    let _ = writeln!(text, "    {jurisdiction}{whose}: {}", kinds.join(", "));
                }
            }
        }
        let _ = writeln!(
            text,
            "\nunlawful {}, stale {}, lost {}, doubled {}\n",
            self.unlawful, self.stale_reads, self.lost_writes, self.doubled_writes
        );
        text += &self.checks.text();
        if !self.quoted.is_empty() {
            let _ = writeln!(text, "\nWhat must not be:\n  {}", self.quoted.join("\n  "));
        }
        text
    }
}

const US: Option<Jurisdiction> = Some(Jurisdiction::Us);
const EU: Option<Jurisdiction> = Some(Jurisdiction::Eu);

/// What each phase has to reach; of those that took place.
fn goals(day: &Day<'_>, checks: &mut Checks) {
    let elsewhere = |span: &Span| Which { not_through: span.phase.away(), ..Which::default() };
    for phase in [Phase::Calm, Phase::CalmAgain] {
        if let Some(span) = day.span(phase) {
            let name = format!("{}: everything is answered", phase.name());
            all_done(&name, day.asked(Which::default(), span.began, span.ended), 1.0, checks);
        }
    }
    for phase in [Phase::UsEastSilent, Phase::UsEastDead, Phase::UsPromoted, Phase::UsEastBack] {
        let Some(span) = day.span(phase) else { continue };
        let which = Which { jurisdiction: EU, ..elsewhere(span) };
        let name = format!("{}: EU users elsewhere notice nothing", phase.name());
        all_done(&name, day.asked(which, span.began, span.ended), 1.0, checks);
    }
    for (phase, jurisdiction) in
        [(Phase::UsEastSilent, Jurisdiction::Us), (Phase::EuFrankfurtDead, Jurisdiction::Eu)]
    {
        let Some(span) = day.span(phase) else { continue };
        let detected = day.detected_after(span);
        let name = phase.name();
        checks.check(
            format!("{name}: noticed within {DETECTED:?}"),
            detected <= DETECTED,
            format!("{:.2} s", detected.as_secs_f64()),
        );
        let from = span.began + detected;
        let refused: Vec<_> = day
            .asked(
                Which { jurisdiction: Some(jurisdiction), writes: Some(true), ..elsewhere(span) },
                // Until a gateway has noticed, a refusal may cost the way there and back.
                span.began + DETECTED,
                span.ended,
            )
            .collect();
        told(
            &format!("{name}: from then on, writes of {jurisdiction} are refused with 503"),
            &refused,
            checks,
        );
        let reads = Which { jurisdiction: Some(jurisdiction), writes: Some(false), ..elsewhere(span) };
        let name = format!("{name}: reads of {jurisdiction} go on from 1 s after that");
        reads_go_on(&name, day, span, reads, from + SETTLED, checks);
    }
    for (phase, jurisdiction) in [
        (Phase::UsEastDead, US),
        (Phase::UsPromoted, US),
        (Phase::EuPromoted, EU),
        (Phase::EuNurembergDead, EU),
        (Phase::EuRelaxed, EU),
    ] {
        let Some(span) = day.span(phase) else { continue };
        let reads = Which { jurisdiction, writes: Some(false), ..elsewhere(span) };
        // Who loses a region's endpoints needs a moment to notice.
        let from = if phase == Phase::EuNurembergDead { span.began + DETECTED } else { span.began };
        let name = format!("{}: reads go on", phase.name());
        reads_go_on(&name, day, span, reads, from, checks);
    }
    for phase in Phase::ALL {
        let Some(span) = day.span(phase) else { continue };
        let (what, which) = match (phase.opens(), phase.heals()) {
            (Some(of), _) => (
                format!("writes of {of}"),
                Which { jurisdiction: Some(of), writes: Some(true), ..elsewhere(span) },
            ),
            (None, Some(region)) => {
                (format!("users of {region}"), Which { through: Some(region), ..Which::default() })
            }
            (None, None) => continue,
        };
        let resumed = day.recovered_after(span, which);
        checks.check(
            format!("{}: {what} go on within {RESUMED:?}", phase.name()),
            resumed.is_some_and(|resumed| resumed <= RESUMED),
            resumed.map_or_else(|| "never".to_owned(), |resumed| format!("{:.2} s", resumed.as_secs_f64())),
        );
    }
    if let Some(span) = day.span(Phase::EuNurembergDead) {
        let after = span.acted + SETTLED;
        let told = day.diary.acknowledged.iter().filter(|acknowledged| {
            acknowledged.jurisdiction == Jurisdiction::Eu
                && acknowledged.at > after
                && acknowledged.at < span.ended
        });
        let count = told.count();
        checks.check(
            "eu-nuremberg-dead: no write of eu is acknowledged while its standby is away",
            count == 0,
            format!("{count} were"),
        );
    }
    if let Some(span) = day.span(Phase::SingaporeCutOff) {
        let name = "singapore-cut-off: nobody elsewhere notices";
        all_done(name, day.asked(elsewhere(span), span.began, span.ended), 1.0, checks);
        let reads = Which {
            jurisdiction: US,
            writes: Some(false),
            through: Some(Region::ApSingapore),
            ..Which::default()
        };
        let from = span.began + DETECTED + SETTLED;
        let name = "singapore-cut-off: reads there go on from its own replica";
        reads_go_on(name, day, span, reads, from, checks);
    }
    for phase in [Phase::ReplicasLag, Phase::EndpointHangs, Phase::EndpointFails] {
        let Some(span) = day.span(phase) else { continue };
        // A process that is started again gets no requests at first; it is noticed from the first one that it fails.
        let met = day.asked(elsewhere(span), span.acted, span.ended).filter(|asked| !asked.outcome.is_done());
        let met = met.map(Asked::counts_at).min().unwrap_or(span.acted);
        let from = if phase == Phase::ReplicasLag { span.began } else { met + DETECTED };
        let name = format!("{}: requests go on", phase.name());
        all_done(&name, day.asked(elsewhere(span), from, span.ended), READS, checks);
    }
}

/// What must not be, whatever happened.
fn totals(day: &Day<'_>, checks: &mut Checks) {
    let Truth { astray, leaks, deliveries, .. } = day.truth;
    checks.check(
        "no request reached a region where its user's data may not be",
        astray.is_empty(),
        format!("{} of {deliveries} did", astray.len()),
    );
    checks.check(
        "no database or disk holds what must not lie there",
        leaks.is_empty(),
        format!("{} places", leaks.len()),
    );
    let delivered = *deliveries > 0 && !day.truth.rows.is_empty();
    checks.check("there was something to see", delivered, format!("{deliveries} deliveries"));
    let stale = day.stale().count();
    checks.check("no read was older than its user's own writes", stale == 0, format!("{stale} were"));
    let of = |jurisdiction| day.lost().filter(|(_, of, _)| *of == jurisdiction).count();
    checks.check(
        "no acknowledged write of eu, which waits for a standby, is lost",
        of(Jurisdiction::Eu) == 0,
        format!("{} are", of(Jurisdiction::Eu)),
    );
    checks.check(
        "no acknowledged write is lost but what a promotion named",
        day.lost_unadmitted() == 0,
        format!("{} of us lost, {} in all not named", of(Jurisdiction::Us), day.lost_unadmitted()),
    );
    let doubled = day.doubled().count();
    checks.check("no write was done twice", doubled == 0, format!("{doubled} were"));
}

fn all_done<'a>(name: &str, asked: impl Iterator<Item = &'a Asked>, least: f64, checks: &mut Checks) {
    let (mut all, mut done) = (0_usize, 0_usize);
    for one in asked {
        all += 1;
        done += usize::from(one.outcome.is_done());
    }
    let share = done as f64 / all.max(1) as f64;
    checks.check(name, all > 0 && share >= least, format!("{done} of {all} ({:.2} %)", share * 100.0));
}

/// The share of a phase's reads that is answered is high enough, but for readers who may not be shown anything that answers.
fn reads_go_on(name: &str, day: &Day<'_>, span: &Span, which: Which, from: Duration, checks: &mut Checks) {
    let (mut all, mut done, mut behind) = (0_usize, 0_usize, 0_usize);
    for asked in day.asked(which, from, span.ended) {
        if day.is_behind_its_own_write(span.phase, asked) {
            behind += 1;
        } else {
            all += 1;
            done += usize::from(asked.outcome.is_done());
        }
    }
    let share = done as f64 / all.max(1) as f64;
    checks.check(
        name,
        all > 0 && share >= READS,
        format!(
            "{done} of {all} ({:.2} %), and {behind} refused to users who wrote as the home went away",
            share * 100.0
        ),
    );
}

/// All of them were told, and soon.
fn told(name: &str, asked: &[&Asked], checks: &mut Checks) {
    let told = |asked: &&&Asked| matches!(asked.outcome, Outcome::Refused(503, _));
    let count = asked.iter().filter(told).count();
    let p99_ms = within(asked.iter().filter(told).map(|asked| asked.took), 0.99);
    checks.check(
        format!("{name} within {TOLD_MS} ms (p99)"),
        !asked.is_empty() && count == asked.len() && p99_ms <= TOLD_MS,
        format!("{count} of {}, p99 {p99_ms:.1} ms", asked.len()),
    );
}

fn quoted(day: &Day<'_>) -> Vec<String> {
    let at = |moment: Duration| format!("{:.1} s", moment.as_secs_f64());
    let astray = day.truth.astray.iter().map(|(when, what)| format!("unlawful at {}: {what}", at(*when)));
    let leaks = day.truth.leaks.iter().map(|leak| format!("unlawful: {leak}"));
    let stale = day.stale().map(|(due, order)| format!("stale at {}: without {order}", at(due)));
    let lost = day.lost().map(|(order, _, when)| format!("lost: {order}, acknowledged at {}", at(when)));
    let doubled = day.doubled().map(|order| format!("doubled: {order}"));
    let mut all = Vec::new();
    all.extend(astray.take(QUOTED));
    all.extend(leaks.take(QUOTED));
    all.extend(stale.take(QUOTED));
    all.extend(lost.take(QUOTED));
    all.extend(doubled.take(QUOTED));
    all
}
