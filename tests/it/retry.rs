//! Requests that may be sent again, requests that may not, and connections that are used again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::harness::{Ask, Key, Peer, Setup, Upstream, vacant};

#[tokio::test]
async fn an_endpoint_that_refuses_connections_is_made_up_for_by_another() {
    let upstream = Upstream::mirror();
    let dead = [vacant(), vacant()];
    let gateway = Setup::before(&[dead[0], upstream.address, dead[1]]).start().await;
    let token = Key::usual().token("me", "us");
    for index in 0..10 {
        let body = format!("body {index}");
        let answer = gateway.send(&Ask::new("POST /orders").token(&token).body(body.clone())).await;
        answer.expect_ok();
        assert_eq!(upstream.last().body, body.into_bytes());
    }
    assert_eq!(upstream.requests().len(), 10, "each arrived once");
    assert!(gateway.metrics().await.value("residency_upstream_retries_total", &[]) >= 1.0);
}

#[tokio::test]
async fn without_any_endpoint_the_answer_is_503_and_says_that_nothing_was_changed() {
    let gateway = Setup::before(&[vacant(), vacant()]).start().await;
    let answer = gateway.send(&Ask::new("POST /orders").token(&Key::usual().token("me", "us"))).await;
    // The one when it was found out now, the other when it was known before.
    let (status, code) = answer.problem();
    assert_eq!(status, 503);
    assert!(["upstream-unavailable", "home-unavailable"].contains(&code.as_str()), "{code}");
    assert!(answer.head.get("retry-after").is_some());
    let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
    assert!(detail.contains("nothing was changed"), "{detail}");
}

#[tokio::test]
async fn a_request_that_reached_an_upstream_is_never_repeated() {
    // Reads the request, then hangs up without a word.
    let breaker = |mut peer: Peer| async move {
        peer.request().await;
    };
    let upstreams = [Upstream::start(breaker), Upstream::start(breaker)];
    let gateway = Setup::before(&[upstreams[0].address, upstreams[1].address]).start().await;
    let token = Key::usual().token("me", "us");
    let delivered = || upstreams.iter().map(|upstream| upstream.requests().len()).sum::<usize>();
    for (index, start) in ["POST /orders", "GET /orders", "DELETE /orders/1"].into_iter().enumerate() {
        let answer = gateway.send(&Ask::new(start).token(&token)).await;
        answer.expect_problem(502, "upstream-failed");
        assert_eq!(delivered(), index + 1, "{start} was delivered once");
        let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
        assert!(detail.contains("may have been carried out"), "{detail}");
    }
}

#[tokio::test]
async fn nor_is_one_that_broke_on_a_kept_connection() {
    // Answers the first request of a connection, reads the second and hangs up.
    let upstream = Upstream::start(|mut peer: Peer| async move {
        peer.mirror().await;
        peer.request().await;
    });
    let setup = Setup::before(&[upstream.address]).with("[timeouts]\nupstream_idle_ms = 4000");
    let gateway = setup.start().await;
    let token = Key::usual().token("me", "us");
    gateway.send(&Ask::new("POST /orders").token(&token)).await.expect_ok();
    let answer = gateway.send(&Ask::new("POST /orders").token(&token).body("second")).await;
    answer.expect_problem(502, "upstream-failed");
    assert_eq!(upstream.requests().len(), 2, "each was delivered once");
    assert_eq!(upstream.accepted(), 1);
}

/// At a time.
const CLIENTS: usize = 16;

#[tokio::test]
async fn upstream_connections_are_used_again() {
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[upstream.address]).with("[timeouts]\nupstream_idle_ms = 2000");
    let gateway = setup.start().await;
    let ask = Ask::new("GET /orders").token(&Key::usual().token("me", "us"));
    let mut wire = gateway.connect().await;
    for _ in 0..1000 {
        wire.exchange(&ask).await.expect_ok();
    }
    assert_eq!(upstream.accepted(), 1, "one after the other, they need one connection");

    let mut wires = Vec::new();
    for _ in 0..CLIENTS {
        wires.push(gateway.connect().await);
    }
    let clients = wires.into_iter().map(|mut wire| {
        let ask = &ask;
        async move {
            for _ in 0..1000 {
                wire.exchange(ask).await.expect_ok();
            }
        }
    });
    futures_util::future::join_all(clients).await;
    let requests = upstream.requests().len();
    assert_eq!(requests, 1000 * (CLIENTS + 1));
    let accepted = upstream.accepted();
    assert!(accepted <= CLIENTS, "{accepted} connections for {CLIENTS} clients at a time");
    assert!(
        1000 * accepted <= requests,
        "{accepted} connections for {requests} requests is less than 99.9 % reuse"
    );
    let metrics = gateway.metrics().await;
    let opened = metrics.value("residency_upstream_connections_opened_total", &[("region", "here")]);
    let reused = metrics.value("residency_upstream_connections_reused_total", &[("region", "here")]);
    assert!((opened - accepted as f64).abs() < 1e-9 && (opened + reused - requests as f64).abs() < 1e-9);
}

#[tokio::test]
async fn a_connection_is_given_up_before_the_upstream_would_close_it() {
    // As Node does: an idle connection is closed after a while, and a request that comes just then is lost.
    let keep_alive = Duration::from_secs(1);
    let upstream = Upstream::start(move |mut peer: Peer| async move {
        while let Ok(Some(())) = tokio::time::timeout(keep_alive, peer.mirror()).await {}
    });
    let setup = Setup::before(&[upstream.address]).with("[timeouts]\nupstream_idle_ms = 700");
    let gateway = setup.start().await;
    let ask = Ask::new("POST /orders").token(&Key::usual().token("me", "us"));
    let mut wire = gateway.connect().await;
    // Pauses around both moments: when the gateway gives a connection up, and when the upstream does.
    for pause in [0, 600, 690, 700, 710, 790, 800, 900, 990, 995, 1000, 1005, 1010, 1100] {
        let resume = Instant::now() + Duration::from_millis(pause);
        tokio::time::sleep_until(resume).await;
        wire.exchange(&ask).await.expect_ok();
    }
    // Nobody has to ask for it to be closed.
    gateway.metric_becomes("residency_upstream_connections_open", &[], 0.0).await;
}

#[tokio::test]
async fn a_connection_the_upstream_closed_while_idle_is_replaced_without_anyone_noticing() {
    // Closes after every answer without saying so beforehand.
    let upstream = Upstream::start(|mut peer: Peer| async move {
        peer.mirror().await;
    });
    let setup = Setup::before(&[upstream.address]).with("[timeouts]\nupstream_idle_ms = 4000");
    let gateway = setup.start().await;
    let ask = Ask::new("POST /orders").token(&Key::usual().token("me", "us")).body("x");
    for round in 0..20 {
        gateway.send(&ask).await.expect_ok();
        // Its end has arrived once nobody serves it any more; then the gateway can know.
        crate::harness::eventually("the connection ends", async || {
            crate::harness::holds(upstream.open() == 0, || "open".to_owned())
        })
        .await;
        sleep(Duration::from_millis(5)).await;
        assert_eq!(upstream.requests().len(), round + 1);
    }
}

#[tokio::test]
async fn load_is_spread_over_the_endpoints_of_the_region() {
    let upstreams = [Upstream::mirror(), Upstream::mirror()];
    let gateway = Setup::before(&[upstreams[0].address, upstreams[1].address]).start().await;
    for _ in 0..20 {
        gateway.send(&Ask::new("GET /x")).await.expect_ok();
    }
    for upstream in &upstreams {
        assert!(upstream.requests().len() >= 5, "{} of 20", upstream.requests().len());
    }
}
