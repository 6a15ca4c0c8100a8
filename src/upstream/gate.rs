//! A waker that knows whether its task is running.
//!
//! hyper's handle and driver tell each other of progress by waking whoever polled the other side. Here one task polls both, so
//! such a wake-up arrives while that task is running already: it would be polled a second time for nothing, on every request.
//! The gate holds these back and lets the poll go round once more instead. A wake-up from outside, from a socket as a rule,
//! passes through.
//!
//! Invariant: no wake-up is lost. One that comes while the gate is closed makes the poll go round, or, when it has gone round
//! often enough, wakes the task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use atomic_waker::AtomicWaker;

/// Rounds of one poll. More means that something yields on purpose, and the other tasks have their turn.
const MOST_ROUNDS: usize = 8;

/// One connection's gate, with the waker that stands for it.
pub(super) struct Gate {
    state: Arc<State>,
    waker: Waker,
}

#[derive(Default)]
struct State {
    closed: AtomicBool,
    knocked: AtomicBool,
    task: AtomicWaker,
}

impl Default for Gate {
    fn default() -> Self {
        let state = Arc::<State>::default();
        Self { waker: Waker::from(Arc::clone(&state)), state }
    }
}

impl Gate {
    /// Polls with the gate's waker, as often as what is polled wakes itself.
    pub(super) fn poll<T>(
        &self,
        context: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.state.task.register(context.waker());
        for _ in 0..MOST_ROUNDS {
            let (polled, knocked) = self.within(|waker| poll(&mut Context::from_waker(waker)));
            if polled.is_ready() || !knocked {
                return polled;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Does something that may wake the gate's waker, without waking the task. Returns whether it did.
    pub(super) fn within<T>(&self, work: impl FnOnce(&Waker) -> T) -> (T, bool) {
        self.state.knocked.store(false, Relaxed);
        self.state.closed.store(true, Relaxed);
        let done = work(&self.waker);
        self.state.closed.store(false, Relaxed);
        (done, self.state.knocked.load(Relaxed))
    }
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.closed.load(Relaxed) {
            self.knocked.store(true, Relaxed);
        } else {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_wake_from_within_goes_round_and_one_from_outside_passes() {
        let (gate, count) = (Gate::default(), Arc::<Count>::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut rounds = 0;
        let mut kept = None;
        let polled: Poll<()> = gate.poll(&mut Context::from_waker(&waker), |context| {
            rounds += 1;
            kept = Some(context.waker().clone());
            if rounds < 3 {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((rounds, count.0.load(Relaxed)), (3, 0));
        kept.expect("it was polled").wake();
        assert_eq!(count.0.load(Relaxed), 1);
    }

    #[test]
    fn who_always_yields_yields_to_other_tasks() {
        let (gate, count) = (Gate::default(), Arc::<Count>::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut rounds = 0;
        let polled: Poll<()> = gate.poll(&mut Context::from_waker(&waker), |context| {
            rounds += 1;
            context.waker().wake_by_ref();
            Poll::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((rounds, count.0.load(Relaxed)), (MOST_ROUNDS, 1));
    }
}
