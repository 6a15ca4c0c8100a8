//! The certificates that downstream connections get, replaceable while they are open.
//!
//! The client says which name it wants (SNI, RFC 6066 §3). The certificate with that name answers, else the one with a
//! wildcard for it, else the default: a client that sends no name, or one nobody knows, is better told whom it has
//! reached than left without an answer. `strict_sni` refuses such clients instead.
//!
//! Invariants
//! - All certificates are one generation: read together, swapped together, and a fault in one keeps them all.
//! - For one name there is at most one certificate of each kind of key; a client that can verify several gets the one
//!   that costs least.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{
    TlsFault, pem,
    served_names::{ServedNames, names_in},
};

/// Where one certificate is, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSource {
    /// A chain, PEM.
    pub certificate: PathBuf,
    /// The private key of its first certificate, PEM.
    pub key: PathBuf,
    /// The names it answers for, as [`served_name`](super::served_name) gives them; the certificate's own when empty.
    pub names: Vec<String>,
}

/// Certificate chains with their keys, by name. New handshakes get those loaded last.
#[derive(Debug)]
pub struct CertificateStore {
    /// The first is the default.
    sources: Vec<CertificateSource>,
    strict_sni: bool,
    current: ArcSwap<Certificates>,
}

/// All certificates of one reading, not yet in service.
#[derive(Debug)]
pub struct Certificates {
    /// As the sources.
    all: Vec<Loaded>,
    by_name: ServedNames<Arc<CertifiedKey>>,
}

#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    not_after: Timestamp,
}

impl CertificateStore {
    /// Reads all files. The first source is the default, and there must be one.
    pub fn load(sources: Vec<CertificateSource>, strict_sni: bool) -> Result<Self, TlsFault> {
        let current = ArcSwap::from_pointee(Certificates::read(&sources)?);
        Ok(Self { sources, strict_sni, current })
    }

    /// Reads all files again, without putting them into service.
    pub fn read(&self) -> Result<Certificates, TlsFault> {
        Certificates::read(&self.sources)
    }

    /// Puts a reading into service, for handshakes from now on. Whether any certificate differs from before.
    pub fn install(&self, fresh: Certificates) -> bool {
        let before = self.current.swap(Arc::new(fresh));
        let after = self.current.load();
        let differs = |(old, new): (&Loaded, &Loaded)| old.key.cert != new.key.cert;
        before.all.iter().zip(&after.all).any(differs)
    }

    /// Reads all files again. On a fault the certificates served so far stay, all of them.
    pub fn reload(&self) -> Result<bool, TlsFault> {
        self.read().map(|fresh| self.install(fresh))
    }

    /// Until when each certificate in service is valid, the default first. It may lie in the past: an expired
    /// certificate is served, and clients that insist refuse it, rather than all service.
    pub fn expiries(&self) -> Vec<(&Path, Timestamp)> {
        let current = self.current.load();
        let paths = self.sources.iter().map(|source| source.certificate.as_path());
        paths.zip(current.all.iter().map(|loaded| loaded.not_after)).collect()
    }

    /// Whether a client that asks for `name`, or for none, is refused.
    pub fn refuses(&self, name: Option<&str>) -> bool {
        let known = |name| !self.current.load().by_name.find(name).is_empty();
        self.strict_sni && !name.is_some_and(known)
    }

    /// Some clients may have to be refused.
    pub const fn is_strict(&self) -> bool {
        self.strict_sni
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.load();
        match hello.server_name().map_or(&[][..], |name| current.by_name.find(name)) {
            [] if self.strict_sni => None,
            [] => Some(Arc::clone(&current.all.first()?.key)),
            [only] => Some(Arc::clone(only)),
            several @ [first, ..] => {
                let offered = hello.signature_schemes();
                let fits = several.iter().find(|key| signs_for(key, offered));
                Some(Arc::clone(fits.unwrap_or(first)))
            }
        }
    }
}

impl Certificates {
    fn read(sources: &[CertificateSource]) -> Result<Self, TlsFault> {
        let mut all = Vec::with_capacity(sources.len());
        let mut by_name: ServedNames<(usize, Arc<CertifiedKey>)> = ServedNames::default();
        for (index, source) in sources.iter().enumerate() {
            let certificate = &source.certificate;
            let pair = pem::certified_key(certificate, &source.key)?;
            let leaf =
                pair.end_entity_cert().map_err(|source| TlsFault::bad_certificate(certificate, &source))?;
            let (_, not_after) = pem::validity(certificate, leaf)?;
            let names = if source.names.is_empty() { names_in(leaf) } else { source.names.clone() };
            // The default is shown without a name, too; any other would never be.
            if names.is_empty() && index > 0 {
                return Err(TlsFault::NoName { certificate: certificate.clone() });
            }
            let key = Arc::new(pair);
            for name in names {
                let claims = by_name.entry(&name);
                let same_kind = |(_, other): &&(usize, Arc<CertifiedKey>)| kind(other) == kind(&key);
                if let Some((other, _)) = claims.iter().find(same_kind) {
                    let first = sources[*other].certificate.clone();
                    return Err(TlsFault::NameClaimedTwice { name, first, second: certificate.clone() });
                }
                claims.push((index, Arc::clone(&key)));
                claims.sort_by_key(|(_, key)| cost(key));
            }
            all.push(Loaded { key, not_after });
        }
        Ok(Self { all, by_name: by_name.map(|(_, key)| key) })
    }
}

fn kind(key: &CertifiedKey) -> SignatureAlgorithm {
    key.key.algorithm()
}

/// The order of preference: what a signature costs here. RSA takes about twenty times what ECDSA does.
fn cost(key: &CertifiedKey) -> u8 {
    u8::from(kind(key) == SignatureAlgorithm::RSA)
}

fn signs_for(key: &CertifiedKey, offered: &[SignatureScheme]) -> bool {
    key.key.choose_scheme(offered).is_some()
}
