//! What promote refuses: each with its place and a remedy, and nothing changed.

use residency_loadtest::world::{Jurisdiction, Region, Service};

use super::{clusters, complaint, home};

#[tokio::test]
async fn refusals_name_their_place_and_a_remedy_and_change_nothing() {
    let world = clusters().await;
    let us = ["promote", "--jurisdiction", "us", "--to"];
    for (to, words, complaints) in [
        (
            "eu-nuremberg",
            &[][..],
            &["eu-nuremberg is no region where us's data may be", "us-east, eu-frankfurt, ap-singapore"][..],
        ),
        ("eu-frankfurt", &["--assume-dead"], &["us-east answers", "leave out --assume-dead"]),
        ("eu-frankfurt", &["--confirm-off", "true"], &["us-east answers", "leave out --confirm-off"]),
        ("eu-frankfurt", &["--without", "eu-frankfurt"], &["--without eu-frankfurt", "the target"]),
        ("eu-frankfurt", &["--without", "mars"], &["--without mars", "no member of that name"]),
        ("eu-frankfurt", &["--without", "us-east"], &["--without us-east", "answers as the primary"]),
    ] {
        let refused = complaint(&world, Region::UsEast, &[&us[..], &[to], words].concat()).await;
        for part in complaints {
            assert!(refused.contains(part), "{to} {words:?}: {refused}");
        }
    }
    let unknown =
        complaint(&world, Region::UsEast, &["promote", "--jurisdiction", "uk", "--to", "us-east"]).await;
    assert!(unknown.contains("has no `uk`") && unknown.contains("clusters.toml"), "{unknown}");

    // A member that doesn't answer may have been promoted by somebody else.
    let singapore = Service::Postgres(Region::ApSingapore, Jurisdiction::Us);
    world.kill(singapore).await.expect("it was running");
    let silent = complaint(&world, Region::UsEast, &[&us[..], &["eu-frankfurt"]].concat()).await;
    assert!(
        silent.contains("ap-singapore doesn't answer") && silent.contains("--without ap-singapore"),
        "{silent}"
    );
    let target = complaint(&world, Region::UsEast, &[&us[..], &["ap-singapore"]].concat()).await;
    assert!(target.contains("the target ap-singapore doesn't answer"), "{target}");
    assert_eq!(home(&world, Region::UsEast, Jurisdiction::Us).await, "us-east 1");
    let said = world.promote(Jurisdiction::Us, Region::EuFrankfurt, &["--without", "ap-singapore"]).await;
    assert!(said.expect("it was named").contains("lost: nothing"));

    // Left out, it comes back by itself and follows.
    world.restart(singapore).await.expect("it comes back");
    super::streams(&world, Region::ApSingapore, Jurisdiction::Us).await;
    world.stop().expect("nothing is left");
}
