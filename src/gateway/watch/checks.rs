//! What is seen as health: one check for each thing that was looked at.

use super::board::Watched;
use super::view::{Own, View};
use crate::auth::KeyStatus;
use crate::domain::names::JurisdictionId;
use crate::domain::replication_lag::Lag;
use crate::domain::topology::Durability;
use crate::gateway::health::{Check, Depth, Status};
use crate::gateway::settings::Settings;
use crate::postgres::DatabaseState;
use crate::routing_table::Freshness;

/// Refreshes that may fail before the age of the keys is worth a warning.
const MISSED_REFRESHES: u32 = 3;

impl View {
    pub fn checks(&self, settings: &Settings) -> Vec<Check> {
        let topology = &settings.config.topology;
        let mut checks = Vec::new();
        for jurisdiction in topology.jurisdictions() {
            if let Some(own) = &self.databases[jurisdiction.index()] {
                self.database_checks(settings, jurisdiction, own, &mut checks);
            }
        }
        checks.extend(topology.jurisdictions().filter_map(|found| self.register_check(settings, found)));
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

    /// How long ago the jurisdiction's register was known to be read to its end.
    fn register_check(&self, settings: &Settings, jurisdiction: JurisdictionId) -> Option<Check> {
        let registers = settings.registers.as_ref()?;
        let handle = registers.handle(jurisdiction)?;
        let view = handle.view();
        let refusal = registers.refusal(jurisdiction);
        let status = match (refusal, handle.freshness(self.read_at)) {
            (Some(_), _) => Status::Fail,
            (None, Freshness::Stale) => Status::Warn,
            (None, Freshness::Fresh) => Status::Pass,
        };
        let name = format!("register-{}:staleness", settings.config.topology.jurisdiction_name(jurisdiction));
        let mut check = Check::new(name, Depth::Full, status).of(jurisdiction);
        if let Some(staleness) = handle.staleness(self.read_at) {
            check = check.observed(staleness.as_millis() as f64 / 1000.0, "s");
        }
        let why = view.fault.as_deref().map(str::to_owned);
        let why =
            why.or_else(|| refusal.map(|refusal| format!("its subjects are refused: {}", refusal.code())));
        let why = why.or_else(|| (status != Status::Pass).then(|| "it was not read yet".to_owned()));
        Some(match why {
            Some(why) => check.output(why),
            None => check,
        })
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
        let known = &self.homes[jurisdiction.index()];
        let (is_home, home) = (known.home == self.own, topology.region_name(known.home));
        let check = |measured: &str, status| {
            Check::new(format!("postgres-{name}:{measured}"), Depth::Db, status).of(jurisdiction)
        };
        let connection = match own.state.sample() {
            Some(_) if own.stale => check("connection", Status::Fail).output(format!(
                "a primary that has missed a promotion: generation {} has its home in {home}",
                known.generation.0
            )),
            Some(_) if own.is_primary() == is_home => check("connection", Status::Pass),
            Some(_) if own.is_primary() => {
                check("connection", Status::Warn).output(format!("a primary, and the home is {home}"))
            }
            Some(_) => {
                check("connection", Status::Fail).output("a replica where the home's primary should be")
            }
            None => check("connection", Status::Fail).output(match &own.state {
                DatabaseState::Unreachable { reason, .. } => reason.to_string(),
                _ => "not connected yet".to_owned(),
            }),
        };
        checks.push(connection);
        if known.read_only {
            checks.push(
                check("writes", Status::Warn).output("closed to writes: residency.jurisdiction.read_only"),
            );
        }
        if own.durability.as_deref() == Some("async")
            && topology.durability(jurisdiction) == Durability::Remote
        {
            checks.push(
                check("durability", Status::Warn).output("relaxed to async; the configuration says remote"),
            );
        }
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
                "unknown: the primary in {home} was not heard of, or not for as long as this is behind"
            )),
        });
    }
}

/// A group of this region's processes: with all of them gone its routes are refused here.
fn group_check(name: &str, endpoints: &[&Watched]) -> Option<Check> {
    let (up, down): (Vec<&Watched>, Vec<&Watched>) =
        endpoints.iter().partition(|watched| watched.may_be_up());
    let aside = up.iter().filter(|watched| watched.is_set_aside());
    let aside: Vec<&str> = aside.map(|watched| watched.endpoint.as_str()).collect();
    let status = match (up.len(), down.len()) {
        (0, 0) => return None,
        (_, 0) if aside.is_empty() => Status::Pass,
        (0, _) => Status::Fail,
        (_, _) => Status::Warn,
    };
    let check = Check::new(format!("{name}:connections"), Depth::Full, status);
    let check = check.observed(up.len(), "endpoints up");
    let down: Vec<&str> = down.iter().map(|watched| watched.endpoint.as_str()).collect();
    let mut words = Vec::new();
    if !down.is_empty() {
        words.push(format!("no connection to {}", down.join(", ")));
    }
    if !aside.is_empty() {
        words.push(format!("set aside, because it hangs or fails: {}", aside.join(", ")));
    }
    Some(if words.is_empty() { check } else { check.output(words.join("; ")) })
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
