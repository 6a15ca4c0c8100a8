//! What a region's gateway tells the others about itself, over the internal listener.

use serde::{Deserialize, Serialize};

use crate::domain::replication_lag::LogPosition;

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
        state.jurisdictions.iter_mut().for_each(|one| one.primary = None);
        state
    }
}

impl PrimarySample {
    pub fn position(&self) -> LogPosition {
        use crate::domain::replication_lag::{Lsn, Timeline};
        LogPosition { timeline: Timeline(self.timeline), lsn: Lsn(self.lsn) }
    }
}
