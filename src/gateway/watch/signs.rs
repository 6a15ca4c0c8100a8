//! What requests have met on their way, told to the watchers: they look at once, and it counts toward their verdict.
//!
//! Invariants
//! - Written only when something went wrong: a request that is answered touches nothing here.
//! - Bounded: a thousand failures of one region in a moment are one number.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::clock;
use crate::domain::names::{JurisdictionId, RegionId};
use crate::domain::topology::Topology;

/// Shared by all workers and the control plane of a gateway.
pub struct Signs {
    started: Instant,
    /// By region: since the watcher's last look.
    failures: Box<[AtomicU32]>,
    /// By region: whoever watches it.
    regions: Box<[Notify]>,
    /// By jurisdiction: when this region's database last refused a write as read-only, in microseconds since the start; 0 never.
    refused: Box<[AtomicU64]>,
    /// Whoever publishes what is known.
    publisher: Notify,
}

impl Signs {
    pub fn new(topology: &Topology) -> Self {
        Self {
            started: clock::now(),
            failures: topology.regions().map(|_| AtomicU32::new(0)).collect(),
            regions: topology.regions().map(|_| Notify::new()).collect(),
            refused: topology.jurisdictions().map(|_| AtomicU64::new(0)).collect(),
            publisher: Notify::new(),
        }
    }

    /// A request toward `region` met a closed or silent door, or got no answer in time. For this gateway's own region: one of
    /// its endpoints.
    pub fn failed(&self, region: RegionId) {
        self.failures[region.index()].fetch_add(1, Relaxed);
        self.look_at(region);
    }

    /// `region` answered, and not well: it is worth a look, and alive.
    pub fn look_at(&self, region: RegionId) {
        self.regions[region.index()].notify_one();
        self.regions[region.index()].notify_waiters();
    }

    /// An API process of this region found the jurisdiction's database read-only where it should write.
    pub fn refused_write(&self, jurisdiction: JurisdictionId) {
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.refused[jurisdiction.index()].store(now.max(1), Relaxed);
        self.publisher.notify_one();
    }

    /// Failures since the last call, few of them standing for many.
    pub(super) fn take_failures(&self, region: RegionId) -> u32 {
        self.failures[region.index()].swap(0, Relaxed)
    }

    /// Until a request has met something there.
    pub(super) async fn of_region(&self, region: RegionId) {
        self.regions[region.index()].notified().await;
    }

    /// When the jurisdiction's database here last refused a write.
    pub(super) fn write_refused_at(&self, jurisdiction: JurisdictionId) -> Option<Instant> {
        match self.refused[jurisdiction.index()].load(Relaxed) {
            0 => None,
            micros => Some(self.started + Duration::from_micros(micros)),
        }
    }

    /// Until something is to be published at once.
    pub(super) async fn to_publish(&self) {
        self.publisher.notified().await;
    }
}
