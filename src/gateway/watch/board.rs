//! What the watchers have seen, and what follows from it.
//!
//! Invariants
//! - What has never been looked at counts as working, for as long as a region that is gone would take to be noticed.
//! - A replica whose lag is unknown is readable but not fresh; so is one whose home can't be asked.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::state::{JurisdictionState, PrimarySample, RegionState};
use crate::auth::KeyStatus;
use crate::clock;
use crate::config::Endpoint;
use crate::domain::liveness::{JurisdictionLiveness, Liveness};
use crate::domain::names::{JurisdictionId, RegionId, RegionSet};
use crate::domain::replication_lag::{Lag, LagTracker};
use crate::domain::upstream_groups::UpstreamGroup;
use crate::gateway::health::{Check, Depth, Status};
use crate::gateway::settings::Settings;
use crate::postgres::{DatabaseState, Role, Sample};
use crate::telemetry::{ControlMetrics, DatabaseRole};

/// Refreshes that may fail before the age of the keys is worth a warning.
const MISSED_REFRESHES: u32 = 3;

/// Notes of all watchers of one generation of settings.
pub struct Board {
    started: Instant,
    pub databases: RefCell<Vec<(JurisdictionId, watch::Receiver<DatabaseState>)>>,
    /// By jurisdiction.
    lag: RefCell<Vec<LagTracker>>,
    /// By region; `None` for the own one and for those that have not answered yet.
    peers: RefCell<Vec<Option<Heard>>>,
    /// All endpoints of this region, group by group.
    pub endpoints: RefCell<Vec<Watched>>,
    pub redis: RefCell<Option<Result<(), String>>>,
    /// By position in the configuration.
    pub external: RefCell<Vec<Option<Result<(), String>>>>,
}

/// An endpoint and whether it takes connections; `None` before the first look.
#[derive(Clone)]
pub struct Watched {
    pub group: UpstreamGroup,
    pub endpoint: Endpoint,
    pub up: Option<bool>,
}

struct Heard {
    state: RegionState,
    at: Instant,
}

/// The board as read at one moment.
pub struct View {
    own: RegionId,
    /// The group `api` takes connections. Other groups are checked and say nothing of where data can be read.
    api: bool,
    endpoints: Vec<Watched>,
    /// By jurisdiction: this region's database, if it has one.
    databases: Vec<Option<Own>>,
    /// By region: alive, with what it said; `None` while nothing is known yet.
    peers: Vec<Option<(bool, RegionState)>>,
    redis: Option<Result<(), String>>,
    external: Vec<Option<Result<(), String>>>,
    read_at: Instant,
}

struct Own {
    state: DatabaseState,
    lag: Lag,
    fresh: bool,
}

impl Watched {
    fn may_be_up(&self) -> bool {
        self.up != Some(false)
    }
}

impl Own {
    fn is_primary(&self) -> bool {
        self.state.sample().is_some_and(|sample| sample.role == Role::Primary)
    }
}

impl Board {
    pub fn new(settings: &Settings) -> Self {
        let config = &settings.config;
        let topology = &config.topology;
        let watched = |group| {
            let endpoints = config.own_region().endpoints(group).iter().cloned();
            endpoints.map(move |endpoint| Watched { group, endpoint, up: None })
        };
        Self {
            started: clock::now(),
            databases: RefCell::default(),
            lag: RefCell::new(
                topology.jurisdictions().map(|_| LagTracker::new(config.health.dead_after)).collect(),
            ),
            peers: RefCell::new(topology.regions().map(|_| None).collect()),
            endpoints: RefCell::new(config.upstream_groups.iter().flat_map(watched).collect()),
            redis: RefCell::default(),
            external: RefCell::new(vec![None; config.health.external.len()]),
        }
    }

