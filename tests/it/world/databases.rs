//! Databases that lag or are gone: what health says, and where requests go then.

use http::Method;
use residency_loadtest::world::{Call, Jurisdiction, Port, Region, Service, World};
use serde_json::Value;
use tokio::time::{Duration, sleep};

use super::shared::health_becomes;
use super::user::{User, sent};
use crate::harness::{eventually, holds};

/// Names of the checks of `/health/db` on a region's admin listener.
async fn database_checks(world: &World, region: Region, query: &str) -> Vec<String> {
    let path = format!("/health/db{query}");
    let answer = sent(Call::new(world.address(region, Port::GatewayAdmin), Method::GET, &path)).await;
    let document: Value = answer.json().expect("JSON");
    document["checks"].as_object().expect("detail").keys().cloned().collect()
}

pub async fn health_names_each_database_of_its_region(world: &World) {
    for region in Region::ALL {
        let mut expected = Vec::new();
        for jurisdiction in region.databases() {
            expected.push(format!("postgres-{jurisdiction}:connection"));
            if jurisdiction.home() != region {
                expected.push(format!("postgres-{jurisdiction}:replication-lag"));
            }
        }
        expected.sort();
        assert_eq!(database_checks(world, region, "").await, expected, "{region}");
    }
    let eu = database_checks(world, Region::EuFrankfurt, "?jurisdiction=eu").await;
    assert_eq!(eu, ["postgres-eu:connection"]);
    assert_eq!(database_checks(world, Region::ApSingapore, "?jurisdiction=eu").await, Vec::<String>::new());
    for path in ["/health/basic", "/health/db", "/health/full"] {
        let answer = sent(world.call(Region::EuNuremberg, Method::GET, path)).await;
        assert_eq!(answer.header("content-type"), "application/health+json");
        let document: Value = answer.json().expect("JSON");
        assert!(document.get("checks").is_none() && document.get("description").is_none(), "{document}");
    }
    let metrics =
        sent(Call::new(world.address(Region::EuFrankfurt, Port::GatewayAdmin), Method::GET, "/metrics"))
            .await;
    let metrics = crate::harness::Metrics::parse(std::str::from_utf8(&metrics.body).expect("UTF-8"));
    let role = |jurisdiction, role| {
        metrics.value("residency_database_role", &[("jurisdiction", jurisdiction), ("role", role)]) > 0.5
    };
    assert!(role("eu", "primary") && role("us", "replica") && !role("us", "primary"));
}

/// Waits until a user's reads at `at` are answered by `by`; every answer on the way is a good one.
async fn reads_go_to(world: &World, user: &User, at: Region, by: Region) {
    eventually(&format!("{at}'s reads go to {by}"), async || {
        let answer = user.orders(world, at).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let found = answer.header("residency-served-by").to_owned();
        holds(found == by.name(), || found)
    })
    .await;
}

pub async fn a_replica_that_lags_fails_and_its_reads_go_elsewhere(world: &World) {
    let us = User::new(world, Region::UsEast, Jurisdiction::Us).await;
    world.caught_up(Jurisdiction::Us).await.expect("the standbys catch up");
    reads_go_to(world, &us, Region::ApSingapore, Region::ApSingapore).await;
    let replica = world.sql(Region::ApSingapore, Jurisdiction::Us).await.expect("a session");
    replica.batch_execute("SELECT pg_wal_replay_pause()").await.expect("a standby can pause");
    // Lag is the age of what is missing: without writes nothing is.
    let writes = async {
        loop {
            assert_eq!(us.order(world, Region::UsEast, "tea").await.status, 201);
            sleep(Duration::from_millis(50)).await;
        }
    };
    let look = async {
        let checks = health_becomes(world, Region::ApSingapore, "/health/db", (503, "fail")).await;
        let lag = &checks["postgres-us:replication-lag"][0];
        assert!(lag["status"] == "fail" && lag["observedUnit"] == "ms", "{checks}");
        assert!(lag["observedValue"].as_u64().is_some_and(|lag| lag >= 500), "{checks}");
        // It says so to everybody, for this jurisdiction and not for another.
        let status =
            async |path| sent(world.call(Region::ApSingapore, Method::GET, path)).await.status.as_u16();
        assert_eq!(status("/health/db?jurisdiction=us").await, 503);
        assert_eq!(status("/health/db?jurisdiction=eu").await, 200);
        assert_eq!(status("/health/basic").await, 200);
        reads_go_to(world, &us, Region::ApSingapore, Region::EuFrankfurt).await;
    };
    tokio::select! {
        () = writes => (),
        () = look => (),
    }
    replica.batch_execute("SELECT pg_wal_replay_resume()").await.expect("it goes on");
    health_becomes(world, Region::ApSingapore, "/health/db", (200, "pass")).await;
    reads_go_to(world, &us, Region::ApSingapore, Region::ApSingapore).await;
}

