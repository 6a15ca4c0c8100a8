//! Mutual TLS between gateways: who may hop, and to whom a hop may go; and who may use the control API.
//!
//! Both sides show a certificate of the deployment's own authority that names one region. The accepting side learns
//! the caller's region; the calling side insists on the region it means to reach, so that a wrong address in a
//! configuration, or a gateway of another region at the right one, gets no request (invariant R1). A program that uses the
//! control API shows a certificate that names it and the region whose gateways it may ask; no other region lets it in.
//!
//! Invariants
//! - Certificate, key and authorities are one generation: all read together, swapped together.
//! - No resumption. A ticket would let in a peer whose certificate has meanwhile been replaced or its authority
//!   retired; connections between gateways are few and kept open, so handshakes don't count.
//! - TLS 1.3 only: both ends are ours.
//! - X25519MLKEM768 first. These connections carry everybody's data over networks of others, who may keep it until
//!   X25519 alone can be broken; there are few handshakes to pay for that.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, ServerConnection,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs::kx_group::X25519MLKEM768},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

use self::{callers::Callers, latest::Latest, one_region::OneRegion};
use crate::domain::fingerprint::Fingerprint;

use super::{ControlClient, HTTP_1_1, TlsFault, dns_name, is_region_label, pem, provider, region_of};

mod callers;
mod delegate;
mod latest;
mod one_region;

/// This gateway's identity toward other regions, from `ca.crt`, `<region>.crt` and `<region>.key` in one directory.
#[derive(Debug)]
pub struct InternalTls {
    directory: PathBuf,
    region: String,
    current: Arc<ArcSwap<Generation>>,
    client: Arc<ClientConfig>,
}

/// The files of one reading, not yet in service.
#[derive(Debug)]
pub struct Generation {
    server: Arc<ServerConfig>,
    /// Judges whom we call.
    called: OneRegion,
    own: Arc<CertifiedKey>,
    not_after: Timestamp,
    fingerprint: Fingerprint,
}

/// Who is at the other end of a connection to the internal listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A gateway of this region.
    Gateway(String),
    /// A program of our own region that may use the control API, and nothing else.
    Control(ControlClient),
}

impl Caller {
    /// Known once a handshake under [`InternalTls::server_config`] is complete.
    pub fn of(connection: &ServerConnection) -> Option<Self> {
        let leaf = connection.peer_certificates()?.first()?;
        region_of(leaf).map(Self::Gateway).or_else(|| ControlClient::of(leaf).map(Self::Control))
    }
}

/// Of the certificate that the other end has shown, once the handshake is complete.
pub fn shown_by(connection: &ServerConnection) -> Option<Fingerprint> {
    connection.peer_certificates()?.first().map(fingerprint_of)
}

fn fingerprint_of(leaf: &CertificateDer<'_>) -> Fingerprint {
    let sum = digest(&SHA256, leaf).as_ref().try_into();
    Fingerprint(sum.expect("SHA-256 has 32 bytes"))
}

impl InternalTls {
    /// Reads the directory. Refused: files that don't belong together, that don't name `region`, or that no
    /// authority in `ca.crt` issued. Not refused: an expired certificate, which peers will refuse while the region's
    /// own users are still served; see [`Self::not_after`].
    pub fn load(directory: &Path, region: &str) -> Result<Self, TlsFault> {
        if !is_region_label(region) {
            return Err(TlsFault::RegionName(region.to_owned()));
        }
        let current = Arc::new(ArcSwap::from_pointee(Generation::read(directory, region)?));
        let client = client(Latest(Arc::clone(&current)))?;
        Ok(Self { directory: directory.to_owned(), region: region.to_owned(), current, client })
    }

    /// The files it reads.
    pub fn files(directory: &Path, region: &str) -> [PathBuf; 3] {
        let file = |name: &str| directory.join(name);
        [file("ca.crt"), file(&format!("{region}.crt")), file(&format!("{region}.key"))]
    }

    /// Reads the directory again, without putting it into service.
    pub fn read(&self) -> Result<Generation, TlsFault> {
        Generation::read(&self.directory, &self.region)
    }

