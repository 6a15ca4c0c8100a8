//! What the gateway writes down, and what it must not (R7).

use serde_json::json;

use crate::harness::{Ask, Gateway, Key, Peer, Setup, Upstream, claims_with, eventually, holds, unsigned};

#[tokio::test]
async fn each_request_has_a_line_that_says_what_was_decided() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address])
        .with("[routes]\n'/orgs/{org}/**' = { subject = 'path:org' }")
        .start()
        .await;
    let token = Key::usual().token("someone", "eu");
    gateway.send(&Ask::new("POST /orders").token(&token).body("12345")).await.expect_ok();
    gateway.send(&Ask::new("GET /orgs/acme/x").token(&token)).await.expect_ok();
    gateway.send(&Ask::new("POST /orders")).await.expect_problem(401, "token-missing");
    gateway.send(&Ask::new("GET /products")).await.expect_ok();
    gateway.send(&Ask::new("PURGE /products").token(&token)).await.expect_ok();
    let lines = gateway.access_lines(5).await;
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            [
                "method",
                "route",
                "status",
                "jurisdiction",
                "access",
                "decision",
                "served_by",
                "code",
                "client",
                "bytes_in",
            ]
            .map(|key| line[key].as_str().map_or_else(|| line[key].to_string(), str::to_owned))
            .join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "POST - 200 eu write local here - 127.0.0.0/24 5",
            "GET /orgs/{org}/** 200 eu read local here - 127.0.0.0/24 0",
            "POST - 401 - write refused - token-missing 127.0.0.0/24 0",
            "GET - 200 - read local here - 127.0.0.0/24 0",
            "other - 200 eu write local here - 127.0.0.0/24 0",
        ]
    );
    for line in &lines {
        assert_eq!(line["region"], "here");
        assert!(line["ts"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
        assert!(line["duration_us"].is_u64());
        assert_eq!(line["upstream_us"].is_u64(), line["status"] == 200);
    }
    // The same subject has the same hash, a subject of another name another one, nobody none.
    assert_eq!(lines[0]["subject"], lines[4]["subject"]);
    assert_ne!(lines[0]["subject"], lines[1]["subject"]);
    assert_eq!(lines[3]["subject"], "-");
}

#[tokio::test]
async fn hashes_of_subjects_depend_on_a_key() {
    let upstream = Upstream::mirror();
    let mut hashes = Vec::new();
    for key in ["a key of sixteen bytes", "a key of sixteen bytes", "another key of sixteen"] {
        let gateway = Setup::before(&[upstream.address])
            .with("[log]\nsubject_key = 'env:SUBJECT_KEY'")
            .env("SUBJECT_KEY", key)
            .start()
            .await;
        gateway.send(&Ask::new("GET /x").token(&Key::usual().token("someone", "us"))).await.expect_ok();
        hashes.push(gateway.access_lines(1).await[0]["subject"].as_str().expect("a hash").to_owned());
    }
    assert_eq!(hashes[0], hashes[1], "with the same key, lines of two gateways can be joined");
    assert_ne!(hashes[0], hashes[2]);
}

/// Everything the gateway has said to anyone but client and API.
async fn said(gateway: &Gateway) -> Vec<(&'static str, String)> {
    let metrics = String::from_utf8(gateway.ask_admin("/metrics").await.body).expect("UTF-8");
    let health = String::from_utf8(gateway.ask_admin("/health/full").await.body).expect("UTF-8");
    vec![
        ("access log", gateway.read("access.log")),
        ("log", gateway.stderr()),
        ("stdout", gateway.read("stdout.log")),
        ("metrics", metrics),
        ("health", health),
    ]
}

#[tokio::test]
async fn nothing_personal_or_secret_is_written_down() {
    // Fails in every way an API can, too, since errors talk most.
    let upstream = Upstream::start(|mut peer: Peer| async move {
        while let Some(seen) = peer.request().await {
            if seen.head.start.contains("break") {
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nwhisper-of-the-api").await;
                return;
            }
            if seen.head.start.contains("nonsense") {
                peer.say("whisper-of-the-api\r\n\r\n").await;
                return;
            }
            if seen.head.start.contains("hangup") {
                return;
            }
            peer.say(
                "HTTP/1.1 200 OK\r\nx-a: whisper-of-the-api\r\ncontent-length: 18\r\n\r\nwhisper-of-the-api",
            )
            .await;
        }
    });
    let gateway = Setup::before(&[upstream.address])
        .with(
            "trusted_proxies = ['127.0.0.0/8']\n[log]\nlevel = 'trace'\n[token]\nfrom = ['bearer', 'cookie:session']\n\
             [routes]\n'/orgs/{org}/**' = { subject = 'path:org' }\n\
             'POST /signup' = { country = 'json:/billing/country' }\n",
        )
        .start()
        .await;
    let subject = "whisper-subject@example.test";
    let good = Key::usual().token(subject, "eu");
    let stranger = Key::es256("whisper-kid");
    let bad = [
        stranger.token(subject, "eu"),
        Key::usual().sign(&claims_with("region", json!("whisper-region"))),
        Key::usual().sign(&claims_with("iss", json!("https://whisper.test/"))),
        Key::usual().sign(&claims_with("aud", json!("whisper-audience"))),
        Key::usual().sign(&claims_with("exp", json!("whisper-time"))),
        Key::usual()
            .sign_as(&json!({"alg": "whisper-alg", "kid": "whisper-kid"}), &claims_with("x", json!(1))),
        unsigned(&claims_with("sub", json!(subject))),
        "whisper-token".to_owned(),
    ];
    let dress = |ask: Ask| {
        ask.header("cookie", "theme=whisper-cookie")
            .header("x-forwarded-for", "203.0.113.77")
            .header("forwarded", "for=203.0.113.77")
            .header("referer", "https://whisper.test/referer")
            .header("user-agent", "whisper-agent")
            .header("x-api-key", "whisper-key")
    };
    let mut asks = Vec::new();
    for start in [
        "GET /whisper-path?email=whisper-query@example.test",
        "POST /whisper-path?break",
        "POST /nonsense/whisper-path",
        "DELETE /hangup/whisper-path",
        "GET /orgs/whisper-org/x",
        "GET /a/../whisper-path",
        "WHISPER-METHOD /x",
    ] {
        asks.push(dress(Ask::new(start)).token(&good).body("whisper-body@example.test"));
    }
    asks.extend(bad.iter().map(|token| dress(Ask::new("POST /orders")).token(token)));
    asks.push(dress(Ask::new("POST /orders")).header("cookie", &format!("session={}", bad[0])));
    asks.push(dress(Ask::new("POST /orders")).header("authorization", "Basic whisper-basic"));
    asks.push(Ask::new("GET /x").header("host", "whisper-host.test"));
    for country in ["DE", "whisper-country", "ZZ"] {
        asks.push(Ask::new("POST /signup").json(&json!({"email": subject, "billing": {"country": country}})));
    }
    let count = asks.len();
    for ask in asks {
        let mut wire = gateway.connect().await;
        wire.send(ask.bytes()).await;
        wire.head().await;
    }
    // What is no HTTP at all is heard of by the log only.
    for nonsense in ["whisper-nonsense\r\n\r\n", "GET /whisper-path HTTP/1.1\r\nwhisper header: 1\r\n\r\n"] {
        let mut wire = gateway.connect().await;
        wire.send(nonsense).await;
        wire.drain().await;
    }
    gateway.access_lines(count).await;
    eventually("the faults are counted", async || {
        let faults = gateway.metrics().await.value("residency_token_faults_total", &[]);
        holds(faults >= bad.len() as f64 - 1.0, || faults.to_string())
    })
    .await;
    let signature = good.rsplit_once('.').expect("three parts").1;
    let payload = good.split('.').nth(1).expect("three parts");
    for (place, text) in said(&gateway).await {
        let lower = text.to_lowercase();
        for secret in ["whisper", "example.test", "203.0.113.77", "127.0.0.1:", signature, payload] {
            let found = lower.lines().find(|line| line.contains(&secret.to_lowercase()));
            // The gateway's own upstream may be named, its clients may not.
            let own = found
                .is_some_and(|line| secret == "127.0.0.1:" && line.contains(&upstream.address.to_string()));
            assert!(found.is_none() || own, "{secret:?} is in the {place}: {found:?}");
        }
    }
    for line in gateway.access_log() {
        assert_eq!(line["client"], "127.0.0.0/24");
    }
}

#[tokio::test]
async fn every_metric_is_declared_once_and_labels_hold_only_what_the_configuration_names() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let token = Key::usual().token("someone", "eu");
    gateway.send(&Ask::new("POST /orders?x=1").token(&token)).await.expect_ok();
    gateway.send(&Ask::new("BREW /coffee").token("x.y.z")).await.expect_problem(401, "token-invalid");
    // `Metrics` parses strictly.
    let metrics = gateway.metrics().await;
    for label in metrics.labels() {
        let odd = label.contains('/') && !label.starts_with("file:")
            || label.contains('?')
            || label.contains("BREW");
        assert!(!odd, "{label:?}");
    }
    assert!(
        (metrics.value("residency_requests_total", &[("jurisdiction", "eu"), ("access", "write")]) - 1.0)
            .abs()
            < 1e-9
    );
    assert!(metrics.value("residency_request_duration_seconds_count", &[]) >= 2.0);
    assert!((metrics.value("residency_downstream_bytes_total", &[("direction", "in")])).abs() < 1e-9);
    assert!(metrics.value("process_resident_memory_bytes", &[]) > 1e6);
    let lines = gateway.access_lines(2).await.len() as f64;
    gateway.metric_becomes("residency_access_log_lines_total", &[("outcome", "written")], lines).await;
}

#[tokio::test]
async fn the_log_may_go_to_stdout_or_nowhere() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).with("[log]\naccess = 'stdout'").start().await;
    gateway.send(&Ask::new("GET /x")).await.expect_ok();
    eventually("a line on stdout", async || {
        let text = gateway.read("stdout.log");
        holds(text.ends_with('\n') && serde_json::from_str::<serde_json::Value>(&text).is_ok(), || text)
    })
    .await;
    drop(gateway);
    let mut gateway = Setup::before(&[upstream.address]).with("[log]\naccess = 'off'").start().await;
    gateway.send(&Ask::new("GET /x")).await.expect_ok();
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(gateway.end().await.success());
    assert_eq!((gateway.read("stdout.log"), gateway.read("access.log")), (String::new(), String::new()));
}
