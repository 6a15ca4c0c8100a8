//! Every metric there is: name, kind, labels, help.
//!
//! Invariants
//! - A sample is exposed only under a [`Family`] of this file, and every family of this file can be exposed; a test
//!   compares [`ALL`] with what a scrape shows and with `docs/METRICS.md`.
//! - Units are the base ones (seconds, bytes) and are the last word of the name; counters end in `_total`.

/// How a metric behaves over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises while the process lives.
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric: all samples of a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, labels, help }
}

// Requests.
pub(super) static REQUESTS: Family = counter(
    "residency_requests_total",
    &["jurisdiction", "access", "decision", "status"],
    "Requests answered, by jurisdiction (or none), access, decision and status class; combinations never seen are left out.",
);
pub(super) static REQUEST_DURATION: Family = Family {
    name: "residency_request_duration_seconds",
    kind: Kind::Histogram,
    labels: &["decision"],
    help: "Time from a request's head to the end of its answer, by decision; the gateway's own paths are left out.",
};
pub(super) static REFUSALS: Family = counter(
    "residency_refusals_total",
    &["jurisdiction", "code"],
    "Requests the gateway answered with a problem of its own, by jurisdiction (or none) and code.",
);
pub(super) static UNLAWFUL_OBSERVED: Family = counter(
    "residency_unlawful_observed_total",
    &["jurisdiction"],
    "Requests forwarded in observe mode that enforce mode would have refused or sent elsewhere.",
);

// Downstream.
pub(super) static DOWNSTREAM_ACCEPTED: Family = counter(
    "residency_downstream_connections_accepted_total",
    &[],
    "Connections accepted from clients and peers.",
);
pub(super) static DOWNSTREAM_CLOSED: Family =
    counter("residency_downstream_connections_closed_total", &[], "Accepted connections that ended.");
pub(super) static DOWNSTREAM_ACTIVE: Family =
    gauge("residency_downstream_connections_active", &[], "Accepted connections open now.");
pub(super) static DOWNSTREAM_BYTES: Family = counter(
    "residency_downstream_bytes_total",
    &["direction"],
    "Body bytes exchanged with clients: in from them, out to them.",
);
pub(super) static TLS_HANDSHAKES: Family = counter(
    "residency_tls_handshakes_total",
    &["result"],
    "TLS handshakes with clients and peers, by result.",
);
pub(super) static TLS_SESSIONS: Family = counter(
    "residency_tls_sessions_total",
    &["version", "handshake"],
    "Completed TLS handshakes, by version (1.2, 1.3) and whether they were full or resumed an earlier session.",
);
pub(super) static WEBSOCKETS: Family =
    counter("residency_websockets_total", &[], "Connections upgraded to WebSocket.");
pub(super) static WEBSOCKETS_ACTIVE: Family =
    gauge("residency_websockets_active", &[], "Upgraded connections open now.");

// Holds.
pub(super) static HOLDS: Family = counter(
    "residency_holds_total",
    &["outcome"],
    "Writes that had to wait while their subject moved, by outcome: released, too-long, full (too many waited), gone (the client left).",
);
pub(super) static HOLD_DURATION: Family = Family {
    name: "residency_hold_duration_seconds",
    kind: Kind::Histogram,
    labels: &[],
    help: "Time that writes waited while their subject moved.",
};
pub(super) static HOLDS_WAITING: Family =
    gauge("residency_holds_waiting", &[], "Writes that wait now because their subject is being moved.");

// Upstream. The own region's label means its API endpoints, another's its gateway.
pub(super) static UPSTREAM_OPENED: Family = counter(
    "residency_upstream_connections_opened_total",
    &["region"],
    "Connections opened to the region's API endpoints (own region) or gateway (others).",
);
pub(super) static UPSTREAM_REUSED: Family = counter(
    "residency_upstream_connections_reused_total",
    &["region"],
    "Requests sent on a connection that was already open; over reused plus opened this is the reuse ratio.",
);
pub(super) static UPSTREAM_CLOSED: Family =
    counter("residency_upstream_connections_closed_total", &["region"], "Upstream connections that ended.");
