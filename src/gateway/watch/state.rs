//! What a region's gateway tells the others about itself, over the internal listener.

use serde::{Deserialize, Serialize};

use crate::domain::liveness::homes::HomeRow;
use crate::domain::liveness::replayed::ReplicaPosition;
use crate::domain::register::Generation;
use crate::domain::replication_lag::{LogPosition, Lsn, Timeline};
use crate::domain::topology::Topology;
use crate::postgres::{JurisdictionRow, Sample};

/// One region, as its own gateway sees it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct RegionState {
    pub region: String,
    /// Its API takes connections.
    pub api: bool,
    pub jurisdictions: Vec<JurisdictionState>,
}

/// A jurisdiction in that region.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct JurisdictionState {
    pub jurisdiction: String,
    /// The API and a primary are here.
    pub writable: bool,
    /// The API and a database are here.
    pub readable: bool,
    /// The database here lags less than the limit.
    pub fresh: bool,
    /// Where the primary was, if it is here.
    pub primary: Option<PrimarySample>,
    /// What the database here says of the jurisdiction's home.
    #[serde(default)]
    pub row: Option<RowSaid>,
    /// How far the database here has come, primary or replica, while the session that asked it is open.
    #[serde(default)]
    pub replayed: Option<ReplayedSaid>,
}

/// The row of `residency.jurisdiction` in a region's own database.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct RowSaid {
    pub home: String,
    pub generation: u64,
    pub read_only: bool,
    pub durability: String,
}

/// A database's place in its cluster's log.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub struct ReplayedSaid {
    pub timeline: u32,
    pub lsn: u64,
    pub system_identifier: u64,
}

/// A reading of the primary's log position.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub struct PrimarySample {
    pub timeline: u32,
    pub lsn: u64,
    /// How long before this answer it was read, on the sender's monotonic clock.
    pub sampled_ago_us: u64,
}

impl RegionState {
    /// The same without positions, whose age would no longer be told.
    pub fn without_positions(&self) -> Self {
        let mut state = self.clone();
        for one in &mut state.jurisdictions {
            (one.primary, one.replayed) = (None, None);
        }
        state
    }
}

impl RowSaid {
    pub fn of(row: &JurisdictionRow) -> Self {
        let JurisdictionRow { home, generation, read_only, durability } = row.clone();
        Self { home, generation, read_only, durability }
    }

    /// In this gateway's terms.
    pub fn row(&self, topology: &Topology) -> HomeRow {
        let Self { home, generation, read_only, .. } = self;
        HomeRow { home: topology.region(home), generation: Generation(*generation), read_only: *read_only }
    }
}

impl PrimarySample {
    pub fn position(&self) -> LogPosition {
        LogPosition { timeline: Timeline(self.timeline), lsn: Lsn(self.lsn) }
    }
}

impl ReplayedSaid {
    pub fn of(sample: &Sample) -> Self {
        Self {
            timeline: sample.position.timeline.0,
            lsn: sample.position.lsn.0,
            system_identifier: sample.system_identifier,
        }
    }

    pub fn position(&self) -> ReplicaPosition {
        let position = LogPosition { timeline: Timeline(self.timeline), lsn: Lsn(self.lsn) };
        ReplicaPosition { position, system_identifier: self.system_identifier }
    }
}
