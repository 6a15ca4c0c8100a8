//! Latencies, and what share of them stayed within what.
use std::time::Duration;

use serde::Serialize;

/// Latencies in ms, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Distribution(Vec<f64>);

/// The figures of a distribution, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) requests: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Distribution {
    pub(crate) fn of(latencies: impl IntoIterator<Item = Duration>) -> Self {
        let mut ms: Vec<_> = latencies.into_iter().map(|latency| latency.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        Self(ms)
    }

    /// The least latency that at least that share (0 to 1) stayed within: nearest rank, so one that was measured.
    pub(crate) fn within(&self, share: f64) -> Option<f64> {
        let rank = (share * self.0.len() as f64).ceil().max(1.0) as usize;
        self.0.get(rank - 1).copied()
    }

    /// The share that stayed within `ms`.
    pub(crate) fn share_within(&self, ms: f64) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        self.0.partition_point(|latency| *latency <= ms) as f64 / self.0.len() as f64
    }

    pub(crate) fn figures(&self) -> Option<Figures> {
        let at = |share| self.within(share).map(|ms| (ms * 100.0).round() / 100.0);
        Some(Figures {
            requests: self.0.len(),
            p50_ms: at(0.50)?,
            p95_ms: at(0.95)?,
            p99_ms: at(0.99)?,
            max_ms: at(1.0)?,
        })
    }
}
