//! When an issuer's keys may be fetched again: one fetch at a time, at most one started per interval.
//!
//! Pure: events and `now` in, what to do out. A flood of tokens with invented `kid`s costs one fetch an interval and no
//! more, whoever asks and from however many threads.
use std::time::Duration;

use tokio::time::Instant;

/// The state of one issuer's fetching.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    /// Fetches asked for or begun, and fetches ended. Differ by at most one: more is not single flight.
    started: u64,
    finished: u64,
    last_start: Option<Instant>,
    last_succeeded: bool,
    /// Whether a refresher serves the flight; without one nobody may wait.
    attended: bool,
}

/// What a request for a fetch comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// The caller must wake the refresher, then wait for this ticket.
    Start { ticket: u64 },
    /// A fetch is under way; wait for this ticket.
    Join { ticket: u64 },
    /// The last one was too recent.
    Limited,
    /// No refresher runs.
    Unattended,
}

impl Flight {
    pub(super) const fn new() -> Self {
        Self { started: 0, finished: 0, last_start: None, last_succeeded: false, attended: false }
    }

    /// A worker wants newer keys.
    pub(super) fn ask(&mut self, now: Instant, interval: Duration) -> Ask {
        if !self.attended {
            Ask::Unattended
        } else if self.is_open() {
            Ask::Join { ticket: self.started }
        } else if self.last_start.is_some_and(|start| now.saturating_duration_since(start) < interval) {
            Ask::Limited
        } else {
            self.started += 1;
            self.last_start = Some(now);
            Ask::Start { ticket: self.started }
        }
    }

    /// The refresher begins, asked or by its own timer.
    pub(super) fn begin(&mut self, now: Instant) {
        if !self.is_open() {
            self.started += 1;
        }
        self.last_start = Some(now);
    }

    /// The fetch has ended and its result is published.
    pub(super) fn finish(&mut self, succeeded: bool) {
        self.finished = self.started;
        self.last_succeeded = succeeded;
    }

    /// A refresher came or went. When it goes, nobody is left waiting.
    pub(super) fn attend(&mut self, attended: bool) {
        self.attended = attended;
        if !attended && self.is_open() {
            self.finish(false);
        }
    }

    /// Whether a fetch was asked for or is under way.
    pub(super) const fn is_open(&self) -> bool {
        self.started > self.finished
    }

    pub(super) const fn is_finished(&self, ticket: u64) -> bool {
        self.finished >= ticket
    }

    pub(super) const fn succeeded(&self) -> bool {
        self.last_succeeded
    }

    /// Whether any fetch has ended.
    pub(super) const fn is_settled(&self) -> bool {
        self.finished > 0
    }
}
