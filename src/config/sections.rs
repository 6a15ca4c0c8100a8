//! The whole file, section by section, before its parts are put together.

use std::sync::Arc;

use ipnet::IpNet;

use crate::domain::cors::Cors;
use crate::domain::names::JurisdictionId;
use crate::domain::secret::Secret;
use crate::domain::topology::Mode;

use super::bounded::{health, limits, timeouts};
use super::cors::CorsKeys;
use super::listen::ListenKeys;
use super::places::{self, MODES, Places};
use super::reader::{Reader, Text};
use super::region_view::RegionView;
use super::register::{self, RegisterKeys};
use super::routes::{self, RouteKeys, Surroundings};
use super::section::Section;
use super::token::TokenKeys;
use super::{
    Config, HealthSettings, HoldSettings, Limits, LogSettings, PositionSettings, ReloadOn, Timeouts,
    TokenSettings, short_forms,
};

/// A signature's key has at least the bytes of the hash (RFC 2104 §3).
const SIGNING_SECRET_BYTES: usize = 32;

const RELOAD: [(&str, ReloadOn); 2] = [("watch", ReloadOn::Change), ("signal", ReloadOn::Signal)];

/// All keys, each of the right type and in range, not yet checked against each other.
pub(super) struct Sections<'a> {
    region: Option<Text>,
    mode: Mode,
    trusted_proxies: Vec<IpNet>,
    listen: ListenKeys,
    reload: ReloadOn,
    token: TokenKeys,
    places: Places<'a>,
    /// Regions and jurisdictions can be put together.
    is_complete: bool,
    routes: Vec<RouteKeys>,
    cors: Option<Arc<Cors>>,
    timeouts: Timeouts,
    limits: Limits,
    health: HealthSettings,
    register: RegisterKeys,
    hold: HoldSettings,
    position: PositionSettings,
    signing_secret: Option<Secret>,
    log: LogSettings,
}

impl<'a> Sections<'a> {
    /// Asks for every key there is, whatever the others say: what is asked for is what is known.
    pub(super) fn read(root: &Section<'a>) -> Self {
        let region = root.text("region", "the region this gateway stands in");
        let mode = root.choice("mode", Some("enforce"), &MODES).unwrap_or_default();
        let jwks = root.text("jwks", "short for token.jwks");
        let mut places =
            Places { regions: places::regions(root), jurisdictions: places::jurisdictions(root) };
        if !root.has("region") {
            let names: Vec<&str> = places.region_names().collect();
            let which = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
            let remedy = format!("write the region this gateway stands in, or set RESIDENCY_REGION{which}");
            root.missing("region", remedy);
        }
        let cors = CorsKeys::of_all(&root.child("cors"));
        let is_complete = short_forms::expand(root, region.as_ref(), &mut places);
        Self {
            mode,
            trusted_proxies: trusted_proxies(root),
            listen: ListenKeys::read(root),
            reload: root.choice("reload", Some("watch"), &RELOAD).unwrap_or(ReloadOn::Change),
            token: TokenKeys::read(&root.child("token"), jwks.as_ref()),
            routes: routes::read(root, cors.as_ref().map(|(keys, _)| keys)),
            cors: cors.map(|(_, rule)| rule),
            timeouts: timeouts(&root.child("timeouts")),
            limits: limits(&root.child("limits")),
            health: health(&root.child("health")),
            register: RegisterKeys::read(&root.child("register")),
            hold: register::hold(&root.child("hold")),
            position: register::position(&root.child("position")),
            signing_secret: root.child("api").secret("signing_secret", SIGNING_SECRET_BYTES),
            log: super::log::log(&root.child("log")),
            region,
            places,
            is_complete,
        }
    }

    /// Puts the parts together. `None`, or errors noted in the reader, or both: it can't be used.
    pub(super) fn assemble(self, reader: &Reader<'_>) -> Option<Config> {
        let places = &self.places;
        let topology = if self.is_complete { places.topology(self.mode, reader) } else { None };
        let own = self.region.as_ref().filter(|_| self.is_complete);
        let own = own.and_then(|region| places.region(region, reader)).map(|keys| keys.name.as_str());
        let upstream_groups = places.upstream_groups(reader);
        let settings = RegionView { places, own, groups: &upstream_groups, listen: &self.listen, reader };
        let regions = settings.regions(topology.as_ref());
        let fallback = |name: &Option<Text>| -> Option<JurisdictionId> {
            name.as_ref().and_then(|name| places.jurisdiction(name, topology.as_ref(), reader))
        };
        let on_missing = fallback(&self.token.on_missing);
        let surroundings = Surroundings {
            places,
            topology: topology.as_ref(),
            groups: &upstream_groups,
            on_missing,
            has_on_missing: self.token.on_missing.is_some(),
            own,
            reader,
        };
        let routes = routes::table(self.routes, self.cors.as_ref(), &surroundings);
        let token = TokenSettings {
            on_missing,
            on_unknown: fallback(&self.token.on_unknown),
            issuers: self.token.issuers,
            from: self.token.from,
            cache_entries: self.token.cache_entries,
            jwks_refresh: self.token.jwks_refresh,
        };
        let register = self.register.assemble(places, topology.as_ref(), reader);
        let topology = topology?;
        let region = topology.region(own?)?;
        Some(Config {
            region,
            topology,
            regions,
            upstream_groups,
            routes,
            cors: self.cors,
            listen: self.listen.listen,
            reload: self.reload,
            tls: self.listen.tls,
            internal_tls: self.listen.internal_tls,
            trusted_proxies: self.trusted_proxies,
            token,
            timeouts: self.timeouts,
            limits: self.limits,
            health: self.health,
            register,
            hold: self.hold,
            position: self.position,
            signing_secret: self.signing_secret,
            log: self.log,
        })
    }
}

fn trusted_proxies(root: &Section<'_>) -> Vec<IpNet> {
    let network = |text: &Text| {
        let address = || text.value.parse::<std::net::IpAddr>().ok().map(IpNet::from);
        let network = text.value.parse::<IpNet>().ok().or_else(address);
        match network {
            None => {
                let what = format!("{} is no network", text.shown());
                root.reader.error(&text.path, what, "write `10.0.0.0/8`, `fd00::/8` or a single address");
            }
            Some(network) if network.prefix_len() == 0 => {
                let what = "believes what anybody writes about where a request came from";
                root.reader.warning(&text.path, what, "write the networks your own proxies are in");
            }
            Some(_) => {}
        }
        network
    };
    let texts = root.texts("trusted_proxies", "a list of networks", Some("[]"));
    texts.unwrap_or_default().iter().filter_map(network).collect()
}
