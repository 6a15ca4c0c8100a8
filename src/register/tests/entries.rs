//! What holds of a register whoever writes: triggers, functions, notifications, and the cursor of those who follow.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use tokio_postgres::AsyncMessage;

use super::*;

const ASSIGN: &str = "SELECT state, generation, toward, created FROM residency.assign($1, $2, $3, $4)";

type Assigned = (String, i64, Option<String>, bool);

/// Signs somebody up, in one round trip.
async fn assign(
    client: &Client,
    subject: u128,
    identifiers: &[u128],
) -> Result<Assigned, tokio_postgres::Error> {
    let keys = keys();
    let (subjects, identifier_keys) = (keys.ids(KeyKind::Subject), keys.ids(KeyKind::Identifier));
    let identifiers: Vec<Vec<u8>> = identifiers.iter().map(|&identifier| hash(identifier)).collect();
    let row =
        client.query_one(ASSIGN, &[&hash(subject), &subjects[0], &identifiers, &identifier_keys[0]]).await?;
    Ok((row.get(0), row.get(1), row.get(2), row.get(3)))
}

fn home(generation: i64, created: bool) -> Assigned {
    ("home".to_owned(), generation, None, created)
}

/// The owner that a refusal names.
fn owner(error: &tokio_postgres::Error) -> Option<String> {
    let answer = error.as_db_error()?;
    assert_eq!(answer.code().code(), "RS001");
    let detail: serde_json::Value = serde_json::from_str(answer.detail()?).ok()?;
    Some(detail["owner"].as_str()?.to_owned())
}

