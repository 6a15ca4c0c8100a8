//! TLS toward databases, as far as the URL asks for it.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
    sign::SingleCertAndKey,
};

use super::{
    DatabaseFault,
    url::{Check, DatabaseUrl},
};
use crate::tls::{TlsFault, certificates, certified_key, provider};

/// Reads the files the URL names.
pub(super) fn client_config(url: &DatabaseUrl) -> Result<ClientConfig, DatabaseFault> {
    let address = || url.address().to_owned();
    let fault = |source| DatabaseFault::Certificates { address: address(), source: Box::new(source) };
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(error.into()))?;

    let verifier: Arc<dyn ServerCertVerifier> = match url.check {
        Check::Nothing => Arc::new(Partly { roots: None, provider }),
        Check::Issuer => Arc::new(Partly { roots: Some(roots(url)?), provider }),
        Check::IssuerAndName => WebPkiServerVerifier::builder_with_provider(Arc::new(roots(url)?), provider)
            .build()
            .map_err(|error| fault(TlsFault::Config(rustls::Error::General(error.to_string()))))?,
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match &url.client_certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let pair = certified_key(certificate, key).map_err(fault)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
        }
    };
    // Asked for by servers from 17 on when TLS starts without negotiation.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(config)
}

fn roots(url: &DatabaseUrl) -> Result<RootCertStore, DatabaseFault> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &url.roots {
        let fault = |source| DatabaseFault::Certificates {
            address: url.address().to_owned(),
            source: Box::new(source),
        };
        for root in certificates(file).map_err(fault)? {
            roots.add(root).map_err(|error| fault(error.into()))?;
        }
    } else {
        let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            return Err(DatabaseFault::NoSystemRoots { address: url.address().to_owned() });
        }
    }
    Ok(roots)
}

/// Less than full verification: any certificate, or any of a trusted authority whatever its name. The handshake's
/// signature is always checked.
#[derive(Debug)]
struct Partly {
    roots: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Partly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                roots,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
