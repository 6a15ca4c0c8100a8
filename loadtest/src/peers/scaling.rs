//! What a second worker brings, on a machine whose two cores the load needs too.
//!
//! The load takes what the proxy would need to show twice the rate, so rates say little here; CPU time says more. If a
//! request costs two workers on two cores what it costs one worker on one core, two cores carry twice as much:
//!
//! ```text
//! capacity ratio = 2 × (CPU time a request, one worker) / (CPU time a request, two workers)
//! ```
//!
//! It is 2 for workers that share nothing, and falls with every lock they wait for actively and every cache line that
//! goes to and fro between them. Both sides run in like company: one worker with the load on one core and half the
//! connections, two with the load on two cores and all connections. A worker that has its core to itself is no base
//! for it, tried: who must wait for the core finds more events ready when it gets it, a request of a larger batch
//! costs less, and the ratio came out well above 2. A remainder of that is left: the load is one thread, so at any
//! moment one of two workers has a core to itself; that costs the two, and the ratio is too low rather than too high.
//!
//! Waiting that burns no CPU time is not seen by this method. The rates of both sides are reported beside it; the
//! second is up to twice the first as long as the load's one thread can follow.
//!
//! The spread is the CPU time of the least busy worker over that of the busiest: 1 when both do the same, 0 when one
//! does nothing. The kernel deals connections out by hash, so some sixty of them do not fall in equal halves.
use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::contender::{Contender, Load};
use super::cpu::Usage;

/// What the gateway's workers are called, less their number.
const NAME: &str = "worker-";

/// The workers of a contender with two of them.
pub(super) struct Workers {
    pids: Vec<u32>,
    before: BTreeMap<String, Usage>,
}

impl Workers {
    /// `None` for contenders of one worker.
    pub(super) fn watch(contender: &Contender, pids: &[u32]) -> Result<Option<Self>> {
        if contender.load != Load::TwoWorkers {
            return Ok(None);
        }
        let before = Usage::of_threads(pids, NAME)?;
        ensure!(before.len() == 2, "there are {} threads called {NAME}N, and not 2", before.len());
        Ok(Some(Self { pids: pids.to_vec(), before }))
    }

    /// How evenly they have worked since then. Fails when one of them has done nothing to speak of.
    pub(super) fn spread(&self) -> Result<f64> {
        let after = Usage::of_threads(&self.pids, NAME)?;
        let used: Vec<_> = self
            .before
            .iter()
            .filter_map(|(thread, before)| Some(after.get(thread)?.since(*before).run_ns))
            .collect();
        let spread = spread(&used);
        ensure!(spread > 0.05, "one worker does all the work: {used:?} ns");
        Ok(spread)
    }
}

fn spread(used: &[u64]) -> f64 {
    match (used.iter().min(), used.iter().max()) {
        (Some(least), Some(most)) if *most > 0 => *least as f64 / *most as f64,
        _ => 0.0,
    }
}

/// How much more two workers carry than one, from what a request costs each.
pub(super) fn capacity_ratio(one_cpu_us: f64, two_cpu_us: f64) -> f64 {
    2.0 * one_cpu_us / two_cpu_us
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_capacities() {
        for (used, expected) in
            [(&[5, 10][..], 0.5), (&[7, 7], 1.0), (&[0, 9], 0.0), (&[0, 0], 0.0), (&[], 0.0)]
        {
            assert!((spread(used) - expected).abs() < 1e-9, "{used:?}");
        }
        for (one, two, expected) in [(10.0, 10.0, 2.0), (10.0, 12.5, 1.6), (10.0, 8.0, 2.5)] {
            assert!((capacity_ratio(one, two) - expected).abs() < 1e-9, "{one} {two}");
        }
    }
}
