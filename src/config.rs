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
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::auth::{IssuerPolicy, TokenSource};
use crate::domain::cors::Cors;
use crate::domain::names::{JurisdictionId, RegionId};
use crate::domain::routes::{RouteRule, RouteTable};
use crate::domain::secret::Secret;
use crate::domain::topology::Topology;
use crate::domain::upstream_groups::{UpstreamGroup, UpstreamGroups};
use crate::postgres::DatabaseUrl;

mod bounded;
mod clusters;
mod cors;
mod document;
mod endpoint;
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
mod register;
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

pub use clusters::ClusterSettings;
pub use endpoint::{Endpoint, EndpointAddress, EndpointFault, UpstreamProtocol};
pub use environment::Environment;
pub use fault::{ConfigErrors, Place, Problem};
pub use register::{HoldSettings, KeyPair, PositionSettings, RegisterSettings, RegisterSource};

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
    /// What routes call the groups of [`RegionSettings::upstreams`].
    pub upstream_groups: UpstreamGroups,
    pub routes: RouteTable,
    /// Which scripts may read the gateway's own answers to requests without a route of their own: see [`Config::cors_of`].
    pub cors: Option<Arc<Cors>>,
    pub listen: Listen,
    /// Whether files are looked at for changes.
    pub reload: ReloadOn,
    /// Certificates and terms of the public TLS listener.
    pub tls: Option<TlsSettings>,
    /// Directory with `ca.crt`, `<region>.crt`, `<region>.key`.
    pub internal_tls: Option<PathBuf>,
    /// Peers whose `Forwarded` and `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    pub token: TokenSettings,
    pub timeouts: Timeouts,
    pub limits: Limits,
    pub health: HealthSettings,
    /// Where subjects' homes are written down; without it claims alone answer.
    pub register: Option<RegisterSettings>,
    pub hold: HoldSettings,
    pub position: PositionSettings,
    /// Key of the HMAC over the headers the API gets.
    pub signing_secret: Option<Secret>,
    pub log: LogSettings,
}

/// What is known of one region.
#[derive(Debug, Clone, Default)]
pub struct RegionSettings {
    /// `host:port` of its gateway's internal listener, as seen from this gateway.
    pub gateway: Option<Endpoint>,
    /// Its processes, by [`UpstreamGroup::index`]. Only this gateway's own region needs them.
    pub upstreams: Vec<Vec<Endpoint>>,
    /// Databases by jurisdiction; only those of this gateway's own region are filled in.
    pub databases: Vec<(JurisdictionId, DatabaseUrl)>,
    /// `redis://…`, of this gateway's own region.
    pub redis: Option<Secret>,
}

/// Where the gateway listens. `None` is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    pub http: Option<SocketAddr>,
    pub https: Option<SocketAddr>,
    pub internal: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    /// Threads that serve requests, each with a listener of its own on the same address.
    pub workers: usize,
    /// Clients may speak HTTP/2: by ALPN over TLS, with prior knowledge without.
    pub http2: bool,
}

/// What makes a gateway read its files again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadOn {
    /// SIGHUP alone.
    Signal,
    /// SIGHUP, or a file that has changed.
    Change,
}

/// What the public TLS listener shows to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// For clients that name nothing we know.
    pub default: CertificateFiles,
    pub others: Vec<NamedCertificate>,
    /// Such clients are refused instead.
    pub strict_sni: bool,
    pub min_version: TlsVersion,
}

/// A certificate for some names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCertificate {
    pub files: CertificateFiles,
    /// In lower case, a wildcard as `*.` and the rest; the certificate's own when empty.
    pub names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    V12,
    V13,
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
    /// Bytes of a body read ahead to find a country or a GraphQL operation in it.
    pub peek_bytes: usize,
    /// Bytes of a body kept until it is known whether the request has to be replayed at the home; 0 keeps none.
    pub replay_bytes: usize,
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
    /// An API process that answers nothing for so long, while requests wait, is asked whether it hangs.
    pub hang_after: Duration,
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

    /// Some script may read something of the gateway's own.
    pub fn has_cors(&self) -> bool {
        self.cors.is_some() || self.routes.rules().iter().any(|rule| rule.cors.is_some())
    }

    /// Which scripts may read what the gateway itself answers to a request with this rule, or with none.
    pub fn cors_of<'config>(&'config self, rule: Option<&'config RouteRule>) -> Option<&'config Cors> {
        rule.map_or(&self.cors, |rule| &rule.cors).as_deref()
    }
}

impl RegionSettings {
    /// The processes of a group; none where the region hasn't got it.
    pub fn endpoints(&self, group: UpstreamGroup) -> &[Endpoint] {
        self.upstreams.get(group.index()).map_or(&[], Vec::as_slice)
    }
}