    /// Notes a region's answer to a question asked at `asked`. Positions in it count from then on: they may be newer, never
    /// older, so lag is never underestimated.
    pub fn heard(&self, settings: &Settings, region: RegionId, asked: Instant, state: RegionState) {
        let topology = &settings.config.topology;
        for said in &state.jurisdictions {
            let Some(jurisdiction) = topology.jurisdiction(&said.jurisdiction) else { continue };
            if let Some(sample) = &said.primary
                && topology.home(jurisdiction) == region
            {
                let ago = Duration::from_micros(sample.sampled_ago_us);
                let at = asked.saturating_duration_since(self.started).saturating_sub(ago);
                self.lag.borrow_mut()[jurisdiction.index()].primary_sample(at, sample.position());
            }
        }
        let peer = &mut self.peers.borrow_mut()[region.index()];
        if peer.as_ref().is_none_or(|known| known.at < asked) {
            *peer = Some(Heard { state, at: asked });
        }
    }

    /// Everything within our regions was looked at once, or has had its time.
    pub fn is_complete(&self, settings: &Settings) -> bool {
        let config = &settings.config;
        let since_start = clock::now().saturating_duration_since(self.started);
        if since_start >= config.health.dead_after {
            return true;
        }
        let databases =
            self.databases.borrow().iter().all(|(jurisdiction, receiver)| match &*receiver.borrow() {
                DatabaseState::Connecting => false,
                DatabaseState::Unreachable { .. }
                | DatabaseState::Open(Sample { role: Role::Primary, .. }) => true,
                DatabaseState::Open(sample) => {
                    let lag = self.lag.borrow()[jurisdiction.index()].lag(since_start, sample.position);
                    matches!(lag, Lag::Known(_))
                }
            });
        let peers = self.peers.borrow();
        let heard = |region: RegionId| region == config.region || peers[region.index()].is_some();
        databases
            && config.topology.regions().all(heard)
            && self.endpoints.borrow().iter().all(|watched| watched.up.is_some())
            && (config.own_region().redis.is_none() || self.redis.borrow().is_some())
    }

    pub fn read(&self, settings: &Settings) -> View {
        let config = &settings.config;
        let now = clock::now();
        let settling = now.saturating_duration_since(self.started) < config.health.dead_after;
        let mut databases: Vec<Option<Own>> = config.topology.jurisdictions().map(|_| None).collect();
        for (jurisdiction, receiver) in &*self.databases.borrow() {
            let state = receiver.borrow().clone();
            let since_start = now.saturating_duration_since(self.started);
            let lag = match state.sample() {
                Some(sample) if sample.role == Role::Primary => Lag::Known(Duration::ZERO),
                Some(sample) => self.lag.borrow()[jurisdiction.index()].lag(since_start, sample.position),
                None => Lag::Unknown,
            };
            let fresh = matches!(lag, Lag::Known(lag) if lag < config.health.lag_limit);
            databases[jurisdiction.index()] = Some(Own { state, lag, fresh });
        }
        let peers = self.peers.borrow();
        let peers = peers
            .iter()
            .map(|heard| match heard {
                Some(heard) => {
                    let alive = now.saturating_duration_since(heard.at) < config.health.dead_after;
                    Some((alive, heard.state.clone()))
                }
                None if settling => None,
                None => Some((false, RegionState::default())),
            })
            .collect();
        let endpoints = self.endpoints.borrow().clone();
        let in_api = |watched: &&Watched| watched.group == UpstreamGroup::API;
        View {
            own: config.region,
            api: endpoints.iter().filter(in_api).any(Watched::may_be_up),
            endpoints,
            databases,
            peers,
            redis: self.redis.borrow().clone(),
            external: self.external.borrow().clone(),
            read_at: now,
        }
    }
}

impl View {
    pub fn liveness(&self, settings: &Settings) -> Liveness {
        let topology = &settings.config.topology;
        Liveness::new(topology, |jurisdiction| {
            let home = topology.home(jurisdiction);
            let said = |region: RegionId| self.said(settings, region, jurisdiction);
            let lawful = topology.lawful_regions(jurisdiction);
            let all = |wanted: &dyn Fn(Said) -> bool| -> RegionSet {
                topology.regions().filter(|&region| lawful.contains(region) && wanted(said(region))).collect()
            };
            JurisdictionLiveness {
                writable: said(home).writable,
                readable: all(&|said| said.readable),
                fresh: all(&|said| said.readable && said.fresh),
                ..JurisdictionLiveness::assumed(topology, jurisdiction)
            }
        })
    }

