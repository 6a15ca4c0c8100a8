//! When the issuer may be asked about which token: lanes, rate, and how many at once.
//!
//! Pure: events and `now` in, what to start out. In any span the strangers started are at most the rate times the span's
//! seconds and one more; known tokens are bounded by how many there are and how long each answer is believed.
use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Questions at once; issuers' own pools are of this order.
pub(super) const AT_ONCE: usize = 64;
/// Of those, strangers': the rest is for tokens known to be good.
pub(super) const STRANGERS_AT_ONCE: usize = 48;
/// Tokens that wait for their turn, in each lane.
pub(super) const WAITING: usize = 1024;

/// Unused rate that may be caught up with at once.
const BURST: Duration = Duration::from_secs(1);

/// Which queue a token waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// It was good when last asked about, or the issuer's signature says that it is no invention.
    Known,
    Stranger,
}

/// Tokens that wait, and what is under way.
pub(super) struct Admission<T> {
    known: VecDeque<Waiting<T>>,
    strangers: VecDeque<Waiting<T>>,
    known_running: usize,
    strangers_running: usize,
    /// Between two strangers when the rate is used up.
    interval: Duration,
    /// The rate is used up to here; the past is unused rate.
    spent_until: Option<Instant>,
    patience: Duration,
}

struct Waiting<T> {
    token: T,
    since: Instant,
}

impl<T> Admission<T> {
    /// `per_second` strangers; nothing waits for longer than `patience`.
    pub(super) fn new(per_second: u32, patience: Duration) -> Self {
        Self {
            known: VecDeque::new(),
            strangers: VecDeque::new(),
            known_running: 0,
            strangers_running: 0,
            // Rounded up, so that the rate is never exceeded.
            interval: Duration::from_nanos(1_000_000_000_u64.div_ceil(u64::from(per_second.max(1)))),
            spent_until: None,
            patience,
        }
    }

    /// Queues a token; gives it back when its lane is full.
    pub(super) fn join(&mut self, lane: Lane, token: T, now: Instant) -> Result<(), T> {
        let queue = match lane {
            Lane::Known => &mut self.known,
            Lane::Stranger => &mut self.strangers,
        };
        if queue.len() >= WAITING {
            return Err(token);
        }
        queue.push_back(Waiting { token, since: now });
        Ok(())
    }

    /// The next token to ask about now. The caller does, and says when it has [finished](Self::finish).
    pub(super) fn next(&mut self, now: Instant) -> Option<(Lane, T)> {
        if self.known_running + self.strangers_running >= AT_ONCE {
            return None;
        }
        if let Some(waiting) = self.known.pop_front() {
            self.known_running += 1;
            return Some((Lane::Known, waiting.token));
        }
        if self.strangers_running >= STRANGERS_AT_ONCE || self.due(now).is_some_and(|due| due > now) {
            return None;
        }
        let waiting = self.strangers.pop_front()?;
        self.spent_until = Some(self.spent(now).map_or(now, |spent| spent + self.interval));
        self.strangers_running += 1;
        Some((Lane::Stranger, waiting.token))
    }

    /// A question has ended.
    pub(super) fn finish(&mut self, lane: Lane) {
        match lane {
            Lane::Known => self.known_running -= 1,
            Lane::Stranger => self.strangers_running -= 1,
        }
    }

    /// A token that has waited for too long, out of its queue.
    pub(super) fn give_up(&mut self, now: Instant) -> Option<T> {
        for queue in [&mut self.known, &mut self.strangers] {
            let late = |first: &Waiting<T>| now >= first.since + self.patience;
            if queue.front().is_some_and(late) {
                return queue.pop_front().map(|waiting| waiting.token);
            }
        }
        None
    }

    /// When time alone changes what [`next`](Self::next) or [`give_up`](Self::give_up) say.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let first = |queue: &VecDeque<Waiting<T>>| queue.front().map(|first| first.since + self.patience);
        let held_by_rate = !self.strangers.is_empty()
            && self.strangers_running < STRANGERS_AT_ONCE
            && self.known_running + self.strangers_running < AT_ONCE;
        let due = if held_by_rate { self.due(now) } else { None };
        [first(&self.known), first(&self.strangers), due].into_iter().flatten().min()
    }

    /// Up to where the rate is used up, unused rate older than the burst forgotten. None when the clock has not run for that
    /// long.
    fn spent(&self, now: Instant) -> Option<Instant> {
        let oldest = now.checked_sub(BURST);
        match (self.spent_until, oldest) {
            (Some(spent), Some(oldest)) => Some(spent.max(oldest)),
            (spent, oldest) => spent.or(oldest),
        }
    }

    /// When the next stranger may start.
    fn due(&self, now: Instant) -> Option<Instant> {
        self.spent(now).map(|spent| spent + self.interval)
    }
}