#[tokio::test]
async fn assigning_is_the_same_however_often_and_an_identifier_is_one_subjects() {
    let databases = Databases::with_schema().await;
    let client = databases.client("gateway", "us").await;
    assert_eq!(assign(&client, 1, &[101, 102]).await.expect("free"), home(1, true));
    assert_eq!(assign(&client, 1, &[102, 101]).await.expect("the same"), home(1, false));
    assert_eq!(assign(&client, 1, &[103]).await.expect("one more"), home(1, false));

    let taken = assign(&client, 2, &[104, 103]).await.expect_err("it is another's");
    assert_eq!(owner(&taken).as_deref(), Some(&*hexadecimal(&hash(1))));
    assert_eq!(
        text(&client, "SELECT count(*) FROM residency.register").await,
        "4",
        "nothing of it was written"
    );

    // Broken off before the app had a row: given up, and free for the next.
    let released = format!("SELECT residency.release(ARRAY['\\x{}'::bytea])", hexadecimal(&hash(1)));
    assert_eq!(text(&client, &released).await, "4");
    assert_eq!(assign(&client, 2, &[104, 103]).await.expect("it is free"), home(1, true));
    assert_eq!(assign(&client, 1, &[]).await.expect("again"), home(3, true), "a generation never falls");

    // An address changed.
    let changed = format!(
        "SELECT residency.release(ARRAY['\\x{}'::bytea], ARRAY['\\x{}'::bytea])",
        hexadecimal(&hash(2)),
        hexadecimal(&hash(104))
    );
    assert_eq!(text(&client, &changed).await, "1");
    assert_eq!(assign(&client, 1, &[104]).await.expect("it is free"), home(3, false));

    let unknown =
        client.query_one(ASSIGN, &[&hash(9), &"ffffffff", &Vec::<Vec<u8>>::new(), &None::<String>]).await;
    assert_eq!(code(unknown), "RS004");
    assert_eq!(text(&client, "SELECT residency.set_read_only(true, 'me')").await, "true");
    assert_eq!(code(assign(&client, 9, &[]).await), "RS003");
    assert_eq!(code(assign(&client, 2, &[109]).await), "RS003");
    assert_eq!(assign(&client, 2, &[103]).await.expect("nothing is written"), home(1, false));
    let act = "SELECT kind || ' ' || detail || ' ' || by FROM residency.act";
    assert_eq!(text(&client, act).await, r#"read-only {"read_only": true} me"#);
}

#[tokio::test]
async fn a_settled_subject_becomes_pending_once_and_a_moving_one_does_not() {
    let databases = Databases::with_schema().await;
    let client = databases.client("gateway", "us").await;
    let pending = async |subject: u128, toward: &str, key: Option<&str>| {
        let asked = "SELECT state, generation, toward FROM residency.mark_pending($1, $2, $3)";
        let row = client.query_one(asked, &[&hash(subject), &toward, &key]).await?;
        Ok::<(String, i64, String), tokio_postgres::Error>((row.get(0), row.get(1), row.get(2)))
    };
    let expected = |generation| ("pending".to_owned(), generation, "eu".to_owned());
    assign(&client, 1, &[]).await.expect("free");
    assert_eq!(pending(1, "eu", None).await.expect("settled"), expected(2));
    assert_eq!(pending(1, "eu", None).await.expect("the same"), expected(2));
    let claims =
        format!("SELECT claim_answers FROM residency.register WHERE hash = '\\x{}'", hexadecimal(&hash(1)));
    assert_eq!(text(&client, &claims).await, "false", "from now on everyone has to know");
    assert_eq!(assign(&client, 1, &[]).await.expect("known").0, "pending");

    assert_eq!(code(pending(2, "eu", None).await), "RS006", "the register has no such subject");
    let keys = keys();
    let key = keys.ids(KeyKind::Subject)[0];
    assert_eq!(pending(2, "eu", Some(key)).await.expect("its claim answered so far"), expected(1));
    assert_eq!(code(pending(1, "us", None).await), "RS002", "its own jurisdiction");

    let admin = databases.client("app", "us").await;
    for state in ["closing", "fenced", "gone", "closed", "void"] {
        admin
            .execute("UPDATE residency.register SET state = $1, generation = generation + 1", &[&state])
            .await
            .expect("the owner may");
        assert_eq!(code(pending(1, "eu", None).await), "RS006", "{state}");
        let assigned = assign(&client, 1, &[777]).await.expect("it is told as it stands");
        assert_eq!((assigned.0.as_str(), assigned.3), (state, false));
        let written =
            format!("SELECT count(*) FROM residency.register WHERE hash = '\\x{}'", hexadecimal(&hash(777)));
        assert_eq!(text(&client, &written).await, "0");
    }
}

#[tokio::test]
async fn of_many_sign_ups_at_once_each_identifier_has_one_owner_and_nobody_waits_for_ever() {
    let databases = Databases::with_schema().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(databases.client("gateway", "us").await);
    }
    for round in 0..20_u128 {
        // Each wants the same five, and lists them in another order.
        let wanted = |client: usize| {
            let mut wanted: Vec<u128> = (0..5).map(|one| 1_000 * (round + 1) + one).collect();
            wanted.rotate_left(client % 5);
            wanted
        };
        let attempts = clients.iter().enumerate().map(async |(index, client)| {
            let subject = 1_000_000 + 100 * round + index as u128;
            (subject, assign(client, subject, &wanted(index)).await)
        });
        let outcomes = futures_util::future::join_all(attempts).await;
        let winners: Vec<u128> =
            outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(subject, _)| *subject).collect();
        let &[winner] = &winners[..] else { panic!("round {round}: {outcomes:?}") };
        for (subject, outcome) in &outcomes {
            if let Err(refusal) = outcome {
                assert_eq!(owner(refusal).as_deref(), Some(&*hexadecimal(&hash(winner))), "{subject}");
            }
        }
        let owners = format!(
            "SELECT count(*) || ' ' || count(DISTINCT subject) FROM residency.register \
             WHERE kind = 2 AND subject = '\\x{}'",
            hexadecimal(&hash(winner))
        );
        assert_eq!(text(&clients[0], &owners).await, "5 1");
    }
    // The same sign-up, sent eight times at once.
    let attempts = clients.iter().map(|client| assign(client, 5, &[90_001, 90_002]));
    let outcomes = futures_util::future::join_all(attempts).await;
    let created: Vec<bool> = outcomes.into_iter().map(|outcome| outcome.expect("it is its own").3).collect();
    assert_eq!(created.iter().filter(|created| **created).count(), 1, "{created:?}");
}

