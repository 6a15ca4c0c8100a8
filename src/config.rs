//! The configuration: one file, validated once, then only read.
//!
//! The way of a file: `document` reads TOML with the place of every key, `overrides` lays the environment over it, the sections
//! turn it into the values below and note every fault on the way. Either a [`Config`] comes out in which everything fits
//! together, or all faults at once, each with its key path and a remedy.
//!
//! Invariants
//! - A [`Config`] refers to nothing that isn't there: each region, jurisdiction and route index is one of its own.
//! - Secrets are in [`Secret`] and never in a fault's text.
//!
//! Absent by design: opening sockets, files' contents other than the configuration's own, connecting to anything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::auth::{IssuerPolicy, TokenSource};
use crate::domain::names::{JurisdictionId, RegionId};
use crate::domain::routes::RouteTable;
use crate::domain::secret::Secret;
use crate::domain::topology::Topology;
use crate::postgres::DatabaseUrl;

mod bounded;
mod document;
mod environment;
mod fault;
mod introspection;
mod issuer;
mod key_path;
mod known_keys;
mod listen;
mod load;
mod log;
mod overrides;
mod places;
mod reader;
mod region_view;
mod reload;
mod routes;
mod section;
mod sections;
mod short_forms;
mod suggest;
mod token;
mod topology_faults;
mod written;

#[cfg(test)]
mod tests;

pub use environment::Environment;
pub use fault::{ConfigErrors, Place, Problem};

/// A configuration, and what is allowed in it but looks like a slip.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Problem>,
}

/// Everything a gateway needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The region this gateway stands in.
    pub region: RegionId,
    pub topology: Topology,
    /// By [`RegionId::index`].
    pub regions: Vec<RegionSettings>,
    pub routes: RouteTable,
    pub listen: Listen,
    /// Certificate for the public TLS listener.
    pub tls: Option<CertificateFiles>,
    /// Directory with `ca.crt`, `<region>.crt`, `<region>.key`.
    pub internal_tls: Option<PathBuf>,
    /// Peers whose `Forwarded` and `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    pub token: TokenSettings,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub health: HealthSettings,
    /// Key of the HMAC over the headers the API gets.
    pub signing_secret: Option<Secret>,
    pub log: LogSettings,
}

/// What is known of one region.
#[derive(Debug, Clone, Default)]
pub struct RegionSettings {
    /// `host:port` of its gateway's internal listener, as seen from this gateway.
    pub gateway: Option<Endpoint>,
    /// `host:port` of its API processes. Only this gateway's own region needs them.
    pub api: Vec<Endpoint>,
    /// Databases by jurisdiction; only those of this gateway's own region are filled in.
    pub databases: Vec<(JurisdictionId, DatabaseUrl)>,
    /// `redis://…`, of this gateway's own region.
    pub redis: Option<Secret>,
}

/// `host:port`, the host a name or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint(Box<str>);

/// Where the gateway listens. `None` is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    pub http: Option<SocketAddr>,
    pub https: Option<SocketAddr>,
    pub internal: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    /// Threads that serve requests, each with a listener of its own on the same address.
    pub workers: usize,
}

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// How identity is found.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// At least one.
    pub issuers: Vec<IssuerPolicy>,
    pub from: Vec<TokenSource>,
    /// Verified tokens remembered, per worker.
    pub cache_entries: usize,
    pub jwks_refresh: Duration,
    /// The jurisdiction of a verified token without the claim; `None` refuses.
    pub on_missing: Option<JurisdictionId>,
    /// The jurisdiction of a verified token whose claim names none or isn't a string; `None` refuses.
    pub on_unknown: Option<JurisdictionId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From a request's first byte to the end of its head.
    pub header: Duration,
    /// A client's connection without a request.
    pub idle: Duration,
    pub connect: Duration,
    /// From the request sent to the response's head.
    pub first_byte: Duration,
    /// An unused connection to an upstream; below the upstream's own (Node: 5 s).
    pub upstream_idle: Duration,
    /// A body or an upgraded connection on which nothing moves.
    pub stream_idle: Duration,
    /// From SIGTERM to the end.
    pub drain: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Clients' connections, per worker.
    pub connections: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// Bytes of a body read ahead to find a country in it.
    pub peek_bytes: usize,
    /// Connections, per worker and endpoint.
    pub upstream_connections: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSettings {
    /// A replica that lags this much fails.
    pub lag_limit: Duration,
    /// Between two looks at a database, an endpoint or another region.
    pub interval: Duration,
    /// Without an answer for this long a region counts as gone.
    pub dead_after: Duration,
    pub external: Vec<ExternalService>,
}

/// A service outside that `/health/full` asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalService {
    pub name: String,
    pub url: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    pub access: AccessLogTarget,
    /// Key of the hashes that stand for subjects; random for each start when `None`.
    pub subject_key: Option<Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogTarget {
    Off,
    Stdout,
    File(PathBuf),
}

impl Config {
    /// The settings of this gateway's own region.
    pub fn own_region(&self) -> &RegionSettings {
        &self.regions[self.region.index()]
    }
}

impl Endpoint {
    /// Takes `host:port`; an IPv6 address is in brackets. `None` when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let port: u16 = port.parse().ok()?;
        let host_fits = !host.is_empty()
            && !host.contains(['/', '@', ' ', '?', '#'])
            && (bracketed || !host.contains(':'));
        (host_fits && port != 0).then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}
