//! What the rest of the gateway has of a register that is followed: how fresh it is, a way to ask now, a way to report.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc, watch};

use super::super::cursor::{Cursor, Height};
use crate::domain::register::MoveId;

/// Reports that may wait for their register.
pub(in crate::routing_table) const WAITING_REPORTS: usize = 1024;

/// Whether what is known of a register counts as current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    /// For `stale_after` nothing was heard; others may count this gateway as gone, so it must serve the jurisdiction's subjects
    /// through their home and their primary only.
    Stale,
}

/// What is known of a register now.
#[derive(Debug, Clone, Default)]
pub struct RegisterView {
    /// When the newest answer that was applied was asked for. `None`: not since this process began.
    pub current_at: Option<Instant>,
    /// The region whose member is followed.
    pub region: Option<Arc<str>>,
    pub height: Option<Height>,
    pub cursor: Option<Cursor>,
    /// Why it is not followed, for operators.
    pub fault: Option<Arc<str>>,
    /// It holds rows under no key of this gateway's: whatever is looked up would be missed. Never serve with this.
    pub keys_differ: bool,
    /// This gateway's certificate is forgotten there: others have gone on without it. Never serve with this.
    pub forgotten: bool,
    /// The alarm raised last, as the metric has it, until the register is followed again.
    pub alarm: Option<&'static str>,
}

/// What this gateway has done for one attempt at a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Report {
    pub move_id: MoveId,
    pub attempt: u32,
    pub stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// New writes of the subject wait here.
    Held,
    /// … and none that began before is under way.
    Drained,
}

/// Of one register. Cheap to clone; of use from any thread and runtime.
#[derive(Debug, Clone)]
pub struct RegisterHandle {
    pub(in crate::routing_table) asks: Arc<Asks>,
    pub(in crate::routing_table) view: watch::Receiver<RegisterView>,
    pub(in crate::routing_table) reports: mpsc::Sender<Report>,
    pub(in crate::routing_table) stale_after: Duration,
}

/// Who wants an answer: each ask is a number, and an answer answers all asks made before it was asked for.
#[derive(Debug)]
pub(in crate::routing_table) struct Asks {
    wanted: AtomicU64,
    pub(in crate::routing_table) bell: Notify,
    answered: watch::Sender<u64>,
}

/// The reports were too many; the register has not been reached for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{WAITING_REPORTS} reports wait for their register already")]
pub struct TooManyReports;

impl RegisterHandle {
    /// Asks the register now, together with all who ask at the same time. `true`: all that was committed there before this
    /// call is in the table; `false`: there was no answer within `wait`.
    pub async fn refresh(&self, wait: Duration) -> bool {
        let mine = self.asks.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        let mut answered = self.asks.answered.subscribe();
        self.asks.bell.notify_one();
        let answer = tokio::time::timeout(wait, answered.wait_for(|answered| *answered >= mine)).await;
        matches!(answer, Ok(Ok(_)))
    }

    /// Tells the register, now or as soon as it can be reached, and again when it has moved to another primary meanwhile.
    pub fn report(&self, report: Report) -> Result<(), TooManyReports> {
        self.reports.try_send(report).map_err(|_| TooManyReports)
    }

    pub fn view(&self) -> RegisterView {
        self.view.borrow().clone()
    }

    /// Changes with the view.
    pub fn watch(&self) -> watch::Receiver<RegisterView> {
        self.view.clone()
    }

    pub fn freshness(&self, now: Instant) -> Freshness {
        self.view.borrow().freshness(now, self.stale_after)
    }

    /// How long ago the register was known to be current.
    pub fn staleness(&self, now: Instant) -> Option<Duration> {
        self.view.borrow().current_at.map(|at| now.saturating_duration_since(at))
    }
}

impl RegisterView {
    pub fn freshness(&self, now: Instant, stale_after: Duration) -> Freshness {
        match self.current_at {
            Some(at) if now.saturating_duration_since(at) < stale_after => Freshness::Fresh,
            _ => Freshness::Stale,
        }
    }
}

impl Asks {
    pub(in crate::routing_table) fn new() -> Self {
        Self { wanted: AtomicU64::new(0), bell: Notify::new(), answered: watch::Sender::new(0) }
    }

    /// Call it before asking, and give what it says to [`Asks::answered`] once the answer is applied.
    pub(in crate::routing_table) fn begun(&self) -> u64 {
        self.wanted.load(Ordering::SeqCst)
    }

    pub(in crate::routing_table) fn answered(&self, begun: u64) {
        self.answered.send_if_modified(|answered| std::mem::replace(answered, begun) != begun);
    }
}
