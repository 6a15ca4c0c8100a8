//! What this gateway needs of each region: everything of its own, the gateways' addresses of the others.

use std::collections::HashMap;

use crate::domain::secret::Secret;
use crate::domain::topology::Topology;
use crate::domain::upstream_groups::{API, UpstreamGroups};

use super::key_path::KeyPath;
use super::listen::ListenKeys;
use super::places::{Places, RegionKeys};
use super::reader::{Need, Reader, Text};
use super::suggest::one_of;
use super::written::Written;
use super::{DatabaseUrl, Endpoint, EndpointFault, RegionSettings};

/// The regions as seen from one of them.
pub(super) struct RegionView<'a> {
    pub(super) places: &'a Places<'a>,
    /// `None` when it isn't known; then nothing is asked of any region that only its own gateway needs.
    pub(super) own: Option<&'a str>,
    pub(super) groups: &'a UpstreamGroups,
    pub(super) listen: &'a ListenKeys,
    pub(super) reader: &'a Reader<'a>,
}

impl RegionView<'_> {
    /// The settings of all regions, in the order of the file. Faults are noted, also when there is no topology.
    pub(super) fn regions(&self, topology: Option<&Topology>) -> Vec<RegionSettings> {
        let regions = &self.places.regions;
        if regions.len() > 1 && !self.reader.is_written(&KeyPath::of(["internal_tls"])) {
            let what = "is missing; regions reach each other with certificates only";
            let remedy = "write internal_tls = \"dir:/…\" (made by `residency-migrate pki init`)";
            self.reader.error(&KeyPath::of(["internal_tls"]), what, remedy);
        }
        let settings: Vec<_> = regions.iter().map(|keys| self.region(keys, topology)).collect();
        self.shared_gateways(&settings);
        settings
    }

    fn region(&self, keys: &RegionKeys<'_>, topology: Option<&Topology>) -> RegionSettings {
        let own = self.own == Some(&keys.name);
        self.check_databases(keys);
        if !self.places.jurisdictions.iter().any(|jurisdiction| jurisdiction.may_be_in(&keys.name)) {
            let what = "is home and replica of no jurisdiction: it only passes requests on";
            self.reader.warning(&keys.path, what, "add it to a jurisdiction's replicas, or leave it out");
        }
        let upstreams = self.upstreams(keys, own);
        let gateway = self.gateway(keys, own);
        if !own {
            return RegionSettings { gateway, upstreams, ..RegionSettings::default() };
        }
        let databases = keys.databases.iter().filter_map(|(name, written)| {
            let url = database(self.reader, written)?;
            Some((topology?.jurisdiction(name)?, url))
        });
        let redis = keys.redis.as_ref().and_then(|written| secret_url(self.reader, written, &["redis://"]));
        RegionSettings { gateway, upstreams, databases: databases.collect(), redis }
    }

    /// Its own listener a gateway knows from `[listen]`.
    fn gateway(&self, keys: &RegionKeys<'_>, own: bool) -> Option<Endpoint> {
        if keys.gateway.is_none() && !own && self.own.is_some() {
            let what = "is missing; requests for this region are sent there";
            let remedy = "write the `host:port` of its internal listener, as reached from here";
            self.reader.error(&keys.path.key("gateway"), what, remedy);
        }
        let need = if own || self.own.is_none() { Need::IfSet } else { Need::Now };
        let text = keys.gateway.as_ref()?.text(self.reader, need)?;
        let endpoint = Endpoint::parse(&text.value).ok().filter(Endpoint::is_plain);
        if endpoint.is_none() {
            let what = format!("{} is no `host:port`", text.shown());
            let remedy =
                "write `10.1.0.2:7443`, `gateway.internal:7443` or `[fd00::2]:7443`, without https://";
            self.reader.error(&text.path, what, remedy);
        }
        endpoint
    }

    /// The processes of each group, by its index.
    fn upstreams(&self, keys: &RegionKeys<'_>, own: bool) -> Vec<Vec<Endpoint>> {
        if own && !keys.upstreams.iter().any(|(name, _)| name == API) {
            let what = "is missing; this is the gateway's own region";
            let remedy = "write upstreams = { api = [\"host:port\"] }, the region's API processes";
            let path = keys.path.key("upstreams");
            let path = if keys.upstreams.is_empty() { path } else { path.key(API) };
            self.reader.error(&path, what, remedy);
        }
        let mut upstreams = vec![Vec::new(); self.groups.iter().len()];
        for (name, written) in &keys.upstreams {
            let endpoints = self.group(written, own);
            if let Some(group) = self.groups.find(name) {
                upstreams[group.index()] = endpoints;
            }
        }
        upstreams
    }

    fn group(&self, written: &Written<'_>, own: bool) -> Vec<Endpoint> {
        if own && written.is_empty_list() {
            self.reader.error(&written.path, "names no endpoint", "write one or more, such as `host:port`");
        }
        let texts = written.texts(self.reader, if own { Need::Now } else { Need::IfSet });
        let endpoints = texts.iter().filter_map(|text| {
            let endpoint = self.endpoint(text)?;
            if own {
                self.listen.loops(self.reader, &text.path, &endpoint);
            }
            Some(endpoint)
        });
        endpoints.collect()
    }

    fn endpoint(&self, text: &Text) -> Option<Endpoint> {
        let parsed = Endpoint::parse(&text.value).map_err(|fault| {
            let remedy = match fault {
                EndpointFault::Address => {
                    "write `10.1.0.11:3000`, `api.internal:3000` or `[fd00::2]:3000`, without http://; \
                     `unix:/run/api.sock` for a socket, `h2c://host:port` for HTTP/2"
                }
                EndpointFault::SocketPath => "write `unix:/run/api.sock`, the path from the root on",
                EndpointFault::SocketPathTooLong(_) => "move the socket to a shorter path",
            };
            self.reader.error(&text.path, format!("{} {fault}", text.shown()), remedy);
        });
        parsed.ok()
    }

    /// One region's requests would arrive in another.
    fn shared_gateways(&self, settings: &[RegionSettings]) {
        let mut first: HashMap<&str, &str> = HashMap::new();
        for (keys, settings) in self.places.regions.iter().zip(settings) {
            let Some(gateway) = &settings.gateway else { continue };
            if let Some(other) = first.insert(gateway.as_str(), &keys.name) {
                let what = format!("is the gateway of `{other}` too");
                self.reader.error(&keys.path.key("gateway"), what, "write each region's own");
            }
        }
    }

    /// A database in the wrong place would be the very thing this product is there to prevent.
    fn check_databases(&self, keys: &RegionKeys<'_>) {
        let jurisdictions = &self.places.jurisdictions;
        for (name, written) in &keys.databases {
            match jurisdictions.iter().find(|jurisdiction| jurisdiction.name == *name) {
                None => {
                    let what = format!("`{}` is no jurisdiction of this file", name.escape_debug());
                    let names = jurisdictions.iter().map(|jurisdiction| jurisdiction.name.as_str());
                    self.reader.error(&written.path, what, one_of(name, names));
                }
                Some(jurisdiction) if !jurisdiction.may_be_in(&keys.name) => {
                    let what = format!(
                        "`{}` is neither home nor replica of `{name}`: its rows may not be there",
                        keys.name
                    );
                    let remedy =
                        format!("remove the database, or add the region to jurisdictions.{name}.replicas");
                    self.reader.error(&written.path, what, remedy);
                }
                Some(_) => {}
            }
        }
        let any = self.places.regions.iter().any(|region| !region.databases.is_empty());
        if !any || self.own != Some(&keys.name) {
            return;
        }
        for jurisdiction in jurisdictions.iter().filter(|jurisdiction| jurisdiction.may_be_in(&keys.name)) {
            let name = &jurisdiction.name;
            if !keys.databases.iter().any(|(database, _)| database == name) {
                let what =
                    format!("has none for `{name}`: health and lag of that database stay unknown here");
                self.reader.warning(&keys.path.key("databases"), what, format!("add {name} = \"env:NAME\""));
            }
        }
    }
}

