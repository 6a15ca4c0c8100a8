//! What one worker counts.
//!
//! Invariants
//! - Single writer: the worker's own thread. Everyone else only reads, at scrape.
//! - Counting allocates nothing, looks up no string and touches only this worker's cells.
//! - An index that the labels don't know counts as `none`: a wrong label is a lesser harm than a panic on a request.

use std::sync::Arc;
use std::time::Duration;

use super::cells::Cells;
use super::labels::{
    Access, Decision, HoldOutcome, Labels, NONE, PositionEvent, STATUS_CLASSES, UpstreamFailure, status_class,
};
use super::totals::Totals;
use super::{catalog, histogram};

/// One worker's counters, for the indices of one configuration. Made by [`Metrics::worker`](super::Metrics::worker).
pub struct WorkerMetrics {
    labels: Arc<Labels>,
    layout: Layout,
    cells: Cells,
}

/// A request that has ended, as it is counted.
#[derive(Debug, Clone, Copy)]
pub struct RequestOutcome {
    /// Index into [`Labels::jurisdictions`].
    pub jurisdiction: Option<usize>,
    pub access: Access,
    pub decision: Decision,
    /// 0 if the request ended without an answer.
    pub status: u16,
    /// From the request's head to the end of its answer.
    pub duration: Duration,
}

// Cells that every worker has, whatever its labels. Those of a plain request share the first 128 bytes.
const BYTES_IN: usize = 0;
const BYTES_OUT: usize = 1;
const CACHE_HITS: usize = 2;
const CACHE_MISSES: usize = 3;
const CACHE_ENTRIES: usize = 4;
const ACCEPTED: usize = 5;
const CLOSED: usize = 6;
const ACTIVE: usize = 7;
const TLS_OK: usize = 8;
const TLS_FAILED: usize = 9;
const WEBSOCKETS: usize = 10;
const WEBSOCKETS_ACTIVE: usize = 11;
/// Four: by version, then full or resumed.
const TLS_SESSIONS: usize = 12;
const HOLDS_WAITING: usize = 16;
/// Four: by outcome.
const HOLDS: usize = 17;
const FIXED: usize = HOLDS + HoldOutcome::ALL.len();

// Cells of one region in the table of upstreams. Failures follow, by kind.
const OPENED: usize = 0;
const REUSED: usize = 1;
const ENDED: usize = 2;
const OPEN: usize = 3;
const RETRIES: usize = 4;
const FAILURES: usize = 5;
const UPSTREAM_CELLS: usize = FAILURES + UpstreamFailure::ALL.len();

const REQUESTS_PER_JURISDICTION: usize = Access::ALL.len() * Decision::NAMES.len() * STATUS_CLASSES.len();

/// Where each table begins.
#[derive(Debug, Clone, Copy)]
struct Layout {
    holds: usize,
    upstreams: usize,
    durations: usize,
    requests: usize,
    refusals: usize,
    unlawful: usize,
    token_faults: usize,
    positions: usize,
    end: usize,
}

impl Layout {
    fn new(labels: &Labels) -> Self {
        let jurisdictions = labels.jurisdictions.len() + 1;
        let holds = FIXED;
        let upstreams = holds + histogram::CELLS;
        let durations = upstreams + (labels.regions.len() + 1) * UPSTREAM_CELLS;
        let requests = durations + Decision::TIMED * histogram::CELLS;
        let refusals = requests + jurisdictions * REQUESTS_PER_JURISDICTION;
        let unlawful = refusals + jurisdictions * labels.refusals.len();
        let token_faults = unlawful + jurisdictions;
        let positions = token_faults + labels.token_faults.len();
        let end = positions + PositionEvent::ALL.len();
        Self { holds, upstreams, durations, requests, refusals, unlawful, token_faults, positions, end }
    }
}

impl WorkerMetrics {
    pub(super) fn new(labels: Arc<Labels>) -> Self {
        let layout = Layout::new(&labels);
        Self { cells: Cells::new(layout.end), labels, layout }
    }

    /// Counts a request that has ended: by its labels, its refusal if it is one, and its duration.
    pub fn request(&self, outcome: &RequestOutcome) {
        let RequestOutcome { jurisdiction, access, decision, status, duration } = *outcome;
        let jurisdiction = self.jurisdiction(jurisdiction);
        self.cells.add(self.request_cell(jurisdiction, access, decision.index(), status_class(status)), 1);
        if let Decision::Refused(code) = decision
            && code < self.labels.refusals.len()
        {
            self.cells.add(self.layout.refusals + jurisdiction * self.labels.refusals.len() + code, 1);
        }
        if decision.index() < Decision::TIMED {
            let micros = duration.as_micros() as u64;
            let histogram = self.layout.durations + decision.index() * histogram::CELLS;
            self.cells.add(histogram + histogram::bucket(micros), 1);
            self.cells.add(histogram + histogram::SUM, micros);
        }
    }

