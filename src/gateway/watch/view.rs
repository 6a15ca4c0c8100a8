//! The board as read at one moment, and what follows from it: liveness, what other regions are told, gauges.

use std::collections::BTreeSet;
use std::time::Instant;

use super::board::{STALE_PRIMARY, Watched};
use super::state::{JurisdictionState, PrimarySample, RegionState, ReplayedSaid, RowSaid};
use crate::domain::liveness::homes::KnownHome;
use crate::domain::liveness::replayed::Replayed;
use crate::domain::liveness::{JurisdictionLiveness, Liveness};
use crate::domain::names::{JurisdictionId, RegionId, RegionSet};
use crate::domain::replication_lag::Lag;
use crate::gateway::settings::Settings;
use crate::postgres::{DatabaseState, Role};
use crate::telemetry::{ControlMetrics, DatabaseRole};

/// The board as read at one moment.
pub struct View {
    pub(super) own: RegionId,
    /// The group `api` takes connections. Other groups are checked and say nothing of where data can be read.
    pub(super) api: bool,
    pub(super) endpoints: Vec<Watched>,
    /// By jurisdiction: this region's database, if it has one.
    pub(super) databases: Vec<Option<Own>>,
    /// By jurisdiction.
    pub(super) homes: Vec<KnownHome>,
    /// Databases that contradict what is known of their home: by what.
    pub(super) alarms: BTreeSet<(JurisdictionId, RegionId, &'static str)>,
    /// By region: alive, with what it said; `None` while nothing is known yet.
    pub(super) peers: Vec<Option<(bool, RegionState)>>,
    /// Nearest first.
    pub(super) order: Box<[RegionId]>,
    pub(super) redis: Option<Result<(), String>>,
    pub(super) external: Vec<Option<Result<(), String>>>,
    pub(super) read_at: Instant,
}

/// This region's database of one jurisdiction.
pub struct Own {
    pub(super) state: DatabaseState,
    pub(super) lag: Lag,
    pub(super) fresh: bool,
    /// A primary of an older generation than is known.
    pub(super) stale: bool,
    /// The primary of the home, and no API process has found otherwise since it was last asked.
    pub(super) written: bool,
    /// What its row says.
    pub(super) durability: Option<String>,
}

#[derive(Clone, Copy)]
struct Said {
    writable: bool,
    readable: bool,
    fresh: bool,
}

impl Own {
    pub(super) fn is_primary(&self) -> bool {
        self.state.sample().is_some_and(|sample| sample.role == Role::Primary)
    }
}

impl View {
    pub fn liveness(&self, settings: &Settings) -> Liveness {
        let topology = &settings.config.topology;
        let liveness = Liveness::new(topology, |jurisdiction| {
            let KnownHome { home, generation, read_only } = self.homes[jurisdiction.index()];
            let said = |region: RegionId| self.said(settings, region, jurisdiction);
            let lawful = topology.lawful_regions(jurisdiction);
            let all = |wanted: &dyn Fn(Said) -> bool| -> RegionSet {
                topology.regions().filter(|&region| lawful.contains(region) && wanted(said(region))).collect()
            };
            JurisdictionLiveness {
                home,
                generation,
                read_only,
                writable: said(home).writable,
                readable: all(&|said| said.readable),
                fresh: all(&|said| said.readable && said.fresh),
            }
        });
        let gone = topology
            .regions()
            .filter(|&region| region != self.own && matches!(self.peers[region.index()], Some((false, _))));
        liveness.with_order(self.own, self.order.clone()).with_gone(gone.collect())
    }

    /// What a region says, or what is known of this one, about a jurisdiction.
    fn said(&self, settings: &Settings, region: RegionId, jurisdiction: JurisdictionId) -> Said {
        let is_home = self.homes[jurisdiction.index()].home == region;
        if region == self.own {
            // Without a database to look at, the API alone answers for its data, until it says that it can't write.
            let Some(own) = &self.databases[jurisdiction.index()] else {
                return Said {
                    writable: self.api && is_home && !self.is_refusing_writes(settings, jurisdiction),
                    readable: self.api,
                    fresh: true,
                };
            };
            return Said {
                writable: self.api && own.written,
                readable: self.api && own.state.sample().is_some() && !own.stale,
                fresh: own.fresh,
            };
        }
        match &self.peers[region.index()] {
            None => Said { writable: is_home, readable: true, fresh: true },
            Some((false, _)) => Said { writable: false, readable: false, fresh: false },
            Some((true, told)) => {
                let name = settings.config.topology.jurisdiction_name(jurisdiction);
                let is_stale = self.alarms.contains(&(jurisdiction, region, STALE_PRIMARY));
                told.jurisdictions.iter().find(|said| said.jurisdiction == name).map_or(
                    Said { writable: false, readable: false, fresh: false },
                    |said| Said {
                        writable: said.writable && is_home && !is_stale,
                        readable: said.readable && !is_stale,
                        fresh: said.fresh,
                    },
                )
            }
        }
    }

