//! The certificate that downstream connections get, replaceable while they are open.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{TlsFault, pem};

/// One certificate chain with its key, read from two PEM files. New handshakes get the one loaded last.
#[derive(Debug)]
pub struct CertificateStore {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<Current>,
}

/// What a load brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// Until when the certificate is valid. It may lie in the past: an expired certificate is served, and clients
    /// that insist refuse it, rather than all service.
    pub not_after: Timestamp,
    /// Whether it differs from the one served before.
    pub changed: bool,
}

#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    not_after: Timestamp,
}

impl CertificateStore {
    /// Reads both files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsFault> {
        let current = ArcSwap::from_pointee(Current::read(certificate, key)?);
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// Reads both files again. On a fault the certificate served so far stays.
    pub fn reload(&self) -> Result<Loaded, TlsFault> {
        let fresh = Current::read(&self.certificate, &self.key)?;
        let not_after = fresh.not_after;
        let changed = fresh.key.cert != self.current.load().key.cert;
        self.current.store(Arc::new(fresh));
        Ok(Loaded { not_after, changed })
    }

    /// Until when the certificate in service is valid.
    pub fn not_after(&self) -> Timestamp {
        self.current.load().not_after
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().key))
    }
}

impl Current {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsFault> {
        let pair = pem::certified_key(certificate, key)?;
        let leaf =
            pair.end_entity_cert().map_err(|source| TlsFault::bad_certificate(certificate, &source))?;
        let (_, not_after) = pem::validity(certificate, leaf)?;
        Ok(Self { not_after, key: Arc::new(pair) })
    }
}