#[tokio::test]
async fn while_keys_are_replaced_a_sign_up_is_found_under_both() {
    let databases = Databases::with_schema().await;
    let client = databases.client("gateway", "us").await;
    let admin = databases.client("app", "us").await;
    let keys = keys();
    let (subjects, identifiers) = (keys.ids(KeyKind::Subject), keys.ids(KeyKind::Identifier));
    admin
        .batch_execute(
            "INSERT INTO residency.register_key VALUES (1, '11111111', false), (2, '22222222', false)",
        )
        .await
        .expect("the owner may");
    assign(&client, 1, &[101]).await.expect("before there was another key");
    admin
        .execute(
            "UPDATE residency.register SET state = 'pending', toward = 'eu', generation = 7 WHERE kind = 1",
            &[],
        )
        .await
        .expect("the owner may");

    // Everybody's hash under the other key is 1,000 more.
    let both = async |subject: u128, identifier: u128| {
        let sql = "SELECT state, generation FROM residency.assign($1, '11111111', ARRAY[$2::bytea], '22222222', \
             $3, $4, ARRAY[$5::bytea], $6)";
        let row = client
            .query_one(
                sql,
                &[
                    &hash(subject + 1_000),
                    &hash(identifier + 1_000),
                    &hash(subject),
                    &subjects[0],
                    &hash(identifier),
                    &identifiers[0],
                ],
            )
            .await?;
        Ok::<(String, i64), tokio_postgres::Error>((row.get(0), row.get(1)))
    };
    assert_eq!(
        both(1, 101).await.expect("its own"),
        ("pending".to_owned(), 7),
        "what is known is taken over"
    );
    assert_eq!(
        owner(&both(2, 101).await.expect_err("taken, under the other key")).as_deref(),
        Some(&*hexadecimal(&hash(1)))
    );
    assert_eq!(both(3, 103).await.expect("free"), ("home".to_owned(), 1));
    // And one who knows only the former key.
    assert_eq!(
        owner(&assign(&client, 4, &[103]).await.expect_err("taken")).as_deref(),
        Some(&*hexadecimal(&hash(3)))
    );
}

#[tokio::test]
async fn whoever_writes_generations_rise_deletions_leave_tombstones_and_nothing_is_truncated() {
    let databases = Databases::with_schema().await;
    let admin = databases.client("postgres", "us").await;
    assign(&admin, 1, &[]).await.expect("free");
    for role in ["origin", "replica"] {
        admin
            .batch_execute(&format!("SET session_replication_role = {role}"))
            .await
            .expect("a superuser may");
        admin
            .batch_execute("UPDATE residency.register SET generation = generation + 5")
            .await
            .expect("it rises");
        for (sql, why) in [
            ("UPDATE residency.register SET generation = generation - 1", "it falls"),
            ("UPDATE residency.register SET key_id = '00000000'", "another key"),
            ("UPDATE residency.jurisdiction SET generation = generation - 1, home = 'x'", "it falls"),
            ("UPDATE residency.jurisdiction SET home = 'eu-frankfurt'", "a home at the same generation"),
            ("DELETE FROM residency.jurisdiction", "it would be forgotten"),
            ("TRUNCATE residency.register", "nobody would see it"),
            ("TRUNCATE residency.jurisdiction", "likewise"),
        ] {
            let refused = code(admin.batch_execute(sql).await);
            assert!(["RS002", "23514"].contains(&refused.as_str()), "{role}: {sql} ({why}): {refused}");
        }
    }
    let changed = "SELECT changed = pg_current_xact_id() FROM residency.register";
    admin
        .batch_execute("BEGIN; UPDATE residency.register SET attempt = 1, changed = '5'")
        .await
        .expect("it may");
    assert_eq!(text(&admin, changed).await, "true", "stamped with its transaction, whatever was written");
    admin.batch_execute("COMMIT; DELETE FROM residency.register").await.expect("it leaves a tombstone");
    assert_eq!(text(&admin, "SELECT deleted || ' ' || generation FROM residency.register").await, "true 12");
    admin.batch_execute("DELETE FROM residency.register").await.expect("the tombstone itself");
    assert_eq!(text(&admin, "SELECT count(*) FROM residency.register").await, "0");
}

