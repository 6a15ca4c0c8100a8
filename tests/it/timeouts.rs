//! Waits that end: every one the gateway enters has a configured bound.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::time::{Instant, sleep};

use crate::harness::{Ask, Key, Peer, Setup, Upstream, eventually, holds, vacant};

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).with("[timeouts]\nheader_ms = 400").start().await;
    let mut wire = gateway.connect().await;
    wire.send("GET /x HTTP/1.1\r\nhost: a\r\n").await;
    // One more byte of a head now and then keeps nothing alive.
    let began = Instant::now();
    while wire.try_send("x").await.is_ok() {
        assert!(began.elapsed() < crate::harness::PATIENCE, "the head was waited for without end");
        sleep(Duration::from_millis(50)).await;
    }
    // Nor does the head of a later request, or none at all.
    let mut wire = gateway.connect().await;
    wire.exchange(&Ask::new("GET /x")).await.expect_ok();
    wire.send("GET /x HTTP/1.1\r\nhost: a\r\n").await;
    wire.drain().await;
    let mut wire = gateway.connect().await;
    wire.drain().await;
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn an_idle_client_connection_is_closed() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).with("[timeouts]\nidle_ms = 300").start().await;
    let mut wire = gateway.connect().await;
    for _ in 0..3 {
        wire.exchange(&Ask::new("GET /x")).await.expect_ok();
    }
    wire.ended().await;
}

/// A listener that takes no more connections: what comes to it goes unanswered, as behind a firewall that drops.
struct BlackHole {
    address: SocketAddr,
    _listener: Socket,
    _fillers: Vec<Socket>,
}