pub(super) static UPSTREAM_OPEN: Family = gauge(
    "residency_upstream_connections_open",
    &["region"],
    "Upstream connections open now, idle or in use.",
);
pub(super) static UPSTREAM_FAILURES: Family = counter(
    "residency_upstream_failures_total",
    &["region", "kind"],
    "Failed attempts: connect (no connection), timeout, reset (ended early), protocol (an answer that is not HTTP).",
);
pub(super) static UPSTREAM_RETRIES: Family = counter(
    "residency_upstream_retries_total",
    &["region"],
    "Requests sent again to another endpoint because they had not reached the first.",
);

// Tokens.
pub(super) static TOKEN_CACHE_LOOKUPS: Family =
    counter("residency_token_cache_lookups_total", &["result"], "Look-ups in the verified-token caches.");
pub(super) static TOKEN_CACHE_ENTRIES: Family =
    gauge("residency_token_cache_entries", &[], "Verified tokens held, over all workers.");
pub(super) static TOKEN_FAULTS: Family =
    counter("residency_token_faults_total", &["fault"], "Tokens that did not verify, by what was wrong.");
pub(super) static JWKS_FETCHES: Family = counter(
    "residency_jwks_fetches_total",
    &["issuer", "result"],
    "Fetches of an issuer's key set, by result.",
);
pub(super) static JWKS_LAST_SUCCESS: Family = gauge(
    "residency_jwks_last_success_timestamp_seconds",
    &["issuer"],
    "When the key set in use was last fetched, seconds since the epoch; its age is time() minus this.",
);
pub(super) static INTROSPECTIONS: Family = counter(
    "residency_introspections_total",
    &["issuer", "result"],
    "Questions to an issuer about a token, by result: active, inactive, failed (no answer).",
);
pub(super) static INTROSPECTION_DURATION: Family = Family {
    name: "residency_introspection_duration_seconds",
    kind: Kind::Histogram,
    labels: &["issuer"],
    help: "Time from a question to an issuer about a token to its answer or its end without one.",
};

// Reading one's own writes.
pub(super) static POSITION_WRITES: Family = counter(
    "residency_position_writes_total",
    &["outcome"],
    "Writes, by how their position was found: learned from the primary, said by the api; or not: streamed, failed, lost, unknown.",
);
pub(super) static POSITION_WAITS: Family = counter(
    "residency_position_waits_total",
    &["outcome"],
    "Reads that waited for this region's replica: caught-up, or still behind when their time was over.",
);
pub(super) static POSITION_HOME: Family = counter(
    "residency_position_home_total",
    &["reason"],
    "Reads that only the home may answer, or that went there: behind, pinned, unverified, foreign.",
);
pub(super) static POSITION_FAULTS: Family = counter(
    "residency_position_faults_total",
    &["fault"],
    "Positions that are none: malformed, signature, cluster (of a client's token), api (of an API's header).",
);
pub(super) static POSITION_QUERIES: Family = counter(
    "residency_position_queries_total",
    &["jurisdiction", "result"],
    "Questions to this region's database for its position: it answered as primary or as replica, or failed.",
);

