//! A world without gateways: its clusters, its faults, and that it leaves nothing.
use std::{fs, path::PathBuf, time::Duration};

use http::Method;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{Call, Jurisdiction, Port, Region, Service, World, postgres::free_shared_memory, process, scan};

fn worlds() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/worlds")
}

#[tokio::test]
async fn starts_replicates_through_links_survives_kills_and_leaves_nothing() {
    let began = std::time::Instant::now();
    let log = move |what: &str| eprintln!("{:5.2} s {what}", began.elapsed().as_secs_f64());
    let world = World::builder().root(worlds()).progress(log).start().await.expect("the world starts");
    log("started");

    // A user of each jurisdiction, through the API at home as its gateway would ask.
    for jurisdiction in Jurisdiction::ALL {
        let home = jurisdiction.home();
        let answer = Call::new(world.address(home, Port::Api(1)), Method::POST, "/signup")
            .header("residency-served-by", home.name())
            .header("residency-access", "write")
            .header("residency-jurisdiction", jurisdiction.name())
            .header("residency-database", "primary")
            .json(&json!({
                "email": format!("needle-{jurisdiction}@example.test"), "password": "correct horse battery",
                "name": "Needle", "billing": {"country": jurisdiction.country()},
            }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        world.caught_up(jurisdiction).await.unwrap();
        for &replica in jurisdiction.replicas() {
            let sql = world.sql(replica, jurisdiction).await.unwrap();
            let row = sql.query_one("SELECT count(*), pg_is_in_recovery() FROM users", &[]).await.unwrap();
            assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (1, true));
        }
    }
    log("signed up");
    world.flush_to_disk().await.unwrap();
    let needles = ["needle-us@example.test", "needle-eu@example.test"];
    for region in Region::ALL {
        let seen = scan(&world.directory(region), &needles).unwrap();
        let mut found: Vec<_> = seen.hits.iter().map(|hit| hit.needle).collect();
        found.sort_unstable();
        found.dedup();
        let lawful: Vec<usize> = region.databases().iter().map(|j| *j as usize).collect();
        assert_eq!(found, lawful, "{region}: {:?}", seen.hits);
    }
    log("scanned");

    // Asynchronous replication stops while its link is silent, and goes on after.
    let us = world.sql(Region::UsEast, Jurisdiction::Us).await.unwrap();
    world.isolate(Region::ApSingapore);
    us.batch_execute("CREATE TABLE marks (mark int); INSERT INTO marks VALUES (1)").await.unwrap();
    let behind = world.sql(Region::ApSingapore, Jurisdiction::Us).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    behind.query_one("SELECT mark FROM marks", &[]).await.expect_err("the table crossed a silent link");
    world.heal_all();
    world.caught_up(Jurisdiction::Us).await.unwrap();
    behind.query_one("SELECT mark FROM marks", &[]).await.unwrap();
    log("silence and healing");

    // A synchronous commit waits for the standby.
    let eu = world.sql(Region::EuFrankfurt, Jurisdiction::Eu).await.unwrap();
    world.links().between(Region::EuFrankfurt, Region::EuNuremberg).cut_reset();
    let commit = eu.batch_execute("CREATE TABLE marks (mark int)");
    tokio::pin!(commit);
    tokio::time::timeout(Duration::from_millis(400), &mut commit)
        .await
        .expect_err("committed without the synchronous standby");
    world.heal_all();
    commit.await.unwrap();
    log("synchronous commit");

    for service in [
        Service::Postgres(Region::UsEast, Jurisdiction::Us),
        Service::Api(Region::ApSingapore, 2),
        Service::Redis(Region::EuNuremberg),
    ] {
        world.kill(service).await.unwrap();
        assert_eq!(world.pid(service), None);
        world.restart(service).await.unwrap();
    }
    let us = world.sql(Region::UsEast, Jurisdiction::Us).await.unwrap();
    us.query_one("SELECT mark FROM marks", &[]).await.expect("acknowledged, so still there");
    log("kills");

    let token = world.keys().signer().unwrap().token("someone", Jurisdiction::Eu).unwrap();
    assert_eq!(token.split('.').count(), 3);

    let root = world.root().to_owned();
    assert!(process::belonging_to(&root).len() >= 16, "every process is found");
    world.stop().expect("nothing is left");
    assert!(!root.exists());
    log("stopped");
}

/// Not a test: the world that the next test kills. Prints its directory and waits to be killed.
#[tokio::test]
#[ignore = "started by an_owner_that_is_killed_leaves_no_process"]
async fn waits_to_be_killed() {
    let world = World::builder().root(worlds()).start().await.expect("the world starts");
    println!("\nworld {}", world.root().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn an_owner_that_is_killed_leaves_no_process() {
    let mut owner = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "world::tests::waits_to_be_killed", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let root = loop {
        let line = lines.next_line().await.unwrap().expect("its world started");
        if let Some(root) = line.strip_prefix("world ") {
            break PathBuf::from(root);
        }
    };
    assert!(process::belonging_to(&root).len() >= 16);
    owner.start_kill().unwrap();
    owner.wait().await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let left = process::belonging_to(&root);
        if left.is_empty() {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{left:?} outlived their world");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    free_shared_memory(&root);
    fs::remove_dir_all(&root).unwrap();
}
