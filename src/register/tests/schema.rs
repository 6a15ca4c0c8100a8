//! `schema apply`: from nothing, again, at once, torn, in the way of locks; and what it refuses.

use super::*;

impl Databases {
    /// Applies to `us` as its owner, and answers what was told.
    async fn apply(&self, patience: Patience, mut told: impl FnMut(&str)) -> Result<(), RegisterFault> {
        let register = us(&self.url("app", "us"));
        let keys = keys();
        let aim = Aim {
            register: &register,
            keys: &keys,
            gateway_role: "gateway",
            migrations: MIGRATIONS,
            patience,
        };
        let mut session = session(&self.url("app", "us")).await;
        aim.reach(&mut session, &mut |line| {
            told(&line);
            Ok(())
        })
        .await
    }
}

#[tokio::test]
async fn applied_from_nothing_by_an_owner_and_again_without_effect() {
    let databases = Databases::start().await;
    let (code, first) = databases.job(&["schema", "apply"]).await;
    assert_eq!(code, ExitCode::SUCCESS);
    let (code, second) = databases.job(&["schema", "apply"]).await;
    assert_eq!(code, ExitCode::SUCCESS);
    let (code, status) = databases.job(&["schema", "status"]).await;
    assert_eq!(code, ExitCode::SUCCESS);
    insta::assert_snapshot!(format!("{first}---- again\n{second}---- status\n{status}"));

    let (_, json) = databases.job(&["schema", "status", "--json", "--jurisdiction", "eu"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["registers"][0]["home"]["synchronous"], serde_json::json!(["eu-nuremberg"]));
    assert_eq!(json["registers"][0]["keys"][0]["configured"], true);
}

#[tokio::test]
async fn a_gateway_reads_and_calls_and_writes_no_table() {
    let databases = Databases::with_schema().await;
    let gateway = databases.client("gateway", "us").await;
    let stranger = {
        databases.server.sql(&["CREATE ROLE stranger LOGIN"]).await;
        databases.client("stranger", "us").await
    };
    for sql in [
        "SELECT FROM residency.register",
        "SELECT FROM residency.jurisdiction",
        "SELECT FROM residency.forgotten_certificate",
        "SELECT FROM residency.cursor()",
        "SELECT FROM residency.changes_since('0', true)",
        "SELECT residency.gateway_register('g', 'us-east', '1', NULL)",
    ] {
        gateway.batch_execute(sql).await.expect(sql);
        assert_eq!(code(stranger.batch_execute(sql).await), "42501", "{sql}");
    }
    for sql in [
        "INSERT INTO residency.register_key VALUES (1, 'ffffffff', false)",
        "UPDATE residency.jurisdiction SET read_only = true",
        "DELETE FROM residency.register",
        "TRUNCATE residency.register",
        "SELECT residency.gateway_forget('g', 'me')",
        "SELECT residency.record_act('promote', '{}', 'me')",
    ] {
        assert_eq!(code(gateway.batch_execute(sql).await), "42501", "{sql}");
    }
}

#[tokio::test]
async fn of_two_at_once_one_waits_and_finds_it_done() {
    let databases = Databases::start().await;
    let one = async || {
        let mut lines = Vec::new();
        databases.apply(Patience::default(), |line| lines.push(line.to_owned())).await.map(|()| lines)
    };
    let all = tokio::join!(one(), one(), one(), one());
    let lines: Vec<String> =
        [all.0, all.1, all.2, all.3].into_iter().flat_map(|told| told.expect("it is applied")).collect();
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!((count("(registers) applied"), count("version 1 is there")), (1, 4), "{lines:#?}");
    assert_eq!(count("is at home in"), 1, "{lines:#?}");
}

/// Somebody else's transaction in the middle of the way: the schema is there, and a table of it is being made.
async fn blocker(databases: &Databases) -> Client {
    let owner = databases.client("app", "us").await;
    owner.batch_execute("CREATE SCHEMA IF NOT EXISTS residency").await.expect("it may");
    owner.batch_execute("BEGIN; CREATE TABLE residency.act (id int)").await.expect("it may");
    owner
}

const WAITS: &str = "EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'residency-migrate' \
    AND wait_event_type = 'Lock')";
const NOTHING: &str = "NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('residency'))";

#[tokio::test]
async fn torn_in_the_middle_nothing_is_left_and_the_next_completes_it() {
    let mut databases = Databases::start().await;
    let long = Patience { lock_timeout: PATIENCE, ..Patience::default() };

    // The program dies.
    let blocked = blocker(&databases).await;
    let watcher = databases.client("postgres", "us").await;
    tokio::select! {
        outcome = databases.apply(long, |_| ()) => panic!("it went through: {outcome:?}"),
        () = until(&watcher, WAITS) => {}
    }
    blocked.batch_execute("ROLLBACK").await.expect("it was open");
    until(&watcher, "NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'residency-migrate')")
        .await;
    assert_eq!(text(&watcher, NOTHING).await, "true");

    // The server dies.
    let _blocked = blocker(&databases).await;
    tokio::select! {
        outcome = databases.apply(long, |_| ()) => panic!("it went through: {outcome:?}"),
        () = until(&watcher, WAITS) => {}
    }
    databases.server.kill();
    databases.server.start().await;
    let watcher = databases.client("postgres", "us").await;
    assert_eq!(text(&watcher, NOTHING).await, "true");

    databases.apply(Patience::default(), |_| ()).await.expect("nothing is in the way");
    assert_eq!(text(&watcher, "SELECT name FROM residency.jurisdiction").await, "us");
}

#[tokio::test]
async fn a_lock_is_waited_for_in_short_attempts_and_not_for_ever() {
    let databases = Databases::start().await;
    let short =
        Patience { lock_timeout: Duration::from_millis(50), attempts: 3, pause: Duration::from_millis(10) };
    let blocked = blocker(&databases).await;
    let mut attempts = 1;
    let fault = databases.apply(short, |_| attempts += 1).await.expect_err("the lock is held");
    assert!(matches!(fault, RegisterFault::Locked { attempts: 3, .. }), "{fault}");
    assert_eq!(attempts, 3, "each attempt is told");

    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let mut sender = Some(sender);
    let release = async {
        receiver.await.expect("a second attempt");
        blocked.batch_execute("ROLLBACK").await.expect("it was open");
    };
    let enough = Patience { attempts: 1000, ..short };
    let told = |line: &str| {
        if line.contains("attempt 2")
            && let Some(sender) = sender.take()
        {
            sender.send(()).expect("it is waited for");
        }
    };
    let (outcome, ()) = tokio::join!(databases.apply(enough, told), release);
    outcome.expect("the lock was released");
}

#[tokio::test]
async fn what_is_not_to_be_touched_is_refused_and_named() {
    let databases = Databases::with_schema().await;
    let (us, eu) = (databases.url("app", "us"), databases.url("app", "eu"));
    let mut told = String::new();
    let mut refused = async |what: &str, registers: &[(&str, String)], keys: &str, words: &[&str]| {
        let (code, said) = databases.job_at(registers, keys, words).await;
        assert_eq!(code, ExitCode::FAILURE, "{what}");
        told = format!("{told}---- {what}\n{said}");
    };
    let alone = |url: &str| [("us", format!("{{ us-east = \"{url}\" }}"))];
    let apply = &["schema", "apply"];
    refused("another jurisdiction's database", &alone(&eu), KEYS, apply).await;
    let two = format!("{{ eu-frankfurt = \"{eu}\", eu-nuremberg = \"{us}\" }}");
    refused("two primaries", &[("eu", two)], KEYS, apply).await;
    refused("a role that is not there", &alone(&us), KEYS, &["schema", "apply", "--gateway-role", "nobody"])
        .await;
    let other = KEYS.replace("a subject", "another subject");
    refused("keys that meet no row", &alone(&us), &other, apply).await;
    refused("an unknown jurisdiction", &alone(&us), KEYS, &["schema", "apply", "--jurisdiction", "eu"]).await;

    let owner = databases.client("app", "us").await;
    for (what, change) in [
        ("edited text", "UPDATE residency.schema_version SET checksum = 'other'"),
        (
            "a newer schema",
            "UPDATE residency.schema_version SET version = 2, name = 'later'; INSERT INTO residency.schema_version \
             VALUES (1, 'registers', (SELECT 'CHECKSUM'))",
        ),
        ("a gap", "DELETE FROM residency.schema_version WHERE version = 1"),
    ] {
        let change = change.replace("CHECKSUM", &MIGRATIONS[0].checksum());
        owner.batch_execute(&change).await.expect("the owner may");
        refused(what, &alone(&us), KEYS, apply).await;
        refused("its status", &alone(&us), KEYS, &["schema", "status"]).await;
    }
    owner
        .batch_execute("DROP SCHEMA residency CASCADE; CREATE SCHEMA residency; CREATE TABLE residency.x ()")
        .await
        .expect("ours");
    refused("somebody else's schema", &alone(&us), KEYS, apply).await;
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn a_standby_is_refused_and_its_primary_found() {
    let databases = Databases::start().await;
    let standby = databases.server.standby().await;
    let address = format!("postgres://app@127.0.0.1:{}/eu", standby.port());
    let register = us(&address);
    let keys = keys();
    let aim = Aim {
        register: &register,
        keys: &keys,
        gateway_role: "gateway",
        migrations: MIGRATIONS,
        patience: Patience::default(),
    };
    let fault = aim.reach(&mut session(&address).await, &mut |_| Ok(())).await.expect_err("it is a standby");
    assert!(matches!(fault, RegisterFault::InRecovery { .. }), "{fault}");

    let alone = [("eu", format!("{{ eu-nuremberg = \"{address}\" }}"))];
    let (code, told) = databases.job_at(&alone, KEYS, &["schema", "apply"]).await;
    assert_eq!(code, ExitCode::FAILURE);
    assert!(
        told.contains("eu: no primary can be reached\n  eu-nuremberg: ") && told.contains("in recovery"),
        "{told}"
    );

    let both =
        format!("{{ eu-nuremberg = \"{address}\", eu-frankfurt = \"{}\" }}", databases.url("app", "eu"));
    let (code, told) = databases.job_at(&[("eu", both)], KEYS, &["schema", "apply"]).await;
    assert_eq!(code, ExitCode::SUCCESS, "{told}");
    // Which the standby shows, too.
    let replica = session(&address).await;
    until(&replica.client, "EXISTS (SELECT FROM pg_class WHERE relname = 'act')").await;
    assert_eq!(text(&replica.client, "SELECT home FROM residency.jurisdiction").await, "eu-frankfurt");
    assert_eq!(text(&replica.client, "SELECT timeline FROM residency.cursor()").await, "1");
}
