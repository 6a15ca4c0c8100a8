//! A clock that is read without asking the kernel: one per worker, moved on by the worker's tick.
//!
//! Deadlines of seconds don't need more than a tick's precision, and a request sets several of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a worker moves its clock on, and so the precision of every deadline that it keeps.
pub const TICK: Duration = Duration::from_millis(100);

/// Milliseconds since the worker's start.
pub type Millis = u64;

#[derive(Debug)]
pub struct CoarseClock {
    started: Instant,
    now: AtomicU64,
    unix_seconds: AtomicU64,
}

impl Default for CoarseClock {
    fn default() -> Self {
        let clock = Self { started: now(), now: AtomicU64::new(0), unix_seconds: AtomicU64::new(0) };
        clock.advance();
        clock
    }
}

impl CoarseClock {
    /// Reads the real clocks. Called once a tick.
    pub fn advance(&self) {
        self.now.store(millis(self.started.elapsed()), Relaxed);
        self.unix_seconds.store(unix_time().as_secs(), Relaxed);
    }

    pub fn now(&self) -> Millis {
        self.now.load(Relaxed)
    }

    /// Unix time in whole seconds, at most a tick old.
    pub fn unix_seconds(&self) -> u64 {
        self.unix_seconds.load(Relaxed)
    }

    /// The moment `duration` from now.
    pub fn after(&self, duration: Duration) -> Millis {
        self.now() + millis(duration)
    }
}

/// The monotonic clock, precisely.
#[expect(clippy::disallowed_methods, reason = "this module is the owner of clocks")]
pub fn now() -> Instant {
    Instant::now()
}

/// Time since the Unix epoch; zero when the machine's clock stands before it.
#[expect(clippy::disallowed_methods, reason = "this module is the owner of clocks")]
pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The wall clock.
pub fn wall() -> SystemTime {
    UNIX_EPOCH + unix_time()
}

/// Whole milliseconds, saturating.
pub fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