    /// There is nobody to ask whether it still is as an API process said: so for a while.
    fn is_refusing_writes(&self, settings: &Settings, jurisdiction: JurisdictionId) -> bool {
        settings.signs.write_refused_at(jurisdiction).is_some_and(|refused| {
            self.read_at.saturating_duration_since(refused) < settings.config.health.dead_after
        })
    }

    /// What the other regions are told.
    pub fn state(&self, settings: &Settings) -> RegionState {
        let topology = &settings.config.topology;
        let jurisdictions = topology
            .jurisdictions()
            .filter(|&jurisdiction| topology.lawful_regions(jurisdiction).contains(self.own))
            .map(|jurisdiction| {
                let said = self.said(settings, self.own, jurisdiction);
                let own = self.databases[jurisdiction.index()].as_ref();
                let sample = own.and_then(|own| own.state.sample());
                let primary = sample.filter(|sample| sample.role == Role::Primary).map(|sample| {
                    let ago = self.read_at.saturating_duration_since(sample.sampled_at);
                    PrimarySample {
                        timeline: sample.position.timeline.0,
                        lsn: sample.position.lsn.0,
                        sampled_ago_us: u64::try_from(ago.as_micros()).unwrap_or(u64::MAX),
                    }
                });
                JurisdictionState {
                    jurisdiction: topology.jurisdiction_name(jurisdiction).to_owned(),
                    writable: said.writable,
                    readable: said.readable,
                    fresh: said.fresh,
                    primary,
                    row: sample.and_then(|sample| sample.jurisdiction.as_ref()).map(RowSaid::of),
                    replayed: sample.map(ReplayedSaid::of),
                }
            })
            .collect();
        RegionState { region: settings.region_name().to_owned(), api: self.api, jurisdictions }
    }

    /// How far each region's databases have come.
    pub fn replayed(&self, settings: &Settings) -> Replayed {
        let topology = &settings.config.topology;
        let positions = topology.jurisdictions().map(|jurisdiction| {
            let name = topology.jurisdiction_name(jurisdiction);
            let at = |region: RegionId| {
                if region == self.own {
                    let own = self.databases[jurisdiction.index()].as_ref()?;
                    return own.state.sample().map(|sample| ReplayedSaid::of(sample).position());
                }
                let (true, state) = self.peers[region.index()].as_ref()? else { return None };
                let said = state.jurisdictions.iter().find(|said| said.jurisdiction == name)?;
                said.replayed.map(|said| said.position())
            };
            topology.regions().map(at).collect()
        });
        Replayed::new(positions.collect())
    }

    /// Sets the gauges.
    pub fn count(&self, settings: &Settings, metrics: &ControlMetrics) {
        let topology = &settings.config.topology;
        for jurisdiction in topology.jurisdictions() {
            let Some(own) = &self.databases[jurisdiction.index()] else { continue };
            let name = topology.jurisdiction_name(jurisdiction);
            let role = own.state.sample().map(|sample| match sample.role {
                Role::Primary => DatabaseRole::Primary,
                Role::Replica { .. } => DatabaseRole::Replica,
            });
            metrics.database(name, role.is_some(), role);
            if role == Some(DatabaseRole::Replica) {
                metrics.replication_lag(
                    name,
                    match own.lag {
                        Lag::Known(lag) => Some(lag),
                        Lag::Unknown => None,
                    },
                );
            }
        }
        for region in topology.regions() {
            if let Some((alive, _)) = &self.peers[region.index()]
                && region != self.own
            {
                metrics.peer(topology.region_name(region), *alive);
            }
        }
        for (jurisdiction, known) in topology.jurisdictions().zip(&self.homes) {
            let name = topology.jurisdiction_name(jurisdiction);
            metrics.generation(name, known.generation.0, known.read_only);
            for region in topology.regions() {
                let is_lawful = topology.lawful_regions(jurisdiction).contains(region);
                if is_lawful {
                    metrics.home(name, topology.region_name(region), known.home == region);
                }
            }
        }
        for watched in &self.endpoints {
            let group = settings.config.upstream_groups.name(watched.group);
            let endpoint = watched.endpoint.as_str();
            metrics.endpoint(group, endpoint, watched.may_be_up() && !watched.is_set_aside());
            metrics.endpoint_set_aside(group, endpoint, watched.set_aside.times());
        }
    }

    /// For the log: who answers and who doesn't.
    pub fn describe(&self, settings: &Settings) -> String {
        let topology = &settings.config.topology;
        let liveness = self.liveness(settings);
        let mut words = Vec::new();
        for jurisdiction in topology.jurisdictions() {
            let live = liveness.of(jurisdiction);
            let names = |set: RegionSet| {
                let names: Vec<&str> = topology
                    .regions()
                    .filter(|&region| set.contains(region))
                    .map(|region| topology.region_name(region))
                    .collect();
                names.join(",")
            };
            words.push(format!(
                "{}: home={} generation={}{} writable={} readable=[{}] fresh=[{}]",
                topology.jurisdiction_name(jurisdiction),
                topology.region_name(live.home),
                live.generation.0,
                if live.read_only { " read-only" } else { "" },
                live.writable,
                names(live.readable),
                names(live.fresh),
            ));
        }
        words.join("; ")
    }
}
