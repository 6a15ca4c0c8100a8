//! The smallest gateway: five lines, one region, claims only.

use serde_json::json;

use crate::harness::{Ask, Key, Setup, Upstream, Wire, eventually, holds, jwks};

fn five_lines(upstream: &Upstream, workers: usize) -> Setup {
    let setup = Setup::bare();
    setup.write("jwks.json", &jwks([Key::usual()]).to_string());
    setup.with(&format!(
        "region = 'us-east'\nupstream = '{}'\njwks = 'file:jwks.json'\nserves = ['us']\nmode = 'observe'\n\
         [listen]\nworkers = {workers}\n[timeouts]\nupstream_idle_ms = 200\n",
        upstream.address
    ))
}

#[tokio::test]
async fn five_lines_make_a_gateway_that_watches() {
    let upstream = Upstream::mirror();
    let gateway = five_lines(&upstream, 1).start().await;
    let token = |region: &str| {
        Key::usual().sign(&json!({"sub": "me", "region": region, "exp": crate::harness::now() + 600}))
    };
    for (ask, jurisdiction, unlawful) in [
        (Ask::new("POST /orders").token(&token("us")), Some("us"), 0.0),
        (Ask::new("GET /products"), None, 0.0),
        (Ask::new("POST /orders").token(&token("eu")), None, 1.0),
        (Ask::new("POST /orders"), None, 2.0),
    ] {
        let answer = gateway.send(&ask).await;
        answer.expect_ok();
        assert_eq!(answer.head.get("residency-served-by"), Some("us-east"));
        assert_eq!(upstream.last().head.get("residency-jurisdiction"), jurisdiction);
        let observed = gateway.metrics().await.value("residency_unlawful_observed_total", &[]);
        assert!((observed - unlawful).abs() < 1e-9, "{observed}");
    }
    eventually("it is healthy without a database", async || {
        let health = gateway.send(&Ask::new("GET /health/full")).await;
        holds(health.status() == 200, || format!("{health:?}"))
    })
    .await;
}

#[tokio::test]
async fn the_example_file_of_the_sidecar_starts() {
    let upstream = Upstream::mirror();
    let text = include_str!("../../config/sidecar.toml");
    let example: toml::Table = text.parse().expect("TOML");
    let mut setup = five_lines(&upstream, 1);
    for (key, value) in example {
        // All but where this test's API and keys are.
        if !["upstream", "jwks"].contains(&key.as_str()) {
            setup.config.insert(key, value);
        }
    }
    let gateway = setup.start().await;
    gateway.send(&Ask::new("POST /orders")).await.expect_ok();
}

#[tokio::test]
async fn workers_share_the_port_and_all_serve() {
    let upstream = Upstream::mirror();
    let setup = five_lines(&upstream, 2).with("[timeouts]\nupstream_idle_ms = 4000");
    let gateway = setup.start().await;
    assert_eq!(listening_sockets(&gateway), 2, "one for each worker");
    // The kernel spreads connections by a hash of their ports: among this many, each worker gets some.
    let mut wires: Vec<Wire> = Vec::new();
    for _ in 0..64 {
        let mut wire = gateway.connect().await;
        wire.exchange(&Ask::new("GET /x")).await.expect_ok();
        wires.push(wire);
    }
    // One after the other, a single worker needs a single upstream connection.
    assert_eq!(upstream.accepted(), 2, "each worker has its own");
    gateway.metric_becomes("residency_downstream_connections_active", &[], 64.0).await;
    let served = gateway.metrics().await.value("residency_requests_total", &[]);
    assert!((served - 64.0).abs() < 1e-9, "{served}: the workers' counters are gathered");
}

/// How many sockets of the gateway listen on its http address, by the kernel's table.
fn listening_sockets(gateway: &crate::harness::Gateway) -> usize {
    let std::net::SocketAddr::V4(address) = gateway.http else { panic!("an IPv4 address") };
    let address = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    // Second column: local address; fourth: state, 0A is LISTEN.
    let listens = |line: &&str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns[1] == address && columns[3] == "0A"
    };
    table.lines().filter(listens).count()
}
