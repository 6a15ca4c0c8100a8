//! Getting keys from where they live: a JWKS document at a URL or in a file, or a PEM file.
//!
//! Bounded in time and size. Redirects are not followed: whoever could plant one would choose our keys. Connections are
//! not kept: minutes lie between fetches.
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::{JwksDocument, JwksFault, KeySet, KeySource, PemFault, pem_keys};

/// Real documents have a few KiB.
pub const MAX_JWKS_BYTES: usize = 256 * 1024;

/// Connecting, sending, and reading the whole answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchFault {
    #[error("not a URL")]
    Url(#[source] http::Error),
    #[error("request failed")]
    Request(#[source] hyper_util::client::legacy::Error),
    #[error("answered {0}; only 200 is taken, redirects are not followed")]
    Status(StatusCode),
    #[error("reading the answer failed, or it is larger than {MAX_JWKS_BYTES} bytes")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("took longer than {} s", FETCH_TIMEOUT.as_secs())]
    Timeout,
    #[error("reading the file failed")]
    File(#[source] std::io::Error),
    #[error("the document is no key set")]
    Document(#[from] JwksFault),
    #[error("the PEM file gives no keys")]
    Pem(#[from] PemFault),
}

/// Why a fetcher can't be made.
#[derive(Debug, thiserror::Error)]
pub enum FetchSetupFault {
    #[error("{path}: no PEM certificates")]
    CaFile {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("{path}: a certificate is not usable as an authority")]
    CaCertificate {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("TLS can't be set up")]
    Tls(#[source] rustls::Error),
}

pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Fetcher {
    /// Trusts the system's authorities and those in `ca_file`.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, FetchSetupFault> {
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector(ca_file)?);
        Ok(Self { client })
    }

    /// One attempt. A secret, or no keys at all, has nothing to fetch and stays what it is.
    pub(super) async fn fetch(&self, source: &KeySource) -> Result<KeySet, FetchFault> {
        let attempt = async {
            match source {
                KeySource::Url(url) => self.get(url).await,
                KeySource::File(path) => read_file(path.clone()).await,
                KeySource::Secret(secret) => return Ok(KeySet::of_secret(secret)),
                KeySource::None => return Ok(KeySet::default()),
            }
            .and_then(|bytes| read_document(source, &bytes))
        };
        tokio::time::timeout(FETCH_TIMEOUT, attempt).await.unwrap_or(Err(FetchFault::Timeout))
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, FetchFault> {
        let request = Request::get(url)
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(USER_AGENT, concat!("residency-gateway/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(FetchFault::Url)?;
        let response = self.client.request(request).await.map_err(FetchFault::Request)?;
        if response.status() != StatusCode::OK {
            return Err(FetchFault::Status(response.status()));
        }
        let body =
            Limited::new(response.into_body(), MAX_JWKS_BYTES).collect().await.map_err(FetchFault::Body)?;
        Ok(body.to_bytes().to_vec())
    }
}

/// Connects to issuers, trusting the system's authorities and those in `ca_file`.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<HttpsConnector<HttpConnector>, FetchSetupFault> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(FetchSetupFault::Tls)?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    Ok(HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build())
}

/// Whether what comes from this URL could be replaced on the way, and what goes there read.
pub(super) fn is_plain_remote(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let loopback =
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        uri.scheme_str() == Some("http") && !loopback
    })
}

fn read_document(source: &KeySource, bytes: &[u8]) -> Result<KeySet, FetchFault> {
    if matches!(source, KeySource::File(_)) && pem_keys::is_pem(bytes) {
        return Ok(pem_keys::parse(bytes)?);
    }
    let document = JwksDocument::parse(bytes)?;
    for (kid, refusal) in &document.refused {
        tracing::warn!(%source, kid, %refusal, "key left out of an issuer's key set");
    }
    if document.keys.is_empty() {
        tracing::warn!(%source, "an issuer's key set has no usable key: all its tokens will be refused");
    }
    Ok(document.keys)
}

async fn read_file(path: PathBuf) -> Result<Vec<u8>, FetchFault> {
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        // One more than allowed, so that too large is seen as such.
        File::open(path)?.take(MAX_JWKS_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    read.await.unwrap_or_else(|fault| Err(std::io::Error::other(fault))).map_err(FetchFault::File)
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, FetchSetupFault> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for fault in &system.errors {
        tracing::warn!(%fault, "a system certificate authority can't be read");
    }
    roots.add_parsable_certificates(system.certs);
    let Some(path) = ca_file else { return Ok(roots) };
    let unreadable = |source| FetchSetupFault::CaFile { path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if certificates.is_empty() {
        return Err(unreadable(rustls::pki_types::pem::Error::NoItemsFound));
    }
    for certificate in certificates {
        let unusable = |source| FetchSetupFault::CaCertificate { path: path.to_owned(), source };
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}
