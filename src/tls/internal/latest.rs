//! A client configuration that never changes over a generation that does.
//!
//! Whoever connects keeps one configuration for as long as it lives; what it shows and whom it believes is what was
//! read last. A reload in the middle of a handshake may show the one generation's certificate and judge by the other's
//! authorities, which are two separate questions: the peer answers the first, we the second.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    Error, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};

use super::{Generation, delegate::signatures_by};

/// The generation in service.
#[derive(Debug, Clone)]
pub(super) struct Latest(pub(super) Arc<ArcSwap<Generation>>);

impl ResolvesClientCert for Latest {
    /// Our only certificate, whatever authorities the peer names: one that doesn't know ours refuses it.
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().own))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ServerCertVerifier for Latest {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let current = self.0.load();
        current.called.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    signatures_by!(self, self.0.load().called);
}