    /// A request of an observed jurisdiction that enforce mode would have refused or sent elsewhere.
    pub fn unlawful_observed(&self, jurisdiction: Option<usize>) {
        self.cells.add(self.layout.unlawful + self.jurisdiction(jurisdiction), 1);
    }

    /// Body bytes exchanged with a client.
    pub fn bytes(&self, received: u64, sent: u64) {
        self.cells.add(BYTES_IN, received);
        self.cells.add(BYTES_OUT, sent);
    }

    pub fn downstream_accepted(&self) {
        self.cells.add(ACCEPTED, 1);
        self.cells.add(ACTIVE, 1);
    }

    pub fn downstream_closed(&self) {
        self.cells.add(CLOSED, 1);
        self.cells.subtract(ACTIVE, 1);
    }

    pub fn tls_handshake(&self, succeeded: bool) {
        self.cells.add(if succeeded { TLS_OK } else { TLS_FAILED }, 1);
    }

    /// A handshake that was completed: by which version, and whether it resumed an earlier session.
    pub fn tls_session(&self, is_tls13: bool, is_resumed: bool) {
        self.cells.add(TLS_SESSIONS + 2 * usize::from(is_tls13) + usize::from(is_resumed), 1);
    }

    pub fn websocket_opened(&self) {
        self.cells.add(WEBSOCKETS, 1);
        self.cells.add(WEBSOCKETS_ACTIVE, 1);
    }

    pub fn websocket_closed(&self) {
        self.cells.subtract(WEBSOCKETS_ACTIVE, 1);
    }

    /// A write begins to wait because its subject is being moved.
    pub fn hold_began(&self) {
        self.cells.add(HOLDS_WAITING, 1);
    }

    /// A write that waited waits no longer; one that was not let in never did.
    pub fn hold_ended(&self, outcome: HoldOutcome, waited: Duration) {
        self.cells.add(HOLDS + outcome as usize, 1);
        if outcome == HoldOutcome::Full {
            return;
        }
        self.cells.subtract(HOLDS_WAITING, 1);
        let micros = waited.as_micros() as u64;
        self.cells.add(self.layout.holds + histogram::bucket(micros), 1);
        self.cells.add(self.layout.holds + histogram::SUM, micros);
    }

    pub fn token_cache_lookup(&self, hit: bool) {
        self.cells.add(if hit { CACHE_HITS } else { CACHE_MISSES }, 1);
    }

    /// How many verified tokens this worker holds now.
    pub fn token_cache_entries(&self, entries: u64) {
        self.cells.set(CACHE_ENTRIES, entries);
    }

    /// A token that did not verify; `fault` is an index into [`Labels::token_faults`].
    pub fn token_fault(&self, fault: usize) {
        if fault < self.labels.token_faults.len() {
            self.cells.add(self.layout.token_faults + fault, 1);
        }
    }

    /// Something happened in the matter of reading one's own writes.
    pub fn position(&self, event: PositionEvent) {
        self.cells.add(self.layout.positions + event as usize, 1);
    }

    /// A new connection to `region` (its API endpoints if it is the own one, else its gateway).
    pub fn upstream_opened(&self, region: usize) {
        self.cells.add(self.upstream_cell(region, OPENED), 1);
        self.cells.add(self.upstream_cell(region, OPEN), 1);
    }

    /// A request on a connection that was open already.
    pub fn upstream_reused(&self, region: usize) {
        self.cells.add(self.upstream_cell(region, REUSED), 1);
    }

    pub fn upstream_closed(&self, region: usize) {
        self.cells.add(self.upstream_cell(region, ENDED), 1);
        self.cells.subtract(self.upstream_cell(region, OPEN), 1);
    }

    pub fn upstream_failed(&self, region: usize, failure: UpstreamFailure) {
        self.cells.add(self.upstream_cell(region, FAILURES + failure as usize), 1);
    }

    /// A request is sent again because the first attempt did not reach the upstream.
    pub fn upstream_retried(&self, region: usize) {
        self.cells.add(self.upstream_cell(region, RETRIES), 1);
    }

