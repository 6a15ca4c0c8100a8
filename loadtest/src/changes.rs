//! Changes of home, by hand in the registers, and how soon every gateway goes by them. `make bench-changes`; the demo's step, too.
//!
//! A change is in force at a gateway from the beginning of the first request after which all went to the new home. Requests
//! begin every few milliseconds, so what is found is never too little, and up to that much too much. A request that sets out
//! by the old entry is turned back at the old home, which knows by then, and goes to the new one after all: from far away a
//! change can so be in force before its news has arrived.
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    checks::Checks,
    latency::{Distribution, Figures},
    programs::Programs,
    world::{Answer, Call, Jurisdiction, Port, Region, World, round_trip},
};

/// Between a region's probes, each of which is sent whether or not those before it are answered.
const STEP: Duration = Duration::from_millis(10);
/// A change that is not known by then never will be.
const LOST: Duration = Duration::from_secs(10);

/// The entry at its new home.
const ARRIVE: &str = "INSERT INTO residency.register (hash, kind, key_id, state, generation) \
    VALUES (decode($1, 'hex'), 1, $2, 'home', $3) \
    ON CONFLICT (hash) DO UPDATE SET state = 'home', generation = excluded.generation, toward = NULL";
/// The entry that it leaves behind.
const LEAVE: &str = "UPDATE residency.register SET state = 'gone', toward = $2, generation = $3 \
    WHERE hash = decode($1, 'hex') AND state = 'home'";

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub programs: Programs,
    /// Of home, there and back again.
    pub changes: usize,
}

/// The whole result.
#[derive(Debug, Serialize)]
pub struct Report {
    changes: usize,
    /// Until a change was in force, beyond the one-way delay of the link from its register, by gateway.
    beyond_link: Vec<(&'static str, Figures)>,
    all: Option<Figures>,
    pub checks: Checks,
}

/// Beyond the link's one-way delay, of all changes at all gateways.
const IN_FORCE_MS: f64 = 100.0;
/// The one whose home changes. Its token claims `us` all along.
const SUBJECT: &str = "a-traveller";

/// Runs it. The world is gone when it returns.
pub async fn run(options: &Options, say: impl Fn(&str) + Clone + Send + Sync + 'static) -> Result<Report> {
    let world = World::builder()
        .gateway_bin(&options.programs.gateway)
        .migrate_bin(&options.programs.migrate)
        .root(options.programs.worlds())
        .progress(say.clone())
        .start()
        .await?;
    let (mut from, mut to) = (Jurisdiction::Us, Jurisdiction::Eu);
    let assign = serde_json::json!({ "subject": SUBJECT, "country": from.country() });
    let assigned = world.control(from.home(), Method::POST, "/v1/assign")?.json(&assign).send().await?;
    ensure!(assigned.status == StatusCode::CREATED, "assigned with {assigned:?}");
    let said = world.control(from.home(), Method::GET, &format!("/v1/subjects/{SUBJECT}"))?.send().await?;
    let hash = said.json::<Value>()?["hashes"][0].as_str().context("the subject's hash")?.to_owned();
    let token = world.keys().signer()?.token(SUBJECT, from)?;
    let calls = Region::ALL.map(|region| {
        let address = world.address(region, Port::GatewayHttp);
        (region, Call::new(address, Method::POST, "/whoami").bearer(&token))
    });

    say(&format!("{} changes, {STEP:?} between a region's requests", options.changes));
    let mut took: Vec<(Region, Duration)> = Vec::new();
    let mut wrong = Vec::new();
    for _ in 0..options.changes {
        let (committed, _) = hand_over(&world, &hash, from, to).await?;
        let arrival = Arrival::watch(calls.clone(), committed, to.home()).await?;
        if !(arrival.late.is_empty() && arrival.strange.is_empty()) {
            wrong.push(arrival.detail());
        }
        took.extend(
            arrival
                .after
                .iter()
                .map(|&(region, after)| (region, after.saturating_sub(round_trip(region, to.home()) / 2))),
        );
        (from, to) = (to, from);
    }
    let ended = world.stop().err().map(|error| format!("{error:#}")).unwrap_or_default();

    let figures = |of: Option<Region>| {
        let chosen = took.iter().filter(|(region, _)| of.is_none_or(|of| of == *region));
        Distribution::of(chosen.map(|(_, after)| *after)).figures()
    };
    let all = figures(None);
    let mut checks = Checks::default();
    let p99_ms = all.map_or(f64::NAN, |all| all.p99_ms);
    checks.check(
        format!(
            "a change is in force at every gateway within {IN_FORCE_MS} ms beyond its link's delay (p99)"
        ),
        took.len() == options.changes * Region::ALL.len() && p99_ms <= IN_FORCE_MS,
        format!("{p99_ms:.1} ms, of {} changes at {} gateways", options.changes, Region::ALL.len()),
    );
    checks.check(
        "no request meanwhile was refused, and no change was missed",
        wrong.is_empty(),
        wrong.join("; "),
    );
    checks.check("the world ended without a trace: no process, port or file", ended.is_empty(), ended);
    let beyond_link =
        Region::ALL.into_iter().filter_map(|region| Some((region.name(), figures(Some(region))?))).collect();
    Ok(Report { changes: options.changes, beyond_link, all, checks })
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let line = |(region, figures): &(&str, Figures)| {
            let Figures { p50_ms, p99_ms, max_ms, .. } = figures;
            format!("{region:<14}p50 {p50_ms:>6.1} ms  p99 {p99_ms:>6.1} ms  longest {max_ms:>6.1} ms\n")
        };
        let lines: String = self.beyond_link.iter().map(line).collect();
        format!("\nin force after, beyond the link from the register:\n{lines}\n{}", self.checks.text())
    }
}

