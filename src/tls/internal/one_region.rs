//! The check of a called gateway's certificate beyond who issued it.

use std::sync::Arc;

use rustls::{
    CertificateError, Error,
    client::{
        WebPkiServerVerifier,
        danger::{ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::delegate::signatures_by;
use crate::tls::{dns_name, region_of};

/// The ordinary verification, and on top: the certificate names exactly one region, the one asked for.
#[derive(Debug)]
pub(super) struct OneRegion(pub(super) Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for OneRegion {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        let named = region_of(end_entity).map(|region| dns_name(&region));
        match server_name {
            ServerName::DnsName(wanted) if named.as_deref() == Some(wanted.as_ref()) => Ok(verified),
            _ => Err(CertificateError::NotValidForName.into()),
        }
    }

    signatures_by!(self, self.0);
}
