//! What the watchers have seen.
//!
//! Invariants
//! - What has never been looked at counts as working, for as long as a region that is gone would take to be noticed.
//! - A home that was heard of is remembered over the death of who said it, and over a reload.
//! - A replica's lag is worked out from the samples of the home alone. These outlive a reload that changes nothing about the
//!   database: without them a replica that lags would look as if nobody knew how far.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::state::RegionState;
use super::view::{Own, View};
use crate::clock;
use crate::config::{Config, Endpoint};
use crate::domain::liveness::homes::{Heard as HeardHome, HomeFault, HomeRow, KnownHome};
use crate::domain::liveness::proximity::Proximity;
use crate::domain::liveness::suspicion::{Suspicion, Verdict};
use crate::domain::names::{JurisdictionId, RegionId};
use crate::domain::register::Generation;
use crate::domain::replication_lag::{Lag, LagTracker, LogPosition};
use crate::domain::upstream_groups::UpstreamGroup;
use crate::gateway::settings::Settings;
use crate::postgres::{DatabaseState, DatabaseUrl, JurisdictionRow, Role, Sample};
use crate::telemetry::ControlMetrics;
use crate::upstream::SetAside;

/// Notes of all watchers of one generation of settings.
pub struct Board {
    started: Instant,
    pub databases: RefCell<Vec<(JurisdictionId, watch::Receiver<DatabaseState>)>>,
    /// By jurisdiction.
    histories: Vec<Rc<History>>,
    /// By jurisdiction.
    homes: RefCell<Vec<KnownHome>>,
    /// Rows that can't be right, each logged once until it is.
    alarms: RefCell<BTreeSet<(JurisdictionId, RegionId, &'static str)>>,
    /// By region; `None` for the own one and for those that have not answered yet.
    peers: RefCell<Vec<Option<Heard>>>,
    /// By region.
    suspicions: RefCell<Vec<Suspicion>>,
    proximity: RefCell<Proximity>,
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
    /// What the workers have seen of it.
    pub set_aside: Arc<SetAside>,
}

/// Where a jurisdiction's primary was and when, for as long as this region has the same database of it.
struct History {
    jurisdiction: String,
    database: Option<DatabaseUrl>,
    stale_after: Duration,
    began: Instant,
    tracker: RefCell<LagTracker>,
}

struct Heard {
    state: RegionState,
    at: Instant,
}

/// A primary of an older generation than the one that is known.
pub const STALE_PRIMARY: &str = "stale-primary";

impl Watched {
    /// It takes connections.
    pub fn may_be_up(&self) -> bool {
        self.up != Some(false)
    }

    /// Some worker sends it nothing, because it hangs or fails.
    pub fn is_set_aside(&self) -> bool {
        self.set_aside.workers() > 0
    }
}

impl History {
    fn new(config: &Config, jurisdiction: JurisdictionId) -> Self {
        let own = config.own_region().databases.iter().find(|(of, _)| *of == jurisdiction);
        let stale_after = config.health.dead_after;
        Self {
            jurisdiction: config.topology.jurisdiction_name(jurisdiction).to_owned(),
            database: own.map(|(_, url)| url.clone()),
            stale_after,
            began: clock::now(),
            tracker: RefCell::new(LagTracker::new(stale_after)),
        }
    }

    fn is_of_the_same(&self, other: &Self) -> bool {
        (&self.jurisdiction, &self.database, self.stale_after)
            == (&other.jurisdiction, &other.database, other.stale_after)
    }

    fn since_began(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.began)
    }

    /// `at` or later the primary was at `position`.
    fn primary_sample(&self, at: Duration, position: LogPosition) {
        self.tracker.borrow_mut().primary_sample(at, position);
    }

    fn lag(&self, now: Instant, replica: LogPosition) -> Lag {
        self.tracker.borrow().lag(self.since_began(now), replica)
    }
}

