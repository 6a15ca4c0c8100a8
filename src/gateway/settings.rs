//! One generation of the configuration with everything that is derived from it, shared by all workers.
//!
//! A reload builds new settings whole and swaps them in; requests under way finish with the ones they began with.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::auth::{PolicyFault, Verifier};
use crate::config::{CertificateFiles, Config, Endpoint, TlsSettings, TlsVersion};
use crate::domain::liveness::Liveness;
use crate::domain::liveness::replayed::Replayed;
use crate::domain::names::RegionId;
use crate::telemetry::{Labels, Metrics, SubjectHasher};
use crate::tls::{CertificateSource, CertificateStore, Certificates, DownstreamOffer, InternalTls, TlsFault};
use crate::upstream::{Dial, Endpoints, SetAside};

use super::health::HealthState;
use super::position::Positions;
use super::registers::Registers;
use super::watch::{RegionState, Signs};

/// What a gateway runs on, from one reload to the next.
pub struct Settings {
    pub config: Config,
    pub verifier: Verifier,
    pub hasher: SubjectHasher,
    pub labels: Arc<Labels>,
    pub tls: Tls,
    /// Without `[register]` there are none, and claims alone answer.
    pub registers: Option<Arc<Registers>>,
    /// Replaced as a whole by the watchers of this generation.
    pub liveness: ArcSwap<Liveness>,
    /// How far each region's databases have come; replaced as a whole, several times a second.
    pub replayed: ArcSwap<Replayed>,
    /// What requests have met on their way.
    pub signs: Arc<Signs>,
    /// By endpoint of this region: whether workers have set it aside.
    set_aside: Vec<(Endpoint, Arc<SetAside>)>,
    pub health: HealthState,
    /// How clients read their own writes; `None` without a key for it.
    pub positions: Option<Arc<Positions>>,
    /// What other regions' gateways are told.
    pub state: ArcSwap<RegionState>,
    /// What works was known before a reload, and stays so until the new watchers have looked at everything once: a reload
    /// must not take a region out.
    pub inherited: bool,
}

/// The certificates, reloadable on their own.
#[derive(Clone, Default)]
pub struct Tls {
    pub public: Option<(Arc<CertificateStore>, Arc<ServerConfig>)>,
    pub internal: Option<Arc<InternalTls>>,
}

/// Why a configuration that is valid in itself can't be put to work.
#[derive(Debug, thiserror::Error)]
pub enum SettingsFault {
    #[error("tls: {0}")]
    Tls(#[source] Box<TlsFault>),
    #[error("token: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Token(Vec<PolicyFault>),
    #[error("the internal name of region `{region}`: {source}")]
    RegionName { region: String, source: Box<TlsFault> },
}

impl From<TlsFault> for SettingsFault {
    fn from(fault: TlsFault) -> Self {
        Self::Tls(Box::new(fault))
    }
}

impl Settings {
    /// Reads certificates; opens no connection. Without `metrics` the configuration is only checked, and registers stay closed. Keys and certificates that `previous` has already stay in use.
    pub fn new(
        config: Config,
        previous: Option<&Self>,
        metrics: Option<&Arc<Metrics>>,
    ) -> Result<Self, SettingsFault> {
        let verifier =
            Verifier::new(config.token.issuers.clone(), previous.map(|settings| &settings.verifier))
                .map_err(SettingsFault::Token)?;
        let hasher = match (&config.log.subject_key, previous) {
            (Some(key), _) => SubjectHasher::new(key.expose()),
            (None, Some(previous)) if previous.config.log.subject_key.is_none() => previous.hasher.clone(),
            (None, _) => SubjectHasher::random(),
        };
        let topology = &config.topology;
        let labels = Arc::new(Labels {
            regions: topology.regions().map(|region| topology.region_name(region).to_owned()).collect(),
            jurisdictions: topology
                .jurisdictions()
                .map(|jurisdiction| topology.jurisdiction_name(jurisdiction).to_owned())
                .collect(),
            refusals: super::problem::Problem::CODES,
            token_faults: crate::auth::TokenFault::CODES,
        });
        // Liveness and checks go by index; they mean the same only while the names do.
        let same_names = |settings: &&Self| {
            settings.labels == labels && settings.region_name() == topology.region_name(config.region)
        };
        let seen = previous.filter(same_names);
        let liveness =
            seen.map_or_else(|| Liveness::assumed(topology), |seen| seen.liveness.load().under(topology));
        let signs = seen.map_or_else(|| Arc::new(Signs::new(topology)), |seen| Arc::clone(&seen.signs));
        let endpoints = config.upstream_groups.iter().flat_map(|group| config.own_region().endpoints(group));
        let set_aside = endpoints
            .map(|endpoint| {
                let known = previous.map(|settings| settings.set_aside(endpoint));
                (endpoint.clone(), known.unwrap_or_default())
            })
            .collect();
        let positions = Positions::new(&config, previous.and_then(|settings| settings.positions.as_deref()));
        let state = seen.map(|seen| seen.state.load().without_positions()).unwrap_or_default();
        let known = previous.and_then(|previous| previous.registers.as_ref());
        let registers = Registers::new(&config, known, metrics);
        Ok(Self {
            verifier,
            hasher,
            registers,
            tls: Tls::load(&config, previous)?,
            liveness: ArcSwap::from_pointee(liveness),
            // Positions count while they are fresh; nothing is kept over a reload.
            replayed: ArcSwap::default(),
            signs,
            set_aside,
            health: seen.map(|seen| seen.health.copy()).unwrap_or_default(),
            state: ArcSwap::from_pointee(state),
            positions,
            inherited: seen.is_some(),
            labels,
            config,
        })
    }

