//! One turn of one contender under load: start, prove, warm up, measure, stop.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Options;
use super::beside::Beside;
use super::contender::{Contender, Load};
use super::cpu::{CoreTicks, Cores, Usage};
use super::prove::{EXCHANGE_WITHIN, prove};
use super::scaling;
use super::scene::Scene;
use super::stage::Stage;
use crate::generator::{Fault, Manner, Rig, Tally, Trust};

/// A warm-up may be extended this often until every token has been seen.
const WARM_UPS: usize = 10;

/// A pool may hold this many connections for each of the load's: workers have their own, and requests overlap.
const KEPT_FOR_EACH: u64 = 2;

/// The figures of one turn.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn {
    pub(super) cpu_us_per_request: f64,
    pub(super) rps: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) requests: u64,
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// Of the proxy's pool, over the whole turn.
    pub(super) upstream_reuse: f64,
    pub(super) upstream_connections: u64,
    /// Upstream connections a request, beyond those that the load keeps busy: what a pool that keeps none opens.
    pub(super) upstream_churn: f64,
    /// CPU time of the load and upstream thread a second.
    pub(super) generator_cpu_share: f64,
    pub(super) load_core_idle_share: f64,
    /// CPU time of the contender a second: near 1 when it fills its core.
    pub(super) proxy_cpu_share: f64,
    pub(super) proxy_core_idle_share: f64,
    /// Time a second in which the contender could have run and something else did: the machine's unrest.
    pub(super) proxy_wait_share: f64,
    /// Log lines a request that reached the upstream; none without a log.
    pub(super) log_lines_per_request: Option<f64>,
    /// Token cache misses a request, where the contender counts them.
    pub(super) token_misses_per_request: Option<f64>,
    /// CPU time of the least busy worker over that of the busiest, where there are two.
    pub(super) spread: Option<f64>,
}

/// Load straight to the upstream: the most that the load's core can do.
pub(super) fn direct(scene: &mut Scene, cores: &Cores, options: &Options) -> Result<Turn> {
    scene.assume(Load::Requests);
    let target = scene.rig.origin_address();
    scene.rig.connect(target, options.connections, Manner::Plain)?;
    scene.rig.drive(options.warm_up.min(Duration::from_millis(300)))?;
    let turn = measure(&mut scene.rig, &[], cores, options.span.min(Duration::from_secs(2)))?;
    scene.rig.disconnect();
    scene.rig.serve(Duration::from_millis(50))?;
    Ok(turn)
}

impl Turn {
    /// Runs the contender's turn. Fails when it does not start, or does not do what its role demands.
    pub(super) fn take(
        contender: &Contender,
        scene: &mut Scene,
        cores: &Cores,
        options: &Options,
    ) -> Result<Self> {
        let stage = Stage::raise(contender, scene, cores, options)?;
        let outcome = run(contender, scene, cores, options, &stage);
        let mut turn = stage.explain(outcome)?;
        let curtain = stage.lower(scene)?;
        turn.upstream_reuse = curtain.reached.reuse();
        turn.upstream_connections = curtain.reached.connections;
        let kept = KEPT_FOR_EACH * options.connections as u64;
        turn.upstream_churn =
            curtain.reached.connections.saturating_sub(kept) as f64 / curtain.reached.requests.max(1) as f64;
        turn.log_lines_per_request = curtain.log_lines_per_request;
        Ok(turn)
    }

    /// The turn in one line, for whoever waits.
    pub(super) fn line(&self, name: &str) -> String {
        let faults: u64 = self.faults.values().sum();
        format!(
            "{name:<26} {:>7.2} µs/request {:>7.0}/s  p99 {:>6.0} µs  load core {:>3.0} % idle  {faults} faults",
            self.cpu_us_per_request,
            self.rps,
            self.p99_us,
            self.load_core_idle_share * 100.0
        )
    }
}