impl BlackHole {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        listener.listen(0).expect("it listens");
        let address = listener.local_addr().expect("an address").as_socket().expect("an IPv4 one");
        let mut fillers = Vec::new();
        // The queue of accepted connections takes one or two; all others wait for an answer to their SYN.
        for _ in 0..4 {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            filler.set_nonblocking(true).expect("an option");
            // In progress, or done.
            let _ = filler.connect(&address.into());
            fillers.push(filler);
        }
        let tried = TcpStream::connect_timeout(&address, Duration::from_millis(300));
        assert!(tried.is_err(), "the black hole answers");
        Self { address, _listener: listener, _fillers: fillers }
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_the_connection_is_given_up() {
    let hole = BlackHole::new();
    let gateway = Setup::before(&[hole.address]).with("[timeouts]\nconnect_ms = 200").start().await;
    let answer = gateway.send(&Ask::new("GET /x")).await;
    assert_eq!((answer.problem().0, answer.head.get("retry-after")), (503, Some("1")));

    // Another endpoint answers instead, whichever is tried first.
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[hole.address, upstream.address]).with("[timeouts]\nconnect_ms = 200");
    let gateway = setup.start().await;
    for _ in 0..4 {
        gateway
            .send(&Ask::new("POST /x").token(&Key::usual().token("me", "us")).body("data"))
            .await
            .expect_ok();
        assert_eq!(upstream.last().body, b"data");
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_begin_to_answer_is_a_504() {
    let upstream = Upstream::start(|mut peer: Peer| async move {
        while let Some(seen) = peer.request().await {
            if seen.head.start.starts_with("GET /quick") {
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    });
    let gateway = Setup::before(&[upstream.address]).with("[timeouts]\nfirst_byte_ms = 300").start().await;
    let mut wire = gateway.connect().await;
    wire.exchange(&Ask::new("GET /slow")).await.expect_problem(504, "upstream-timeout");
    // The upstream learns that nobody waits any more.
    eventually("its connection ends", async || holds(upstream.open() == 0, || "open".to_owned())).await;
    wire.exchange(&Ask::new("GET /quick")).await.expect_ok();
    assert_eq!(upstream.requests().len(), 2, "and nothing was sent twice");
    gateway.metric_becomes("residency_upstream_failures_total", &[("kind", "timeout")], 1.0).await;
}

#[tokio::test]
async fn the_wait_for_an_answer_begins_when_the_request_is_sent() {
    // An upload that takes longer than an answer may.
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).with("[timeouts]\nfirst_byte_ms = 600").start().await;
    let token = Key::usual().token("me", "us");
    let mut wire = gateway.connect().await;
    wire.send(format!(
        "POST /upload HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: 20\r\n\r\n"
    ))
    .await;
    for _ in 0..20 {
        sleep(Duration::from_millis(60)).await;
        wire.send("x").await;
    }
    wire.answer(false).await.expect_ok();
    assert_eq!(upstream.last().body.len(), 20);
}

#[tokio::test]
async fn a_stream_on_which_nothing_moves_is_broken_off() {
    let upstream = Upstream::start(|mut peer: Peer| async move {
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        // Longer than it may rest, but never at rest for so long.
        for _ in 0..12 {
            sleep(Duration::from_millis(100)).await;
            peer.say("1\r\nx\r\n").await;
        }
        peer.wire.drain().await;
    });
    let gateway = Setup::before(&[upstream.address]).with("[timeouts]\nstream_idle_ms = 800").start().await;
    let mut wire = gateway.connect().await;
    wire.send(Ask::new("GET /events").bytes()).await;
    let head = wire.head().await.expect("an answer");
    for _ in 0..12 {
        assert_eq!(wire.part(&head, 0).await.expect("more").expect("not the end"), b"x");
    }
    let broken = wire.part(&head, 0).await;
    assert!(broken.is_err(), "{broken:?} is taken for an end");
    eventually("the upstream's connection ends", async || holds(upstream.open() == 0, || "open".to_owned()))
        .await;
}

#[tokio::test]
async fn a_client_that_stops_reading_is_given_up() {
    let upstream = Upstream::start(|mut peer: Peer| async move {
        use tokio::io::AsyncWriteExt;
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
        let piece = vec![0; 1 << 20];
        while peer.wire.stream.write_all(&piece).await.is_ok() {}
    });
    let gateway = Setup::before(&[upstream.address]).with("[timeouts]\nstream_idle_ms = 400").start().await;
    let mut wire = gateway.connect().await;
    wire.send(Ask::new("GET /download").bytes()).await;
    wire.head().await.expect("an answer");
    eventually("the upstream is let go", async || holds(upstream.open() == 0, || "open".to_owned())).await;
    gateway.metric_becomes("residency_downstream_connections_active", &[], 0.0).await;
}

#[tokio::test]
async fn a_client_that_stops_sending_its_body_is_given_up() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address])
        .with("[timeouts]\nfirst_byte_ms = 300\nstream_idle_ms = 300")
        .start()
        .await;
    let token = Key::usual().token("me", "us");
    let mut wire = gateway.connect().await;
    let head = format!(
        "POST /upload HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: 20\r\n\r\nx"
    );
    wire.send(head).await;
    // With an answer or without one, but not without an end.
    wire.drain().await;
    eventually("the upstream is let go", async || holds(upstream.open() == 0, || "open".to_owned())).await;
    assert_eq!(upstream.requests().len(), 0, "half a body is no request");
}

#[tokio::test]
async fn a_peek_does_not_wait_for_ever() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address])
        .with("[timeouts]\nfirst_byte_ms = 300\n[routes]\n'POST /signup' = { country = 'json:/c' }")
        .start()
        .await;
    let mut wire = gateway.connect().await;
    wire.send("POST /signup HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n{\"c\"").await;
    wire.answer(false).await.expect_problem(408, "request-timeout");
    wire.drain().await;
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn tls_handshakes_that_never_end_are_cut_off() {
    let setup = crate::tls::with_certificate(Setup::before(&[vacant()]));
    let gateway = setup.with("[timeouts]\nheader_ms = 300").start().await;
    let https = gateway.setup.door("https").expect("it has one");
    let mut wire = crate::harness::Wire::connect(https).await;
    wire.send([22, 3, 1]).await;
    wire.drain().await;
}
