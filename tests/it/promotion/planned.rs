//! Switching over while everybody lives.

use residency_loadtest::world::{Jurisdiction, Region, Service};

use super::writer::{Writer, missing, table};
use super::{clusters, home, streams, value};

const US: Jurisdiction = Jurisdiction::Us;

#[tokio::test]
async fn a_planned_switchover_loses_nothing_and_the_others_follow() {
    let world = clusters().await;
    table(&world, Region::UsEast, US).await;
    let mut writers = Vec::new();
    for first in [1_000_000, 2_000_000, 3_000_000] {
        writers.push(Writer::start(&world, Region::UsEast, US, first).await);
    }
    let plan = world.promote(US, Region::EuFrankfurt, &["--dry-run"]).await.expect("a plan");
    assert!(plan.contains("lost: nothing") && plan.contains("nothing was changed"), "{plan}");
    assert_eq!(home(&world, Region::UsEast, US).await, "us-east 1");

    let said = world.promote(US, Region::EuFrankfurt, &["--reason", "a drill"]).await.expect("it promotes");
    assert!(said.contains("lost: nothing"), "{said}");
    let mut told = Vec::new();
    for writer in writers {
        told.extend(writer.stopped().await);
    }
    assert!(told.len() > 20, "they wrote: {}", told.len());
    assert_eq!(missing(&world, Region::EuFrankfurt, US, &told).await, []);
    assert_eq!(world.primary(US).await.expect("one"), Region::EuFrankfurt);
    assert_eq!(home(&world, Region::EuFrankfurt, US).await, "eu-frankfurt 2");
    let history =
        value(&world, Region::EuFrankfurt, US, "SELECT history -> 0 FROM residency.jurisdiction").await;
    for part in [
        r#""from": "us-east""#,
        r#""to": "eu-frankfurt""#,
        r#""generation": 2"#,
        r#""timeline": 1"#,
        "a drill",
    ] {
        assert!(history.contains(part), "{history}");
    }
    let acts =
        "SELECT string_agg(kind, ' ' ORDER BY id) FROM residency.act WHERE kind IN ('fence', 'promote')";
    assert_eq!(value(&world, Region::EuFrankfurt, US, acts).await, "fence promote");

    // The other standby follows without having been touched; the old primary lets nobody in, not even over a restart.
    streams(&world, Region::ApSingapore, US).await;
    world.caught_up(US).await.expect_err("us-east can't be asked");
    assert!(world.sql(Region::UsEast, US).await.is_err(), "the old primary lets somebody in");
    world.kill(Service::Postgres(Region::UsEast, US)).await.expect("it was running");
    world.restart(Service::Postgres(Region::UsEast, US)).await.expect("it comes back");
    streams(&world, Region::UsEast, US).await;
    world.caught_up(US).await.expect("all have everything");
    assert_eq!(home(&world, Region::UsEast, US).await, "eu-frankfurt 2");
    assert_eq!(missing(&world, Region::UsEast, US, &told).await, []);

    // And back, to the member that was away.
    world.promote(US, Region::UsEast, &[]).await.expect("it promotes");
    assert_eq!(home(&world, Region::UsEast, US).await, "us-east 3");
    assert_eq!(missing(&world, Region::UsEast, US, &told).await, []);
    let again = world.promote(US, Region::UsEast, &[]).await.expect("there is nothing to refuse");
    assert!(again.contains("nothing to do"), "{again}");
    world.stop().expect("nothing is left");
}

#[tokio::test]
async fn of_two_promotions_at_once_one_wins_and_the_other_refuses() {
    let world = clusters().await;
    let (one, other) = tokio::join!(
        world.promote(US, Region::EuFrankfurt, &[]),
        world.promote(US, Region::ApSingapore, &[]),
    );
    let refused = match (&one, &other) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => format!("{refused:#}"),
        both => panic!("not one of them: {both:?}"),
    };
    assert!(refused.contains("another promotion") && refused.contains("process "), "{refused}");
    let winner = if one.is_ok() { Region::EuFrankfurt } else { Region::ApSingapore };
    assert_eq!(world.primary(US).await.expect("one"), winner);
    assert_eq!(home(&world, winner, US).await, format!("{winner} 2"));
    world.stop().expect("nothing is left");
}
