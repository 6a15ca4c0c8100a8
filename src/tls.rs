//! TLS at every edge: downstream, between regions, and toward databases. rustls on aws-lc-rs, nothing else.
//!
//! Each configuration is built with [`provider`] explicitly; a process-wide default provider is neither set nor
//! needed, so a library elsewhere that installs one changes nothing here.
//!
//! Certificates are files that somebody renews. Reading them again is explicit ([`CertificateStore::reload`],
//! [`InternalTls::reload`]), happens as a whole or not at all, and never touches connections that are open: a file
//! that is missing, broken or not a pair leaves all former certificates in service and is reported.
//!
//! Absent by design: watching files, opening sockets, and which regions exist (configuration knows).

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

mod accept;
mod certificate_store;
mod downstream;
mod fault;
mod internal;
mod pem;
mod region_name;
mod served_names;

pub use accept::{HandshakeFacts, accept, handshake_facts};
pub use certificate_store::{CertificateSource, CertificateStore, Certificates};
pub use downstream::{DownstreamOffer, downstream_config};
pub use fault::TlsFault;
pub use internal::{Caller, InternalTls, shown_by};
pub(crate) use pem::{certificates, certified_key};
pub(crate) use region_name::DOMAIN;
pub use region_name::{ControlClient, dns_name, is_region_label, region_of};
pub use served_names::served_name;

/// ALPN protocol of HTTP/1.1 (RFC 7301).
pub const HTTP_1_1: &[u8] = b"http/1.1";

/// ALPN protocol of HTTP/2 over TLS (RFC 9113 §3.2).
pub const HTTP_2: &[u8] = b"h2";

/// The one source of cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
pub(crate) mod handshake;
#[cfg(test)]
mod tests;
