//! What is known to work right now, as the decision needs it.
//!
//! Invariants
//! - Liveness never widens where data may go: the decision intersects it with the topology's lawful regions.
//! - What has never been looked at counts as working: a request that fails there is reported and looked at again,
//!   whereas a gateway that starts by refusing everyone is an outage of its own.
//!
//! Absent by design: how the facts are found (probes, failed requests) and how old they are.

use super::names::{JurisdictionId, RegionId, RegionSet};
use super::topology::Topology;

/// A snapshot, replaced as a whole by whoever observes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liveness {
    jurisdictions: Box<[JurisdictionLiveness]>,
}

/// What works for one jurisdiction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JurisdictionLiveness {
    /// The home region answers and its database takes writes.
    pub writable: bool,
    /// Regions that answer and whose database for this jurisdiction can be read.
    pub readable: RegionSet,
    /// Of those, the ones known to lag less than the configured limit (the primary always is).
    pub fresh: RegionSet,
}

impl Liveness {
    /// Everything works everywhere: the state before anything was looked at.
    pub fn assumed(topology: &Topology) -> Self {
        Self::new(topology, |jurisdiction| {
            let everywhere = topology.lawful_regions(jurisdiction);
            JurisdictionLiveness { writable: true, readable: everywhere, fresh: everywhere }
        })
    }

    pub fn new(topology: &Topology, observe: impl FnMut(JurisdictionId) -> JurisdictionLiveness) -> Self {
        Self { jurisdictions: topology.jurisdictions().map(observe).collect() }
    }

    pub fn of(&self, jurisdiction: JurisdictionId) -> JurisdictionLiveness {
        self.jurisdictions[jurisdiction.index()]
    }

    /// The same, with one region gone for every jurisdiction.
    #[must_use]
    pub fn without_region(&self, topology: &Topology, gone: RegionId) -> Self {
        Self::new(topology, |jurisdiction| {
            let now = self.of(jurisdiction);
            JurisdictionLiveness {
                writable: now.writable && topology.home(jurisdiction) != gone,
                readable: now.readable.without(gone),
                fresh: now.fresh.without(gone),
            }
        })
    }
}