fn run(
    contender: &Contender,
    scene: &mut Scene,
    cores: &Cores,
    options: &Options,
    stage: &Stage,
) -> Result<Turn> {
    prove(contender, scene, stage.listen()).context("it does not do its part")?;
    let load = contender.load;
    let manner = scene.manner(load, Trust::Pinned)?;
    let rig = &mut scene.rig;
    rig.connect(stage.listen(), Scene::connections(load, options), manner)?;
    warm_up(rig, options)?;
    let pids = stage.pids()?;
    let misses_before = stage.admin().and_then(|admin| token_misses(rig, admin));
    let beside = Beside::start(options, &contender.label(), stage)?;
    let workers = scaling::Workers::watch(contender, &pids)?;
    let mut turn = measure(rig, &pids, cores, options.span)?;
    turn.spread = workers.map(|workers| workers.spread()).transpose()?;
    beside.finish()?;
    // What is under way is answered, so that it is in the log too.
    add(&mut turn.faults, &rig.rest()?);
    let misses_after = stage.admin().and_then(|admin| token_misses(rig, admin));
    if let (Some(before), Some(after)) = (misses_before, misses_after) {
        turn.token_misses_per_request = Some((after - before) / turn.requests.max(1) as f64);
    }
    Ok(turn)
}

/// Until each user's token has been seen, or as long as may be.
pub(super) fn warm_up(rig: &mut Rig, options: &Options) -> Result<()> {
    let mut warmed = 0;
    for _ in 0..WARM_UPS {
        warmed += rig.drive(options.warm_up)?.requests();
        if warmed >= rig.requests() as u64 {
            break;
        }
    }
    Ok(())
}

fn measure(rig: &mut Rig, pids: &[u32], cores: &Cores, span: Duration) -> Result<Turn> {
    let ticks = || Ok::<_, anyhow::Error>((CoreTicks::of(cores.proxy)?, CoreTicks::of(cores.load)?));
    let ticks_before = ticks()?;
    let own_before = Usage::of_this_thread()?;
    let before = Usage::of_processes(pids)?;
    let tally = rig.drive(span)?;
    let used = Usage::of_processes(pids)?.since(before);
    let own = Usage::of_this_thread()?.since(own_before);
    let ticks_after = ticks()?;
    let window_ns = tally.span().as_nanos() as f64;
    let mut faults = BTreeMap::new();
    add(&mut faults, &tally);
    // Without a proxy, what costs is the load itself.
    let charged = if pids.is_empty() { own } else { used };
    Ok(Turn {
        cpu_us_per_request: charged.run_ns as f64 / 1_000.0 / tally.requests().max(1) as f64,
        rps: tally.rate(),
        p50_us: tally.latency_us(0.50),
        p99_us: tally.latency_us(0.99),
        requests: tally.requests(),
        faults,
        generator_cpu_share: own.run_ns as f64 / window_ns,
        load_core_idle_share: ticks_after.1.idle_since(ticks_before.1),
        proxy_cpu_share: used.run_ns as f64 / window_ns,
        proxy_core_idle_share: ticks_after.0.idle_since(ticks_before.0),
        proxy_wait_share: used.wait_ns as f64 / window_ns,
        ..Turn::default()
    })
}

/// Adds a tally's faults to those of a turn, by kind.
pub(super) fn add(faults: &mut BTreeMap<&'static str, u64>, tally: &Tally) {
    let happened = Fault::ALL.into_iter().filter(|fault| tally.faults_of(*fault) > 0);
    for fault in happened {
        *faults.entry(fault.name()).or_default() += tally.faults_of(fault);
    }
}

/// The gateway's own count of token cache misses.
fn token_misses(rig: &mut Rig, admin: SocketAddr) -> Option<f64> {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    let answer = rig.exchange(admin, request.as_bytes(), &Manner::Plain, EXCHANGE_WITHIN).ok()?.answer;
    let text = String::from_utf8(answer.body).ok()?;
    let name = "residency_token_cache_lookups_total{result=\"miss\"}";
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}
