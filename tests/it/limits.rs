//! Bounds: what a client may have of the gateway.

use crate::harness::{Ask, Key, Setup, Upstream, Wire, eventually, holds, within};

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[upstream.address]).with("[limits]\nheader_bytes = 8192\nheaders = 20");
    let gateway = setup.start().await;
    let large = Ask::new("GET /x").header("x-large", &"x".repeat(10_000));
    assert_eq!(gateway.send(&large).await.status(), 431);
    let long = format!("GET /{}", "x".repeat(10_000));
    let status = gateway.send(&Ask::new(&long)).await.status();
    assert!([414, 431].contains(&status), "{status}");
    let mut many = Ask::new("GET /x");
    for index in 0..30 {
        many = many.header(&format!("x-{index}"), "1");
    }
    assert_eq!(gateway.send(&many).await.status(), 431);
    assert_eq!(upstream.requests().len(), 0);
    gateway.send(&Ask::new("GET /x").header("x-fits", &"x".repeat(6_000))).await.expect_ok();
}

#[tokio::test]
async fn a_body_is_read_ahead_only_so_far() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address])
        .with("[limits]\npeek_bytes = 1024\n[routes]\n'POST /signup' = { country = 'json:/c' }")
        .start()
        .await;
    let of = |size: usize| {
        let empty = r#"{"c":"DE","x":""}"#;
        format!(r#"{{"c":"DE","x":"{}"}}"#, "x".repeat(size - empty.len()))
    };
    gateway.send(&Ask::new("POST /signup").body(of(1024))).await.expect_ok();
    assert_eq!(upstream.last().body.len(), 1024);
    gateway.send(&Ask::new("POST /signup").body(of(1025))).await.expect_problem(413, "body-too-large");
    let mut wire = gateway.connect().await;
    wire.send("POST /signup HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    wire.send(format!("401\r\n{}\r\n0\r\n\r\n", of(1025))).await;
    wire.answer(false).await.expect_problem(413, "body-too-large");
    // With a token nothing needs to be read ahead.
    let ask = Ask::new("POST /signup").token(&Key::usual().token("me", "us")).body(of(100_000));
    gateway.send(&ask).await.expect_ok();
    assert_eq!(upstream.last().body.len(), 100_000);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_served_when_others_end() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).with("[limits]\nconnections = 3").start().await;
    let mut wires = Vec::new();
    for _ in 0..3 {
        let mut wire = gateway.connect().await;
        wire.exchange(&Ask::new("GET /x")).await.expect_ok();
        wires.push(wire);
    }
    let mut waiting = gateway.connect().await;
    waiting.send(Ask::new("GET /waiting").bytes()).await;
    // Those who are in are served while it waits.
    for wire in &mut wires {
        wire.exchange(&Ask::new("GET /x")).await.expect_ok();
    }
    let active = gateway.metrics().await.value("residency_downstream_connections_active", &[]);
    assert!(active <= 3.0, "{active} are in");
    assert!(upstream.requests().iter().all(|seen| !seen.head.start.contains("waiting")));
    // The admin listener is not for clients and not theirs to fill.
    assert_eq!(gateway.ask_admin("/health/basic").await.status(), 200);
    wires.pop();
    waiting.answer(false).await.expect_ok();
}

#[tokio::test]
async fn connections_to_an_upstream_are_bounded() {
    let upstream = Upstream::start(|mut peer| async move {
        while let Some(seen) = peer.request().await {
            if seen.head.start.starts_with("GET /hang") {
                peer.wire.drain().await;
                return;
            }
            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    let setup = Setup::before(&[upstream.address]).with("[limits]\nupstream_connections = 2");
    let gateway = setup.start().await;
    let mut hanging: Vec<Wire> = Vec::new();
    for count in 1..=2 {
        let mut wire = gateway.connect().await;
        wire.send(Ask::new("GET /hang").bytes()).await;
        eventually("it hangs", async || holds(upstream.requests().len() == count, || "not yet".to_owned()))
            .await;
        hanging.push(wire);
    }
    let answer = gateway.send(&Ask::new("GET /x")).await;
    answer.expect_problem(503, "overloaded");
    assert!(answer.head.get("retry-after").is_some());
    hanging.pop();
    eventually("a place is free", async || {
        let status = gateway.send(&Ask::new("GET /x")).await.status();
        holds(status == 200, || format!("{status}"))
    })
    .await;
    assert!(upstream.open() <= 2);
}

#[tokio::test]
async fn the_token_cache_is_bounded() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).with("[token]\ncache_entries = 50").start().await;
    let mut wire = gateway.connect().await;
    for index in 0..200 {
        let token = Key::usual().token(&format!("user {index}"), "us");
        wire.exchange(&Ask::new("GET /x").token(&token)).await.expect_ok();
    }
    within("the gauge is set once a tick", async {
        while gateway.metrics().await.value("residency_token_cache_entries", &[]) < 1.0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    let entries = gateway.metrics().await.value("residency_token_cache_entries", &[]);
    assert!(entries <= 50.0, "{entries} entries");
}
