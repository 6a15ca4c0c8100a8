//! TLS toward clients: served beside plain HTTP, with certificates that can be replaced while connections stay open.

use std::io::ErrorKind;
use std::path::Path;

use nix::sys::signal::Signal;
use rustls::RootCertStore;
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

fn write_certificate(setup: &Setup, chain: &str) {
    let pair = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).expect("a certificate");
    setup.write("key.pem", &pair.signing_key.serialize_pem());
    setup.write(chain, &pair.cert.pem());
}

/// Connects, trusting what is in `chain` and nothing else.
async fn dial(
    gateway: &Gateway,
    chain: &Path,
    alpn: &[&[u8]],
) -> std::io::Result<Wire<TlsStream<TcpStream>>> {
    let mut roots = RootCertStore::empty();
    for root in certificates(chain) {
        roots.add(root).expect("a certificate");
    }
    let mut config = client_config().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    connect(config, gateway.setup.door("https").expect("it has one"), HOST).await
}

#[tokio::test]
async fn https_is_served_like_http_and_the_api_is_told() {
    let upstream = Upstream::mirror();
    let gateway = with_certificate(Setup::before(&[upstream.address])).start().await;
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