    /// What a region says, or what is known of this one, about a jurisdiction.
    fn said(&self, settings: &Settings, region: RegionId, jurisdiction: JurisdictionId) -> Said {
        if region == self.own {
            let own = &self.databases[jurisdiction.index()];
            // Without a database to look at, the API alone answers for its data.
            let database = own.as_ref();
            return Said {
                writable: self.api && database.is_none_or(Own::is_primary),
                readable: self.api && database.is_none_or(|own| own.state.sample().is_some()),
                fresh: database.is_none_or(|own| own.fresh),
            };
        }
        match &self.peers[region.index()] {
            None => Said { writable: true, readable: true, fresh: true },
            Some((false, _)) => Said { writable: false, readable: false, fresh: false },
            Some((true, state)) => {
                let name = settings.config.topology.jurisdiction_name(jurisdiction);
                state.jurisdictions.iter().find(|said| said.jurisdiction == name).map_or(
                    Said { writable: false, readable: false, fresh: false },
                    |said| Said { writable: said.writable, readable: said.readable, fresh: said.fresh },
                )
            }
        }
    }

    /// What the other regions are told.
    pub fn state(&self, settings: &Settings) -> RegionState {
        let topology = &settings.config.topology;
        let jurisdictions = topology
            .jurisdictions()
            .filter(|&jurisdiction| topology.lawful_regions(jurisdiction).contains(self.own))
            .map(|jurisdiction| {
                let said = self.said(settings, self.own, jurisdiction);
                let primary = self.databases[jurisdiction.index()].as_ref().and_then(|own| {
                    let sample = own.state.sample().filter(|sample| sample.role == Role::Primary)?;
                    let ago = self.read_at.saturating_duration_since(sample.sampled_at);
                    Some(PrimarySample {
                        timeline: sample.position.timeline.0,
                        lsn: sample.position.lsn.0,
                        sampled_ago_us: u64::try_from(ago.as_micros()).unwrap_or(u64::MAX),
                    })
                });
                JurisdictionState {
                    jurisdiction: topology.jurisdiction_name(jurisdiction).to_owned(),
                    writable: said.writable && topology.home(jurisdiction) == self.own,
                    readable: said.readable,
                    fresh: said.fresh,
                    primary,
                }
            })
            .collect();
        RegionState { region: settings.region_name().to_owned(), api: self.api, jurisdictions }
    }

    pub fn checks(&self, settings: &Settings) -> Vec<Check> {
        let topology = &settings.config.topology;
        let mut checks = Vec::new();
        for jurisdiction in topology.jurisdictions() {
            if let Some(own) = &self.databases[jurisdiction.index()] {
                self.database_checks(settings, jurisdiction, own, &mut checks);
            }
        }
        checks.extend(settings.config.upstream_groups.iter().filter_map(|group| {
            let endpoints = self.endpoints.iter().filter(|watched| watched.group == group);
            group_check(settings.config.upstream_groups.name(group), &endpoints.collect::<Vec<_>>())
        }));
        checks.extend(settings.verifier.ring().status().into_iter().map(|keys| key_check(settings, &keys)));
        if let Some(redis) = &self.redis {
            checks.push(of_result("redis:ping", redis, Status::Fail));
        }
        for (service, result) in settings.config.health.external.iter().zip(&self.external) {
            if let Some(result) = result {
                checks.push(of_result(&format!("external:{}", service.name), result, Status::Warn));
            }
        }
        for region in topology.regions().filter(|&region| region != self.own) {
            let name = format!("region:{}", topology.region_name(region));
            if let Some((alive, _)) = &self.peers[region.index()] {
                let status = if *alive { Status::Pass } else { Status::Warn };
                let check = Check::new(name, Depth::Full, status);
                checks.push(if *alive { check } else { check.output("its gateway does not answer") });
            }
        }
        checks
    }