// Control plane.
pub(super) static REPLICATION_LAG: Family = gauge(
    "residency_replication_lag_seconds",
    &["jurisdiction"],
    "Lag of this region's database behind the jurisdiction's primary; left out while it is unknown.",
);
pub(super) static DATABASE_UP: Family = gauge(
    "residency_database_up",
    &["jurisdiction"],
    "1 if this region's database for the jurisdiction answers, else 0.",
);
pub(super) static DATABASE_ROLE: Family = gauge(
    "residency_database_role",
    &["jurisdiction", "role"],
    "1 for the role (primary or replica) this region's database has now, 0 for the other; left out while unknown.",
);
pub(super) static HOME: Family = gauge(
    "residency_jurisdiction_home",
    &["jurisdiction", "region"],
    "1 for the region that is the jurisdiction's home as far as this gateway knows, 0 for its other lawful ones.",
);
pub(super) static GENERATION: Family = gauge(
    "residency_jurisdiction_generation",
    &["jurisdiction"],
    "Generation of the jurisdiction's home: raised by each promotion, 0 while only the configuration has named it.",
);
pub(super) static READ_ONLY: Family = gauge(
    "residency_jurisdiction_read_only",
    &["jurisdiction"],
    "1 while the jurisdiction is closed to writes, else 0.",
);
pub(super) static HOME_ALARMS: Family = counter(
    "residency_home_alarms_total",
    &["jurisdiction", "kind"],
    "Databases found to contradict what is known of their home: stale-primary (missed a promotion), unlawful-home, two-homes.",
);
pub(super) static PEER_UP: Family =
    gauge("residency_peer_up", &["region"], "1 if the other region's gateway answers, else 0.");
pub(super) static ENDPOINT_UP: Family = gauge(
    "residency_endpoint_up",
    &["group", "endpoint"],
    "1 if this region's endpoint of the group is in use, 0 while it is set aside.",
);
pub(super) static ENDPOINT_SET_ASIDE: Family = counter(
    "residency_endpoint_set_aside_total",
    &["group", "endpoint"],
    "How often a worker set this region's endpoint aside because it hung or failed while others did well.",
);
pub(super) static CERTIFICATE_EXPIRY: Family = gauge(
    "residency_certificate_expiry_timestamp_seconds",
    &["certificate"],
    "When a loaded certificate (public, internal, or the file of another public one) expires, seconds since the epoch.",
);
pub(super) static REGISTER_ENTRIES: Family = gauge(
    "residency_register_entries",
    &["jurisdiction"],
    "Rows of the jurisdiction's register in this gateway's routing table.",
);
pub(super) static REGISTER_STALENESS: Family = gauge(
    "residency_register_staleness_seconds",
    &["jurisdiction"],
    "Time since the jurisdiction's register was known to be read to its end; left out until it was.",
);
pub(super) static REGISTER_RELOADS: Family = counter(
    "residency_register_reloads_total",
    &["jurisdiction", "reason"],
    "Times a register was read whole: first, or since its cluster, its timeline, its server's start or its file changed.",
);
pub(super) static REGISTER_ALARMS: Family = counter(
    "residency_register_alarms_total",
    &["jurisdiction", "alarm"],
    "Registers refused: of a lower generation or timeline than known, of another jurisdiction, under other keys, refusing this gateway as forgotten, or an unusable file.",
);
pub(super) static FORGOTTEN_CERTIFICATES: Family = counter(
    "residency_forgotten_certificates_total",
    &["result"],
    "Connections to the internal listener whose certificate a register lists as forgotten: refused, or closed when it was listed.",
);
pub(super) static REGISTER_ROWS_REFUSED: Family = counter(
    "residency_register_rows_refused_total",
    &["jurisdiction", "fault"],
    "Rows of registers that name an unknown jurisdiction or state or can't be read, each time they are read.",
);
pub(super) static TABLE_SNAPSHOTS_REFUSED: Family = counter(
    "residency_table_snapshots_refused_total",
    &["reason"],
    "Snapshots of the routing table that could not be read, were damaged or foreign, or could not be written.",
);
pub(super) static CONFIG_GENERATION: Family =
    gauge("residency_config_generation", &[], "How many configurations this process has applied.");
pub(super) static CONFIG_RELOADS: Family = counter(
    "residency_config_reloads_total",
    &["result"],
    "Configurations, and certificates on their own, read and applied or rejected.",
);
pub(super) static CONFIG_LAST_SUCCESS: Family = gauge(
    "residency_config_last_reload_success",
    &[],
    "1 if all that was read last was applied, 0 if a configuration or certificate was rejected and the one before is in use.",
);
pub(super) static CONFIG_LAST_APPLIED: Family = gauge(
    "residency_config_last_applied_timestamp_seconds",
    &[],
    "When the configuration in use was applied, seconds since the epoch.",
);

