//! A home that moves: what the databases themselves say decides, and gateways follow without a restart.
//!
//! A promotion can't be undone in a world that other tests use, so this one has a world of its own.

use residency_loadtest::world::{Answer, Call, Jurisdiction, Port, Region, Service, World};

use super::shared::{health_becomes, start_own};
use super::user::{User, sent};
use crate::harness::{Metrics, eventually, holds};

/// Who is not cut off with the former home.
const OTHERS: [Region; 3] = [Region::EuFrankfurt, Region::EuNuremberg, Region::ApSingapore];

async fn metrics(world: &World, region: Region) -> Metrics {
    let address = world.address(region, Port::GatewayAdmin);
    let answer = sent(Call::new(address, http::Method::GET, "/metrics")).await;
    Metrics::parse(std::str::from_utf8(&answer.body).expect("UTF-8"))
}

async fn know(world: &World, regions: &[Region], home: Region, generation: f64) {
    for &region in regions {
        eventually(&format!("{region} knows of generation {generation}"), async || {
            let metrics = metrics(world, region).await;
            let us = ("jurisdiction", "us");
            let found = metrics.value("residency_jurisdiction_generation", &[us]);
            let at_home = metrics.value("residency_jurisdiction_home", &[us, ("region", home.name())]);
            holds((found - generation).abs() < 0.1 && at_home > 0.5, || format!("{found} {at_home}"))
        })
        .await;
    }
}

async fn order_becomes(world: &World, user: &User, at: Region, wanted: (u16, Option<&str>)) -> Answer {
    eventually(&format!("orders at {at} get {wanted:?}"), async || {
        let answer = user.order(world, at, "tea").await;
        let found = (answer.status.as_u16(), answer.problem());
        holds((found.0, found.1.as_deref()) == wanted, || format!("{answer:?}"))?;
        Ok(answer)
    })
    .await
}

#[tokio::test]
async fn writes_follow_the_home_and_never_go_back() {
    let world = start_own().await;
    let us = User::new(&world, Region::UsEast, Jurisdiction::Us).await;
    let eu = User::new(&world, Region::EuFrankfurt, Jurisdiction::Eu).await;
    let old = world.sql(Region::UsEast, Jurisdiction::Us).await.expect("a session");
    know(&world, &Region::ALL, Region::UsEast, 1.0).await;

    // Closed to writes, everywhere and by name; reads go on.
    old.batch_execute("UPDATE residency.jurisdiction SET read_only = true").await.expect("an update");
    for at in Region::ALL {
        order_becomes(&world, &us, at, (503, Some("read-only"))).await;
        assert_eq!(us.orders(&world, at).await.status, 200, "{at}");
        assert_eq!(eu.order(&world, at, "tea").await.status, 201, "{at}");
    }
    old.batch_execute("UPDATE residency.jurisdiction SET read_only = false").await.expect("an update");
    for at in Region::ALL {
        order_becomes(&world, &us, at, (201, None)).await;
    }

    world.caught_up(Jurisdiction::Us).await.expect("the standbys catch up");
    // Nobody proves that the primary is dead, which it isn't.
    world.isolate(Region::UsEast);
    order_becomes(&world, &us, Region::ApSingapore, (503, Some("home-unavailable"))).await;
    let new = world.sql(Region::EuFrankfurt, Jurisdiction::Us).await.expect("a session");
    new.batch_execute("SELECT pg_promote()").await.expect("it is promoted");
    // A primary that is not the home gets no writes.
    let answer = us.order(&world, Region::EuFrankfurt, "tea").await;
    assert_eq!(answer.problem().as_deref(), Some("home-unavailable"), "{answer:?}");
    new.batch_execute("UPDATE residency.jurisdiction SET home = 'eu-frankfurt', generation = 2")
        .await
        .expect("an update");
    know(&world, &OTHERS, Region::EuFrankfurt, 2.0).await;
    for at in OTHERS {
        let answer = order_becomes(&world, &us, at, (201, None)).await;
        assert_eq!(answer.header("residency-served-by"), "eu-frankfurt", "{at}");
        assert_eq!(answer.header("x-served-database"), "us/primary", "{at}");
        assert_eq!(eu.order(&world, at, "tea").await.status, 201, "{at}");
    }

    // The former primary is back and still takes itself for the home: it gets nothing, and is reported.
    world.heal_all();
    know(&world, &Region::ALL, Region::EuFrankfurt, 2.0).await;
    eventually("it is found to be behind", async || {
        let checks = health_becomes(&world, Region::UsEast, "/health/db", (503, "fail")).await;
        holds(checks.to_string().contains("has missed a promotion"), || checks.to_string())
    })
    .await;
    let stale = [("jurisdiction", "us"), ("kind", "stale-primary")];
    for region in [Region::UsEast, Region::ApSingapore] {
        eventually(&format!("{region} raises the alarm"), async || {
            let alarms = metrics(&world, region).await.value("residency_home_alarms_total", &stale);
            holds(alarms > 0.5, || alarms.to_string())
        })
        .await;
    }
    let orders = async || -> i64 {
        old.query_one("SELECT count(*) FROM orders", &[]).await.expect("an answer").get(0)
    };
    order_becomes(&world, &us, Region::UsEast, (201, None)).await;
    let before = orders().await;
    for at in Region::ALL {
        let answer = us.order(&world, at, "tea").await;
        assert_eq!((answer.status.as_u16(), answer.header("residency-served-by")), (201, "eu-frankfurt"));
        let answer = us.orders(&world, at).await;
        assert_ne!(answer.header("residency-served-by"), "us-east", "{at} reads what is behind");
    }
    assert_eq!(orders().await, before);

    // What was known is not forgotten with a reload, nor with the death of who said it.
    let gateway = Service::Gateway(Region::ApSingapore);
    world.kill(Service::Gateway(Region::EuFrankfurt)).await.expect("it is killed");
    order_becomes(&world, &us, Region::ApSingapore, (503, Some("home-unavailable"))).await;
    world.signal(gateway, nix::sys::signal::Signal::SIGHUP).expect("it runs");
    eventually("the configuration is read again", async || {
        let found = metrics(&world, Region::ApSingapore).await.value("residency_config_generation", &[]);
        holds(found > 1.5, || found.to_string())
    })
    .await;
    knows_at(&world, Region::ApSingapore).await;
    world.stop().expect("nothing is left");
}

/// Singapore still takes Frankfurt for the home.
async fn knows_at(world: &World, region: Region) {
    eventually("the home is remembered", async || {
        let home = [("jurisdiction", "us"), ("region", "eu-frankfurt")];
        let found = metrics(world, region).await.value("residency_jurisdiction_home", &home);
        holds(found > 0.5, || found.to_string())
    })
    .await;
}
