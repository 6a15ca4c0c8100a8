//! Primaries that change, on real clusters: switched over, lost and replaced, come back.
//!
//! Each test has a world of its own, without gateways: what is asked here is what the databases hold, and whom they let in.

mod dead;
mod planned;
mod refused;
mod remote;
mod writer;

use std::path::Path;

use residency_loadtest::world::{Api, Jurisdiction, Region, World};

/// Databases with registers, and nothing else.
async fn clusters() -> World {
    let started = World::builder()
        .migrate_bin(env!("CARGO_BIN_EXE_residency-migrate"))
        .api(Api::Caller)
        .redis(false)
        .root(Path::new(env!("CARGO_TARGET_TMPDIR")).join("worlds"))
        .fsync(false)
        .start()
        .await;
    started.expect("the world starts")
}

/// One value of a jurisdiction's row, or of anything else there is one of.
async fn value(world: &World, region: Region, jurisdiction: Jurisdiction, sql: &str) -> String {
    let session = world.sql(region, jurisdiction).await.expect("a session");
    session.query_one(&format!("SELECT ({sql})::text"), &[]).await.expect(sql).get(0)
}

/// The home and the generation that the register in `region` tells.
async fn home(world: &World, region: Region, jurisdiction: Jurisdiction) -> String {
    value(world, region, jurisdiction, "SELECT home || ' ' || generation FROM residency.jurisdiction").await
}

/// Runs `residency-migrate` where it must fail, and answers what it complains of.
async fn complaint(world: &World, region: Region, words: &[&str]) -> String {
    let output = world.migrate(region, words).await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{words:?}: {}{said}", String::from_utf8_lossy(&output.stdout));
    said
}

/// Waits until the database in `region` is a standby that streams from the present primary.
async fn streams(world: &World, region: Region, jurisdiction: Jurisdiction) {
    crate::harness::eventually(&format!("{region} streams"), async || {
        let primary = world.primary(jurisdiction).await.map_err(|error| format!("{error:#}"))?;
        let session = world.sql(primary, jurisdiction).await.map_err(|error| format!("{error:#}"))?;
        let found = session
            .query_opt(
                "SELECT FROM pg_stat_replication WHERE application_name = $1 AND state = 'streaming'",
                &[&region.name()],
            )
            .await
            .map_err(|error| error.to_string())?;
        crate::harness::holds(found.is_some(), || format!("{primary} has no standby in {region}"))
    })
    .await;
}
