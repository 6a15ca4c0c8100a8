//! Writes of one worker that wait while their subjects move: lines (`domain::hold`) with somebody to wake.
//!
//! Invariant: a write that stops waiting, however it does, leaves its line, and lets the next one go.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock;
use crate::config::HoldSettings;
use crate::domain::hold::{Bounds, Lines, Place};
use crate::domain::register::SubjectKey;
use crate::telemetry::{HoldOutcome, WorkerMetrics};

/// All of one worker's lines.
pub struct Holds {
    lines: RefCell<Lines>,
    waiting: RefCell<HashMap<Place, Rc<Notify>>>,
}

/// A write that has stood in line and may go. The next one goes when this is dropped.
pub struct Turn<'worker> {
    holds: &'worker Holds,
    subject: SubjectKey,
    place: Place,
    until: tokio::time::Instant,
}

/// Why a write waits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unheld {
    /// Too many wait already.
    Full,
    /// It has waited as long as it may.
    TooLong,
}

impl Holds {
    pub fn new(settings: HoldSettings) -> Self {
        Self { lines: RefCell::new(Lines::new(bounds(settings))), waiting: RefCell::default() }
    }

    pub fn bound(&self, settings: HoldSettings) {
        self.lines.borrow_mut().bound(bounds(settings));
    }

    /// Stands in line until it may go, `longest` at most.
    pub async fn wait(
        &self,
        subject: SubjectKey,
        longest: Duration,
        metrics: &WorkerMetrics,
    ) -> Result<Turn<'_>, Unheld> {
        let Ok(place) = self.lines.borrow_mut().enter(subject) else {
            metrics.hold_ended(HoldOutcome::Full, Duration::ZERO);
            return Err(Unheld::Full);
        };
        let until = tokio::time::Instant::now() + longest;
        let mut turn = Turn { holds: self, subject, place, until };
        turn.wait_again(metrics, false).await?;
        Ok(turn)
    }

    /// The one of these keys under which others stand in line.
    pub fn line_of(&self, keys: &[SubjectKey]) -> Option<SubjectKey> {
        let lines = self.lines.borrow();
        keys.iter().find(|key| lines.has_line(key)).copied()
    }

    /// Subjects that somebody waits for.
    pub fn subjects(&self) -> Vec<SubjectKey> {
        self.lines.borrow().subjects().copied().collect()
    }

    /// A subject's move has ended.
    pub fn open(&self, subject: &SubjectKey) {
        let next = self.lines.borrow_mut().open(subject);
        self.wake(next);
    }

    fn wake(&self, place: Option<Place>) {
        if let Some(waiting) = place.and_then(|place| self.waiting.borrow().get(&place).cloned()) {
            waiting.notify_one();
        }
    }
}

impl Turn<'_> {
    /// The subject moves again: stands at the head of its line until that has ended, too.
    pub async fn again(&mut self, metrics: &WorkerMetrics) -> Result<(), Unheld> {
        self.wait_again(metrics, true).await
    }

    async fn wait_again(&mut self, metrics: &WorkerMetrics, shut: bool) -> Result<(), Unheld> {
        let began = clock::now();
        let woken = Rc::new(Notify::new());
        let counted = Counted { metrics, began, outcome: HoldOutcome::Gone };
        let mut counted = counted.begin();
        self.holds.waiting.borrow_mut().insert(self.place, Rc::clone(&woken));
        if shut {
            self.holds.lines.borrow_mut().shut(&self.subject);
        }
        let waited = tokio::time::timeout_at(self.until, woken.notified()).await;
        counted.outcome = if waited.is_ok() { HoldOutcome::Released } else { HoldOutcome::TooLong };
        waited.map_err(|_| Unheld::TooLong)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.holds.waiting.borrow_mut().remove(&self.place);
        let next = self.holds.lines.borrow_mut().leave(&self.subject, self.place);
        self.holds.wake(next);
    }
}

/// Counts a wait, however it ends.
struct Counted<'a> {
    metrics: &'a WorkerMetrics,
    began: std::time::Instant,
    outcome: HoldOutcome,
}

impl Counted<'_> {
    fn begin(self) -> Self {
        self.metrics.hold_began();
        self
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.hold_ended(self.outcome, self.began.elapsed());
    }
}

const fn bounds(settings: HoldSettings) -> Bounds {
    Bounds { per_subject: settings.per_subject, all: settings.per_worker }
}
