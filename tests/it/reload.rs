//! SIGHUP: a new configuration for requests to come, none for what is under way, and none at all when it is wrong.

use std::fs;
use std::sync::Arc;

use nix::sys::signal::Signal;
use tokio::sync::Notify;

use crate::harness::{Ask, Key, Peer, Setup, Upstream, eventually, holds, jwks};

#[tokio::test]
async fn a_new_route_rule_takes_effect_without_a_dropped_connection() {
    let upstream = Upstream::mirror();
    let mut gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    let ask = Ask::new("POST /search").token(&Key::usual().token("me", "us"));
    wire.exchange(&ask).await.expect_ok();
    assert_eq!(upstream.last().head.get("residency-access"), Some("write"));
    gateway.setup.lay("[routes]\n'POST /search' = { access = 'read' }");
    gateway.reload().await;
    eventually("the rule is in force", async || {
        wire.exchange(&ask).await.expect_ok();
        let access = upstream.last().head.get("residency-access").map(str::to_owned);
        holds(access.as_deref() == Some("read"), || format!("{access:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_bad_file_is_reported_and_the_old_configuration_stays() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let ask = Ask::new("POST /orders").token(&Key::usual().token("me", "us"));
    for (index, bad) in ["mode = 'strict'", "this is no TOML", "region = 'here'"].into_iter().enumerate() {
        fs::write(gateway.path("residency.toml"), bad).expect("a file");
        gateway.signal(Signal::SIGHUP);
        let rejected = (index + 1) as f64;
        gateway.metric_becomes("residency_config_reloads_total", &[("result", "rejected")], rejected).await;
        gateway.metric_becomes("residency_config_last_reload_success", &[], 0.0).await;
        gateway.send(&ask).await.expect_ok();
    }
    gateway.logged("the old one stays").await;
    assert!(gateway.stderr().contains("strict"), "what is wrong is said");
    fs::remove_file(gateway.path("residency.toml")).expect("it was there");
    gateway.signal(Signal::SIGHUP);
    gateway.metric_becomes("residency_config_reloads_total", &[("result", "rejected")], 4.0).await;
    gateway.send(&ask).await.expect_ok();
    gateway.setup.save();
    gateway.signal(Signal::SIGHUP);
    gateway.metric_becomes("residency_config_last_reload_success", &[], 1.0).await;
    gateway.send(&ask).await.expect_ok();
}

#[tokio::test]
async fn a_request_under_way_ends_as_it_began() {
    let go = Arc::new(Notify::new());
    let shared = Arc::clone(&go);
    let upstream = Upstream::start(move |mut peer: Peer| {
        let go = Arc::clone(&shared);
        async move {
            while let Some(seen) = peer.request().await {
                peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
                if seen.head.start.starts_with("GET /slow") {
                    go.notified().await;
                }
                peer.say("5\r\nother\r\n0\r\n\r\n").await;
            }
        }
    });
    let other = Upstream::mirror();
    let mut gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    wire.send(Ask::new("GET /slow").bytes()).await;
    let head = wire.head().await.expect("an answer");
    assert_eq!(wire.part(&head, 0).await.expect("more").expect("not the end"), b"first");
    gateway.setup.lay(&format!("[regions.here]\nupstreams = {{ api = ['{}'] }}", other.address));
    gateway.reload().await;
    eventually("new requests go elsewhere", async || {
        gateway.send(&Ask::new("GET /x")).await.expect_ok();
        holds(!other.requests().is_empty(), || "not yet".to_owned())
    })
    .await;
    go.notify_one();
    assert_eq!(wire.part(&head, 5).await.expect("more").expect("not the end"), b"other");
    assert_eq!(wire.part(&head, 10).await.expect("an end"), None);
    // The connection it came by is now served by the new endpoints.
    let seen = other.requests().len();
    wire.exchange(&Ask::new("GET /x")).await.expect_ok();
    assert_eq!(other.requests().len(), seen + 1);
}

#[tokio::test]
async fn keys_stay_across_a_reload_and_changed_files_are_read() {
    let upstream = Upstream::mirror();
    let mut gateway = Setup::before(&[upstream.address]).start().await;
    let old = Ask::new("POST /orders").token(&Key::usual().token("me", "us"));
    let next = Key::eddsa("next");
    gateway.send(&old).await.expect_ok();
    for _ in 0..5 {
        gateway.reload().await;
        gateway.send(&old).await.expect_ok();
    }
    gateway.setup.write("jwks.json", &jwks([&next]).to_string());
    gateway.reload().await;
    let new = Ask::new("POST /orders").token(&next.token("me", "us"));
    eventually("the new file is read", async || {
        let status = gateway.send(&new).await.status();
        holds(status == 200, || format!("{status}"))
    })
    .await;
    gateway.send(&old).await.expect_problem(401, "token-invalid");
}

#[tokio::test]
async fn what_needs_a_restart_is_said() {
    let upstream = Upstream::mirror();
    let mut gateway = Setup::before(&[upstream.address]).start().await;
    gateway.setup.lay("[listen]\nworkers = 2");
    gateway.reload().await;
    gateway.logged("listen.workers").await;
    gateway.send(&Ask::new("GET /x")).await.expect_ok();
}

#[tokio::test]
async fn the_access_log_is_opened_anew() {
    let upstream = Upstream::mirror();
    let mut gateway = Setup::before(&[upstream.address]).start().await;
    gateway.send(&Ask::new("GET /x")).await.expect_ok();
    gateway.access_lines(1).await;
    // As logrotate does.
    fs::rename(gateway.path("access.log"), gateway.path("access.log.1")).expect("it is there");
    gateway.reload().await;
    eventually("a new file", async || holds(gateway.path("access.log").exists(), || "none".to_owned())).await;
    gateway.send(&Ask::new("DELETE /x")).await.expect_problem(401, "token-missing");
    let lines = gateway.access_lines(1).await;
    assert_eq!(lines[0]["method"], "DELETE");
    assert_eq!(gateway.read("access.log.1").lines().count(), 1);
}