#[tokio::test]
async fn changes_are_told_as_they_are_and_never_too_long() {
    let databases = Databases::with_schema().await;
    let (client, mut connection) =
        tokio_postgres::connect(&databases.url("app", "us"), NoTls).await.expect("it answers");
    let (sender, mut told) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        let mut messages = futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(told) = message {
                sender
                    .send((told.channel().to_owned(), told.payload().to_owned()))
                    .await
                    .expect("it is read");
            }
        }
    });
    client.batch_execute("LISTEN residency_register; LISTEN residency_jurisdiction").await.expect("it may");
    let mut next = async || {
        let (channel, payload) =
            tokio::time::timeout(PATIENCE, told.recv()).await.expect("a notification").expect("a session");
        assert!(payload.len() < 8_000, "{} bytes", payload.len());
        (channel, serde_json::from_str::<serde_json::Value>(&payload).expect("JSON"))
    };
    assign(&client, 1, &[]).await.expect("free");
    let (channel, row) = next().await;
    assert_eq!(channel, "residency_register");
    assert_eq!(
        row,
        serde_json::json!({"hash": hexadecimal(&hash(1)), "kind": 1, "state": "home", "generation": 1, "toward": null,
            "move_id": null, "attempt": 0, "claim_answers": true, "floor": null, "deleted": false})
    );
    client
        .batch_execute(
            "UPDATE residency.register SET state = 'gone', generation = 2, toward = repeat('x', 255), attempt = 3, \
             move_id = '00000000-0000-0000-0000-0000000000ab', claim_answers = false, floor_timeline = 3, \
             floor_lsn = '16/B374D848'",
        )
        .await
        .expect("the owner may");
    let (_, row) = next().await;
    assert_eq!(row["floor"], serde_json::json!([3, "16/B374D848"]));
    assert_eq!(
        (&row["move_id"], &row["attempt"]),
        (&"00000000-0000-0000-0000-0000000000ab".into(), &3.into())
    );
    client.batch_execute("DELETE FROM residency.register").await.expect("the owner may");
    let (_, row) = next().await;
    assert_eq!((&row["deleted"], &row["generation"]), (&true.into(), &3.into()));

    let long = "UPDATE residency.jurisdiction SET generation = 2, home = 'us-west', history = (SELECT jsonb_agg( \
         jsonb_build_object('generation', n, 'reason', repeat('ü', 100))) FROM generate_series(1, 200) AS n)";
    client.batch_execute(long).await.expect("the owner may");
    let (channel, row) = next().await;
    assert_eq!(
        (channel.as_str(), &row["home"], &row["generation"]),
        ("residency_jurisdiction", &"us-west".into(), &2.into())
    );
    let history = row["history"].as_array().expect("a list");
    assert_eq!(history.last().expect("the newest stay")["generation"], 200);
    assert!(history.len() > 10, "as much as there is room for");
    let kept = "SELECT jsonb_array_length(history) FROM residency.jurisdiction";
    assert_eq!(text(&client, kept).await, "200", "in the row all of it is kept");
}

