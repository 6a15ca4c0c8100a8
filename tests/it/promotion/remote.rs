//! Where commits wait for a standby.

use std::time::Duration;

use residency_loadtest::world::{Jurisdiction, Region, Service};
use tokio::time::timeout;

use super::writer::{Writer, missing, table, write};
use super::{clusters, complaint, home, streams, value};

const EU: Jurisdiction = Jurisdiction::Eu;

#[tokio::test]
async fn a_remote_primary_that_dies_loses_nothing_and_durability_is_given_up_and_restored_by_name() {
    let world = clusters().await;
    let (frankfurt, nuremberg) = (Region::EuFrankfurt, Region::EuNuremberg);
    table(&world, frankfurt, EU).await;
    let mut writers = Vec::new();
    for first in [1_000_000, 2_000_000, 3_000_000] {
        writers.push(Writer::start(&world, frankfurt, EU, first).await);
    }
    let session = world.sql(frankfurt, EU).await.expect("a session");
    for id in 0..40 {
        write(&session, id).await.expect("the primary lives");
    }
    let primary = Service::Postgres(frankfurt, EU);
    world.kill(primary).await.expect("it was running");
    let mut told = Vec::new();
    for writer in writers {
        told.extend(writer.stopped().await);
    }
    let to = ["promote", "--jurisdiction", "eu", "--to", "eu-nuremberg"];
    let refused = complaint(&world, nuremberg, &to).await;
    assert!(
        refused.contains("no standby but the target") && refused.contains("--durability async"),
        "{refused}"
    );

    let said = world.promote(EU, nuremberg, &["--durability", "async"]).await.expect("it promotes");
    assert!(said.contains("waits for one of eu-nuremberg") && said.contains("lost: nothing"), "{said}");
    assert!(told.len() > 20, "they wrote: {}", told.len());
    assert_eq!(missing(&world, nuremberg, EU, &told).await, []);
    assert_eq!(home(&world, nuremberg, EU).await, "eu-nuremberg 2");
    let relaxed = "SELECT detail ->> 'relaxed' FROM residency.act WHERE kind = 'promote'";
    assert_eq!(value(&world, nuremberg, EU, relaxed).await, "true");
    let session = world.sql(nuremberg, EU).await.expect("a session");
    write(&session, 100).await.expect("it waits for nobody");

    // Restored only when somebody could confirm a commit.
    let restore = ["durability", "--jurisdiction", "eu", "remote", "--reason", "both are back"];
    let refused = complaint(&world, nuremberg, &restore).await;
    assert!(refused.contains("no standby of eu-nuremberg streams"), "{refused}");
    world.restart(primary).await.expect("it comes back");
    streams(&world, frankfurt, EU).await;
    let output = world.migrate(nuremberg, &restore).await.expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let durability = "SELECT durability || ' ' || synchronous::text FROM residency.jurisdiction";
    assert_eq!(value(&world, nuremberg, EU, durability).await, "remote {eu-frankfurt}");
    write(&session, 101).await.expect("the standby confirms");
    world.kill(primary).await.expect("it was running");
    let waiting = write(&session, 102);
    tokio::pin!(waiting);
    timeout(Duration::from_millis(400), &mut waiting).await.expect_err("committed without the standby");
    // One that also notifies keeps every other that does from committing.
    let notifier = world.sql(nuremberg, EU).await.expect("a session");
    let notify = "SELECT pg_notify('app', ''), pg_logical_emit_message(true, 'app', '')";
    let notifying = notifier.execute(notify, &[]);
    tokio::pin!(notifying);
    timeout(Duration::from_millis(400), &mut notifying).await.expect_err("committed without the standby");

    let relax =
        ["durability", "--jurisdiction", "eu", "async", "--reason", "frankfurt is down", "--by", "ops"];
    let output = world.migrate(nuremberg, &relax).await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("eu-frankfurt doesn't stream"), "{output:?}");
    waiting.await.expect("it waits no more");
    notifying.await.expect("it waits no more");
    let acts = "SELECT string_agg((detail ->> 'durability') || ' by ' || by, ', ' ORDER BY id) \
                FROM residency.act WHERE kind = 'durability'";
    assert_eq!(value(&world, nuremberg, EU, acts).await, "remote by postgres, async by ops");
    let shown =
        world.migrate(nuremberg, &["durability", "--jurisdiction", "eu", "show"]).await.expect("it runs");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("durability: async") && shown.contains("no standby streams"), "{shown}");

    // A standby that was away meanwhile can't prove by its own row that nothing was relaxed.
    world.kill(Service::Postgres(nuremberg, EU)).await.expect("it was running");
    let unit = world.restart(primary);
    let refused = async {
        // Started as a standby, after the wait; it has not streamed since.
        crate::harness::eventually("frankfurt answers", async || {
            let answers = world.sql(frankfurt, EU).await;
            crate::harness::holds(answers.is_ok(), || "not yet".to_owned())
        })
        .await;
        complaint(
            &world,
            frankfurt,
            &["promote", "--jurisdiction", "eu", "--to", "eu-frankfurt", "--durability", "async"],
        )
        .await
    };
    let (started, refused) = tokio::join!(unit, refused);
    started.expect("it starts as a standby");
    assert!(
        refused.contains("no proof") && refused.contains("has not streamed since its server started"),
        "{refused}"
    );
    world.stop().expect("nothing is left");
}
