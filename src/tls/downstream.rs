//! The TLS side that clients see.

use std::sync::Arc;

use rustls::{ServerConfig, crypto::aws_lc_rs::Ticketer};

use super::{CertificateStore, TlsFault, provider};

/// TLS 1.2 and 1.3 with session tickets, offering `alpn` in order of preference.
///
/// One configuration serves all workers: tickets are sealed with keys it makes itself and rotates, so a client
/// resumes on whichever worker its next connection lands. Tickets are this process's own; another gateway does a
/// full handshake. Early data (0-RTT) stays off: it can be replayed.
pub fn downstream_config(
    store: Arc<CertificateStore>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsFault> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(store);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.ticketer = Ticketer::new()?;
    Ok(Arc::new(config))
}
