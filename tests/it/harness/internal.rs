//! Gateways that know each other: certificates by `residency-migrate pki`, and connections to an internal listener as
//! another gateway would open them, or as nobody may.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Wire, within};

/// An internal authority and the certificates of its regions.
pub struct Pki {
    directory: TempDir,
}

/// Runs `residency-migrate` to its end.
pub fn migrate(words: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_residency-migrate"))
        .args(words)
        .arg("--dir")
        .arg(directory)
        .output()
        .expect("the program starts")
}

impl Pki {
    pub fn init(regions: &[&str]) -> Self {
        let directory =
            tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory below the build's");
        let mut words = vec!["pki", "init"];
        words.extend(regions.iter().flat_map(|region| ["--region", region]));
        let output = migrate(&words, directory.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs another `pki` command on it, which must succeed.
    pub fn run(&self, words: &[&str]) -> String {
        let output = migrate(words, self.path());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A TLS configuration that trusts this authority, and shows the certificate of a region of `identity`, if any.
    fn client(&self, identity: Option<(&Self, &str)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.path().join("ca.crt")) {
            roots.add(root).expect("an authority's certificate");
        }
        let builder = client_config().with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some((pki, region)) => {
                let chain = certificates(&pki.path().join(format!("{region}.crt")));
                let key =
                    PrivateKeyDer::from_pem_file(pki.path().join(format!("{region}.key"))).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("a certificate and its key")
            }
        }
    }

    /// Connects to `region`'s internal listener. A refusal may show only when something is read (TLS 1.3).
    pub async fn dial(
        &self,
        to: SocketAddr,
        region: &str,
        identity: Option<(&Self, &str)>,
    ) -> std::io::Result<Wire<TlsStream<TcpStream>>> {
        let name = format!("{region}.gateway.residency.internal");
        connect(self.client(identity), to, &name).await
    }
}

/// TLS as the program under test has it, before trust and identity.
pub fn client_config() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
}

/// A TLS connection.
pub async fn connect(
    config: ClientConfig,
    to: SocketAddr,
    name: &str,
) -> std::io::Result<Wire<TlsStream<TcpStream>>> {
    let name = ServerName::try_from(name.to_owned()).expect("a DNS name");
    let stream = TcpStream::connect(to).await?;
    let stream = within("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await?;
    Ok(Wire::new(stream))
}

pub fn certificates(file: &Path) -> Vec<CertificateDer<'static>> {
    let all = CertificateDer::pem_file_iter(file).expect("a PEM file");
    all.map(|one| one.expect("a certificate")).collect()
}
