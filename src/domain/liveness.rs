//! What is known to work right now, as the decision needs it.
//!
//! Invariants
//! - Liveness never widens where data may go: the decision intersects it with the topology's lawful regions.
//! - What has never been looked at counts as working: a request that fails there is reported and looked at again,
//!   whereas a gateway that starts by refusing everyone is an outage of its own.
//! - A jurisdiction's home is one of its lawful regions, whatever was heard.
//!
//! Absent by design: how the facts are found (probes, failed requests) and how old they are.

use super::names::{JurisdictionId, RegionId, RegionSet};
use super::register::Generation;
use super::topology::Topology;

pub mod homes;
pub mod proximity;
pub mod replayed;
pub mod suspicion;

/// A snapshot, replaced as a whole by whoever observes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liveness {
    jurisdictions: Box<[JurisdictionLiveness]>,
    /// A region and all regions as measured from it; without it, the configuration's order counts.
    measured: Option<(RegionId, Box<[RegionId]>)>,
    /// Regions that answer nothing: what was sent there is not worth waiting for.
    gone: RegionSet,
}

/// What works for one jurisdiction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JurisdictionLiveness {
    /// Where its data is written: what the newest generation names, the configuration while none was heard.
    pub home: RegionId,
    /// Of the home; 0 while it is the configuration's.
    pub generation: Generation,
    /// Somebody has closed it to writes.
    pub read_only: bool,
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
        Self::new(topology, |jurisdiction| JurisdictionLiveness::assumed(topology, jurisdiction))
    }

    pub fn new(topology: &Topology, observe: impl FnMut(JurisdictionId) -> JurisdictionLiveness) -> Self {
        Self {
            jurisdictions: topology.jurisdictions().map(observe).collect(),
            measured: None,
            gone: RegionSet::EMPTY,
        }
    }

    /// The same, with these regions known to answer nothing.
    #[must_use]
    pub fn with_gone(mut self, gone: RegionSet) -> Self {
        self.gone = gone;
        self
    }

    /// The same as far as it goes for another topology with the same names: a home must be lawful there, and while nothing
    /// but the configuration has named it, it is what that names now.
    #[must_use]
    pub fn under(&self, topology: &Topology) -> Self {
        let mut all = self.clone();
        for (now, jurisdiction) in all.jurisdictions.iter_mut().zip(topology.jurisdictions()) {
            let assumed = JurisdictionLiveness::assumed(topology, jurisdiction);
            if now.generation == Generation(0) || !topology.lawful_regions(jurisdiction).contains(now.home) {
                let JurisdictionLiveness { home, generation, read_only, .. } = assumed;
                *now = JurisdictionLiveness { home, generation, read_only, ..*now };
            }
        }
        all
    }

    /// Regions that answer nothing.
    pub fn gone(&self) -> RegionSet {
        self.gone
    }

    /// The same, with the regions in the order in which they were measured to be near `from`, itself first.
    #[must_use]
    pub fn with_order(mut self, from: RegionId, order: Box<[RegionId]>) -> Self {
        self.measured = Some((from, order));
        self
    }

    pub fn of(&self, jurisdiction: JurisdictionId) -> JurisdictionLiveness {
        self.jurisdictions[jurisdiction.index()]
    }

    /// All regions as seen from one, itself first, then nearest first.
    pub fn nearest<'all>(&'all self, topology: &'all Topology, from: RegionId) -> &'all [RegionId] {
        match &self.measured {
            Some((measured_from, order)) if *measured_from == from => order,
            _ => topology.nearest(from),
        }
    }

    /// The same, with one region gone for every jurisdiction.
    #[must_use]
    pub fn without_region(&self, gone: RegionId) -> Self {
        let mut all = self.clone();
        for now in &mut all.jurisdictions {
            now.writable &= now.home != gone;
            now.readable = now.readable.without(gone);
            now.fresh = now.fresh.without(gone);
        }
        all.gone = all.gone.with(gone);
        all
    }
}

impl JurisdictionLiveness {
    /// The configuration's home, and everything works.
    pub fn assumed(topology: &Topology, jurisdiction: JurisdictionId) -> Self {
        let everywhere = topology.lawful_regions(jurisdiction);
        Self {
            home: topology.home(jurisdiction),
            generation: Generation(0),
            read_only: false,
            writable: true,
            readable: everywhere,
            fresh: everywhere,
        }
    }
}