    fn database_checks(
        &self,
        settings: &Settings,
        jurisdiction: JurisdictionId,
        own: &Own,
        checks: &mut Vec<Check>,
    ) {
        let topology = &settings.config.topology;
        let name = topology.jurisdiction_name(jurisdiction);
        let is_home = topology.home(jurisdiction) == self.own;
        let check = |measured: &str, status| {
            Check::new(format!("postgres-{name}:{measured}"), Depth::Db, status).of(jurisdiction)
        };
        let connection =
            match own.state.sample() {
                Some(_) if own.is_primary() == is_home => check("connection", Status::Pass),
                Some(_) if own.is_primary() => check("connection", Status::Warn)
                    .output("a primary where the configuration has a replica"),
                Some(_) => check("connection", Status::Fail)
                    .output("a replica where the configuration has the primary"),
                None => check("connection", Status::Fail).output(match &own.state {
                    DatabaseState::Unreachable { reason, .. } => reason.to_string(),
                    _ => "not connected yet".to_owned(),
                }),
            };
        checks.push(connection);
        if is_home || own.state.sample().is_none() {
            return;
        }
        let limit = settings.config.health.lag_limit;
        checks.push(match own.lag {
            Lag::Known(lag) => {
                let status = if lag < limit { Status::Pass } else { Status::Fail };
                check("replication-lag", status).observed(lag.as_millis() as u64, "ms")
            }
            Lag::Unknown => check("replication-lag", Status::Warn).output(format!(
                "unknown: the primary in {} does not answer",
                topology.region_name(topology.home(jurisdiction))
            )),
        });
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
        for watched in &self.endpoints {
            let group = settings.config.upstream_groups.name(watched.group);
            metrics.endpoint(group, watched.endpoint.as_str(), watched.may_be_up());
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
                "{}: writable={} readable=[{}] fresh=[{}]",
                topology.jurisdiction_name(jurisdiction),
                live.writable,
                names(live.readable),
                names(live.fresh),
            ));
        }
        words.join("; ")
    }
}

#[derive(Clone, Copy)]
struct Said {
    writable: bool,
    readable: bool,
    fresh: bool,
}

/// A group of this region's processes: with all of them gone its routes are refused here.
fn group_check(name: &str, endpoints: &[&Watched]) -> Option<Check> {
    let (up, down): (Vec<&Watched>, Vec<&Watched>) =
        endpoints.iter().partition(|watched| watched.may_be_up());
    let status = match (up.len(), down.len()) {
        (0, 0) => return None,
        (_, 0) => Status::Pass,
        (0, _) => Status::Fail,
        (_, _) => Status::Warn,
    };
    let check = Check::new(format!("{name}:connections"), Depth::Full, status);
    let check = check.observed(up.len(), "endpoints up");
    if down.is_empty() {
        return Some(check);
    }
    let down: Vec<&str> = down.iter().map(|watched| watched.endpoint.as_str()).collect();
    Some(check.output(format!("no connection to {}", down.join(", "))))
}

/// An issuer's keys: none at all refuses every token; old ones may hide a withdrawal.
fn key_check(settings: &Settings, keys: &KeyStatus) -> Check {
    let name = format!("keys:{}", keys.source);
    let check = |status| Check::new(name, Depth::Full, status);
    let old = settings.config.token.jwks_refresh * MISSED_REFRESHES;
    match (keys.keys, keys.age) {
        (None, _) => {
            check(Status::Fail).output("not fetched yet: requests with this issuer's tokens get 503")
        }
        (Some(0), _) => {
            check(Status::Warn).output("the set is empty: all of this issuer's tokens are refused")
        }
        (Some(_), Some(age)) if age > old => check(Status::Warn)
            .observed(age.as_secs(), "s")
            .output("the last good set is kept; newer ones can't be fetched"),
        (Some(count), _) => check(Status::Pass).observed(count, "keys"),
    }
}

fn of_result(name: &str, result: &Result<(), String>, worst: Status) -> Check {
    match result {
        Ok(()) => Check::new(name, Depth::Full, Status::Pass),
        Err(error) => Check::new(name, Depth::Full, worst).output(error.clone()),
    }
}
