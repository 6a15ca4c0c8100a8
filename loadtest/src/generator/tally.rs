//! What came back in one window: right answers with their latencies, and faults by kind.
use std::time::Duration;

use hdrhistogram::Histogram;

/// Three significant digits from 1 µs to a minute, in nanoseconds.
const SHORTEST_NS: u64 = 1_000;
const LONGEST_NS: u64 = 60_000_000_000;

/// How a request can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Another status than 200.
    Status,
    /// Another length or content than the upstream sent.
    Body,
    /// The connection ended under a request or between two.
    Closed,
    /// A connection could not be opened.
    Connect,
    /// An answer without a request.
    Unasked,
    /// No answer for [`super::STUCK_AFTER`].
    Stuck,
    /// A TLS session that was resumed where a full handshake was due.
    Resumed,
    /// HTTP/2 frames that make no sense, or a stream or connection that was given up.
    Frames,
}

impl Fault {
    pub const ALL: [Self; 8] = [
        Self::Status,
        Self::Body,
        Self::Closed,
        Self::Connect,
        Self::Unasked,
        Self::Stuck,
        Self::Resumed,
        Self::Frames,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Body => "body",
            Self::Closed => "closed",
            Self::Connect => "connect",
            Self::Unasked => "unasked",
            Self::Stuck => "stuck",
            Self::Resumed => "resumed",
            Self::Frames => "frames",
        }
    }
}

/// The account of one window.
#[derive(Debug, Clone)]
pub struct Tally {
    latencies: Histogram<u64>,
    requests: u64,
    faults: [u64; Fault::ALL.len()],
    span: Duration,
}

impl Tally {
    pub(super) fn new() -> Self {
        let latencies = Histogram::new_with_bounds(SHORTEST_NS, LONGEST_NS, 3)
            .expect("constant bounds that the histogram accepts");
        Self { latencies, requests: 0, faults: [0; Fault::ALL.len()], span: Duration::ZERO }
    }

    pub(super) fn right(&mut self, latency: Duration) {
        self.requests += 1;
        self.latencies.saturating_record(latency.as_nanos() as u64);
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    pub(super) fn finish(&mut self, span: Duration) {
        self.span = span;
    }

    /// Right answers.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// All that went wrong.
    pub fn faults(&self) -> u64 {
        self.faults.iter().sum()
    }

    pub fn faults_of(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// How long the window was.
    pub fn span(&self) -> Duration {
        self.span
    }

    /// Right answers a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.span.as_secs_f64()
    }

    /// The latency that the given share of right answers (0 to 1) stayed within, in microseconds.
    pub fn latency_us(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1_000.0
    }
}
