//! Whether anything is wrong with the world just now, as far as those who make it go wrong know.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Shared by the weather, which sets it, the clients, which look before and after each request, and the API.
#[derive(Debug, Default)]
pub(super) struct Sky {
    /// Odd in calm; raised at each change.
    epoch: AtomicU64,
}

/// A look at the sky.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look(u64);

impl Sky {
    pub(super) fn look(&self) -> Look {
        Look(self.epoch.load(Relaxed))
    }

    /// It was calm then, and has been ever since.
    pub(super) fn calm_since(&self, then: Look) -> bool {
        then == self.look() && then.is_calm()
    }

    pub(super) fn set_calm(&self, calm: bool) {
        if calm != self.look().is_calm() {
            self.epoch.fetch_add(1, Relaxed);
        }
    }
}

impl Look {
    pub(super) fn is_calm(self) -> bool {
        !self.0.is_multiple_of(2)
    }
}
