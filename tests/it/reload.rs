//! SIGHUP, or a file that has changed: a new configuration for requests to come, none for what is under way, and none at all when it is wrong.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use nix::sys::signal::Signal;
use tokio::sync::Notify;

use crate::harness::{
    Ask, Gateway, Key, Peer, Pki, Setup, Upstream, certificates, eventually, holds, jwks, vacant,
};
use crate::tls::{dial, with_certificate, write_certificate, write_pair};

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

/// Waits for two looks more: a change made now is adopted, and whatever else was to be said has been.
async fn looked_twice(gateway: &Gateway, kid: &str) {
    let key = Key::eddsa(kid);
    gateway.setup.write("jwks.json", &jwks([Key::usual(), &key]).to_string());
    let ask = Ask::new("POST /orders").token(&key.token("me", "us"));
    eventually("the keys are read without a signal", async || {
        let status = gateway.send(&ask).await.status();
        holds(status == 200, || format!("{status}"))
    })
    .await;
}

fn watching(upstream: &Upstream) -> Setup {
    Setup::before(&[upstream.address]).with("reload = 'watch'")
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_signal() {
    let upstream = Upstream::mirror();
    let gateway = with_certificate(watching(&upstream)).start().await;
    let first = gateway.path("first.pem");
    fs::copy(gateway.path("chain.pem"), &first).expect("a copy");
    let mut open = dial(&gateway, &first, &[]).await.expect("a handshake");
    open.exchange(&Ask::new("GET /x")).await.expect_ok();
    let served = async |chain: &str| {
        let chain = gateway.path(chain);
        eventually("the new certificate is shown", async || {
            let dialled = dial(&gateway, &chain, &[]).await;
            holds(dialled.is_ok(), || format!("{:?}", dialled.err()))
        })
        .await;
    };
    // By rename, key first: for a moment the two don't belong together.
    write_pair(&gateway.setup, "next.pem", "next.key", &["api.test"]);
    fs::copy(gateway.path("next.pem"), gateway.path("second.pem")).expect("a copy");
    fs::rename(gateway.path("next.key"), gateway.path("key.pem")).expect("it is there");
    fs::rename(gateway.path("next.pem"), gateway.path("chain.pem")).expect("it is there");
    served("second.pem").await;
    // As Kubernetes mounts a Secret: both files lead through `..data`, which is swapped.
    for version in ["v1", "v2"] {
        fs::create_dir(gateway.path(version)).expect("a directory");
    }
    for file in ["chain.pem", "key.pem"] {
        fs::copy(gateway.path(file), gateway.path("v1").join(file)).expect("a copy");
    }
    symlink("v1", gateway.path("..data")).expect("a link");
    for file in ["chain.pem", "key.pem"] {
        symlink(format!("..data/{file}"), gateway.path("link")).expect("a link");
        fs::rename(gateway.path("link"), gateway.path(file)).expect("it is there");
    }
    looked_twice(&gateway, "linked").await;
    write_pair(&gateway.setup, "v2/chain.pem", "v2/key.pem", &["api.test"]);
    symlink("v2", gateway.path("..data_tmp")).expect("a link");
    fs::rename(gateway.path("..data_tmp"), gateway.path("..data")).expect("it is there");
    served("v2/chain.pem").await;

    open.exchange(&Ask::new("GET /x")).await.expect_ok();
    let metrics = gateway.metrics().await;
    assert!(
        (metrics.value("residency_config_generation", &[]) - 1.0).abs() < 1e-9,
        "certificates alone were read"
    );
    let rejected = metrics.value("residency_config_reloads_total", &[("result", "rejected")]);
    assert!(rejected < 1e-9, "nothing half done was read");
    // Once for the first configuration, once for each new pair; links to the same content are no change.
    gateway.metric_becomes("residency_config_reloads_total", &[("result", "applied")], 3.0).await;
}

#[tokio::test]
async fn a_bad_certificate_is_reported_once_and_changes_nothing() {
    let upstream = Upstream::mirror();
    let gateway = with_certificate(watching(&upstream)).start().await;
    let good = gateway.path("good.pem");
    fs::copy(gateway.path("chain.pem"), &good).expect("a copy");
    gateway.setup.write("chain.pem", "not a certificate");
    gateway.logged("certificates refused").await;
    gateway.metric_becomes("residency_config_last_reload_success", &[], 0.0).await;
    looked_twice(&gateway, "once").await;
    looked_twice(&gateway, "twice").await;
    assert_eq!(gateway.stderr().matches("certificates refused").count(), 1);
    let mut wire = dial(&gateway, &good, &[]).await.expect("the certificate from before");
    wire.exchange(&Ask::new("GET /x")).await.expect_ok();
    drop(wire);
    write_certificate(&gateway.setup, "chain.pem");
    gateway.metric_becomes("residency_config_last_reload_success", &[], 1.0).await;
    gateway.metric_becomes("residency_config_reloads_total", &[("result", "rejected")], 1.0).await;
    dial(&gateway, &gateway.path("chain.pem"), &[]).await.expect("the new one");
}

#[tokio::test]
async fn a_new_configuration_is_adopted_without_a_signal() {
    let upstream = Upstream::mirror();
    let mut gateway = with_certificate(watching(&upstream)).start().await;
    let mut wire = gateway.connect().await;
    let ask = Ask::new("POST /search").token(&Key::usual().token("me", "us"));
    wire.exchange(&ask).await.expect_ok();
    // Half an edit is refused, once, and serves on; it keeps no certificate from being renewed.
    gateway.setup.write("residency.toml", "mode = 'strict'");
    gateway.logged("the old one stays").await;
    write_certificate(&gateway.setup, "chain.pem");
    let chain = gateway.path("chain.pem");
    eventually("the new certificate is shown", async || {
        let dialled = dial(&gateway, &chain, &[]).await;
        holds(dialled.is_ok(), || format!("{:?}", dialled.err()))
    })
    .await;
    gateway.metric_becomes("residency_config_last_reload_success", &[], 0.0).await;
    gateway.metric_becomes("residency_config_reloads_total", &[("result", "rejected")], 1.0).await;
    assert_eq!(gateway.stderr().matches("configuration refused").count(), 1);
    wire.exchange(&ask).await.expect_ok();
    assert_eq!(upstream.last().head.get("residency-access"), Some("write"));
    // The whole edit.
    gateway.setup.lay("[routes]\n'POST /search' = { access = 'read' }");
    gateway.setup.save();
    eventually("the rule is in force", async || {
        wire.exchange(&ask).await.expect_ok();
        let access = upstream.last().head.get("residency-access").map(str::to_owned);
        holds(access.as_deref() == Some("read"), || format!("{access:?}"))
    })
    .await;
    gateway.metric_becomes("residency_config_last_reload_success", &[], 1.0).await;
    gateway.metric_becomes("residency_config_generation", &[], 2.0).await;
}

#[tokio::test]
async fn a_configuration_waits_for_a_certificate_that_comes_later() {
    let upstream = Upstream::mirror();
    let mut gateway = with_certificate(watching(&upstream)).start().await;
    gateway
        .setup
        .lay("[tls]\ncertificate = 'file:later.pem'\n[routes]\n'POST /search' = { access = 'read' }");
    gateway.setup.save();
    gateway.logged("later.pem: cannot be read").await;
    fs::copy(gateway.path("chain.pem"), gateway.path("later.pem")).expect("a copy");
    gateway.metric_becomes("residency_config_generation", &[], 2.0).await;
    gateway.metric_becomes("residency_config_last_reload_success", &[], 1.0).await;
    gateway.metric_becomes("residency_config_reloads_total", &[("result", "rejected")], 1.0).await;
}

#[tokio::test]
async fn certificates_among_gateways_are_renewed_without_a_signal() {
    let upstream = Upstream::mirror();
    let pki = Pki::init(&["here", "there"]);
    let internal = vacant();
    let gateway = watching(&upstream)
        .with(&format!(
            "internal_tls = 'dir:{}'\n[listen]\ninternal = '{internal}'\n[regions.there]\ngateway = '{}'\n",
            pki.path().display(),
            vacant(),
        ))
        .start()
        .await;
    let end = async || {
        let named = &[("certificate", "internal")];
        gateway.metrics().await.value("residency_certificate_expiry_timestamp_seconds", named)
    };
    let before = end().await;
    let shown = async || {
        let wire = pki.dial(internal, "here", Some((&pki, "there"))).await.expect("a handshake");
        wire.stream.get_ref().1.peer_certificates().expect("one")[0].clone().into_owned()
    };
    let old = shown().await;
    pki.run(&["pki", "rotate"]);
    let new = certificates(&pki.path().join("here.crt")).remove(0);
    assert_ne!(old, new);
    eventually("the new certificate is shown", async || {
        holds(shown().await == new, || "the old one".to_owned())
    })
    .await;
    assert!(end().await >= before);
    gateway.metric_becomes("residency_config_generation", &[], 1.0).await;
    // From now on without the file: nothing changes, and it is said once.
    fs::remove_file(pki.path().join("here.key")).expect("it is there");
    gateway.logged("certificates refused").await;
    assert_eq!(shown().await, new);
}
