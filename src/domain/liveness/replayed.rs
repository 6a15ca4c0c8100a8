//! How far each region's database has replayed its jurisdiction's log.
//!
//! Invariant: a position is here only while the session that read it is open, as far as this gateway was told. After a crash a
//! replica may come back with less than it had, so a region that gets a request looks again at its own.

use crate::domain::names::{JurisdictionId, RegionId, RegionSet};
use crate::domain::replication_lag::LogPosition;

/// A database's place in its cluster's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaPosition {
    pub position: LogPosition,
    /// The same for all members of a cluster; positions of different ones do not compare.
    pub system_identifier: u64,
}

/// A snapshot, replaced as a whole by whoever observes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// By jurisdiction and region.
    positions: Box<[Box<[Option<ReplicaPosition>]>]>,
}

impl Replayed {
    /// `positions`: by jurisdiction, then by region.
    pub fn new(positions: Vec<Vec<Option<ReplicaPosition>>>) -> Self {
        Self { positions: positions.into_iter().map(Vec::into_boxed_slice).collect() }
    }

    /// What the region's database had replayed when it was last heard; of a primary, up to where its commits lie.
    pub fn at(&self, jurisdiction: JurisdictionId, region: RegionId) -> Option<ReplicaPosition> {
        *self.positions.get(jurisdiction.index())?.get(region.index())?
    }

    /// Regions known to have replayed `wanted`. Timelines follow one another, and positions go on rising over a promotion, so
    /// both must have been reached.
    pub fn caught_up(&self, jurisdiction: JurisdictionId, wanted: ReplicaPosition) -> RegionSet {
        let reached = |found: &ReplicaPosition| {
            found.system_identifier == wanted.system_identifier
                && found.position.timeline >= wanted.position.timeline
                && found.position.lsn >= wanted.position.lsn
        };
        let regions = self.positions.get(jurisdiction.index()).map_or(&[][..], |regions| regions);
        regions
            .iter()
            .enumerate()
            .filter(|(_, found)| found.as_ref().is_some_and(reached))
            .map(|(index, _)| RegionId::new(index))
            .collect()
    }
}

#[cfg(test)]
mod tests;
