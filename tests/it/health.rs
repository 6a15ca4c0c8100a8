//! Health as balancers and operators ask for it. What databases have to do with it is tested in the world.

use serde_json::json;

use crate::harness::{Ask, Setup, Upstream, eventually, holds, vacant};

#[tokio::test]
async fn each_depth_is_served_on_every_listener_and_detail_on_the_admin_listener_only() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    for path in ["/health/basic", "/health/db", "/health/full", "/health/db?jurisdiction=eu"] {
        let answer = eventually(path, async || {
            let answer = gateway.send(&Ask::new(&format!("GET {path}"))).await;
            if answer.status() == 200 { Ok(answer) } else { Err(format!("{answer:?}")) }
        })
        .await;
        assert_eq!(answer.head.get("content-type"), Some("application/health+json"));
        assert_eq!(answer.head.get("cache-control"), Some("no-store"));
        assert_eq!(answer.json(), json!({"status": "pass", "serviceId": "residency-gateway"}), "{path}");
        let detailed = gateway.ask_admin(path).await;
        assert_eq!(
            (detailed.status(), detailed.head.get("content-type")),
            (200, Some("application/health+json"))
        );
        assert_eq!(detailed.json()["description"], "region here");
        assert!(detailed.json()["checks"].is_object());
    }
    assert_eq!(gateway.send(&Ask::new("GET /health/db?jurisdiction=nowhere")).await.status(), 404);
    // Only these are the gateway's own; the rest is the API's.
    for path in ["/health", "/health/other", "/metrics", "/residency/state"] {
        gateway.send(&Ask::new(&format!("GET {path}"))).await.expect_ok();
        assert_eq!(upstream.last().head.start, format!("GET {path} HTTP/1.1"));
    }
    assert_eq!(gateway.ask_admin("/other").await.status(), 404);
}

#[tokio::test]
async fn full_health_knows_endpoints_redis_and_external_services() {
    // Answers 500 to begin with, then 200.
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let flag = std::sync::Arc::clone(&broken);
    let external = Upstream::start(move |mut peer| {
        let broken = std::sync::Arc::clone(&flag);
        async move {
            while peer.request().await.is_some() {
                let status =
                    if broken.load(std::sync::atomic::Ordering::SeqCst) { "503 No" } else { "200 OK" };
                peer.say(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await;
            }
        }
    });
    let (upstream, absent) = (Upstream::mirror(), vacant());
    let gateway = Setup::before(&[upstream.address, absent])
        .with(&format!(
            "[regions.here]\nredis = 'redis://{}/'\n[health]\nexternal = [{{ name = 'stripe', url = 'http://{}/' }}]\n",
            vacant(),
            external.address
        ))
        .start()
        .await;
    let status = async |path: &str| {
        let answer = gateway.ask_admin(path).await;
        (
            answer.status(),
            answer.json()["status"].as_str().expect("a status").to_owned(),
            answer.json()["checks"].clone(),
        )
    };
    let checks = eventually("everything was looked at", async || {
        let (code, overall, checks) = status("/health/full").await;
        let text = checks.to_string();
        let looked = ["redis", "stripe", &absent.to_string()].iter().all(|name| text.contains(name));
        if looked && (code, overall.as_str()) == (503, "fail") { Ok(text) } else { Err(text) }
    })
    .await;
    assert!(checks.contains("\"warn\""), "an external service is not ours: {checks}");
    // Redis is no database, and one endpoint of two is enough.
    assert_eq!(status("/health/db").await.0, 200);
    assert_eq!(status("/health/basic").await.0, 200);
    assert_eq!(gateway.send(&Ask::new("GET /health/full")).await.json()["status"], "fail");
    gateway.send(&Ask::new("GET /x")).await.expect_ok();
    drop(external);
    gateway.metric_becomes("residency_endpoint_up", &[("endpoint", &absent.to_string())], 0.0).await;
    gateway
        .metric_becomes("residency_endpoint_up", &[("endpoint", &upstream.address.to_string())], 1.0)
        .await;
}

#[tokio::test]
async fn without_any_endpoint_full_health_fails_and_recovers_with_it() {
    let address = vacant();
    let gateway = Setup::before(&[address]).start().await;
    let becomes = async |wanted: u16| {
        eventually("health", async || {
            let answer = gateway.send(&Ask::new("GET /health/full")).await;
            holds(answer.status() == wanted, || format!("{answer:?}"))
        })
        .await;
    };
    becomes(503).await;
    assert_eq!(gateway.send(&Ask::new("GET /health/basic")).await.status(), 200);
    let _upstream =
        Upstream::start_at(address, |mut peer| async move { while peer.mirror().await.is_some() {} });
    becomes(200).await;
}
