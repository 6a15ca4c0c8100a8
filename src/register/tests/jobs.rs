//! `gateways` and `table`, as an operator runs them.

use super::*;

const QUERY: &str = "SELECT id AS subject, emails AS identifiers, country FROM users";

impl Databases {
    async fn run(&self, database: &str, sql: &str) {
        self.client("app", database).await.batch_execute(sql).await.expect(sql);
    }

    async fn with_users() -> Self {
        let databases = Self::with_schema().await;
        for database in ["us", "eu"] {
            databases.run(database, "CREATE TABLE users (id text, emails text[], country text)").await;
        }
        databases
            .run(
                "us",
                "INSERT INTO users VALUES ('ann', '{Ann@example.com,ann@work.example}', 'US'), \
                 ('bob', '{bob@example.com}', 'DE'), ('cid', NULL, NULL), ('dan', '{}', 'XQ'), \
                 ('eve', '{ANN@EXAMPLE.COM}', 'CA'), ('fay', NULL, 'US'), ('fay', NULL, 'FR'), \
                 ('gil', NULL, 'DE'), ('gil', '{gil@example.com}', 'FR'), (NULL, NULL, 'US')",
            )
            .await;
        databases
    }
}

#[tokio::test]
async fn gateways_are_listed_and_forgotten() {
    let databases = Databases::with_schema().await;
    let gateway = databases.client("gateway", "us").await;
    for sql in [
        "SELECT residency.gateway_register('us-east-1', 'us-east', '0.1.0', repeat('ab', 32))",
        "SELECT residency.gateway_register('eu-frankfurt-1', 'eu-frankfurt', '0.1.0', NULL)",
        "SELECT residency.gateway_register('us-east-2', 'us-east', '0.1.0', repeat('cd', 32))",
        "SELECT residency.gateway_heartbeat('us-east-1', true)",
        "SELECT residency.gateway_report('us-east-1', '00000000-0000-0000-0000-000000000001', 1, true, false)",
        "SELECT residency.gateway_report('us-east-1', '00000000-0000-0000-0000-000000000001', 1, true, true)",
        "SELECT residency.gateway_report('us-east-1', '00000000-0000-0000-0000-000000000002', 4, false, false)",
        "SELECT residency.gateway_leave('us-east-2')",
    ] {
        gateway.batch_execute(sql).await.expect(sql);
    }
    let report =
        "SELECT residency.gateway_report('us-east-2', '00000000-0000-0000-0000-000000000001', 1, true, true)";
    assert_eq!(text(&gateway, report).await, "false", "it has left");
    databases
        .run("us", "UPDATE residency.gateway SET heartbeat_at = now() - interval '1 day' WHERE region = 'eu-frankfurt'")
        .await;
    let (code, before) = databases.job(&["gateways", "list"]).await;
    assert_eq!(code, ExitCode::SUCCESS);
    let (code, forgetting) =
        databases.job(&["gateways", "forget", "us-east-1", "--by", "ops@example.com"]).await;
    assert_eq!(code, ExitCode::SUCCESS);
    let (code, unknown) = databases.job(&["gateways", "forget", "us-east-9"]).await;
    assert_eq!(code, ExitCode::FAILURE);
    let (_, after) = databases.job(&["gateways", "list", "--jurisdiction", "us"]).await;
    insta::assert_snapshot!(format!("{before}---- forget\n{forgetting}{unknown}---- after\n{after}"));

    assert_eq!(text(&gateway, "SELECT residency.gateway_heartbeat('us-east-1', true)").await, "false");
    let again = "SELECT residency.gateway_register('us-east-1', 'us-east', '0.1.0', repeat('ab', 32))";
    assert_eq!(super::code(gateway.batch_execute(again).await), "RS005");
    assert_eq!(
        text(&gateway, "SELECT certificate = repeat('ab', 32) FROM residency.forgotten_certificate").await,
        "true"
    );
    assert_eq!(
        text(&gateway, "SELECT kind || ' by ' || by FROM residency.act").await,
        "forget by ops@example.com"
    );
    let renewed = "SELECT residency.gateway_register('us-east-1', 'us-east', '0.1.0', repeat('ef', 32))";
    gateway.batch_execute(renewed).await.expect("with another certificate it is another");
    assert_eq!(text(&gateway, "SELECT residency.gateway_heartbeat('us-east-1', true)").await, "true");
}

