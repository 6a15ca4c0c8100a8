//! Which regions are near, by what questions to them take.
//!
//! The configured order is where it starts. It gives way when some region is clearly nearer than one before it, and has been
//! for a while: an order that follows every jitter would send one user's reads now here, now there.
//!
//! Invariants
//! - The order always names every region once, the own first.
//! - It changes only when one that is measured was nearer than one before it by [`BY_PERCENT`] and [`BY_AT_LEAST`], in each
//!   look for [`FOR_AT_LEAST`].
//! - What was never measured keeps its place.
//!
//! Absent by design: which regions are alive, and which may hold what.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::names::RegionId;

/// How much nearer another must be: a share of the farther one's round trip, and no less than this.
pub const BY_PERCENT: u32 = 20;
pub const BY_AT_LEAST: Duration = Duration::from_millis(5);

/// For how long it must have been.
pub const FOR_AT_LEAST: Duration = Duration::from_secs(10);

/// Of these the shortest counts: what the way can do, without handshakes and queues.
const ROUND_TRIPS: usize = 16;

/// Round trips from one region, and the order that follows.
#[derive(Debug, Clone)]
pub struct Proximity {
    order: Box<[RegionId]>,
    /// By region.
    paths: Vec<Path>,
    /// Since when the order is clearly wrong.
    wrong_since: Option<Duration>,
}

#[derive(Debug, Clone, Default)]
struct Path {
    latest: VecDeque<Duration>,
    smoothed: Option<Duration>,
}

impl Proximity {
    /// `order`: the configured one, the own region first.
    pub fn new(order: &[RegionId]) -> Self {
        Self { order: order.into(), paths: vec![Path::default(); order.len()], wrong_since: None }
    }

    /// A question to `region` took `round_trip`.
    pub fn measured(&mut self, region: RegionId, round_trip: Duration) {
        self.paths[region.index()].note(round_trip);
    }

    pub fn round_trip(&self, region: RegionId) -> Option<Duration> {
        self.paths[region.index()].smoothed
    }

    /// All regions, nearest first, as of `now`.
    pub fn order(&mut self, now: Duration) -> &[RegionId] {
        if !self.is_clearly_wrong() {
            self.wrong_since = None;
        } else if now.saturating_sub(*self.wrong_since.get_or_insert(now)) >= FOR_AT_LEAST {
            self.sort();
            self.wrong_since = None;
        }
        &self.order
    }

    fn is_clearly_wrong(&self) -> bool {
        let mut farthest = Duration::ZERO;
        self.order[1..].iter().filter_map(|&region| self.round_trip(region)).any(|round_trip| {
            let is_wrong = is_clearly_nearer(round_trip, farthest);
            farthest = farthest.max(round_trip);
            is_wrong
        })
    }

    /// Puts the measured ones in order, in the places that they have.
    fn sort(&mut self) {
        let mut nearest: Vec<(Duration, RegionId)> =
            self.order[1..].iter().filter_map(|&region| Some((self.round_trip(region)?, region))).collect();
        // Stable: what is equally near stays as it is.
        nearest.sort_by_key(|(round_trip, _)| *round_trip);
        let mut nearest = nearest.into_iter();
        for place in &mut self.order[1..] {
            if self.paths[place.index()].smoothed.is_some()
                && let Some((_, region)) = nearest.next()
            {
                *place = region;
            }
        }
    }
}

impl Path {
    fn note(&mut self, round_trip: Duration) {
        if self.latest.len() == ROUND_TRIPS {
            self.latest.pop_front();
        }
        self.latest.push_back(round_trip);
        let shortest = self.latest.iter().copied().min().unwrap_or(round_trip);
        self.smoothed = Some(match self.smoothed {
            None => shortest,
            // A quarter of the way each time.
            Some(smoothed) => (smoothed * 3 + shortest) / 4,
        });
    }
}

/// Whether `one` is nearer than `other` by enough to matter.
pub fn is_clearly_nearer(one: Duration, other: Duration) -> bool {
    one + BY_AT_LEAST <= other && one * 100 <= other * (100 - BY_PERCENT)
}

#[cfg(test)]
mod tests;