pub async fn a_killed_replica_fails_and_its_reads_go_elsewhere(world: &World) {
    let us = User::new(world, Region::UsEast, Jurisdiction::Us).await;
    world.caught_up(Jurisdiction::Us).await.expect("the standbys catch up");
    reads_go_to(world, &us, Region::ApSingapore, Region::ApSingapore).await;
    let replica = Service::Postgres(Region::ApSingapore, Jurisdiction::Us);
    world.kill(replica).await.expect("it is killed");
    let checks = health_becomes(world, Region::ApSingapore, "/health/db", (503, "fail")).await;
    assert_eq!(checks["postgres-us:connection"][0]["status"], "fail", "{checks}");
    let text = checks.to_string();
    assert!(!text.contains("password") && !text.contains("postgres://"), "{text}");
    reads_go_to(world, &us, Region::ApSingapore, Region::EuFrankfurt).await;
    assert_eq!(us.order(world, Region::ApSingapore, "tea").await.status, 201);
    world.restart(replica).await.expect("it comes back");
    health_becomes(world, Region::ApSingapore, "/health/db", (200, "pass")).await;
    reads_go_to(world, &us, Region::ApSingapore, Region::ApSingapore).await;
}

pub async fn a_killed_primary_stops_writes_and_not_reads(world: &World) {
    let eu = User::new(world, Region::EuFrankfurt, Jurisdiction::Eu).await;
    let us = User::new(world, Region::UsEast, Jurisdiction::Us).await;
    // One that has tried to write may have written, and is shown no replica for it.
    let reader = User::new(world, Region::EuFrankfurt, Jurisdiction::Eu).await;
    eu.order(world, Region::EuFrankfurt, "tea").await;
    world.caught_up(Jurisdiction::Eu).await.expect("the standby catches up");
    let primary = Service::Postgres(Region::EuFrankfurt, Jurisdiction::Eu);
    world.kill(primary).await.expect("it is killed");
    health_becomes(world, Region::EuFrankfurt, "/health/db?jurisdiction=eu", (503, "fail")).await;
    // The other jurisdiction's users there are none of its business.
    health_becomes(world, Region::EuFrankfurt, "/health/db?jurisdiction=us", (200, "pass")).await;
    for at in Region::ALL {
        eventually(&format!("{at} refuses writes"), async || {
            let answer = eu.order(world, at, "more tea").await;
            assert_ne!(answer.status, 201, "written without a primary");
            holds(answer.problem().as_deref() == Some("home-unavailable"), || format!("{answer:?}"))
        })
        .await;
        eventually(&format!("{at} reads the replica"), async || {
            let answer = reader.orders(world, at).await;
            let found = (answer.status.as_u16(), answer.header("x-served-database"));
            holds(found == (200, "eu/replica"), || format!("{answer:?}"))
        })
        .await;
        assert_eq!(us.order(world, at, "tea").await.status, 201, "{at}");
    }
    // Where it is only a replica that is left, that is no failure of this region's.
    health_becomes(world, Region::EuNuremberg, "/health/db", (200, "warn")).await;
    world.restart(primary).await.expect("it comes back");
    health_becomes(world, Region::EuFrankfurt, "/health/db", (200, "pass")).await;
    eventually("writes go on", async || {
        let answer = eu.order(world, Region::ApSingapore, "tea at last").await;
        holds(answer.status == 201, || format!("{answer:?}"))
    })
    .await;
}

pub async fn a_killed_redis_fails_full_health_only(world: &World) {
    let redis = Service::Redis(Region::UsEast);
    world.kill(redis).await.expect("it is killed");
    let checks = health_becomes(world, Region::UsEast, "/health/full", (503, "fail")).await;
    assert!(
        checks.as_object().is_some_and(|checks| checks.keys().any(|name| name.contains("redis"))),
        "{checks}"
    );
    health_becomes(world, Region::UsEast, "/health/db", (200, "pass")).await;
    health_becomes(world, Region::UsEast, "/health/basic", (200, "pass")).await;
    health_becomes(world, Region::EuFrankfurt, "/health/full", (200, "pass")).await;
    let us = User::new(world, Region::UsEast, Jurisdiction::Us).await;
    assert_eq!(us.order(world, Region::UsEast, "tea").await.status, 201);
    world.restart(redis).await.expect("it comes back");
}
