//! Regions that can't be reached, processes that die, and a configuration read anew while requests come in.

use http::Method;
use nix::sys::signal::Signal;
use residency_loadtest::world::{Call, Fault, Jurisdiction, Port, Region, Service, World};
use tokio::time::{Duration, sleep, timeout};

use super::shared::health_becomes;
use super::user::{User, sent};
use crate::harness::{Metrics, eventually, holds};

/// Asked for long enough a request through a dead link waits; asking again shows whether it was noticed.
const GLANCE: Duration = Duration::from_secs(3);

/// Waits until a request is answered with this status and code.
async fn becomes(what: &str, wanted: (u16, Option<&str>), ask: impl Fn() -> Call) {
    eventually(what, async || {
        let Ok(answer) = timeout(GLANCE, ask().send()).await else { return Err("no answer".to_owned()) };
        let answer = answer.map_err(|error| format!("{error:#}"))?;
        let code = answer.problem();
        let found = (answer.status.as_u16(), code.as_deref());
        holds(found == wanted, || format!("{found:?}"))
    })
    .await;
}

pub async fn a_home_that_is_away_is_a_warning_elsewhere(world: &World) {
    let us = User::new(world, Region::UsEast, Jurisdiction::Us).await;
    world.caught_up(Jurisdiction::Us).await.expect("the standbys catch up");
    world.isolate(Region::UsEast);
    let checks = health_becomes(world, Region::ApSingapore, "/health/db", (200, "warn")).await;
    assert_eq!(checks["postgres-us:replication-lag"][0]["status"], "warn", "unknown is not zero: {checks}");
    let full = health_becomes(world, Region::ApSingapore, "/health/full", (200, "warn")).await;
    assert!(full.to_string().contains("us-east"), "{full}");
    // Reads go on from what is here, writes are refused, and the home itself serves its own.
    let order = |at| us.call(world, at, Method::POST, "/orders").json(&serde_json::json!({"item": "tea"}));
    becomes("writes are refused", (503, Some("home-unavailable")), || order(Region::ApSingapore)).await;
    let read = us.orders(world, Region::ApSingapore).await;
    assert_eq!((read.status.as_u16(), read.header("residency-served-by")), (200, "ap-singapore"));
    assert_eq!(sent(order(Region::UsEast)).await.status, 201);
    world.heal_all();
    becomes("writes go on", (201, None), || order(Region::ApSingapore)).await;
}

pub async fn with_all_of_the_eu_cut_off_its_data_stays_there(world: &World) {
    let eu = User::new(world, Region::ApSingapore, Jurisdiction::Eu).await;
    let us = User::new(world, Region::ApSingapore, Jurisdiction::Us).await;
    let item = format!("refused {}", eu.id);
    for fault in [Fault::Silence, Fault::Reset] {
        world.links().cut_off(&Region::EU, fault);
        let order = |at| eu.call(world, at, Method::POST, "/orders").json(&serde_json::json!({"item": item}));
        let read = |at| eu.call(world, at, Method::GET, "/orders");
        for at in [Region::ApSingapore, Region::UsEast] {
            // By reads first: a write that was on its way when the link went silent may arrive when it heals.
            becomes("reads are refused", (503, Some("no-lawful-replica")), || read(at)).await;
            becomes("writes are refused", (503, Some("home-unavailable")), || order(at)).await;
            assert!(!sent(order(at)).await.header("retry-after").is_empty());
            assert_eq!(us.order(world, at, "tea").await.status, 201, "US users don't notice");
        }
        // Inside the EU its users go on.
        for at in Region::EU {
            assert_eq!(eu.order(world, at, "tea").await.status, 201, "{at}");
            assert_eq!(eu.orders(world, at).await.status, 200, "{at}");
        }
        world.heal_all();
        becomes("reads go on", (200, None), || read(Region::ApSingapore)).await;
        becomes("reads go on", (200, None), || read(Region::UsEast)).await;
    }
    let query = "SELECT count(*) FROM orders WHERE item = $1";
    for (region, jurisdiction) in
        [(Region::EuFrankfurt, Jurisdiction::Eu), (Region::UsEast, Jurisdiction::Us)]
    {
        let sql = world.sql(region, jurisdiction).await.expect("a session");
        let count: i64 = sql.query_one(query, &[&item]).await.expect("a count").get(0);
        assert_eq!(count, 0, "a refused write is in {region}");
    }
}

