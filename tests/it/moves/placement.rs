//! Where registers send requests, beside what a token claims.

use super::*;

/// In which jurisdiction the API was told that the last request's subject is.
fn told(api: &Upstream) -> String {
    api.last().head.get("residency-jurisdiction").unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_registers_word_beats_the_claim_of_an_old_token() {
    let api = Upstream::mirror();
    let gateway = start(&api, "").await;
    gateway.send(&ask("POST /orders", "ann")).await.expect_ok();
    assert_eq!(told(&api), "us", "nothing is known of her but her claim");
    say(&gateway, "eu", &[json!({ "subject": "ann", "generation": 2 })]).await;
    for start in ["POST /orders", "GET /orders"] {
        gateway.send(&ask(start, "ann")).await.expect_ok();
        assert_eq!(told(&api), "eu");
        gateway.send(&ask(start, "bob")).await.expect_ok();
        assert_eq!(told(&api), "us");
    }
    // Gone here and at home there, whichever of the two is heard first.
    say(&gateway, "us", &[json!({ "subject": "ann", "state": "gone", "generation": 2, "toward": "eu" })])
        .await;
    gateway.send(&ask("POST /orders", "ann")).await.expect_ok();
    assert_eq!(told(&api), "eu");
    // The higher generation is right.
    say(&gateway, "us", &[json!({ "subject": "ann", "generation": 4 })]).await;
    gateway.send(&ask("POST /orders", "ann")).await.expect_ok();
    assert_eq!(told(&api), "us");
    // `closed` and `void` say nothing of where data is.
    say(&gateway, "eu", &[json!({ "subject": "bob", "state": "closed", "generation": 9, "toward": "us" })])
        .await;
    gateway.send(&ask("POST /orders", "bob")).await.expect_ok();
    assert_eq!(told(&api), "us");
}

#[tokio::test]
async fn what_has_left_for_nobody_knows_where_is_asked_for_and_then_refused() {
    let api = Upstream::mirror();
    let gateway = start(&api, "").await;
    say(&gateway, "us", &[json!({ "subject": "ann", "state": "gone", "generation": 3, "toward": "eu" })])
        .await;
    for start in ["POST /orders", "GET /orders"] {
        let answer = gateway.send(&ask(start, "ann")).await;
        answer.expect_problem(503, "subject-moving");
        assert!(answer.head.get("retry-after").is_some());
    }
    assert_eq!(api.requests().len(), 0);
    // The first request after the other register knows is served: the gateway asks it.
    write(&gateway, "eu", &[json!({ "subject": "ann", "generation": 3 })]);
    gateway.send(&ask("POST /orders", "ann")).await.expect_ok();
    assert_eq!(told(&api), "eu");
}

#[tokio::test]
async fn a_row_that_names_an_unknown_jurisdiction_refuses_its_subject_and_nobody_else() {
    let api = Upstream::mirror();
    let gateway = start(&api, "").await;
    let rows = [
        json!({ "subject": "ann", "jurisdiction": "atlantis" }),
        json!({ "subject": "bob", "generation": 2 }),
        json!({ "subject": "cid", "state": "pending", "toward": "atlantis" }),
    ];
    say(&gateway, "eu", &rows).await;
    for who in ["ann", "cid"] {
        for start in ["POST /orders", "GET /orders"] {
            assert_eq!(gateway.send(&ask(start, who)).await.problem().1, "jurisdiction-unknown", "{who}");
        }
    }
    assert_eq!(api.requests().len(), 0);
    gateway.send(&ask("POST /orders", "bob")).await.expect_ok();
    assert_eq!(told(&api), "eu");
    gateway.send(&ask("POST /orders", "dan")).await.expect_ok();
    let refused =
        gateway.metrics().await.value("residency_register_rows_refused_total", &[("jurisdiction", "eu")]);
    assert!((refused - 2.0).abs() < 1e-9, "{refused}");
    // A file that can't be read as a whole changes nothing.
    gateway.setup.write("eu.jsonl", "{\"subject\": \"bob\", \"state\": \"lost\"}\n");
    gateway.logged("a register's file is refused").await;
    // Each worker takes them over at its next tick.
    eventually("the new ones are followed", async || {
        gateway.send(&ask("POST /orders", "bob")).await.expect_ok();
        holds(told(&api) == "eu", || told(&api))
    })
    .await;
}

#[tokio::test]
async fn a_torn_snapshot_is_refused_and_the_registers_are_read() {
    let api = Upstream::mirror();
    let setup = with_registers(Setup::before(&[api.address])).with("[register]\nsnapshot = 'dir:kept'\n");
    std::fs::create_dir_all(setup.path("kept")).expect("the directory takes others");
    let mut gateway = setup.start().await;
    say(&gateway, "eu", &[json!({ "subject": "ann", "generation": 2 })]).await;
    let snapshot = gateway.path("kept/routing-table.snapshot");
    for is_torn in [false, true] {
        gateway.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(gateway.end().await.success());
        let bytes = std::fs::read(&snapshot).expect("it was written at the end");
        if is_torn {
            std::fs::write(&snapshot, &bytes[..bytes.len() / 2]).expect("the directory takes files");
        }
        gateway = gateway.again().await;
        let refused = gateway.metrics().await.value("residency_table_snapshots_refused_total", &[]);
        assert!((refused - f64::from(u8::from(is_torn))).abs() < 1e-9, "{refused}: {}", gateway.stderr());
        assert_eq!(gateway.stderr().contains("snapshot is read"), !is_torn);
        gateway.send(&ask("POST /orders", "ann")).await.expect_ok();
        assert_eq!(told(&api), "eu");
    }
}

#[tokio::test]
async fn other_registers_are_read_before_anything_is_decided_by_them() {
    let api = Upstream::mirror();
    let mut gateway = start(&api, "").await;
    say(&gateway, "eu", &[json!({ "subject": "ann", "generation": 2 })]).await;
    gateway.setup.lay("[register]\npoll_ms = 60\n");
    gateway.setup.save();
    let before = gateway.metrics().await.value("residency_config_generation", &[]);
    gateway.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the reload", async || {
        gateway.send(&ask("POST /orders", "ann")).await.expect_ok();
        assert_eq!(told(&api), "eu");
        let now = gateway.metrics().await.value("residency_config_generation", &[]);
        holds(now > before, || format!("generation {now}"))
    })
    .await;
    gateway.send(&ask("POST /orders", "ann")).await.expect_ok();
    assert_eq!(told(&api), "eu");
    say(&gateway, "eu", &[json!({ "subject": "bob", "generation": 2 })]).await;
    // Each worker takes them over at its next tick.
    eventually("the new ones are followed", async || {
        gateway.send(&ask("POST /orders", "bob")).await.expect_ok();
        holds(told(&api) == "eu", || told(&api))
    })
    .await;
}