#[tokio::test]
async fn an_app_is_imported_and_again_without_effect_and_checked() {
    let databases = Databases::with_users().await;
    let import: &[&str] = &["table", "import", "--jurisdiction", "us", "--sql", QUERY];
    let (code, first) = databases.job(import).await;
    assert_eq!(code, ExitCode::FAILURE, "something was refused");
    let state = "SELECT string_agg(concat_ws(' ', encode(hash, 'hex'), kind, state, generation, toward, claim_answers, \
         encode(subject, 'hex')), E'\\n' ORDER BY kind, hash) FROM residency.register";
    let client = databases.client("app", "us").await;
    let rows = text(&client, state).await;
    let (_, second) = databases.job(import).await;
    assert_eq!(text(&client, state).await, rows);
    insta::assert_snapshot!(format!("{first}---- again\n{second}---- rows\n{rows}\n"));
    for clear in ["ann", "bob", "fay"] {
        assert!(!first.contains(clear), "{clear} is shown in clear");
    }
    let mut shown = import.to_vec();
    shown.push("--show-subjects");
    assert!(databases.job(&shown).await.1.contains("subject fay is said to be in FR and US"));

    // Somebody whose sign-up was broken off, one at home in both, one whose rows stayed behind.
    databases.run("us", "DELETE FROM users WHERE id = 'cid'; INSERT INTO users VALUES ('hal', NULL, 'US'), ('ida', NULL, 'US')").await;
    databases
        .run("eu", "INSERT INTO users VALUES ('hal', NULL, 'US'), ('joe', NULL, 'DE'), ('kim', NULL, 'US')")
        .await;
    databases
        .job(&[
            "table",
            "import",
            "--jurisdiction",
            "us",
            "--sql",
            "SELECT id AS subject FROM users WHERE id = 'hal'",
        ])
        .await;
    databases
        .job(&[
            "table",
            "import",
            "--jurisdiction",
            "eu",
            "--sql",
            "SELECT id AS subject FROM users WHERE id = 'hal'",
        ])
        .await;
    databases.job(&["table", "import", "--jurisdiction", "eu", "--sql", "SELECT 'ida' AS subject"]).await;
    let (code, checked) = databases.job(&["table", "check", "--sql", QUERY]).await;
    assert_eq!(code, ExitCode::FAILURE);
    let (_, clear) =
        databases.job(&["table", "check", "--sql", QUERY, "--show-subjects", "--jurisdiction", "eu"]).await;
    let (_, json) = databases.job(&["table", "check", "--sql", QUERY, "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        json["findings"].as_array().map(Vec::len),
        Some(checked.lines().filter(|line| line.starts_with("us ") || line.starts_with("eu ")).count())
    );
    insta::assert_snapshot!(format!("{checked}---- in clear\n{clear}"));

    let (code, good) = databases
        .job(&["table", "check", "--sql", "SELECT 'ida' AS subject WHERE false", "--jurisdiction", "eu"])
        .await;
    assert_eq!(code, ExitCode::FAILURE, "{good}");
}

#[tokio::test]
async fn rows_that_a_move_has_changed_are_left_as_they_are() {
    let databases = Databases::with_users().await;
    databases.job(&["table", "import", "--jurisdiction", "us", "--sql", QUERY]).await;
    let client = databases.client("app", "us").await;
    let states =
        "SELECT string_agg(DISTINCT state || generation, ' ') FROM residency.register WHERE kind = 1";
    for (generation, state) in (2_i64..).zip(["closing", "fenced", "gone", "closed", "void"]) {
        client
            .execute(
                "UPDATE residency.register SET state = $1, generation = $2 WHERE kind = 1",
                &[&state, &generation],
            )
            .await
            .expect("the owner may");
        databases.job(&["table", "import", "--jurisdiction", "us", "--sql", QUERY]).await;
        assert_eq!(text(&client, states).await, format!("{state}{generation}"));
    }
}

#[tokio::test]
async fn a_query_that_cannot_be_used_is_refused() {
    let databases = Databases::with_users().await;
    let mut told = String::new();
    for sql in [
        "SELECT 1 AS one",
        "SELECT id FROM users",
        "SELECT id AS subject, id AS identifier, emails AS identifiers FROM users",
        "SELECT id AS subject, country, country AS jurisdiction FROM users",
        "SELECT id AS subject FROM users WHERE id = $1",
        "SELECT id AS subject FROM nothing",
        "INSERT INTO users VALUES ('x') RETURNING id AS subject",
        "WITH w AS (DELETE FROM users RETURNING id) SELECT id AS subject FROM w",
    ] {
        let (code, said) = databases.job(&["table", "import", "--jurisdiction", "us", "--sql", sql]).await;
        assert_eq!(code, ExitCode::FAILURE, "{sql}");
        told.push_str(&said);
    }
    insta::assert_snapshot!(told);
    let client = databases.client("app", "us").await;
    assert_eq!(text(&client, "SELECT count(*) FROM users").await, "10", "nothing was written");
    assert_eq!(text(&client, "SELECT count(*) FROM residency.register").await, "0");
}

const NEXT_KEYS: &str = r#"
subject_key = "the next subject key, long enough to be one"
identifier_key = "the next identifier key, that is long enough"
"#;

#[tokio::test]
async fn keys_are_replaced_step_by_step_and_nothing_is_forgotten() {
    let databases = Databases::with_users().await;
    let users = "SELECT id AS subject, emails AS identifiers FROM users WHERE id IN ('ann', 'bob', 'cid')";
    let import: &[&str] = &["table", "import", "--jurisdiction", "us", "--sql", users];
    databases.job(import).await;
    let client = databases.client("app", "us").await;
    client
        .batch_execute(
            "UPDATE residency.register SET state = 'pending', toward = 'eu', generation = 9 WHERE kind = 1 \
             AND hash = (SELECT hash FROM residency.register WHERE kind = 1 ORDER BY hash LIMIT 1)",
        )
        .await
        .expect("the owner may");
    let both = format!(
        "{NEXT_KEYS}{}",
        KEYS.replace("subject_key", "subject_key_previous")
            .replace("identifier_key", "identifier_key_previous")
    );
    let mut told = String::new();
    let mut step = async |what: &str, keys: &str, words: &[&str]| {
        let (code, said) = databases.job_with(keys, words).await;
        let code = if code == ExitCode::SUCCESS { "well" } else { "not well" };
        told = format!("{told}---- {what}: {code}\n{said}");
    };
    let us = ["--jurisdiction", "us"];
    let apply = [&["schema", "apply"], &us[..]].concat();
    let status = [&["schema", "status"], &us[..]].concat();
    step("the new keys alone are refused", NEXT_KEYS, &apply).await;
    step("both", &both, &apply).await;
    step("rows are written under the new keys", &both, import).await;
    step("again", &both, import).await;
    step("with both configured all is well", &both, &status).await;
    step("the former are not configured any more", NEXT_KEYS, &status).await;
    let keys = keys();
    let former = [KeyKind::Subject, KeyKind::Identifier].map(|kind| keys.ids(kind)[0].to_owned());
    step("a key in use is not dropped", &both, &["table", "prune", "--key", &former[0]]).await;
    for key in &former {
        step("dropped", NEXT_KEYS, &["table", "prune", "--key", key]).await;
    }
    step("again", NEXT_KEYS, &["table", "prune", "--key", &former[0]]).await;
    step("what is left", NEXT_KEYS, &status).await;
    insta::assert_snapshot!(told);
    let moved =
        "SELECT state || ' ' || generation || ' ' || toward FROM residency.register WHERE generation > 1";
    assert_eq!(text(&client, moved).await, "pending 9 eu");
    let owners = "SELECT count(*) FROM residency.register i JOIN residency.register s ON s.hash = i.subject";
    assert_eq!(text(&client, owners).await, "3", "every identifier's owner is known by the new hash");
}