    /// The body of the internal listener's state.
    pub fn state_for_peers(&self) -> String {
        serde_json::to_string(&**self.state.load()).expect("names and numbers are JSON")
    }

    pub fn region_name(&self) -> &str {
        self.config.topology.region_name(self.config.region)
    }

    /// Whom requests go to, and how.
    pub fn endpoints(&self) -> Result<Endpoints, SettingsFault> {
        let config = &self.config;
        let plain = |endpoint: &Endpoint| (endpoint.clone(), self.set_aside(endpoint));
        let own = config.own_region();
        let groups = config
            .upstream_groups
            .iter()
            .map(|group| own.endpoints(group).iter().map(plain).collect())
            .collect();
        let gateways = config
            .topology
            .regions()
            .map(|region| {
                if region == config.region {
                    return Ok(Vec::new());
                }
                let gateway = config.regions[region.index()].gateway.clone();
                Ok(gateway.zip(self.dial(region)?).into_iter().collect())
            })
            .collect::<Result<_, SettingsFault>>()?;
        Ok(Endpoints { own: config.region.index(), groups, gateways, hang_after: config.health.hang_after })
    }

    /// What the workers say of an endpoint of this region.
    pub fn set_aside(&self, endpoint: &Endpoint) -> Arc<SetAside> {
        let found = self.set_aside.iter().find(|(known, _)| known == endpoint);
        found.map(|(_, set_aside)| Arc::clone(set_aside)).unwrap_or_default()
    }

    /// Mutual TLS to another region's gateway; `None` without an internal PKI.
    pub fn dial(&self, region: RegionId) -> Result<Option<Dial>, SettingsFault> {
        let Some(internal) = &self.tls.internal else { return Ok(None) };
        let region = self.config.topology.region_name(region);
        let name = InternalTls::server_name(region).map_err(|source| SettingsFault::RegionName {
            region: region.to_owned(),
            source: Box::new(source),
        })?;
        Ok(Some(Dial::Tls { config: internal.client_config(), name }))
    }
}

impl Tls {
    /// Reads all certificates, and only then puts any into service: a fault in one keeps them all.
    fn load(config: &Config, previous: Option<&Settings>) -> Result<Self, TlsFault> {
        let public = config.tls.as_ref().map(|wanted| public(config, wanted, previous)).transpose()?;
        let internal = match &config.internal_tls {
            Some(directory) => {
                let region = config.topology.region_name(config.region);
                match previous.filter(|settings| settings.config.internal_tls.as_ref() == Some(directory)) {
                    Some(Settings { tls: Tls { internal: Some(internal), .. }, .. }) => {
                        Some((Arc::clone(internal), Some(internal.read()?)))
                    }
                    _ => Some((Arc::new(InternalTls::load(directory, region)?), None)),
                }
            }
            None => None,
        };
        Ok(Self {
            public: public.map(|(store, server, fresh)| {
                if let Some(fresh) = fresh {
                    store.install(fresh);
                }
                (store, server)
            }),
            internal: internal.map(|(internal, fresh)| {
                if let Some(fresh) = fresh {
                    internal.install(fresh);
                }
                internal
            }),
        })
    }

    /// Each certificate in service, as the metrics name it, and until when it is valid.
    pub fn expiries(&self) -> Vec<(String, Timestamp)> {
        let public = self.public.iter().flat_map(|(store, _)| store.expiries()).enumerate();
        let named = public.map(|(index, (path, at))| match index {
            0 => ("public".to_owned(), at),
            _ => (path.display().to_string(), at),
        });
        let internal = self.internal.iter().map(|internal| ("internal".to_owned(), internal.not_after()));
        named.chain(internal).collect()
    }
}

const SINCE_1_2: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];
const SINCE_1_3: &[&SupportedProtocolVersion] = &[&TLS13];

type Public = (Arc<CertificateStore>, Arc<ServerConfig>, Option<Certificates>);

/// The certificates clients see. Those that the former settings have already are read anew; what else differs keeps at
/// least the keys of the session tickets.
fn public(config: &Config, wanted: &TlsSettings, previous: Option<&Settings>) -> Result<Public, TlsFault> {
    let former = previous.and_then(|settings| Some((&settings.config, settings.tls.public.as_ref()?)));
    if let Some((old, (store, server))) = former
        && old.tls.as_ref() == Some(wanted)
        && old.listen.http2 == config.listen.http2
    {
        return Ok((Arc::clone(store), Arc::clone(server), Some(store.read()?)));
    }
    let source = |files: &CertificateFiles, names: &[String]| CertificateSource {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        names: names.to_vec(),
    };
    let others = wanted.others.iter().map(|other| source(&other.files, &other.names));
    let sources = std::iter::once(source(&wanted.default, &[])).chain(others).collect();
    let store = Arc::new(CertificateStore::load(sources, wanted.strict_sni)?);
    let offer = DownstreamOffer {
        alpn: DownstreamOffer::protocols(config.listen.http2),
        versions: match wanted.min_version {
            TlsVersion::V12 => SINCE_1_2,
            TlsVersion::V13 => SINCE_1_3,
        },
    };
    let former = former.map(|(_, (_, server))| &**server);
    let server = crate::tls::downstream_config(Arc::clone(&store), &offer, former)?;
    Ok((store, server, None))
}
