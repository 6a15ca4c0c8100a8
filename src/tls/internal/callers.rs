//! The check of a caller's certificate beyond who issued it: a gateway of any region, or a program of our own.

use std::sync::Arc;

use rustls::{
    CertificateError, DistinguishedName, Error, OtherError,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use super::delegate::signatures_by;
use crate::tls::{ControlClient, region_of};

/// The ordinary verification, and on top: the certificate names exactly one region, or one program that may use the control
/// API here.
#[derive(Debug)]
pub(super) struct Callers {
    pub(super) ours: Arc<dyn ClientCertVerifier>,
    pub(super) region: String,
}

/// For the log of whoever wonders why a program isn't let in.
#[derive(Debug, thiserror::Error)]
enum NotLetIn {
    #[error("the certificate of control client `{}` is for region `{}`", .0.name, .0.region)]
    Elsewhere(ControlClient),
    #[error("the certificate names neither a region nor a control client")]
    Nobody,
}

impl ClientCertVerifier for Callers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.ours.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.ours.verify_client_cert(end_entity, intermediates, now)?;
        let fault = match (region_of(end_entity), ControlClient::of(end_entity)) {
            (Some(_), _) => return Ok(verified),
            (None, Some(client)) if client.region == self.region => return Ok(verified),
            (None, Some(client)) => NotLetIn::Elsewhere(client),
            (None, None) => NotLetIn::Nobody,
        };
        Err(CertificateError::Other(OtherError(Arc::new(fault))).into())
    }

    signatures_by!(self, self.ours);
}
