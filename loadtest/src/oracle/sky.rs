//! Whether anything is wrong with the world just now, as far as those who make it go wrong know.
use std::cell::Cell;

/// Shared by the weather, which sets it, and the clients, which look before and after each request.
#[derive(Debug, Default)]
pub(super) struct Sky {
    /// Odd in calm; raised at each change.
    epoch: Cell<u64>,
}

/// A look at the sky.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look(u64);

impl Sky {
    pub(super) fn look(&self) -> Look {
        Look(self.epoch.get())
    }

    /// It was calm then, and has been ever since.
    pub(super) fn calm_since(&self, then: Look) -> bool {
        then == self.look() && !then.0.is_multiple_of(2)
    }

    pub(super) fn set_calm(&self, calm: bool) {
        if calm == self.epoch.get().is_multiple_of(2) {
            self.epoch.set(self.epoch.get() + 1);
        }
    }
}
