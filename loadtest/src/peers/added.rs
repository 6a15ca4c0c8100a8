//! What the gateway adds to a request: the same open-loop load straight to the upstream and through the gateway, in turn.
//!
//! The gateway has a core of its own, with its full policy, metrics and access log; load and upstream have the other, on
//! one thread that never sleeps. The rate is half load: that at which the gateway's core is half busy. It is looked for at
//! half of what a closed loop reaches just before, where a request costs more than in the closed loop, which finds many at
//! once whenever it wakes. A round is a span without and a span with the gateway; which comes first alternates. What is
//! added is the difference of a round's percentiles, and the figure that counts is the median of the rounds'.
use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::Options;
use super::contender::{Contender, Load};
use super::cpu::{Cores, Usage};
use super::programs;
use super::prove::prove;
use super::report::{median, rounded};
use super::scene::Scene;
use super::stage::Stage;
use super::turn::warm_up;
use crate::generator::{Manner, Tally, Trust};

/// Of the highest rate, and of the gateway's core.
const HALF: f64 = 0.5;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Added {
    /// What a closed loop reached through the gateway.
    pub peak_rps: f64,
    /// What both sides were measured at.
    pub rps: f64,
    pub rounds: Vec<Round>,
    /// Medians of the rounds' differences.
    pub added_p50_us: f64,
    pub added_p99_us: f64,
    /// CPU time of the gateway a second, at that rate.
    pub gateway_cpu_share: f64,
    /// Time a second in which the gateway could have run and something else had its core: the machine's unrest.
    pub gateway_wait_share: f64,
    /// Requests that went wrong, on either side.
    pub faults: u64,
}

/// One span without the gateway and one with it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Round {
    pub without: Percentiles,
    pub with: Percentiles,
}

/// Latencies from the moment at which each request was due, in µs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50_us: f64,
    pub p95_us: f64,
    pub p99_us: f64,
}

impl Percentiles {
    fn of(tally: &Tally) -> Self {
        let at = |quantile| rounded(tally.latency_us(quantile), 1);
        Self { p50_us: at(0.50), p95_us: at(0.95), p99_us: at(0.99) }
    }
}

/// Measures it with the options' rounds, span, connections and cores.
pub fn added(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Added> {
    let contender = Contender::all()
        .into_iter()
        .find(|contender| contender.name() == "gateway" && contender.load == Load::Requests)
        .context("the gateway is among the contenders")?;
    programs::locate(contender.program, options)?;
    let cores = Cores::claim(options.proxy_core, options.load_core)?;
    std::fs::create_dir_all(&options.directory).context("the directory for results")?;
    progress(&format!("signing {} tokens", options.users));
    let mut scene = Scene::prepare(options)?;
    let stage = Stage::raise(&contender, &mut scene, &cores, options)?;
    let outcome = rounds(&contender, &mut scene, options, &stage, progress);
    let added = stage.explain(outcome)?;
    stage.lower(&mut scene)?;
    Ok(added)
}

fn rounds(
    contender: &Contender,
    scene: &mut Scene,
    options: &Options,
    stage: &Stage,
    progress: &mut dyn FnMut(&str),
) -> Result<Added> {
    prove(contender, scene, stage.listen()).context("it does not do its part")?;
    let manner = scene.manner(contender.load, Trust::Pinned)?;
    let rig = &mut scene.rig;
    rig.connect(stage.listen(), options.connections, manner)?;
    warm_up(rig, options)?;
    let peak_rps = rig.drive(options.span)?.rate();
    rig.rest()?;
    let pids = stage.pids()?;
    let half_of_peak = peak_rps * HALF;
    ensure!(half_of_peak >= 1.0, "the gateway answered nothing");
    rig.connect(stage.listen(), options.connections, Manner::Plain)?;
    rig.pace(half_of_peak, options.warm_up)?;
    let before = Usage::of_processes(&pids)?;
    let span_ns = rig.pace(half_of_peak, options.span)?.span().as_nanos() as f64;
    let busy = Usage::of_processes(&pids)?.since(before).run_ns as f64 / span_ns;
    let rps = half_of_peak * (HALF / busy).min(1.0);
    progress(&format!(
        "{peak_rps:.0} requests a second at most; at half of that its core is {:.0} % busy, so {rps:.0} from here on",
        busy * 100.0
    ));
    let (mut all, mut faults, mut used, mut measured) = (Vec::new(), 0, Usage::default(), 0.0);
    for number in 0..options.rounds {
        let mut sides = [None, None];
        for side in if number % 2 == 0 { [0, 1] } else { [1, 0] } {
            let target = if side == 0 { rig.origin_address() } else { stage.listen() };
            rig.connect(target, options.connections, Manner::Plain)?;
            rig.pace(rps, options.warm_up)?;
            let before = Usage::of_processes(&pids)?;
            let tally = rig.pace(rps, options.span)?;
            if side == 1 {
                let usage = Usage::of_processes(&pids)?.since(before);
                used.run_ns += usage.run_ns;
                used.wait_ns += usage.wait_ns;
                measured += tally.span().as_nanos() as f64;
            }
            faults += tally.faults();
            sides[side] = Some(Percentiles::of(&tally));
        }
        let [Some(without), Some(with)] = sides else { unreachable!("both sides had their span") };
        progress(&format!(
            "round {}/{}: p50 {:.0} µs without and {:.0} µs with the gateway, p99 {:.0} µs and {:.0} µs",
            number + 1,
            options.rounds,
            without.p50_us,
            with.p50_us,
            without.p99_us,
            with.p99_us
        ));
        all.push(Round { without, with });
    }
    Ok(Added {
        peak_rps: rounded(peak_rps, 0),
        rps: rounded(rps, 0),
        added_p50_us: difference(&all, |side| side.p50_us),
        added_p99_us: difference(&all, |side| side.p99_us),
        gateway_cpu_share: rounded(used.run_ns as f64 / measured, 3),
        gateway_wait_share: rounded(used.wait_ns as f64 / measured, 3),
        faults,
        rounds: all,
    })
}

/// The median of what the rounds' sides differ by.
fn difference(rounds: &[Round], figure: impl Fn(&Percentiles) -> f64) -> f64 {
    let mut differences: Vec<_> =
        rounds.iter().map(|round| figure(&round.with) - figure(&round.without)).collect();
    rounded(median(&mut differences).unwrap_or(f64::NAN), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_the_median_of_differences_and_not_a_difference_of_medians() {
        let side = |p50_us| Percentiles { p50_us, p95_us: 0.0, p99_us: 0.0 };
        let rounds = [(10.0, 50.0), (100.0, 120.0), (12.0, 42.0)]
            .map(|(without, with)| Round { without: side(without), with: side(with) });
        assert!((difference(&rounds, |side| side.p50_us) - 30.0).abs() < 1e-9);
        assert!(difference(&[], |side| side.p50_us).is_nan());
    }
}