    /// Puts a reading into service, for handshakes from now on.
    pub fn install(&self, fresh: Generation) {
        self.current.store(Arc::new(fresh));
    }

    /// Reads the directory again, for handshakes from now on. On a fault everything stays as it was.
    pub fn reload(&self) -> Result<(), TlsFault> {
        self.read().map(|fresh| self.install(fresh))
    }

    /// For accepting: asks for a certificate and refuses callers without one of ours. Take it anew for each
    /// connection; it changes with [`Self::reload`].
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }

    /// For connecting, with [`Self::server_name`]. It may be kept: it shows and believes what was read last.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// The name to connect under so that only a gateway of `region` will do, whatever address it is reached at.
    pub fn server_name(region: &str) -> Result<ServerName<'static>, TlsFault> {
        let fault = || TlsFault::RegionName(region.to_owned());
        if !is_region_label(region) {
            return Err(fault());
        }
        ServerName::try_from(dns_name(region)).map_err(|_| fault())
    }

    /// By what registers know this gateway's certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.current.load().fingerprint
    }

    /// Until when this gateway's certificate is valid.
    pub fn not_after(&self) -> Timestamp {
        self.current.load().not_after
    }
}

impl Generation {
    fn read(directory: &Path, region: &str) -> Result<Self, TlsFault> {
        let [authority, certificate, key] = InternalTls::files(directory, region);

        let mut roots = RootCertStore::empty();
        for root in pem::certificates(&authority)? {
            roots.add(root).map_err(|source| TlsFault::bad_certificate(&authority, &source))?;
        }
        let roots = Arc::new(roots);
        let pair = pem::certified_key(&certificate, &key)?;
        let leaf =
            pair.end_entity_cert().map_err(|source| TlsFault::bad_certificate(&certificate, &source))?;
        if region_of(leaf).as_deref() != Some(region) {
            return Err(TlsFault::WrongRegion {
                named: region_of(leaf).map_or("none of ours".to_owned(), |other| format!("`{other}`")),
                certificate,
                region: region.to_owned(),
            });
        }
        let (not_before, not_after) = pem::validity(&certificate, leaf)?;
        let fingerprint = fingerprint_of(leaf);

        let ours = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(|source| TlsFault::bad_certificate(&authority, &source))?;
        let callers = Callers { ours, region: region.to_owned() };
        let called = OneRegion(
            WebPkiServerVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|source| TlsFault::bad_certificate(&authority, &source))?,
        );
        // What peers will check, at a time when the certificate is valid: expiry is not this check's business.
        let then = UnixTime::since_unix_epoch(Duration::from_secs(not_before.as_second().unsigned_abs()));
        let own_name = InternalTls::server_name(region)?;
        let chain = &pair.cert[1..];
        callers
            .verify_client_cert(leaf, chain, then)
            .map(drop)
            .and_then(|()| called.verify_server_cert(leaf, chain, &own_name, &[], then).map(drop))
            .map_err(|source| TlsFault::NotOurs { certificate, authority, source })?;

        Ok(Self {
            server: server(callers, pair.clone())?,
            called,
            own: Arc::new(pair),
            not_after,
            fingerprint,
        })
    }
}

fn server(callers: Callers, own: CertifiedKey) -> Result<Arc<ServerConfig>, TlsFault> {
    let mut config = ServerConfig::builder_with_provider(hybrid())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(callers))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn client(latest: Latest) -> Result<Arc<ClientConfig>, TlsFault> {
    let mut config = ClientConfig::builder_with_provider(hybrid())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(latest.clone()))
        .with_client_cert_resolver(Arc::new(latest));
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The provider with the post-quantum group before the others. A caller's order decides, and it sends a share for
/// X25519 beside, so that a gateway of a version without it is not asked twice.
fn hybrid() -> Arc<CryptoProvider> {
    let mut provider = CryptoProvider::clone(&provider());
    provider.kx_groups.retain(|group| group.name() != X25519MLKEM768.name());
    provider.kx_groups.insert(0, X25519MLKEM768);
    Arc::new(provider)
}