    /// Adds everything this worker counted to `totals`. `levels` says whether what the worker set outright (not
    /// counted up and down) still holds; it does not once another instance stands for the same worker.
    pub(super) fn add_to(&self, totals: &mut Totals, levels: bool) {
        let mut add = |family, values: &[&str], cell| totals.add(family, values, self.cells.get(cell));
        add(&catalog::DOWNSTREAM_BYTES, &["in"], BYTES_IN);
        add(&catalog::DOWNSTREAM_BYTES, &["out"], BYTES_OUT);
        add(&catalog::TOKEN_CACHE_LOOKUPS, &["hit"], CACHE_HITS);
        add(&catalog::TOKEN_CACHE_LOOKUPS, &["miss"], CACHE_MISSES);
        if levels {
            add(&catalog::TOKEN_CACHE_ENTRIES, &[], CACHE_ENTRIES);
        }
        add(&catalog::DOWNSTREAM_ACCEPTED, &[], ACCEPTED);
        add(&catalog::DOWNSTREAM_CLOSED, &[], CLOSED);
        add(&catalog::DOWNSTREAM_ACTIVE, &[], ACTIVE);
        add(&catalog::TLS_HANDSHAKES, &["ok"], TLS_OK);
        add(&catalog::TLS_HANDSHAKES, &["failed"], TLS_FAILED);
        for (version, row) in ["1.2", "1.3"].into_iter().zip([0, 2]) {
            add(&catalog::TLS_SESSIONS, &[version, "full"], TLS_SESSIONS + row);
            add(&catalog::TLS_SESSIONS, &[version, "resumed"], TLS_SESSIONS + row + 1);
        }
        add(&catalog::WEBSOCKETS, &[], WEBSOCKETS);
        add(&catalog::WEBSOCKETS_ACTIVE, &[], WEBSOCKETS_ACTIVE);
        add(&catalog::HOLDS_WAITING, &[], HOLDS_WAITING);
        for outcome in HoldOutcome::ALL {
            add(&catalog::HOLDS, &[outcome.as_str()], HOLDS + outcome as usize);
        }
        for (fault, name) in self.labels.token_faults.iter().enumerate() {
            add(&catalog::TOKEN_FAULTS, &[name], self.layout.token_faults + fault);
        }
        for event in PositionEvent::ALL {
            let (family, value) = event.place();
            add(family, &[value], self.layout.positions + event as usize);
        }
        for (region, name) in self.labels.regions.iter().map(String::as_str).chain([NONE]).enumerate() {
            self.add_upstream_to(totals, region, name);
        }
        for (jurisdiction, name) in
            self.labels.jurisdictions.iter().map(String::as_str).chain([NONE]).enumerate()
        {
            self.add_jurisdiction_to(totals, jurisdiction, name);
        }
        totals.add_histogram(&catalog::HOLD_DURATION, &[], |cell| self.cells.get(self.layout.holds + cell));
        for decision in 0..Decision::TIMED {
            let histogram = self.layout.durations + decision * histogram::CELLS;
            totals.add_histogram(&catalog::REQUEST_DURATION, &[Decision::NAMES[decision]], |cell| {
                self.cells.get(histogram + cell)
            });
        }
    }

    fn add_upstream_to(&self, totals: &mut Totals, region: usize, name: &str) {
        // Upstreams of unknown regions are a defect of the caller: shown when there are any, no noise when not.
        let cells = || (0..UPSTREAM_CELLS).map(|cell| self.cells.get(self.upstream_cell(region, cell)));
        if region == self.labels.regions.len() && cells().all(|cell| cell == 0) {
            return;
        }
        let mut add = |family, values: &[&str], cell| {
            totals.add(family, values, self.cells.get(self.upstream_cell(region, cell)));
        };
        add(&catalog::UPSTREAM_OPENED, &[name], OPENED);
        add(&catalog::UPSTREAM_REUSED, &[name], REUSED);
        add(&catalog::UPSTREAM_CLOSED, &[name], ENDED);
        add(&catalog::UPSTREAM_OPEN, &[name], OPEN);
        add(&catalog::UPSTREAM_RETRIES, &[name], RETRIES);
        for failure in UpstreamFailure::ALL {
            add(&catalog::UPSTREAM_FAILURES, &[name, failure.as_str()], FAILURES + failure as usize);
        }
    }

    fn add_jurisdiction_to(&self, totals: &mut Totals, jurisdiction: usize, name: &str) {
        let unlawful = self.cells.get(self.layout.unlawful + jurisdiction);
        totals.add(&catalog::UNLAWFUL_OBSERVED, &[name], unlawful);
        for (code, refusal) in self.labels.refusals.iter().enumerate() {
            let cell = self.layout.refusals + jurisdiction * self.labels.refusals.len() + code;
            totals.add(&catalog::REFUSALS, &[name, refusal], self.cells.get(cell));
        }
        for access in Access::ALL {
            for (decision, decided) in Decision::NAMES.iter().enumerate() {
                for (class, status) in STATUS_CLASSES.iter().enumerate() {
                    let count = self.cells.get(self.request_cell(jurisdiction, access, decision, class));
                    if count > 0 {
                        totals.add(&catalog::REQUESTS, &[name, access.as_str(), decided, status], count);
                    }
                }
            }
        }
    }

    fn request_cell(&self, jurisdiction: usize, access: Access, decision: usize, class: usize) -> usize {
        let row = (jurisdiction * Access::ALL.len() + access as usize) * Decision::NAMES.len() + decision;
        self.layout.requests + row * STATUS_CLASSES.len() + class
    }

    fn upstream_cell(&self, region: usize, cell: usize) -> usize {
        self.layout.upstreams + region.min(self.labels.regions.len()) * UPSTREAM_CELLS + cell
    }

    fn jurisdiction(&self, index: Option<usize>) -> usize {
        let none = self.labels.jurisdictions.len();
        index.map_or(none, |index| index.min(none))
    }
}
