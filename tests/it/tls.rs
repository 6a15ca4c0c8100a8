//! TLS toward clients: served beside plain HTTP, by name, with certificates that can be replaced while connections stay open.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use nix::sys::signal::Signal;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion, version};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::{
    Ask, Gateway, Key, Setup, Upstream, Wire, certificates, client_config, connect, eventually, holds, vacant,
};

const HOST: &str = "api.test";

/// Adds an https listener with a certificate of its own.
pub fn with_certificate(setup: Setup) -> Setup {
    write_certificate(&setup, "chain.pem");
    setup.with(&format!(
        "[listen]\nhttps = '{}'\n[tls]\ncertificate = 'file:chain.pem'\nkey = 'file:key.pem'\n",
        vacant()
    ))
}

/// A new certificate, and its key in `key.pem`.
pub fn write_certificate(setup: &Setup, chain: &str) {
    write_pair(setup, chain, "key.pem", &[HOST]);
}

pub fn write_pair(setup: &Setup, chain: &str, key: &str, names: &[&str]) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let pair = rcgen::generate_simple_self_signed(names).expect("a certificate");
    setup.write(key, &pair.signing_key.serialize_pem());
    setup.write(chain, &pair.cert.pem());
}

fn roots(chain: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for root in certificates(chain) {
        roots.add(root).expect("a certificate");
    }
    roots
}

/// Trusts what is in `chain` and nothing else.
fn trusting(chain: &Path) -> ClientConfig {
    client_config().with_root_certificates(roots(chain)).with_no_client_auth()
}

/// Likewise, and knows one version.
fn speaking(version: &'static SupportedProtocolVersion, chain: &Path) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
    config.expect("the provider has it").with_root_certificates(roots(chain)).with_no_client_auth()
}

/// Connects, trusting what is in `chain`.
pub async fn dial(
    gateway: &Gateway,
    chain: &Path,
    alpn: &[&[u8]],
) -> std::io::Result<Wire<TlsStream<TcpStream>>> {
    let mut config = trusting(chain);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    connect(config, https(gateway), HOST).await
}

fn https(gateway: &Gateway) -> std::net::SocketAddr {
    gateway.setup.door("https").expect("it has one")
}

