//! The registry: gathers what workers counted and what the control plane knows, and writes it as text.
//!
//! Invariants
//! - Counters never fall while the process lives, reloads included: an instance that its worker let go of is added to
//!   what was counted before and then dropped.
//! - A scrape reads; it never makes a worker wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use prometheus::core::{Collector, Desc};
use prometheus::{Gauge, IntGaugeVec, Opts, Registry, TextEncoder, proto};

use super::access_log::LineCounts;
use super::catalog::{self, Family};
use super::control::ControlMetrics;
use super::labels::Labels;
use super::process;
use super::totals::Totals;
use super::worker::WorkerMetrics;

/// The families that are gathered from workers, in any order.
static FROM_WORKERS: &[&Family] = &[
    &catalog::REQUESTS,
    &catalog::REQUEST_DURATION,
    &catalog::REFUSALS,
    &catalog::UNLAWFUL_OBSERVED,
    &catalog::DOWNSTREAM_ACCEPTED,
    &catalog::DOWNSTREAM_CLOSED,
    &catalog::DOWNSTREAM_ACTIVE,
    &catalog::DOWNSTREAM_BYTES,
    &catalog::TLS_HANDSHAKES,
    &catalog::TLS_SESSIONS,
    &catalog::WEBSOCKETS,
    &catalog::WEBSOCKETS_ACTIVE,
    &catalog::HOLDS,
    &catalog::HOLD_DURATION,
    &catalog::HOLDS_WAITING,
    &catalog::UPSTREAM_OPENED,
    &catalog::UPSTREAM_REUSED,
    &catalog::UPSTREAM_CLOSED,
    &catalog::UPSTREAM_OPEN,
    &catalog::UPSTREAM_FAILURES,
    &catalog::UPSTREAM_RETRIES,
    &catalog::TOKEN_CACHE_LOOKUPS,
    &catalog::TOKEN_CACHE_ENTRIES,
    &catalog::TOKEN_FAULTS,
    &catalog::POSITION_WRITES,
    &catalog::POSITION_WAITS,
    &catalog::POSITION_HOME,
    &catalog::POSITION_FAULTS,
    &catalog::ACCESS_LOG_LINES,
];

/// All metrics of one gateway process.
pub struct Metrics {
    registry: Registry,
    workers: Arc<Mutex<Workers>>,
    control: ControlMetrics,
}

impl Metrics {
    /// `version` is the running program's; `started` is when it began to count.
    pub fn new(version: &str, started: SystemTime) -> Self {
        Self::build(version, started)
            .expect("the catalog's names are valid and unique: a test scrapes them all")
    }

    /// A fresh instance for worker number `index`, counting by the indices of `labels`.
    ///
    /// Call it once for each worker at start, and again when a reload changed the labels: the worker then uses the new
    /// instance and drops the old one as its last requests end. Nothing is lost: both are gathered until then.
    pub fn worker(&self, index: usize, labels: Arc<Labels>) -> Arc<WorkerMetrics> {
        let metrics = Arc::new(WorkerMetrics::new(labels));
        lock(&self.workers).join(index, metrics.clone());
        metrics
    }

    /// Shows what became of the lines of an access log, beside those shown already.
    pub fn access_log(&self, lines: Arc<LineCounts>) {
        lock(&self.workers).access_logs.push(lines);
    }

    pub fn control(&self) -> &ControlMetrics {
        &self.control
    }

    /// Everything, in Prometheus' text format ([`Metrics::CONTENT_TYPE`]).
    pub fn encode(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).expect(
            "gathered families have a name and at least one sample, which is all the encoder asks for",
        )
    }

    pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

    fn build(version: &str, started: SystemTime) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let workers = Arc::new(Mutex::new(Workers::default()));
        registry.register(Box::new(FromWorkers {
            workers: workers.clone(),
            descriptions: describe(FROM_WORKERS)?,
        }))?;
        registry.register(Box::new(FromKernel {
            descriptions: describe(&[
                &catalog::PROCESS_CPU,
                &catalog::PROCESS_RESIDENT,
                &catalog::PROCESS_THREADS,
                &catalog::PROCESS_FDS,
            ])?,
        }))?;
        let options = |family: &Family| Opts::new(family.name, family.help);
        let build = IntGaugeVec::new(options(&catalog::BUILD_INFO), catalog::BUILD_INFO.labels)?;
        build.with_label_values(&[version]).set(1);
        registry.register(Box::new(build))?;
        let start = Gauge::with_opts(options(&catalog::PROCESS_START))?;
        start.set(started.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
        registry.register(Box::new(start))?;
        let control = ControlMetrics::new(&registry)?;
        Ok(Self { registry, workers, control })
    }
}

/// Who counts now, and what was counted by those who no longer do.
#[derive(Default)]
struct Workers {
    counting: Vec<Counting>,
    retired: Totals,
    access_logs: Vec<Arc<LineCounts>>,
}

struct Counting {
    worker: usize,
    /// Whether this is the worker's newest instance.
    current: bool,
    metrics: Arc<WorkerMetrics>,
}

impl Workers {
    fn join(&mut self, worker: usize, metrics: Arc<WorkerMetrics>) {
        for older in self.counting.iter_mut().filter(|counting| counting.worker == worker) {
            older.current = false;
        }
        self.counting.push(Counting { worker, current: true, metrics });
        self.retire();
    }

    /// Drops superseded instances that nobody holds any more, keeping what they counted.
    fn retire(&mut self) {
        let Self { counting, retired, .. } = self;
        counting.retain_mut(|counting| {
            // `get_mut` and not the reference count: it also makes the worker's last writes visible here.
            let done = !counting.current && Arc::get_mut(&mut counting.metrics).is_some();
            if done {
                counting.metrics.add_to(retired, false);
            }
            !done
        });
    }

    fn totals(&mut self) -> Totals {
        self.retire();
        let mut totals = self.retired.clone();
        for counting in &self.counting {
            counting.metrics.add_to(&mut totals, counting.current);
        }
        for lines in &self.access_logs {
            for (outcome, count) in lines.by_outcome() {
                totals.add(&catalog::ACCESS_LOG_LINES, &[outcome], count);
            }
        }
        totals
    }
}

struct FromWorkers {
    workers: Arc<Mutex<Workers>>,
    descriptions: Vec<Desc>,
}

impl Collector for FromWorkers {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let totals = lock(&self.workers).totals();
        FROM_WORKERS.iter().map(|family| totals.expose(family)).collect()
    }
}

struct FromKernel {
    descriptions: Vec<Desc>,
}

impl Collector for FromKernel {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        process::sample()
            .into_iter()
            .map(|(family, value)| super::totals::expose_one(family, value))
            .collect()
    }
}

fn describe(families: &[&Family]) -> prometheus::Result<Vec<Desc>> {
    let names = |family: &Family| family.labels.iter().map(|&label| label.to_owned()).collect();
    families
        .iter()
        .map(|family| {
            Desc::new(family.name.to_owned(), family.help.to_owned(), names(family), HashMap::new())
        })
        .collect()
}

/// A panic elsewhere while the list was held left it whole: every change is a push, a flag or a removal.
fn lock(workers: &Mutex<Workers>) -> MutexGuard<'_, Workers> {
    workers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
