//! Facts of the control plane: databases, peers, endpoints, certificates, keys, the configuration.
//!
//! Invariants
//! - Set by the tasks that observe them, some times a second; never on the request path (these take a lock).
//! - What is unknown has no sample. An unreachable primary makes lag unknown, not zero, and an alert on a missing
//!   sample is the right alert.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::catalog::{self, Family};
use super::histogram;

/// Gauges of the control plane.
pub struct ControlMetrics {
    replication_lag: GaugeVec,
    database_up: IntGaugeVec,
    database_role: IntGaugeVec,
    home: IntGaugeVec,
    generation: IntGaugeVec,
    read_only: IntGaugeVec,
    home_alarms: IntCounterVec,
    peer_up: IntGaugeVec,
    endpoint_up: IntGaugeVec,
    endpoint_set_aside: IntCounterVec,
    certificate_expiry: GaugeVec,
    jwks_fetches: IntCounterVec,
    jwks_last_success: GaugeVec,
    introspections: IntCounterVec,
    introspection_duration: HistogramVec,
    position_queries: IntCounterVec,
    register_entries: IntGaugeVec,
    register_staleness: GaugeVec,
    register_reloads: IntCounterVec,
    register_alarms: IntCounterVec,
    forgotten_certificates: IntCounterVec,
    register_rows_refused: IntCounterVec,
    snapshots_refused: IntCounterVec,
    config_generation: IntGauge,
    config_reloads: IntCounterVec,
    config_last_success: IntGauge,
    config_last_applied: Gauge,
    control_calls: IntCounterVec,
}

/// What a database is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseRole {
    Primary,
    Replica,
}