// The control API.
pub(super) static CONTROL_CALLS: Family = counter(
    "residency_control_calls_total",
    &["call", "result"],
    "Calls of the control API, by result: ok, or the code of the refusal.",
);

// The process.
pub(super) static ACCESS_LOG_LINES: Family = counter(
    "residency_access_log_lines_total",
    &["outcome"],
    "Access-log lines written, dropped (queue full) or failed (the write failed).",
);
pub(super) static BUILD_INFO: Family =
    gauge("residency_build_info", &["version"], "Always 1; the label names the running version.");
pub(super) static PROCESS_START: Family =
    gauge("process_start_time_seconds", &[], "When the process began to count, seconds since the epoch.");
pub(super) static PROCESS_CPU: Family =
    counter("process_cpu_seconds_total", &[], "Processor time used, user and system.");
pub(super) static PROCESS_RESIDENT: Family =
    gauge("process_resident_memory_bytes", &[], "Memory of the process that is in RAM.");
pub(super) static PROCESS_FDS: Family = gauge("process_open_fds", &[], "Open file descriptors.");
pub(super) static PROCESS_THREADS: Family = gauge("process_threads", &[], "Threads of the process.");

/// Every family, in the order of `docs/METRICS.md`.
pub static ALL: &[&Family] = &[
    &REQUESTS,
    &REQUEST_DURATION,
    &REFUSALS,
    &UNLAWFUL_OBSERVED,
    &DOWNSTREAM_ACCEPTED,
    &DOWNSTREAM_CLOSED,
    &DOWNSTREAM_ACTIVE,
    &DOWNSTREAM_BYTES,
    &TLS_HANDSHAKES,
    &TLS_SESSIONS,
    &WEBSOCKETS,
    &WEBSOCKETS_ACTIVE,
    &HOLDS,
    &HOLD_DURATION,
    &HOLDS_WAITING,
    &UPSTREAM_OPENED,
    &UPSTREAM_REUSED,
    &UPSTREAM_CLOSED,
    &UPSTREAM_OPEN,
    &UPSTREAM_FAILURES,
    &UPSTREAM_RETRIES,
    &TOKEN_CACHE_LOOKUPS,
    &TOKEN_CACHE_ENTRIES,
    &TOKEN_FAULTS,
    &JWKS_FETCHES,
    &JWKS_LAST_SUCCESS,
    &INTROSPECTIONS,
    &INTROSPECTION_DURATION,
    &POSITION_WRITES,
    &POSITION_WAITS,
    &POSITION_HOME,
    &POSITION_FAULTS,
    &POSITION_QUERIES,
    &REPLICATION_LAG,
    &DATABASE_UP,
    &DATABASE_ROLE,
    &HOME,
    &GENERATION,
    &READ_ONLY,
    &HOME_ALARMS,
    &PEER_UP,
    &ENDPOINT_UP,
    &ENDPOINT_SET_ASIDE,
    &CERTIFICATE_EXPIRY,
    &REGISTER_ENTRIES,
    &REGISTER_STALENESS,
    &REGISTER_RELOADS,
    &REGISTER_ALARMS,
    &FORGOTTEN_CERTIFICATES,
    &REGISTER_ROWS_REFUSED,
    &TABLE_SNAPSHOTS_REFUSED,
    &CONFIG_GENERATION,
    &CONFIG_RELOADS,
    &CONFIG_LAST_SUCCESS,
    &CONFIG_LAST_APPLIED,
    &CONTROL_CALLS,
    &ACCESS_LOG_LINES,
    &BUILD_INFO,
    &PROCESS_START,
    &PROCESS_CPU,
    &PROCESS_RESIDENT,
    &PROCESS_FDS,
    &PROCESS_THREADS,
];
