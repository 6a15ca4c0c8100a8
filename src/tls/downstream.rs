//! The TLS side that clients see.

use std::sync::Arc;

use rustls::{ServerConfig, SupportedProtocolVersion, crypto::aws_lc_rs::Ticketer};

use super::{CertificateStore, HTTP_1_1, HTTP_2, TlsFault, provider};

/// What is offered to clients beside the certificates.
#[derive(Debug, Clone)]
pub struct DownstreamOffer {
    /// ALPN protocols, in order of preference.
    pub alpn: &'static [&'static [u8]],
    pub versions: &'static [&'static SupportedProtocolVersion],
}

impl DownstreamOffer {
    /// HTTP/2 before HTTP/1.1, or HTTP/1.1 alone.
    pub const fn protocols(http2: bool) -> &'static [&'static [u8]] {
        if http2 { &[HTTP_2, HTTP_1_1] } else { &[HTTP_1_1] }
    }
}

/// TLS for clients, with session tickets.
///
/// One configuration serves all workers: tickets are sealed with keys it makes itself, so a client resumes on whichever
/// worker its next connection lands, and still does once certificates were replaced. `previous` hands its keys on to a
/// configuration that differs. Keys seal for six hours and open for six more, then they are gone; they are this
/// process's own, so another gateway does a full handshake. Early data (0-RTT) stays off: it can be replayed.
///
/// The client's order decides the key exchange: one that puts X25519MLKEM768 first gets it, one that knows only X25519
/// pays nothing for that.
pub fn downstream_config(
    store: Arc<CertificateStore>,
    offer: &DownstreamOffer,
    previous: Option<&ServerConfig>,
) -> Result<Arc<ServerConfig>, TlsFault> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(offer.versions)?
        .with_no_client_auth()
        .with_cert_resolver(store);
    config.alpn_protocols = offer.alpn.iter().map(|protocol| protocol.to_vec()).collect();
    match previous {
        Some(previous) => {
            config.ticketer = Arc::clone(&previous.ticketer);
            config.session_storage = Arc::clone(&previous.session_storage);
        }
        None => config.ticketer = Ticketer::new()?,
    }
    Ok(Arc::new(config))
}
