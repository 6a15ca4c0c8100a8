//! TLS of the load: one version, one cipher, one group for everybody, and no session is ever resumed.
//!
//! TLS 1.3 with AES-128-GCM and x25519 is what every server offers, and the load offers nothing else, so all
//! contenders do the same work. Before a measurement the certificate is verified as clients verify it
//! ([`Trust::Verified`]); under load it is compared byte by byte and its signature over the handshake is not checked
//! ([`Trust::Pinned`]), because the load's core must not be the limit and the server's work is the same either way.
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, NamedGroup, ProtocolVersion,
    RootCertStore, SignatureScheme,
};

/// What both sides agree on, in words, for reports.
pub const TERMS: &str = "TLS 1.3, AES-128-GCM, x25519, ECDSA P-256, full handshakes";

/// How much of the server's proof of identity is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// All of it.
    Verified,
    /// That it is the expected certificate.
    Pinned,
}

/// The protocol that is asked for within TLS (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// How to open TLS connections to one server.
#[derive(Debug, Clone)]
pub struct Secure {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    protocol: Protocol,
}

impl Secure {
    /// `certificate` is the server's own, self-signed, for `name`.
    pub fn new(
        certificate: &CertificateDer<'static>,
        name: &str,
        protocol: Protocol,
        trust: Trust,
    ) -> Result<Self> {
        let defaults = aws_lc_rs::default_provider();
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..defaults
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .context("TLS 1.3 of the load")?;
        let mut config = match trust {
            Trust::Verified => {
                let mut roots = RootCertStore::empty();
                roots.add(certificate.clone()).context("the server's certificate")?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            Trust::Pinned => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned(certificate.clone())))
                .with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![protocol.alpn().to_vec()];
        let name = ServerName::try_from(name.to_owned()).context("the server's name")?;
        Ok(Self { config: Arc::new(config), name, protocol })
    }

    pub(super) fn session(&self) -> Result<ClientConnection> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone()).context("a TLS session")
    }

    /// Whether a finished handshake came out as [`TERMS`] says, with the protocol that was asked for.
    pub(super) fn check(&self, session: &ClientConnection) -> Result<()> {
        let alpn = session.alpn_protocol();
        ensure!(
            alpn == Some(self.protocol.alpn()),
            "the server chose {:?} as protocol, and not {:?}",
            alpn.map(String::from_utf8_lossy),
            String::from_utf8_lossy(self.protocol.alpn())
        );
        ensure!(is_full(session), "the handshake was {:?}, and not full", session.handshake_kind());
        let group = session.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name);
        ensure!(
            session.protocol_version() == Some(ProtocolVersion::TLSv1_3) && group == Some(NamedGroup::X25519),
            "the handshake came out as {:?} with {group:?}",
            session.protocol_version()
        );
        Ok(())
    }
}

/// Whether the server proved itself anew, in one round trip.
pub(super) fn is_full(session: &ClientConnection) -> bool {
    session.handshake_kind() == Some(HandshakeKind::Full)
}

#[derive(Debug)]
struct Pinned(CertificateDer<'static>);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.0 {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("another certificate than the contenders were given".into()))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("the load offers TLS 1.3 alone".into()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