/// R7: nobody elsewhere hears so much as a hash of a subject for whom its claim answers.
#[tokio::test]
async fn nothing_of_a_subject_is_told_outside_before_others_have_to_know_of_it() {
    let databases = Databases::with_schema().await;
    let config: tokio_postgres::Config = databases.url("app", "us").parse().expect("a URL");
    let (client, mut connection) = config.connect(NoTls).await.expect("it answers");
    let (sender, mut told) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        let mut messages = futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(told) = message
                && sender.send(told.payload().to_owned()).await.is_err()
            {
                return;
            }
        }
    });
    client.batch_execute("LISTEN residency_register_outside").await.expect("it may");
    let told_so_far = async |told: &mut tokio::sync::mpsc::Receiver<String>| {
        // In the order of commits: what was to come has come before this.
        client.batch_execute("NOTIFY residency_register_outside, 'end'").await.expect("it may");
        let mut payloads = Vec::new();
        loop {
            match tokio::time::timeout(PATIENCE, told.recv()).await.expect("it comes").expect("a session") {
                end if end == "end" => return payloads,
                payload => payloads.push(payload),
            }
        }
    };
    // Assigned, released, assigned again, with the tombstone removed in between: its claim answers all along.
    assign(&client, 1, &[]).await.expect("free");
    let delete = format!("DELETE FROM residency.register WHERE hash = '\\x{}'", hexadecimal(&hash(1)));
    for _ in 0..2 {
        client.batch_execute(&delete).await.expect("the owner may");
    }
    assign(&client, 1, &[]).await.expect("free");
    assert_eq!(told_so_far(&mut told).await, Vec::<String>::new());
    // An identifier has to be found from everywhere; whose it is, is not said.
    assign(&client, 1, &[104]).await.expect("free");
    let payloads = told_so_far(&mut told).await;
    assert!(payloads.len() == 1 && payloads[0].contains(&hexadecimal(&hash(104))), "{payloads:?}");
    assert!(!payloads[0].contains(&hexadecimal(&hash(1))), "{payloads:?}");
    // Marked to be moved: from now on everyone has to know, of its end, too.
    let mark = format!("SELECT residency.mark_pending('\\x{}', 'eu')", hexadecimal(&hash(1)));
    client.batch_execute(&mark).await.expect("settled");
    client.batch_execute(&delete).await.expect("the owner may");
    let payloads = told_so_far(&mut told).await;
    assert!(
        payloads.len() == 2 && payloads.iter().all(|it| it.contains(&hexadecimal(&hash(1)))),
        "{payloads:?}"
    );
}

#[tokio::test]
async fn what_commits_late_is_not_missed_by_a_cursor() {
    let databases = Databases::with_schema().await;
    let (late, early, follower) = (
        databases.client("app", "us").await,
        databases.client("app", "us").await,
        databases.client("gateway", "us").await,
    );
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut since = "0".to_owned();
    let mut follow = async |known: &mut BTreeSet<String>| {
        let cursor = text(&follower, "SELECT xmin FROM residency.cursor()").await;
        let asked = format!("SELECT encode(hash, 'hex') FROM residency.changes_since('{since}', false)");
        let rows = follower.query(&asked, &[]).await.expect("it may");
        known.extend(rows.iter().map(|row| row.get::<_, String>(0)));
        since = cursor;
    };
    late.batch_execute("BEGIN").await.expect("a session");
    assign(&late, 1, &[]).await.expect("free");
    assign(&early, 2, &[]).await.expect("free");
    follow(&mut known).await;
    assert_eq!(known.len(), 1, "only the one that has committed");
    late.batch_execute("COMMIT").await.expect("it was open");
    follow(&mut known).await;
    assert_eq!(known.len(), 2, "the one with the lower number, too");

    // What the claim answers is not for those outside; what it doesn't is.
    let outside = "SELECT count(*) FROM residency.changes_since('0', true)";
    assert_eq!(text(&follower, outside).await, "0");
    assign(&early, 2, &[102]).await.expect("its own");
    assert_eq!(text(&follower, outside).await, "1");
    // What somebody changed by hand says more than the claim, whether or not they thought of it.
    let owner = databases.client("app", "us").await;
    for (subject, change) in [(1, "state = 'gone', generation = 2"), (3, "generation = 2")] {
        assign(&early, subject, &[]).await.expect("free, or its own");
        let row = hexadecimal(&hash(subject));
        let by_hand = format!("UPDATE residency.register SET {change} WHERE hash = decode('{row}', 'hex')");
        assert_eq!(owner.execute(&by_hand, &[]).await.expect("the owner may"), 1);
        let claimed =
            format!("SELECT claim_answers FROM residency.register WHERE hash = decode('{row}', 'hex')");
        assert_eq!(text(&follower, &claimed).await, "false", "{change}");
    }
}
