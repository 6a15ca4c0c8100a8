//! Upgrades: a connection that stops being HTTP, granted or refused.

use crate::harness::{Ask, Key, Peer, Setup, Upstream, eventually, holds};
use crate::routes::relay;

const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Grants every upgrade, then sends back whatever comes.
async fn echo(mut peer: Peer) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    if peer.request().await.is_none() || peer.say(GRANTED).await.is_none() {
        return;
    }
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = peer.wire.stream.read(&mut bytes).await {
        if peer.wire.stream.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

fn ask() -> Ask {
    Ask::new("GET /live")
        .token(&Key::usual().token("me", "us"))
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[tokio::test]
async fn a_granted_upgrade_carries_bytes_both_ways_until_either_side_ends_it() {
    let upstream = Upstream::start(echo);
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    wire.send(ask().bytes()).await;
    let head = wire.head().await.expect("an answer");
    assert_eq!(head.status(), 101);
    assert_eq!(head.get("upgrade"), Some("websocket"));
    assert_eq!(head.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(head.get("residency-served-by"), Some("here"));
    let seen = upstream.last().head;
    assert_eq!(seen.get("upgrade"), Some("websocket"));
    assert_eq!(seen.get("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(
        seen.get("residency-access"),
        Some("write"),
        "an upgrade is a write unless its route says otherwise"
    );
    for word in ["\x00\x01binary", "GET / HTTP/1.1\r\n\r\n"] {
        wire.send(word).await;
        assert_eq!(wire.exactly(word.len()).await.expect("an echo"), word.as_bytes());
    }
    gateway.metric_becomes("residency_websockets_active", &[], 1.0).await;
    // The client ends it.
    drop(wire);
    eventually("the upstream's side ends", async || holds(upstream.open() == 0, || "open".to_owned())).await;
    gateway.metric_becomes("residency_websockets_active", &[], 0.0).await;

    // The upstream ends it.
    let closing = Upstream::start(|mut peer: Peer| async move {
        peer.request().await;
        peer.say(GRANTED).await;
        peer.say("bye").await;
    });
    let gateway = Setup::before(&[closing.address]).start().await;
    let mut wire = gateway.connect().await;
    wire.send(ask().bytes()).await;
    assert_eq!(wire.head().await.expect("an answer").status(), 101);
    assert_eq!(wire.exactly(3).await.expect("its last words"), b"bye");
    wire.ended().await;
}

#[tokio::test]
async fn bytes_sent_right_behind_the_request_are_not_lost() {
    let upstream = Upstream::start(echo);
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    let mut bytes = ask().bytes();
    bytes.extend(b"early");
    wire.send(bytes).await;
    assert_eq!(wire.head().await.expect("an answer").status(), 101);
    assert_eq!(wire.exactly(5).await.expect("an echo"), b"early");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let upstream = Upstream::start(|mut peer: Peer| async move {
        while let Some(seen) = peer.request().await {
            let body = if seen.head.get("upgrade").is_some() { "no upgrade" } else { "plain" };
            let status = if seen.head.get("upgrade").is_some() { "403 Forbidden" } else { "200 OK" };
            peer.say(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    let answer = wire.exchange(&ask()).await;
    assert_eq!((answer.status(), answer.body.as_slice()), (403, b"no upgrade".as_slice()));
    // And the connection is still HTTP.
    let answer = wire.exchange(&Ask::new("GET /x")).await;
    assert_eq!((answer.status(), answer.body.as_slice()), (200, b"plain".as_slice()));
    assert!((gateway.metrics().await.value("residency_websockets_total", &[])).abs() < 1e-9);
}

#[tokio::test]
async fn an_upgrade_without_a_token_is_refused_before_the_api() {
    let upstream = Upstream::start(echo);
    let gateway = Setup::before(&[upstream.address]).start().await;
    let ask = Ask::new("GET /live").header("connection", "upgrade").header("upgrade", "websocket");
    gateway.send(&ask).await.expect_problem(401, "token-missing");
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn a_tunnel_on_which_nothing_moves_ends() {
    let upstream = Upstream::start(echo);
    let setup = Setup::before(&[upstream.address]).with("[timeouts]\nstream_idle_ms = 800");
    let gateway = setup.start().await;
    let mut wire = gateway.connect().await;
    wire.send(ask().bytes()).await;
    assert_eq!(wire.head().await.expect("an answer").status(), 101);
    // While something moves it stays, for longer than it may rest.
    let began = tokio::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_millis(1200) {
        wire.send("x").await;
        assert_eq!(wire.exactly(1).await.expect("an echo"), b"x");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    wire.ended().await;
    eventually("the upstream's side ends", async || holds(upstream.open() == 0, || "open".to_owned())).await;
}

#[tokio::test]
async fn an_upgrade_goes_over_a_socket_as_over_an_address() {
    let upstream = Upstream::start(echo);
    let setup = Setup::before(&[]);
    let path = setup.path("live.sock");
    let relay = relay(&path, &upstream);
    let setup = setup.with(&format!("[regions.here]\nupstreams = {{ api = 'unix:{}' }}", path.display()));
    let gateway = setup.start().await;
    let mut wire = gateway.connect().await;
    wire.send(ask().bytes()).await;
    assert_eq!(wire.head().await.expect("an answer").status(), 101);
    wire.send("hello").await;
    assert_eq!(wire.exactly(5).await.expect("an echo"), b"hello");
    drop(wire);
    eventually("the upstream's side ends", async || holds(upstream.open() == 0, || "open".to_owned())).await;
    drop(gateway);
    relay.abort();
}
