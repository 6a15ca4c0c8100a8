//! Where each jurisdiction's home is, from what its databases say of themselves.
//!
//! Every database of a jurisdiction shows one row: the home, and a generation that each promotion raises. A primary that came
//! back from the dead shows an old one, so the highest ever heard counts, whoever said it and whatever became of them.
//!
//! Invariants
//! - The generation never falls, and with it the home never goes back.
//! - A home outside the lawful regions is never taken over (R1), whatever its generation.
//! - At one generation there is one home: a second one named for it changes nothing.
//!
//! Absent by design: who answers. A home is a home while nobody can reach it.

use crate::domain::names::{RegionId, RegionSet};
use crate::domain::register::Generation;

/// What a database's row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HomeRow {
    /// `None`: a name that is no region's here.
    pub home: Option<RegionId>,
    pub generation: Generation,
    pub read_only: bool,
}

/// What is known of one jurisdiction's home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownHome {
    pub home: RegionId,
    /// 0 while the configuration is all there is.
    pub generation: Generation,
    pub read_only: bool,
}

/// What a row has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is what was known.
    Known,
    /// Another generation: the home is where it says.
    Raised,
    /// At the same generation it was opened or closed to writes.
    ReadOnly,
    /// It is of an older generation: whoever shows it has missed a promotion, or not replayed it yet.
    Behind,
    Refused(HomeFault),
}

/// A row that can't be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HomeFault {
    /// It names a region where the jurisdiction's data may not be, or none.
    Unlawful,
    /// It names another home than what was heard at the same generation.
    TwoHomes,
}

impl KnownHome {
    /// Before any row was heard.
    pub const fn configured(home: RegionId) -> Self {
        Self { home, generation: Generation(0), read_only: false }
    }

    /// Takes in the row that the database in `from` shows.
    pub fn hear(&mut self, lawful: RegionSet, from: RegionId, row: HomeRow) -> Heard {
        if row.generation < self.generation {
            return Heard::Behind;
        }
        let Some(home) = row.home.filter(|&home| lawful.contains(home)) else {
            return Heard::Refused(HomeFault::Unlawful);
        };
        if row.generation > self.generation {
            *self = Self { home, generation: row.generation, read_only: row.read_only };
            return Heard::Raised;
        }
        if home != self.home {
            return Heard::Refused(HomeFault::TwoHomes);
        }
        // A replica may not have replayed it yet: the home's own word counts.
        if from == home && row.read_only != self.read_only {
            self.read_only = row.read_only;
            return Heard::ReadOnly;
        }
        Heard::Known
    }

    /// Whether a primary in `region` with this row may be written to.
    pub fn is_written_at(&self, region: RegionId, row: Option<HomeRow>) -> bool {
        region == self.home && !self.is_ahead_of(row)
    }

    /// Whether a primary with this row has missed a promotion. Without a row it has, once there was one anywhere.
    pub fn is_ahead_of(&self, row: Option<HomeRow>) -> bool {
        row.map_or(Generation(0), |row| row.generation) < self.generation
    }
}

impl HomeFault {
    /// A short name for logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unlawful => "unlawful-home",
            Self::TwoHomes => "two-homes",
        }
    }
}

#[cfg(test)]
mod tests;
