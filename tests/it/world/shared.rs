//! One world for many tests.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{PoisonError, RwLock};

use http::Method;
use residency_loadtest::world::{Call, Jurisdiction, Port, Region, World, WorldBuilder};
use tokio::runtime::{Builder, Runtime};

use crate::harness::{Metrics, eventually, holds};

static WORLD: RwLock<Option<World>> = RwLock::new(None);
static ENDED: AtomicUsize = AtomicUsize::new(0);

/// Runs a behaviour beside others.
pub fn together(count: usize, behaviour: impl AsyncFnOnce(&World)) {
    let _last = Last(count);
    loop {
        let world = WORLD.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(world) = &*world {
            return runtime().block_on(behaviour(world));
        }
        drop(world);
        start();
    }
}

/// Runs a behaviour that breaks something. Afterwards everything is mended, whatever came of it.
pub fn alone(count: usize, behaviour: impl AsyncFnOnce(&World)) {
    let _last = Last(count);
    start();
    let world = WORLD.write().unwrap_or_else(PoisonError::into_inner);
    let world = world.as_ref().expect("started above, and only the last test ends it");
    let runtime = runtime();
    let file = world.config().expect("this world has gateways");
    let configuration = std::fs::read_to_string(file).expect("it is there");
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(behaviour(world))));
    world.heal_all();
    if std::fs::read_to_string(file).expect("it is there") != configuration {
        // All that changed it and came to an end put it back. Gateways see that it has changed by themselves.
        std::fs::write(file, configuration).expect("it is ours");
    }
    runtime.block_on(replaying(world));
    runtime.block_on(welcoming(world));
    runtime.block_on(all_well(world));
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// Lets every standby go on that was told to stop.
async fn replaying(world: &World) {
    for jurisdiction in Jurisdiction::ALL {
        for &replica in jurisdiction.replicas() {
            if let Ok(sql) = world.sql(replica, jurisdiction).await {
                // One that is no standby any more has nothing to go on with.
                let _ = sql.batch_execute("SELECT pg_wal_replay_resume()").await;
            }
        }
    }
}

/// Has every register forgive whom it has forgotten.
async fn welcoming(world: &World) {
    for jurisdiction in Jurisdiction::ALL {
        if let Ok(sql) = world.sql(jurisdiction.home(), jurisdiction).await {
            // One that is no primary any more has its list from there.
            let _ = sql.batch_execute("DELETE FROM residency.forgotten_certificate").await;
        }
    }
}

/// Waits until every gateway finds everything it needs.
pub async fn all_well(world: &World) {
    for region in Region::ALL {
        health_becomes(world, region, "/health/full", (200, "pass")).await;
    }
}

/// Waits for a region's health to have this status code and word; its checks.
pub async fn health_becomes(
    world: &World,
    region: Region,
    path: &str,
    wanted: (u16, &str),
) -> serde_json::Value {
    eventually(&format!("{region} {path}"), async || {
        let call = Call::new(world.address(region, Port::GatewayAdmin), Method::GET, path);
        let answer = call.send().await.map_err(|error| format!("{error:#}"))?;
        let document: serde_json::Value = answer.json().map_err(|error| format!("{error:#}"))?;
        let found = (answer.status.as_u16(), document["status"].as_str().unwrap_or_default());
        holds(found == wanted, || document.to_string())?;
        Ok(document["checks"].clone())
    })
    .await
}

/// One of a region's gateway's metrics, over all its labels.
pub async fn metric(world: &World, region: Region, name: &str) -> f64 {
    let call = Call::new(world.address(region, Port::GatewayAdmin), Method::GET, "/metrics");
    let answer = call.send().await.expect("the admin listener answers");
    Metrics::parse(std::str::from_utf8(&answer.body).expect("UTF-8")).value(name, &[])
}

fn start() {
    let mut world = WORLD.write().unwrap_or_else(PoisonError::into_inner);
    if world.is_none() {
        *world = Some(runtime().block_on(builder().start()).expect("the world starts"));
    }
}

/// A world for one test alone, which does to it what can't be undone.
pub async fn start_own() -> World {
    builder().start().await.expect("the world starts")
}

fn builder() -> WorldBuilder {
    let express = Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/express-api");
    World::builder()
        .gateway_bin(env!("CARGO_BIN_EXE_residency-gateway"))
        .migrate_bin(env!("CARGO_BIN_EXE_residency-migrate"))
        .api(residency_loadtest::world::Api::Express(express))
        .root(Path::new(env!("CARGO_TARGET_TMPDIR")).join("worlds"))
        .fsync(false)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Counts tests that are through; the last one ends the world.
struct Last(usize);

impl Drop for Last {
    fn drop(&mut self) {
        if ENDED.fetch_add(1, SeqCst) + 1 == self.0 {
            let world = WORLD.write().unwrap_or_else(PoisonError::into_inner).take();
            let stopped = world.map_or(Ok(()), World::stop);
            // A panic while panicking would hide the first.
            assert!(stopped.is_ok() || std::thread::panicking(), "{:#}", stopped.expect_err("it is not ok"));
        }
    }
}