pub async fn a_region_that_goes_silent_is_not_waited_for(world: &World) {
    let eu = User::new(world, Region::UsEast, Jurisdiction::Eu).await;
    eu.order(world, Region::UsEast, "tea").await;
    // One whose write is on its way may have written, and is shown no replica for it.
    let reader = User::new(world, Region::UsEast, Jurisdiction::Eu).await;
    world.caught_up(Jurisdiction::Eu).await.expect("the standby catches up");
    world.links().cut_off(&[Region::EuFrankfurt], Fault::Silence);
    // Both are on their way before anybody knows; what an answer may take is far longer than it takes to know.
    let (read, write) =
        tokio::join!(reader.orders(world, Region::UsEast), eu.order(world, Region::UsEast, "more tea"));
    assert_eq!((read.status.as_u16(), read.header("residency-served-by")), (200, "eu-nuremberg"));
    // Whether it was sent on an open connection, and may have been carried out, or waited for a new one, and was not.
    let (status, code) = (write.status.as_u16(), write.problem());
    let refused = [(504, Some("upstream-timeout")), (503, Some("home-unavailable"))];
    assert!(refused.contains(&(status, code.as_deref())), "{write:?}");
    let next = eu.order(world, Region::UsEast, "yet more").await;
    assert_eq!((next.status.as_u16(), next.problem().as_deref()), (503, Some("home-unavailable")));
    world.heal_all();
    becomes("writes go on", (201, None), || {
        eu.call(world, Region::UsEast, Method::POST, "/orders").json(&serde_json::json!({"item": "x"}))
    })
    .await;
}

pub async fn a_killed_api_process_is_made_up_for_by_the_other(world: &World) {
    let eu = User::new(world, Region::EuFrankfurt, Jurisdiction::Eu).await;
    let process = Service::Api(Region::EuFrankfurt, 1);
    for _ in 0..10 {
        assert_eq!(eu.order(world, Region::EuFrankfurt, "before").await.status, 201);
    }
    world.kill(process).await.expect("it is killed");
    for index in 0..30 {
        let at = if index % 2 == 0 { Region::EuFrankfurt } else { Region::UsEast };
        let answer = eu.order(world, at, "after").await;
        assert_eq!(answer.status, 201, "request {index}: {answer:?}");
    }
    let full = health_becomes(world, Region::EuFrankfurt, "/health/full", (200, "warn")).await;
    assert!(
        full.to_string().contains(&world.address(Region::EuFrankfurt, Port::Api(1)).to_string()),
        "{full}"
    );
    world.restart(process).await.expect("it comes back");
}

pub async fn a_killed_gateway_takes_its_region_out_and_brings_it_back(world: &World) {
    let eu = User::new(world, Region::EuFrankfurt, Jurisdiction::Eu).await;
    eu.order(world, Region::EuFrankfurt, "tea").await;
    world.caught_up(Jurisdiction::Eu).await.expect("the standby catches up");
    let gateway = Service::Gateway(Region::EuFrankfurt);
    world.kill(gateway).await.expect("it is killed");
    let order = || {
        eu.call(world, Region::ApSingapore, Method::POST, "/orders").json(&serde_json::json!({"item": "x"}))
    };
    becomes("writes are refused", (503, Some("home-unavailable")), order).await;
    // What may be read elsewhere in the EU is.
    let read = eu.orders(world, Region::ApSingapore).await;
    assert_eq!((read.status.as_u16(), read.header("residency-served-by")), (200, "eu-nuremberg"));
    world.restart(gateway).await.expect("it comes back");
    becomes("writes go on", (201, None), order).await;
}

pub async fn a_reload_under_load_refuses_nobody(world: &World) {
    let eu = User::new(world, Region::EuFrankfurt, Jurisdiction::Eu).await;
    let us = User::new(world, Region::UsEast, Jurisdiction::Us).await;
    let gateway = Service::Gateway(Region::EuFrankfurt);
    let generation = async || {
        let address = world.address(Region::EuFrankfurt, Port::GatewayAdmin);
        let text = sent(Call::new(address, Method::GET, "/metrics")).await.body;
        Metrics::parse(std::str::from_utf8(&text).expect("UTF-8")).value("residency_config_generation", &[])
    };
    let load = async {
        loop {
            // At home, at a replica, over the hop in both directions; and health, by which balancers decide.
            assert_eq!(eu.order(world, Region::EuFrankfurt, "tea").await.status, 201);
            assert_eq!(us.orders(world, Region::EuFrankfurt).await.status, 200);
            assert_eq!(eu.orders(world, Region::EuNuremberg).await.status, 200);
            for path in ["/health/basic", "/health/db", "/health/full"] {
                let answer = sent(world.call(Region::EuFrankfurt, Method::GET, path)).await;
                assert_eq!(answer.status, 200, "{path}");
            }
        }
    };
    let reloads = async {
        for _ in 0..6 {
            let before = generation().await;
            world.signal(gateway, Signal::SIGHUP).expect("it runs");
            eventually("it is reloaded", async || {
                holds(generation().await > before, || "not yet".to_owned())
            })
            .await;
            // Some requests before the next one.
            sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::select! {
        () = load => (),
        () = reloads => (),
    }
}
