//! Downstream certificates: served, replaced while connections are open, and kept when the files are bad.

mod sessions;
mod sni;

use std::{fs, path::Path};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConnection, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;

use super::{
    handshake::{ping, shake},
    *,
};

const NAME: &str = "api.acme.test";

/// Writes a fresh certificate and key; returns the certificate.
fn write_pair(directory: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([NAME.to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

fn source(directory: &Path, names: &[&str]) -> CertificateSource {
    CertificateSource {
        certificate: directory.join("cert.pem"),
        key: directory.join("key.pem"),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn store(directory: &Path) -> Result<CertificateStore, TlsFault> {
    CertificateStore::load(vec![source(directory, &[])], false)
}

fn serve(store: &Arc<CertificateStore>) -> Arc<rustls::ServerConfig> {
    downstream_config(Arc::clone(store), &OFFER, None).unwrap()
}

/// What the gateway offers unless it is told otherwise.
const OFFER: DownstreamOffer =
    DownstreamOffer { alpn: DownstreamOffer::protocols(true), versions: &[&TLS12, &TLS13] };

fn client(
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), HTTP_1_1.to_vec()];
    Arc::new(config)
}

fn connect(
    client: &Arc<ClientConfig>,
    server: &Arc<rustls::ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    shake(Arc::clone(client), ServerName::try_from(NAME).unwrap(), Arc::clone(server))
}

#[test]
fn a_reload_serves_the_new_certificate_and_leaves_open_connections_alone() {
    let directory = TempDir::new().unwrap();
    let old = write_pair(directory.path());
    let store = Arc::new(store(directory.path()).unwrap());
    let server = serve(&store);
    let (mut open_client, mut open_server) = connect(&client(&old, &[&TLS13]), &server).unwrap();

    assert!(!store.reload().unwrap());
    let new = write_pair(directory.path());
    assert!(store.reload().unwrap());

    ping(&mut open_client, &mut open_server);
    connect(&client(&new, &[&TLS13]), &server).unwrap();
    connect(&client(&old, &[&TLS13]), &server).unwrap_err();
}

#[test]
fn bad_files_are_named_and_the_old_certificate_stays() {
    let directory = TempDir::new().unwrap();
    let certificate = write_pair(directory.path());
    let good = fs::read_to_string(directory.path().join("cert.pem")).unwrap();
    let store = Arc::new(store(directory.path()).unwrap());
    let server = serve(&store);
    let until = store.expiries()[0].1;

    let other = generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let broken = good.replace("MII", "AAAA");
    let cases = [
        ("cert.pem", Some(other.cert.pem()), "is not the key of the first certificate"),
        ("cert.pem", Some(broken), "cert.pem"),
        ("cert.pem", Some("not PEM".to_owned()), "cert.pem: holds no certificate"),
        ("cert.pem", None, "cert.pem: cannot be read"),
        ("key.pem", Some(good.clone()), "key.pem: cannot be read"),
        ("key.pem", None, "key.pem: cannot be read"),
    ];
    let key = fs::read_to_string(directory.path().join("key.pem")).unwrap();
    for (file, content, expected) in cases {
        let path = directory.path().join(file);
        match &content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let fault = store.reload().unwrap_err().to_string();
        assert!(fault.contains(expected), "{file} = {content:?}: {fault}");
        assert!(!fault.contains("PRIVATE"), "{fault}");
        assert_eq!(store.expiries()[0].1, until);
        connect(&client(&certificate, &[&TLS13]), &server).unwrap();
        fs::write(directory.path().join("cert.pem"), &good).unwrap();
        fs::write(directory.path().join("key.pem"), &key).unwrap();
    }
    assert!(!store.reload().unwrap());
}

#[test]
fn names_of_regions() {
    for good in ["us-east", "a", "eu-frankfurt-2", "3", &"x".repeat(63)] {
        assert!(is_region_label(good), "{good}");
    }
    for bad in ["", "-a", "a-", "US", "a.b", "a_b", "*", "ä", &"x".repeat(64)] {
        assert!(!is_region_label(bad), "{bad}");
    }
}

#[test]
fn a_certificate_stands_for_one_region_or_none() {
    let region = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        region_of(generate_simple_self_signed(names).unwrap().cert.der())
    };
    assert_eq!(region(&["us-east.gateway.residency.internal"]).as_deref(), Some("us-east"));
    let nobody: &[&[&str]] = &[
        &[],
        &["us-east"],
        &["gateway.residency.internal"],
        &["a.us-east.gateway.residency.internal"],
        &["*.gateway.residency.internal"],
        &["us-eastgateway.residency.internal"],
        &["us-east.gateway.residency.internal.evil.test"],
        &["us-east.gateway.residency.internal", "eu-frankfurt.gateway.residency.internal"],
        &["us-east.gateway.residency.internal", "127.0.0.1"],
    ];
    for names in nobody {
        assert_eq!(region(names), None, "{names:?}");
    }
}
