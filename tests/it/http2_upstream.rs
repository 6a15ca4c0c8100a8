//! Endpoints that speak HTTP/2: one connection for all requests, and what becomes of them when it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::harness::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, MAGIC, SETTINGS, frame, next_frame,
};
use crate::harness::{Ask, Http2, Key, Peer, Setup, Upstream, Wire, eventually, holds, vacant};

fn before(endpoints: &[SocketAddr]) -> Setup {
    let endpoints: Vec<String> = endpoints.iter().map(|endpoint| format!("'h2c://{endpoint}'")).collect();
    Setup::before(&[]).with(&format!("[regions.here]\nupstreams = {{ api = [{}] }}", endpoints.join(", ")))
}

fn mirror() -> Upstream {
    Upstream::start(Peer::mirror_http2)
}

fn order(body: &str) -> Ask {
    Ask::new("POST /orders").token(&Key::usual().token("me", "us")).body(body)
}

/// Gives the first connection to `first`; the others answer with what they saw.
fn at_first<F>(first: impl Fn(Peer) -> F + Send + 'static) -> Upstream
where
    F: Future<Output = ()> + 'static,
{
    let turn = AtomicUsize::new(0);
    Upstream::start(move |peer| {
        let is_first = turn.fetch_add(1, SeqCst) == 0;
        let (first, others) =
            if is_first { (Some(first(peer)), None) } else { (None, Some(peer.mirror_http2())) };
        async move {
            match (first, others) {
                (Some(first), _) => first.await,
                (_, Some(others)) => others.await,
                _ => {}
            }
        }
    })
}

#[tokio::test]
async fn http1_and_http2_meet_with_trailers_both_ways() {
    let upstream = Upstream::start(|peer: Peer| {
        peer.serve_http2(|mut served| async move {
            assert_eq!(served.head.get(":authority"), Some("api.test"));
            assert_eq!(served.head.get("host"), None);
            let mut sending = served.begin(200, &[]);
            let body = served.body.rest().await.expect("the whole body");
            let trailers = served.body.trailers().await;
            sending.all(body, false).await;
            sending.trailers(&[("x-count", &trailers.len().to_string()), ("x-first", &trailers[0].0)]);
        })
    });
    let gateway = before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    wire.send(format!(
        "POST /orders HTTP/1.1\r\nhost: api.test\r\nte: trailers\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nx-sum: 1\r\nResidency-Subject: forged\r\n\r\n",
        Key::usual().token("me", "us")
    ))
    .await;
    let head = wire.head().await.expect("an answer");
    assert_eq!((head.status(), head.get("transfer-encoding")), (200, Some("chunked")));
    let mut lines = Vec::new();
    for _ in 0..6 {
        lines.push(wire.line().await.expect("a line"));
    }
    assert_eq!(lines, ["5", "hello", "0", "x-count: 1", "x-first: x-sum", ""]);

    // The other way round.
    let upstream = Upstream::start(|mut peer: Peer| async move {
        let Some(head) = peer.wire.head().await else { return };
        assert_eq!(head.get("te"), Some("trailers"));
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.is_empty()) {
            lines.push(peer.wire.line().await.expect("a line"));
        }
        assert_eq!(lines, ["5", "hello", "0", "x-sum: 1", ""]);
        peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\nresidency-x: 1\r\n\r\n").await;
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut client = Http2::connect(gateway.http).await;
    let (request, _) = order("").header("te", "trailers").http2();
    let mut call = client.begin(request).await;
    call.sending.all("hello", false).await;
    call.sending.trailers(&[("x-sum", "1"), ("residency-subject", "forged")]);
    let (_, mut body) = call.answer().await.expect("an answer");
    assert_eq!(body.rest().await.expect("a body"), b"ok");
    assert_eq!(body.trailers().await, [("grpc-status".to_owned(), "0".to_owned())]);
}

#[tokio::test]
async fn requests_share_one_connection_that_goes_when_nobody_needs_it() {
    let upstream = mirror();
    let gateway = before(&[upstream.address]).start().await;
    let mut client = Http2::connect(gateway.http).await;
    for round in 1..=2 {
        let mut calls = Vec::new();
        for index in 0..100 {
            calls.push(client.send(&order(&format!("{index}"))).await);
        }
        for call in calls {
            call.whole().await.expect_ok();
        }
        assert_eq!((upstream.accepted(), upstream.requests().len()), (round, 100 * round));
        gateway.metric_becomes("residency_upstream_connections_open", &[], 0.0).await;
        eventually("it ends", async || holds(upstream.open() == 0, || "open".to_owned())).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_takes_no_connection_is_made_up_for_or_named() {
    let upstream = mirror();
    let gateway = before(&[vacant(), upstream.address, vacant()]).start().await;
    for index in 0..10 {
        gateway.send(&order(&format!("body {index}"))).await.expect_ok();
        assert_eq!(upstream.last().body, format!("body {index}").into_bytes());
    }
    assert_eq!(upstream.requests().len(), 10, "each arrived once");
    let gateway = before(&[vacant()]).start().await;
    let mut client = Http2::connect(gateway.http).await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        calls.push(client.send(&order("x")).await);
    }
    for call in calls {
        let (status, code) = call.whole().await.problem();
        assert_eq!(status, 503, "{code}");
    }
}

#[tokio::test]
async fn a_request_in_the_hands_of_one_that_dies_is_not_repeated() {
    let delivered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&delivered);
    let upstream = Upstream::start(move |mut peer: Peer| {
        let count = Arc::clone(&count);
        async move {
            let Ok(mut connection) = h2::server::handshake(&mut peer.wire.stream).await else { return };
            if let Some(Ok(_taken)) = connection.accept().await {
                count.fetch_add(1, SeqCst);
            }
        }
    });
    let gateway = before(&[upstream.address, upstream.address]).start().await;
    for count in 1..=3 {
        gateway.send(&order("x")).await.expect_problem(502, "upstream-failed");
        assert_eq!(delivered.load(SeqCst), count);
    }
}

/// Settings, and the acknowledgement of the other side's.
async fn greet(wire: &mut Wire) -> Option<()> {
    wire.exactly(MAGIC).await.ok()?;
    wire.send([frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat()).await;
    Some(())
}

#[tokio::test]
async fn what_a_leaving_upstream_did_not_look_at_goes_to_the_next_connection() {
    for with_body in [false, true] {
        // Answers one request, then takes a second and says that the first was the last.
        let upstream = at_first(move |mut peer: Peer| async move {
            if greet(&mut peer.wire).await.is_none() {
                return;
            }
            while let Some((kind, stream, _)) = next_frame(&mut peer.wire).await {
                match (kind, stream) {
                    (HEADERS, 1) => {
                        peer.say(frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x88")).await;
                    }
                    (HEADERS, 3) if with_body => {}
                    (HEADERS | DATA, 3) => {
                        peer.say(frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).await;
                        return;
                    }
                    _ => {}
                }
            }
        });
        let gateway = before(&[upstream.address]).start().await;
        let mut client = Http2::connect(gateway.http).await;
        client.exchange(&Ask::new("GET /first")).await.expect_ok();
        let ask = if with_body { order("kept") } else { Ask::new("GET /second") };
        client.exchange(&ask).await.expect_ok();
        assert_eq!(upstream.last().body, if with_body { b"kept".as_slice() } else { b"" });
        assert_eq!(upstream.accepted(), 2);
    }
}

#[tokio::test]
async fn a_connection_that_is_wound_down_is_replaced_before_anyone_notices() {
    // Each connection takes ten requests, as servers with a greatest age do.
    let upstream = Upstream::start(|mut peer: Peer| async move {
        let recorder = peer.recorder();
        let Ok(mut connection) = h2::server::handshake(&mut peer.wire.stream).await else { return };
        let mut served = 0;
        while let Some(Ok((request, respond))) = connection.accept().await {
            let recorder = recorder.clone();
            tokio::task::spawn_local(async move {
                recorder.note(crate::harness::Served::new(request, respond).mirror().await);
            });
            served += 1;
            if served == 10 {
                connection.graceful_shutdown();
            }
        }
    });
    let gateway = before(&[upstream.address]).start().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(gateway.connect().await);
    }
    let load = clients.into_iter().map(|mut wire| async move {
        for index in 0..50 {
            wire.exchange(&order(&format!("{index}"))).await.expect_ok();
        }
    });
    futures_util::future::join_all(load).await;
    assert_eq!(upstream.requests().len(), 200, "each arrived once");
    assert!(upstream.accepted() > 1);
}

#[tokio::test]
async fn a_refused_stream_is_taken_elsewhere_or_is_too_much() {
    let refusing = || {
        Upstream::start(|peer: Peer| {
            peer.serve_http2(|mut served| async move { served.reset(h2::Reason::REFUSED_STREAM) })
        })
    };
    let (busy, free) = (refusing(), mirror());
    let gateway = before(&[busy.address, free.address]).start().await;
    for index in 0..10 {
        gateway.send(&order(&format!("body {index}"))).await.expect_ok();
        assert_eq!(free.last().body, format!("body {index}").into_bytes());
    }
    assert_eq!(free.requests().len(), 10);
    assert!(busy.accepted() > 0, "it was asked, too");
    let busy = refusing();
    let gateway = before(&[busy.address]).start().await;
    gateway.send(&order("x")).await.expect_problem(503, "overloaded");
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_heard_gets_no_more_requests() {
    let upstream = at_first(|mut peer: Peer| async move {
        if greet(&mut peer.wire).await.is_some() {
            peer.wire.drain().await;
        }
    });
    let setup =
        before(&[upstream.address]).with("[timeouts]\nfirst_byte_ms = 1500\nupstream_idle_ms = 60000");
    let gateway = setup.start().await;
    gateway.send(&order("x")).await.expect_problem(504, "upstream-timeout");
    gateway.send(&order("y")).await.expect_ok();
    assert_eq!(upstream.last().body, b"y");
    // So that the end needn't wait for the idle one.
    drop(upstream);
    drop(gateway);
}

#[tokio::test]
async fn an_upload_lives_as_long_as_it_moves() {
    let upstream = mirror();
    let gateway = before(&[upstream.address]).with("[timeouts]\nfirst_byte_ms = 700").start().await;
    let mut client = Http2::connect(gateway.http).await;
    let mut call = client.begin(order("").http2().0).await;
    // In all for longer than an answer may take to begin, and never still for as long.
    for _ in 0..20 {
        call.sending.all("x", false).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    call.sending.end();
    call.whole().await.expect_ok();
    assert_eq!(upstream.last().body.len(), 20);
    // And one that stands still doesn't.
    let mut call = client.begin(order("").http2().0).await;
    call.sending.all("x", false).await;
    call.whole().await.expect_problem(504, "upstream-timeout");
}

#[tokio::test]
async fn a_body_that_is_none_is_the_clients_fault() {
    let upstream = mirror();
    let gateway = before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    wire.send(format!(
        "POST /orders HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        Key::usual().token("me", "us")
    ))
    .await;
    wire.send("no chunk\r\n").await;
    wire.answer(false).await.expect_problem(400, "bad-request");
    let failures = gateway.metrics().await.value("residency_upstream_failures_total", &[]);
    assert!(failures.abs() < 1e-9, "{failures}");
}

#[tokio::test]
async fn clients_that_take_nothing_hold_up_nobody_else() {
    let upstream = Upstream::start(|peer: Peer| {
        peer.serve_http2(|mut served| async move {
            let mut sending = served.begin(200, &[]);
            if served.head.start.starts_with("GET /large") {
                // Until it is broken off.
                while sending.try_all(vec![7; 64 * 1024], false).await.is_ok() {}
            } else {
                sending.all("done", true).await;
            }
        })
    });
    let gateway = before(&[upstream.address]).start().await;
    let before = gateway.resident_kib();
    let mut stuck = Http2::connect(gateway.http).await;
    let mut calls = Vec::new();
    for _ in 0..80 {
        let mut call = stuck.send(&Ask::new("GET /large")).await;
        let (head, body) = call.answer().await.expect("a head");
        assert_eq!(head.status(), 200);
        calls.push((call, body));
    }
    for _ in 0..10 {
        let answer = gateway.send(&Ask::new("GET /small")).await;
        answer.expect_ok();
        assert_eq!(answer.body, b"done");
    }
    assert_eq!(upstream.accepted(), 1, "all on one connection");
    let now = gateway.resident_kib();
    assert!(now < before + 80 * 1024, "{before} KiB grew to {now} KiB");
    drop((calls, stuck));
}

#[tokio::test]
async fn an_upgrade_is_nothing_an_http2_endpoint_can_grant() {
    let upstream = mirror();
    let gateway = before(&[upstream.address]).start().await;
    let ask = Ask::new("GET /live")
        .token(&Key::usual().token("me", "us"))
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    gateway.send(&ask).await.expect_problem(502, "upstream-failed");
    gateway.send(&order("x")).await.expect_ok();
}