impl Board {
    /// `before`: of the settings that these take the place of.
    pub fn new(settings: &Settings, before: Option<&Self>) -> Self {
        let config = &settings.config;
        let topology = &config.topology;
        let watched = |group| {
            let endpoints = config.own_region().endpoints(group).iter().cloned();
            endpoints.map(move |endpoint| {
                let set_aside = settings.set_aside(&endpoint);
                Watched { group, endpoint, up: None, set_aside }
            })
        };
        let known = settings.liveness.load();
        let home = |jurisdiction| {
            let live = known.of(jurisdiction);
            KnownHome { home: live.home, generation: live.generation, read_only: live.read_only }
        };
        let history = |jurisdiction| {
            let new = History::new(config, jurisdiction);
            let known =
                before.and_then(|before| before.histories.iter().find(|one| one.is_of_the_same(&new)));
            known.map_or_else(|| Rc::new(new), Rc::clone)
        };
        let suspicion = |_| Suspicion::new(Duration::ZERO, config.health.dead_after);
        Self {
            started: clock::now(),
            databases: RefCell::default(),
            histories: topology.jurisdictions().map(history).collect(),
            homes: RefCell::new(topology.jurisdictions().map(home).collect()),
            alarms: RefCell::default(),
            peers: RefCell::new(topology.regions().map(|_| None).collect()),
            suspicions: RefCell::new(topology.regions().map(suspicion).collect()),
            proximity: RefCell::new(Proximity::new(known.nearest(topology, config.region))),
            endpoints: RefCell::new(config.upstream_groups.iter().flat_map(watched).collect()),
            redis: RefCell::default(),
            external: RefCell::new(vec![None; config.health.external.len()]),
        }
    }

    fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.started)
    }

    /// Notes a region's answer to a question asked at `asked`. Positions in it count from then on: they may be newer, never
    /// older, so lag is never underestimated.
    pub fn heard(
        &self,
        settings: &Settings,
        metrics: &ControlMetrics,
        region: RegionId,
        asked: Instant,
        state: RegionState,
    ) {
        let topology = &settings.config.topology;
        self.suspicions.borrow_mut()[region.index()].answered(self.since_start(asked));
        self.proximity.borrow_mut().measured(region, asked.elapsed());
        for said in &state.jurisdictions {
            let Some(jurisdiction) = topology.jurisdiction(&said.jurisdiction) else { continue };
            if !topology.lawful_regions(jurisdiction).contains(region) {
                continue;
            }
            let row = said.row.as_ref().map(|row| row.row(topology));
            self.hear_row(settings, metrics, jurisdiction, region, row, said.primary.is_some());
            if let Some(sample) = &said.primary
                && self.homes.borrow()[jurisdiction.index()].home == region
            {
                let ago = Duration::from_micros(sample.sampled_ago_us);
                let history = &self.histories[jurisdiction.index()];
                history.primary_sample(history.since_began(asked).saturating_sub(ago), sample.position());
            }
        }
        let peer = &mut self.peers.borrow_mut()[region.index()];
        if peer.as_ref().is_none_or(|known| known.at < asked) {
            *peer = Some(Heard { state, at: asked });
        }
    }

    /// Notes that a region did not answer, or that requests to it failed so often.
    pub fn failed(&self, region: RegionId, times: u32) {
        // More than enough for a doubt is no more than that.
        for _ in 0..times.min(8) {
            self.suspicions.borrow_mut()[region.index()].sign();
        }
    }

    /// Takes in what a database says of its jurisdiction's home.
    fn hear_row(
        &self,
        settings: &Settings,
        metrics: &ControlMetrics,
        jurisdiction: JurisdictionId,
        from: RegionId,
        row: Option<HomeRow>,
        is_primary: bool,
    ) {
        let topology = &settings.config.topology;
        let mut homes = self.homes.borrow_mut();
        let known = &mut homes[jurisdiction.index()];
        let heard = row.map(|row| known.hear(topology.lawful_regions(jurisdiction), from, row));
        let (name, at) = (topology.jurisdiction_name(jurisdiction), topology.region_name(from));
        if let Some(HeardHome::Raised | HeardHome::ReadOnly) = heard {
            let KnownHome { home, generation: Generation(generation), read_only } = *known;
            let home = topology.region_name(home);
            tracing::info!(jurisdiction = name, home, generation, read_only, said_in = at, "home known");
        }
        let refused = match heard {
            Some(HeardHome::Refused(fault)) => Some(fault.label()),
            _ => None,
        };
        let stale = is_primary && row.is_some() && known.is_ahead_of(row);
        for (kind, is_on) in [
            (HomeFault::Unlawful.label(), refused == Some(HomeFault::Unlawful.label())),
            (HomeFault::TwoHomes.label(), refused == Some(HomeFault::TwoHomes.label())),
            (STALE_PRIMARY, stale),
        ] {
            let alarm = (jurisdiction, from, kind);
            if !is_on {
                self.alarms.borrow_mut().remove(&alarm);
            } else if self.alarms.borrow_mut().insert(alarm) {
                metrics.home_alarm(name, kind);
                let said = row.map(|row| row.generation.0);
                let (home, generation) = (topology.region_name(known.home), known.generation.0);
                tracing::error!(
                    jurisdiction = name,
                    said_in = at,
                    said,
                    home,
                    generation,
                    kind,
                    "a database contradicts what is known of its jurisdiction's home; the home stays"
                );
            }
        }
    }

    /// Everything within our regions was looked at once, or has had its time.
    pub fn is_complete(&self, settings: &Settings) -> bool {
        let config = &settings.config;
        let now = clock::now();
        if self.since_start(now) >= config.health.dead_after {
            return true;
        }
        let databases =
            self.databases.borrow().iter().all(|(jurisdiction, receiver)| match &*receiver.borrow() {
                DatabaseState::Connecting => false,
                DatabaseState::Unreachable { .. }
                | DatabaseState::Open(Sample { role: Role::Primary, .. }) => true,
                DatabaseState::Open(sample) => {
                    let lag = self.histories[jurisdiction.index()].lag(now, sample.position);
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

    /// The board at this moment.
    pub fn read(&self, settings: &Settings, metrics: &ControlMetrics) -> View {
        let config = &settings.config;
        let now = clock::now();
        let since_start = self.since_start(now);
        let databases = self.own_databases(settings, metrics, now);
        let peers = self.peers.borrow();
        let mut suspicions = self.suspicions.borrow_mut();
        let peers = peers
            .iter()
            .zip(suspicions.iter_mut())
            .map(|(heard, suspicion)| match (suspicion.verdict(since_start), heard) {
                (Verdict::Dead, heard) => {
                    Some((false, heard.as_ref().map(|heard| heard.state.clone()).unwrap_or_default()))
                }
                (_, Some(heard)) => Some((true, heard.state.clone())),
                (_, None) => None,
            })
            .collect();
        let endpoints = self.endpoints.borrow().clone();
        let in_api = |watched: &&Watched| watched.group == UpstreamGroup::API;
        View {
            own: config.region,
            api: endpoints.iter().filter(in_api).any(Watched::may_be_up),
            endpoints,
            databases,
            homes: self.homes.borrow().clone(),
            alarms: self.alarms.borrow().clone(),
            peers,
            order: self.proximity.borrow_mut().order(since_start).into(),
            redis: self.redis.borrow().clone(),
            external: self.external.borrow().clone(),
            read_at: now,
        }
    }

    /// By jurisdiction: this region's database, if it has one.
    fn own_databases(&self, settings: &Settings, metrics: &ControlMetrics, now: Instant) -> Vec<Option<Own>> {
        let config = &settings.config;
        let mut databases: Vec<Option<Own>> = config.topology.jurisdictions().map(|_| None).collect();
        for (jurisdiction, receiver) in &*self.databases.borrow() {
            let state = receiver.borrow().clone();
            let sample = state.sample();
            let is_primary = sample.is_some_and(|sample| sample.role == Role::Primary);
            let row = sample
                .and_then(|sample| sample.jurisdiction.as_ref())
                .map(|row| super::state::RowSaid::of(row).row(&config.topology));
            if sample.is_some() {
                self.hear_row(settings, metrics, *jurisdiction, config.region, row, is_primary);
            }
            let known = self.homes.borrow()[jurisdiction.index()];
            let lag = match sample {
                Some(_) if is_primary && known.home == config.region => Lag::Known(Duration::ZERO),
                // Of a primary that is not the home, who knows what it lacks?
                Some(_) if is_primary => Lag::Unknown,
                Some(sample) => self.histories[jurisdiction.index()].lag(now, sample.position),
                None => Lag::Unknown,
            };
            let doubted = settings
                .signs
                .write_refused_at(*jurisdiction)
                .is_some_and(|refused| sample.is_none_or(|sample| sample.sampled_at <= refused));
            databases[jurisdiction.index()] = Some(Own {
                fresh: matches!(lag, Lag::Known(lag) if lag < config.health.lag_limit),
                durability: sample.and_then(|sample| sample.jurisdiction.as_ref()).map(durability),
                stale: is_primary && known.is_ahead_of(row),
                written: is_primary && !doubted && known.is_written_at(config.region, row),
                state,
                lag,
            });
        }
        databases
    }
}

fn durability(row: &JurisdictionRow) -> String {
    row.durability.clone()
}