impl ControlMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let labels = |family: &'static Family| (Opts::new(family.name, family.help), family.labels);
        let integers = |family| {
            let (options, names) = labels(family);
            registered(registry, IntGaugeVec::new(options, names)?)
        };
        let gauges = |family| {
            let (options, names) = labels(family);
            registered(registry, GaugeVec::new(options, names)?)
        };
        let counters = |family| {
            let (options, names) = labels(family);
            registered(registry, IntCounterVec::new(options, names)?)
        };
        let family = &catalog::INTROSPECTION_DURATION;
        let bounds = (0..histogram::BOUNDED).map(|bucket| histogram::bound(bucket) as f64 / 1e6).collect();
        let options = HistogramOpts::new(family.name, family.help).buckets(bounds);
        let introspection_duration = HistogramVec::new(options, family.labels)?;
        let generation = IntGauge::with_opts(labels(&catalog::CONFIG_GENERATION).0)?;
        let last_success = IntGauge::with_opts(labels(&catalog::CONFIG_LAST_SUCCESS).0)?;
        let last_applied = Gauge::with_opts(labels(&catalog::CONFIG_LAST_APPLIED).0)?;
        Ok(Self {
            replication_lag: gauges(&catalog::REPLICATION_LAG)?,
            database_up: integers(&catalog::DATABASE_UP)?,
            database_role: integers(&catalog::DATABASE_ROLE)?,
            home: integers(&catalog::HOME)?,
            generation: integers(&catalog::GENERATION)?,
            read_only: integers(&catalog::READ_ONLY)?,
            home_alarms: counters(&catalog::HOME_ALARMS)?,
            peer_up: integers(&catalog::PEER_UP)?,
            endpoint_up: integers(&catalog::ENDPOINT_UP)?,
            endpoint_set_aside: counters(&catalog::ENDPOINT_SET_ASIDE)?,
            certificate_expiry: gauges(&catalog::CERTIFICATE_EXPIRY)?,
            jwks_fetches: counters(&catalog::JWKS_FETCHES)?,
            jwks_last_success: gauges(&catalog::JWKS_LAST_SUCCESS)?,
            introspections: counters(&catalog::INTROSPECTIONS)?,
            introspection_duration: registered(registry, introspection_duration)?,
            position_queries: counters(&catalog::POSITION_QUERIES)?,
            register_entries: integers(&catalog::REGISTER_ENTRIES)?,
            register_staleness: gauges(&catalog::REGISTER_STALENESS)?,
            register_reloads: counters(&catalog::REGISTER_RELOADS)?,
            register_alarms: counters(&catalog::REGISTER_ALARMS)?,
            forgotten_certificates: counters(&catalog::FORGOTTEN_CERTIFICATES)?,
            register_rows_refused: counters(&catalog::REGISTER_ROWS_REFUSED)?,
            snapshots_refused: counters(&catalog::TABLE_SNAPSHOTS_REFUSED)?,
            config_generation: registered(registry, generation)?,
            config_reloads: counters(&catalog::CONFIG_RELOADS)?,
            config_last_success: registered(registry, last_success)?,
            config_last_applied: registered(registry, last_applied)?,
            control_calls: counters(&catalog::CONTROL_CALLS)?,
        })
    }

    /// How far this region's database is behind the jurisdiction's primary; `None` while that is unknown.
    pub fn replication_lag(&self, jurisdiction: &str, lag: Option<Duration>) {
        match lag {
            Some(lag) => self.replication_lag.with_label_values(&[jurisdiction]).set(lag.as_secs_f64()),
            None => forget(self.replication_lag.remove_label_values(&[jurisdiction])),
        }
    }

    /// Whether this region's database for a jurisdiction answers, and as what; `None` while its role is unknown.
    pub fn database(&self, jurisdiction: &str, up: bool, role: Option<DatabaseRole>) {
        self.database_up.with_label_values(&[jurisdiction]).set(up.into());
        for (name, it) in [("primary", DatabaseRole::Primary), ("replica", DatabaseRole::Replica)] {
            match role {
                Some(role) => {
                    self.database_role.with_label_values(&[jurisdiction, name]).set((role == it).into());
                }
                None => forget(self.database_role.remove_label_values(&[jurisdiction, name])),
            }
        }
    }

    /// Whether a lawful region is the jurisdiction's home.
    pub fn home(&self, jurisdiction: &str, region: &str, is_home: bool) {
        self.home.with_label_values(&[jurisdiction, region]).set(is_home.into());
    }

    /// The generation of the jurisdiction's home, and whether it is closed to writes.
    pub fn generation(&self, jurisdiction: &str, generation: u64, read_only: bool) {
        let generation = i64::try_from(generation).unwrap_or(i64::MAX);
        self.generation.with_label_values(&[jurisdiction]).set(generation);
        self.read_only.with_label_values(&[jurisdiction]).set(read_only.into());
    }

    /// A database contradicts what is known of its jurisdiction's home; `kind` is one of a fixed few words.
    pub fn home_alarm(&self, jurisdiction: &str, kind: &str) {
        self.home_alarms.with_label_values(&[jurisdiction, kind]).inc();
    }

    /// Whether another region's gateway answers.
    pub fn peer(&self, region: &str, up: bool) {
        self.peer_up.with_label_values(&[region]).set(up.into());
    }

    /// Whether an API endpoint of this region is in use.
    pub fn endpoint(&self, group: &str, endpoint: &str, up: bool) {
        self.endpoint_up.with_label_values(&[group, endpoint]).set(up.into());
    }

    /// How often all workers together have set an API endpoint of this region aside.
    pub fn endpoint_set_aside(&self, group: &str, endpoint: &str, times: u64) {
        let counter = self.endpoint_set_aside.with_label_values(&[group, endpoint]);
        counter.inc_by(times.saturating_sub(counter.get()));
    }

    /// When a certificate expires: `public`, `internal`, or the file of a further public one.
    pub fn certificate_expiry(&self, certificate: &str, at: SystemTime) {
        self.certificate_expiry.with_label_values(&[certificate]).set(seconds(at));
    }

    /// An issuer's key set was fetched, at `at`, or could not be.
    pub fn jwks_fetched(&self, issuer: &str, succeeded: bool, at: SystemTime) {
        let result = if succeeded { "ok" } else { "failed" };
        self.jwks_fetches.with_label_values(&[issuer, result]).inc();
        if succeeded {
            self.jwks_last_success.with_label_values(&[issuer]).set(seconds(at));
        }
    }

    /// An issuer, named by its endpoint, was asked about a token; `result` is one of a fixed few words.
    pub fn introspected(&self, issuer: &str, result: &str, took: Duration) {
        self.introspections.with_label_values(&[issuer, result]).inc();
        self.introspection_duration.with_label_values(&[issuer]).observe(took.as_secs_f64());
    }

    /// This region's database of a jurisdiction was asked for its position; `result` is one of a fixed few words.
    pub fn position_asked(&self, jurisdiction: &str, result: &str) {
        self.position_queries.with_label_values(&[jurisdiction, result]).inc();
    }

    /// A jurisdiction's register: how many of its rows are in the table, and for how long it has not been known to be current.
    pub fn register(&self, jurisdiction: &str, entries: usize, staleness: Option<Duration>) {
        let entries = i64::try_from(entries).unwrap_or(i64::MAX);
        self.register_entries.with_label_values(&[jurisdiction]).set(entries);
        match staleness {
            Some(staleness) => {
                self.register_staleness.with_label_values(&[jurisdiction]).set(staleness.as_secs_f64());
            }
            None => forget(self.register_staleness.remove_label_values(&[jurisdiction])),
        }
    }

    /// A register was read whole; `reason` is one of a fixed few words.
    pub fn register_reloaded(&self, jurisdiction: &str, reason: &str) {
        self.register_reloads.with_label_values(&[jurisdiction, reason]).inc();
    }

    /// A register is refused; `alarm` is one of a fixed few words.
    pub fn register_alarm(&self, jurisdiction: &str, alarm: &str) {
        self.register_alarms.with_label_values(&[jurisdiction, alarm]).inc();
    }

    /// A connection came by, or was open, whose certificate was forgotten; `result` is one of a fixed few words. Rare, and no
    /// client's request.
    pub fn forgotten_certificate(&self, result: &str) {
        self.forgotten_certificates.with_label_values(&[result]).inc();
    }

    /// A row of a register is refused; `fault` is one of a fixed few words.
    pub fn register_row_refused(&self, jurisdiction: &str, fault: &str) {
        self.register_rows_refused.with_label_values(&[jurisdiction, fault]).inc();
    }

    /// The routing table's snapshot could not be used, or not be written; `reason` is one of a fixed few words.
    pub fn snapshot_refused(&self, reason: &str) {
        self.snapshots_refused.with_label_values(&[reason]).inc();
    }

    /// A call of the control API was answered; `result` is `ok` or a code. Calls are rare, and no client's request is one.
    pub fn control_call(&self, call: &str, result: &str) {
        self.control_calls.with_label_values(&[call, result]).inc();
    }

    /// A configuration is in use from `at` on; `generation` counts those applied.
    pub fn config_applied(&self, generation: i64, at: SystemTime) {
        self.config_reloads.with_label_values(&["applied"]).inc();
        self.config_generation.set(generation);
        self.config_last_success.set(1);
        self.config_last_applied.set(seconds(at));
    }

    /// Certificates were read without a configuration and are in use. `all_well` when nothing else that was read last was
    /// refused.
    pub fn certificates_applied(&self, all_well: bool) {
        self.config_reloads.with_label_values(&["applied"]).inc();
        self.config_last_success.set(all_well.into());
    }

    /// A configuration, or certificates, were read and refused; those before stay in use.
    pub fn config_rejected(&self) {
        self.config_reloads.with_label_values(&["rejected"]).inc();
        self.config_last_success.set(0);
    }

    /// Drops every fact about databases, peers, endpoints, certificates and key sets: a new configuration may have
    /// other ones, and a gauge that nobody sets any more would tell of the old for ever. Observers set theirs anew.
    pub fn forget_topology(&self) {
        self.replication_lag.reset();
        self.database_up.reset();
        self.database_role.reset();
        self.home.reset();
        self.generation.reset();
        self.read_only.reset();
        self.peer_up.reset();
        self.endpoint_up.reset();
        self.register_entries.reset();
        self.register_staleness.reset();
        self.certificate_expiry.reset();
        self.jwks_last_success.reset();
    }
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    metric: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// Removing a sample that is not there is no fault: it was unknown before, too.
fn forget(_removed: prometheus::Result<()>) {}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