/// Gives the next generation to the entry at its new home, and then to the one it leaves. When the first was committed, which is
/// what decides, and the generation.
pub(crate) async fn hand_over(
    world: &World,
    hash: &str,
    leaves: Jurisdiction,
    arrives: Jurisdiction,
) -> Result<(Instant, i64)> {
    let (old, new) = (world.sql(leaves.home(), leaves).await?, world.sql(arrives.home(), arrives).await?);
    let query = "SELECT key_id, generation FROM residency.register WHERE hash = decode($1, 'hex')";
    let entry = old.query_one(query, &[&hash]).await.context("the user's entry")?;
    let (key, generation) = (entry.get::<_, String>(0), entry.get::<_, i64>(1) + 1);
    new.execute(ARRIVE, &[&hash, &key, &generation]).await.context("the entry at its new home")?;
    let committed = Instant::now();
    let left =
        old.execute(LEAVE, &[&hash, &arrives.name(), &generation]).await.context("the entry it leaves")?;
    ensure!(left == 1, "{left} entries were at home in {leaves}");
    Ok((committed, generation))
}

/// When a change of home was effective, as requests in each region met it.
#[derive(Default)]
pub(crate) struct Arrival {
    /// By region: after how long all requests that were begun went to the new home.
    pub(crate) after: Vec<(Region, Duration)>,
    /// Regions that never sent one there.
    pub(crate) late: Vec<Region>,
    /// Answers that were neither the old home's nor the new one's.
    pub(crate) strange: Vec<String>,
    probes: usize,
}

impl Arrival {
    /// Sends each region's call, over and over, until one went to the new home.
    pub(crate) async fn watch(
        calls: impl IntoIterator<Item = (Region, Call)>,
        committed: Instant,
        home: Region,
    ) -> Result<Self> {
        let mut watches = JoinSet::new();
        for (from, call) in calls {
            watches.spawn(async move {
                let mut probes = JoinSet::new();
                let mut answers = Vec::new();
                let mut there = false;
                while !there && committed.elapsed() < LOST {
                    let (call, begun) = (call.clone(), committed.elapsed());
                    probes.spawn(async move { (begun, call.send().await) });
                    sleep(STEP).await;
                    while let Some(Ok(probe)) = probes.try_join_next() {
                        there |= probe.1.as_ref().is_ok_and(|answer| served_by(answer) == home.name());
                        answers.push(probe);
                    }
                }
                answers.extend(probes.join_all().await);
                answers.sort_by_key(|(begun, _)| *begun);
                (from, answers)
            });
        }
        let mut arrival = Self::default();
        for (from, answers) in watches.join_all().await {
            arrival.probes += answers.len();
            let mut after = None;
            for (begun, answer) in answers {
                let answer = answer?;
                if served_by(&answer) != home.name() {
                    after = None;
                } else if after.is_none() {
                    after = Some(begun);
                }
                if answer.status != StatusCode::OK {
                    arrival.strange.push(format!(
                        "{from} after {} ms: {} {}",
                        begun.as_millis(),
                        answer.status,
                        answer.problem().unwrap_or_default()
                    ));
                }
            }
            match after {
                Some(after) => arrival.after.push((from, after)),
                None => arrival.late.push(from),
            }
        }
        arrival.after.sort_unstable();
        Ok(arrival)
    }

    pub(crate) fn detail(&self) -> String {
        let after: Vec<_> =
            self.after.iter().map(|(from, after)| format!("{from} {} ms", after.as_millis())).collect();
        let mut parts = vec![
            format!("{} requests", self.probes),
            format!("all there that began after: {}", after.join(", ")),
        ];
        if !self.late.is_empty() {
            parts.push(format!("never from {:?}", self.late));
        }
        if !self.strange.is_empty() {
            parts.push(format!("failed: {}", self.strange.join(", ")));
        }
        parts.join("; ")
    }
}

fn served_by(answer: &Answer) -> &str {
    answer.header("residency-served-by")
}