#[tokio::test]
async fn https_is_served_like_http_and_the_api_is_told() {
    let upstream = Upstream::mirror();
    let setup = with_certificate(Setup::before(&[upstream.address])).with("listen.http2 = false");
    let gateway = setup.start().await;
    let chain = gateway.path("chain.pem");
    let mut wire = dial(&gateway, &chain, &[b"h2", b"http/1.1"]).await.expect("a handshake");
    assert_eq!(wire.stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    let ask = Ask::new("POST /orders").token(&Key::usual().token("me", "eu")).body("x");
    for _ in 0..3 {
        wire.exchange(&ask).await.expect_ok();
        let seen = upstream.last().head;
        assert_eq!(seen.get("x-forwarded-proto"), Some("https"));
        assert_eq!(seen.get("forwarded"), Some("for=127.0.0.1;host=\"api.test\";proto=https"));
        assert_eq!(seen.get("residency-jurisdiction"), Some("eu"));
    }
    wire.exchange(&Ask::new("GET /health/basic")).await.expect_ok();
    drop(wire);
    gateway.send(&Ask::new("GET /plain")).await.expect_ok();
    assert_eq!(upstream.last().head.get("x-forwarded-proto"), Some("http"));

    // Plain HTTP on the TLS port is no answerable request, and no answer leaks.
    let mut plain = Wire::connect(gateway.setup.door("https").expect("it has one")).await;
    plain.send(Ask::new("GET /plain").bytes()).await;
    assert_eq!(plain.head().await, None);
    gateway.metric_becomes("residency_tls_handshakes_total", &[("result", "failed")], 1.0).await;
}

#[tokio::test]
async fn a_certificate_is_replaced_without_dropping_connections() {
    let upstream = Upstream::mirror();
    let mut gateway = with_certificate(Setup::before(&[upstream.address])).start().await;
    let (old, new) = (gateway.path("old.pem"), gateway.path("chain.pem"));
    std::fs::copy(&new, &old).expect("a copy");
    let mut open = dial(&gateway, &old, &[]).await.expect("a handshake");
    open.exchange(&Ask::new("GET /x")).await.expect_ok();
    write_certificate(&gateway.setup, "chain.pem");
    gateway.reload().await;
    eventually("the new certificate is shown", async || {
        let dialled = dial(&gateway, &new, &[]).await;
        holds(dialled.is_ok(), || format!("{:?}", dialled.err()))
    })
    .await;
    open.exchange(&Ask::new("GET /x")).await.expect_ok();
    let refused = dial(&gateway, &old, &[]).await.err().expect("the old certificate is shown no more");
    assert_eq!(refused.kind(), ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_its_key_changes_nothing() {
    let upstream = Upstream::mirror();
    let gateway = with_certificate(Setup::before(&[upstream.address])).start().await;
    let trusted = gateway.path("old.pem");
    std::fs::copy(gateway.path("chain.pem"), &trusted).expect("a copy");
    // A new key, and the chain somewhere else.
    write_certificate(&gateway.setup, "elsewhere.pem");
    gateway.signal(Signal::SIGHUP);
    gateway.metric_becomes("residency_config_reloads_total", &[("result", "rejected")], 1.0).await;
    let mut wire = dial(&gateway, &trusted, &[]).await.expect("the certificate from before");
    wire.exchange(&Ask::new("GET /x")).await.expect_ok();
}

#[tokio::test]
async fn each_host_gets_its_own_certificate() {
    let upstream = Upstream::mirror();
    for strict in [false, true] {
        let setup = with_certificate(Setup::before(&[upstream.address])).with(&format!(
            "[tls]\nstrict_sni = {strict}\n[[tls.certificates]]\ncertificate = 'file:eu.pem'\nkey = 'file:eu.key'\n\
             [[tls.certificates]]\ncertificate = 'file:us.pem'\nkey = 'file:us.key'\n\
             names = ['us.test', '*.us.test']\n"
        ));
        write_pair(&setup, "eu.pem", "eu.key", &["eu.test", "*.eu.test"]);
        write_pair(&setup, "us.pem", "us.key", &["us.test", "*.us.test", "other.test"]);
        let gateway = setup.start().await;
        let shown = async |name: &str, chain: &str| {
            let dialled = connect(trusting(&gateway.path(chain)), https(&gateway), name).await;
            // The client checks that the certificate is this one, and has the name.
            match dialled {
                Ok(mut wire) => {
                    wire.exchange(&Ask::new("GET /x")).await.expect_ok();
                    true
                }
                Err(_) => false,
            }
        };
        for (name, chain) in [
            ("api.test", "chain.pem"),
            ("eu.test", "eu.pem"),
            ("www.eu.test", "eu.pem"),
            ("us.test", "us.pem"),
            ("WWW.us.test", "us.pem"),
        ] {
            assert!(shown(name, chain).await, "{name}");
        }
        assert!(!shown("eu.test", "chain.pem").await, "another's certificate");
        // It has the name, but is not to be shown for it.
        assert!(!shown("other.test", "us.pem").await);
        let metrics = gateway.metrics().await;
        let expiry = |certificate: &str| {
            metrics.value("residency_certificate_expiry_timestamp_seconds", &[("certificate", certificate)])
        };
        let others = ["eu.pem", "us.pem"].map(|file| gateway.path(file).display().to_string());
        for certificate in ["public", &others[0], &others[1]] {
            assert!(expiry(certificate) > 0.0, "{certificate}");
        }
        // Unknown, and no name at all: the default, or nothing.
        for name in ["elsewhere.test", "127.0.0.1"] {
            let refused = connect(trusting(&gateway.path("chain.pem")), https(&gateway), name).await;
            let fault = refused.err().expect("no certificate has that name");
            let said = fault.to_string();
            assert_eq!(said.contains("alert"), strict, "{name}: {said}");
        }
    }
}

#[tokio::test]
async fn sessions_are_resumed_on_every_worker_and_after_a_reload() {
    let upstream = Upstream::mirror();
    let setup = with_certificate(Setup::before(&[upstream.address])).with("listen.workers = 2");
    let mut gateway = setup.start().await;
    let chain = gateway.path("chain.pem");
    let clients = [&version::TLS12, &version::TLS13].map(|version| speaking(version, &chain));
    let kind = async |client: &ClientConfig, gateway: &Gateway| {
        let mut wire = connect(client.clone(), https(gateway), HOST).await.expect("a handshake");
        // Tickets of TLS 1.3 come with the first answer.
        wire.exchange(&Ask::new("GET /x")).await.expect_ok();
        wire.stream.get_ref().1.handshake_kind().expect("it is complete")
    };
    for client in &clients {
        assert_eq!(kind(client, &gateway).await, HandshakeKind::Full);
        // The kernel spreads connections over the workers' sockets.
        for _ in 0..12 {
            assert_eq!(kind(client, &gateway).await, HandshakeKind::Resumed);
        }
    }
    write_certificate(&gateway.setup, "chain.pem");
    gateway.reload().await;
    // A certificate more, so that the whole is made anew.
    write_pair(&gateway.setup, "more.pem", "more.key", &["more.test"]);
    gateway.setup.lay("[[tls.certificates]]\ncertificate = 'file:more.pem'\nkey = 'file:more.key'\n");
    gateway.reload().await;
    let more = gateway.path("more.pem");
    eventually("the new certificate is shown", async || {
        let dialled = connect(trusting(&more), https(&gateway), "more.test").await;
        holds(dialled.is_ok(), || format!("{:?}", dialled.err()))
    })
    .await;
    for client in &clients {
        for _ in 0..12 {
            assert_eq!(kind(client, &gateway).await, HandshakeKind::Resumed);
        }
    }
}

#[tokio::test]
async fn the_least_version_is_the_configured_one() {
    let upstream = Upstream::mirror();
    let setup = with_certificate(Setup::before(&[upstream.address])).with("tls.min_version = '1.3'");
    let gateway = setup.start().await;
    let chain = gateway.path("chain.pem");
    let mut wire = dial(&gateway, &chain, &[]).await.expect("a handshake");
    wire.exchange(&Ask::new("GET /x")).await.expect_ok();
    let old = speaking(&version::TLS12, &chain);
    connect(old, https(&gateway), HOST).await.err().expect("TLS 1.2 is not welcome");
}
