//! SIGTERM: what is under way ends well, within a deadline, and nothing new begins.

use std::sync::Arc;

use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::harness::{Ask, Gateway, Peer, Setup, Upstream, eventually, holds};

/// An upstream that answers `/slow` only when told to.
fn on_demand() -> (Upstream, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let shared = Arc::clone(&go);
    let upstream = Upstream::start(move |mut peer: Peer| {
        let go = Arc::clone(&shared);
        async move {
            while let Some(seen) = peer.request().await {
                if seen.head.start.starts_with("GET /slow") {
                    go.notified().await;
                }
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await;
            }
        }
    });
    (upstream, go)
}

async fn terminated(gateway: &Gateway) {
    gateway.signal(Signal::SIGTERM);
    gateway.logged("draining").await;
}

async fn refuses_connections(gateway: &Gateway) {
    eventually("new connections are refused", async || {
        holds(TcpStream::connect(gateway.http).await.is_err(), || "taken".to_owned())
    })
    .await;
}

#[tokio::test]
async fn a_request_under_way_is_answered_and_then_the_program_ends_with_0() {
    let (upstream, go) = on_demand();
    let mut gateway = Setup::before(&[upstream.address]).start().await;
    let mut busy = gateway.connect().await;
    busy.send(Ask::new("GET /slow").bytes()).await;
    eventually("it arrives", async || holds(upstream.requests().len() == 1, || "no".to_owned())).await;
    let mut idle = gateway.connect().await;
    idle.exchange(&Ask::new("GET /quick")).await.expect_ok();
    terminated(&gateway).await;
    refuses_connections(&gateway).await;
    // A kept connection without a request ends at once.
    idle.ended().await;
    // The admin listener still says how it is.
    let health = gateway.ask_admin("/health/basic").await;
    assert_eq!((health.status(), health.json()["status"].as_str()), (503, Some("fail")));
    assert!(health.json()["output"].as_str().is_some_and(|output| output.contains("draining")));
    assert_eq!(gateway.ask_admin("/health/full").await.status(), 503);
    go.notify_one();
    let answer = busy.answer(false).await;
    assert_eq!((answer.status(), answer.body.as_slice()), (200, b"done".as_slice()));
    assert_eq!(answer.head.get("connection"), Some("close"), "the client is told not to use it again");
    busy.ended().await;
    assert!(gateway.end().await.success());
    assert_eq!(gateway.access_log().len(), 2, "and both are in the log");
}

#[tokio::test]
async fn a_body_under_way_is_finished() {
    let go = Arc::new(Notify::new());
    let shared = Arc::clone(&go);
    let upstream = Upstream::start(move |mut peer: Peer| {
        let go = Arc::clone(&shared);
        async move {
            if peer.request().await.is_some() {
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst").await;
                go.notified().await;
                peer.say("other").await;
            }
        }
    });
    let mut gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    wire.send(Ask::new("GET /download").bytes()).await;
    let head = wire.head().await.expect("an answer");
    assert_eq!(wire.part(&head, 0).await.expect("more").expect("not the end"), b"first");
    terminated(&gateway).await;
    refuses_connections(&gateway).await;
    go.notify_one();
    assert_eq!(wire.part(&head, 5).await.expect("more").expect("not the end"), b"other");
    wire.ended().await;
    assert!(gateway.end().await.success());
}

#[tokio::test]
async fn the_deadline_cuts_what_hangs_and_the_program_ends_with_0_all_the_same() {
    let (upstream, _go) = on_demand();
    let mut gateway = Setup::before(&[upstream.address]).with("[timeouts]\ndrain_ms = 500").start().await;
    let mut hanging = gateway.connect().await;
    hanging.send(Ask::new("GET /slow").bytes()).await;
    eventually("it arrives", async || holds(upstream.requests().len() == 1, || "no".to_owned())).await;
    let mut half = gateway.connect().await;
    half.send("GET /x HTTP/1.1\r\nhost").await;
    let began = Instant::now();
    terminated(&gateway).await;
    assert!(gateway.end().await.success());
    assert!(began.elapsed().as_millis() >= 500, "it was given its time");
    hanging.ended().await;
    half.ended().await;
    gateway.logged("\"drained\":false").await;
}

#[tokio::test]
async fn an_open_tunnel_is_cut_at_the_deadline() {
    let upstream = Upstream::start(|mut peer: Peer| async move {
        if peer.request().await.is_some() {
            peer.say("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
                .await;
            peer.wire.drain().await;
        }
    });
    let mut gateway = Setup::before(&[upstream.address]).with("[timeouts]\ndrain_ms = 500").start().await;
    let token = crate::harness::Key::usual().token("me", "us");
    let mut wire = gateway.connect().await;
    let ask =
        Ask::new("GET /live").token(&token).header("connection", "upgrade").header("upgrade", "websocket");
    wire.send(ask.bytes()).await;
    assert_eq!(wire.head().await.expect("an answer").status(), 101);
    terminated(&gateway).await;
    assert!(gateway.end().await.success());
    wire.ended().await;
    eventually("the API learns of it", async || holds(upstream.open() == 0, || "open".to_owned())).await;
}

#[tokio::test]
async fn sigint_drains_too_and_an_idle_gateway_ends_at_once() {
    let upstream = Upstream::mirror();
    let mut gateway = Setup::before(&[upstream.address]).start().await;
    gateway.send(&Ask::new("GET /x")).await.expect_ok();
    gateway.signal(Signal::SIGINT);
    assert!(gateway.end().await.success());
    assert_eq!(gateway.access_log().len(), 1, "the last lines are written");
}