/// A database's URL.
pub(super) fn database(reader: &Reader<'_>, written: &Written<'_>) -> Option<DatabaseUrl> {
    let url = secret_url(reader, written, &["postgres://", "postgresql://"])?;
    let parsed = String::from_utf8_lossy(url.expose()).parse::<DatabaseUrl>();
    parsed
        .map_err(|fault| {
            let remedy = "write postgres://user:password@host:port/database, by way of env:NAME";
            reader.error(&written.path, fault.to_string(), remedy);
        })
        .ok()
}

/// A URL that is a secret as a whole.
fn secret_url(reader: &Reader<'_>, written: &Written<'_>, schemes: &[&str]) -> Option<Secret> {
    let text = written.text(reader, Need::Now)?;
    let Some(rest) = schemes.iter().find_map(|scheme| text.value.strip_prefix(scheme)) else {
        let what = format!("isn't a {}… URL", schemes[0]);
        let remedy = format!("write {}user:password@host/…, by way of env:NAME", schemes[0]);
        reader.error(&text.path, what, remedy);
        return None;
    };
    let password = rest.split('/').next().and_then(|authority| authority.rsplit_once('@'));
    if written.is_literal() && password.is_some_and(|(user, _)| user.contains(':')) {
        let remedy = "write \"env:NAME\" and set NAME where the gateway runs";
        reader.warning(&text.path, "holds a password and stands in the file", remedy);
    }
    Some(Secret::new(text.value))
}
