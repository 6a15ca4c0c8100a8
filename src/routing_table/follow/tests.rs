//! Followers of real Postgres clusters: commits out of order, cut connections, promotions, forgeries.

use std::{
    sync::atomic::Ordering,
    time::{Instant, SystemTime},
};

use super::super::{RegisterLoad, tests::topology};
use super::*;
use crate::{
    clock,
    domain::{
        hexadecimal::hexadecimal,
        register::{EntryState, Generation, MoveId, Placed, RegisterEntry, SubjectKey},
        secret::Secret,
    },
    postgres::tests::cluster::Server,
    register,
    routing_table::snapshot::Progress,
};

/// Enough for a busy machine; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_mins(1);
/// So long that a test in which only a poll could have told has failed.
const NEVER: Duration = Duration::from_hours(1);
const SOON: Duration = Duration::from_millis(50);

fn keys() -> RegisterKeys {
    let (subjects, identifiers) =
        (Secret::new(b"subjects".as_slice()), Secret::new(b"identifiers".as_slice()));
    RegisterKeys::new((&subjects, None), (&identifiers, None))
}

fn key(subject: u32) -> SubjectKey {
    keys().subject(&subject.to_string())[0]
}

fn bytea(key: SubjectKey) -> String {
    format!("'\\x{}'::bytea", hexadecimal(&key.0))
}

/// Under which subjects are hashed here.
fn key_id() -> String {
    keys().subjects.current().id().to_string()
}

/// A primary with an empty register of `us`.
async fn register() -> Server {
    let primary = Server::primary("max_connections = 40").await;
    let insert = "INSERT INTO residency.jurisdiction (name, home, generation, durability) \
         VALUES ('us', 'us-east', 1, 'async')";
    let key = format!("INSERT INTO residency.register_key VALUES (1, '{}', true)", key_id());
    primary.sql(&[&register::tests::schema(), insert, &key]).await;
    primary
}

async fn put(client: &tokio_postgres::Client, subject: u32, state: &str, generation: u64) {
    let row = format!("({}, 1, '{}', '{state}', {generation})", bytea(key(subject)), key_id());
    let sql = format!(
        "INSERT INTO residency.register (hash, kind, key_id, state, generation) VALUES {row} \
         ON CONFLICT (hash) DO UPDATE SET state = excluded.state, generation = excluded.generation"
    );
    client.batch_execute(&sql).await.expect("a valid row");
}

/// A follower that runs.
struct Following {
    handle: RegisterHandle,
    writer: Arc<TableWriter>,
    forgotten: Arc<Forgotten>,
    metrics: Arc<Metrics>,
    serving: Arc<AtomicBool>,
    stop: CancellationToken,
    running: JoinSet<()>,
}

#[derive(Clone, Default)]
struct Begin {
    outside: bool,
    progress: Progress,
    entries: Vec<(u32, RegisterEntry)>,
    certificate: Arc<ArcSwapOption<Fingerprint>>,
}

impl Following {
    fn new(members: &[&Server], poll: Duration) -> Self {
        Self::beginning(members.iter().map(|server| server.url("postgres")).collect(), poll, Begin::default())
    }

    fn beginning(urls: Vec<String>, poll: Duration, begin: Begin) -> Self {
        let topology = Arc::new(topology(&["us", "eu"]));
        let writer = Arc::new(TableWriter::new());
        let us = topology.jurisdiction("us").expect("there");
        writer.apply(begin.entries.iter().map(|(subject, entry)| Change {
            register: us,
            key: key(*subject),
            entry: Some(*entry),
        }));
        let metrics = Arc::new(Metrics::new("test", SystemTime::UNIX_EPOCH));
        let stop = CancellationToken::new();
        let serving = Arc::new(AtomicBool::new(false));
        let member = |(index, url): (usize, String)| Member {
            region: format!("region-{index}").into(),
            url: url.parse().expect("a valid URL"),
        };
        let settings = FollowSettings {
            jurisdiction: us,
            members: urls.into_iter().enumerate().map(member).collect(),
            outside: begin.outside,
            poll,
            stale_after: Duration::from_secs(10),
            gateway: GatewayIdentity {
                name: "gateway-1".to_owned(),
                region: "us-east".to_owned(),
                version: "1".to_owned(),
                certificate: Arc::clone(&begin.certificate),
                serving: Arc::clone(&serving),
            },
        };
        let forgotten = Arc::new(Forgotten::new(&topology));
        let shared = Shared {
            topology,
            keys: Arc::new(keys()),
            writer: Arc::clone(&writer),
            forgotten: Arc::clone(&forgotten),
            metrics: Arc::clone(&metrics),
            stop: stop.clone(),
        };
        let (follower, handle) = Follower::new(settings, shared, begin.progress);
        let mut running = JoinSet::new();
        running.spawn(follower.run());
        Self { handle, writer, forgotten, metrics, serving, stop, running }
    }

    async fn seen(&self, what: &str, wanted: impl Fn(&RegisterView) -> bool) -> RegisterView {
        let mut view = self.handle.watch();
        let seen = tokio::time::timeout(PATIENCE, view.wait_for(|view| wanted(view))).await.ok();
        let seen = seen.map(|seen| seen.expect("it runs").clone());
        seen.unwrap_or_else(|| panic!("never {what}: {:?}", self.handle.view()))
    }

    async fn followed(&self) -> RegisterView {
        self.seen("followed", |view| view.current_at.is_some() && view.region.is_some()).await
    }

    fn generation(&self, subject: u32) -> Option<u64> {
        self.writer.table().get(&key(subject)).map(|entry| entry.generation.0)
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let start = clock::now();
        while !wanted(self) {
            assert!(start.elapsed() < PATIENCE, "never {what}: {:?}", self.handle.view());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn refreshed(&self) {
        assert!(self.handle.refresh(PATIENCE).await, "no answer: {:?}", self.handle.view());
    }

    async fn stopped(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended.expect("no panic");
        }
    }

    fn counted(&self, sample: &str) -> bool {
        self.metrics.encode().lines().any(|line| line == sample)
    }
}

#[tokio::test]
async fn what_is_told_is_in_the_table_without_a_poll() {
    let primary = register().await;
    let client = primary.session().await;
    put(&client, 1, "home", 1).await;
    let following = Following::new(&[&primary], NEVER);
    following.followed().await;
    assert_eq!(following.generation(1), Some(1), "loaded");
    put(&client, 2, "home", 1).await;
    following.until("told", |it| it.generation(2) == Some(1)).await;

    let moving = format!(
        "UPDATE residency.register SET state = 'fenced', generation = 2, toward = 'eu', attempt = 3, \
         move_id = '00000000-0000-0000-0000-00000000000a', floor_timeline = 1, floor_lsn = '0/10' WHERE hash = {}",
        bytea(key(1))
    );
    client.batch_execute(&moving).await.expect("valid");
    following.until("moving", |it| it.writer.table().moving().len() == 1).await;
    let told = following.writer.table().get(&key(1)).expect("there");
    assert_eq!((told.state, told.move_id), (EntryState::Fenced, Some((MoveId(10), 3))));
    // A poll says the same of it, tombstone and all.
    let gone = format!("UPDATE residency.register SET deleted = true WHERE hash = {}", bytea(key(2)));
    client.batch_execute(&gone).await.expect("valid");
    following.until("deleted", |it| it.generation(2).is_none()).await;
    following.refreshed().await;
    assert_eq!(following.writer.table().get(&key(1)), Some(told));
    assert_eq!(following.generation(2), None);
    following.stopped().await;
}

/// Of transactions that began in one order and committed in another, each is seen although nothing is told: a position
/// taken from rows or ids that were read would have passed over the late ones.
#[tokio::test]
async fn commits_out_of_order_are_not_missed() {
    let primary = register().await;
    primary.sql(&["DROP TRIGGER tell ON residency.register"]).await;
    let following = Following::new(&[&primary], NEVER);
    following.followed().await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(primary.session().await);
    }
    for (subject, session) in (1..).zip(&sessions) {
        session.batch_execute("BEGIN").await.expect("a transaction");
        put(session, subject, "home", 1).await;
    }
    let order = [5, 1, 4, 0, 3, 2_usize];
    let mut committed = Vec::new();
    for index in order {
        sessions[index].batch_execute("COMMIT").await.expect("no conflict");
        committed.push(index);
        // Something newer, committed at once, each time.
        put(&primary.session().await, 100, "home", committed.len() as u64).await;
        following.refreshed().await;
        for (index, subject) in (0..sessions.len()).zip(1..) {
            assert_eq!(following.generation(subject).is_some(), committed.contains(&index), "{committed:?}");
        }
        assert_eq!(following.generation(100), Some(committed.len() as u64));
    }
    following.stopped().await;
}

/// The new primary numbers its transactions from below what the old one had reached: who went on by number would miss them.
#[tokio::test]
async fn a_promotion_in_between_is_followed_although_its_transactions_have_lower_numbers() {
    let mut primary = register().await;
    let client = primary.session().await;
    put(&client, 1, "home", 1).await;
    let standby = primary.standby().await;
    let following = Following::new(&[&primary, &standby], SOON);
    let before = following.followed().await;
    assert_eq!(before.region.as_deref(), Some("region-0"));
    let replayed = "SELECT pg_last_wal_replay_lsn() >= '";
    let lsn = primary.sql(&["SELECT pg_current_wal_lsn()"]).await.expect("a position");
    while standby.sql(&[&format!("{replayed}{lsn}'")]).await.as_deref() != Some("t") {}

    // The standby hears no more; the old primary goes far ahead in transactions, and a row of it is lost.
    standby.sql(&["ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"]).await;
    while standby.sql(&["SELECT count(*) FROM pg_stat_wal_receiver"]).await.as_deref() != Some("0") {}
    put(&client, 2, "home", 1).await;
    for _ in 0..200 {
        client.batch_execute("SELECT pg_current_xact_id()").await.expect("valid");
    }
    following.refreshed().await;
    assert_eq!(following.generation(2), Some(1));
    let high = following.handle.view().cursor.expect("followed").xmin;
    drop(client);
    primary.kill();
    standby.promote().await;
    let client = standby.session().await;
    client
        .batch_execute("UPDATE residency.jurisdiction SET generation = 2, home = 'eu'")
        .await
        .expect("valid");
    put(&client, 3, "home", 1).await;
    let after = following.seen("promoted", |view| view.region.as_deref() == Some("region-1")).await;
    following.refreshed().await;
    let cursor = after.cursor.expect("followed");
    assert!(cursor.xmin < high, "{} is not below {high}: the case was not made", cursor.xmin);
    assert_eq!(following.generation(1), Some(1));
    assert_eq!(following.generation(2), None, "lost with the old primary");
    assert_eq!(following.generation(3), Some(1));
    assert!(following.counted(r#"residency_register_reloads_total{jurisdiction="us",reason="timeline"} 1"#));

    // The old one comes back as it was, a primary of the generation before: nobody believes it.
    primary.start().await;
    put(&primary.session().await, 1, "gone", 9).await;
    put(&client, 4, "home", 1).await;
    following.until("told by the new", |it| it.generation(4) == Some(1)).await;
    following.refreshed().await;
    assert_eq!(following.generation(1), Some(1));
    drop(client);
    let mut standby = standby;
    standby.kill();
    let refused = |it: &Following| {
        it.counted(r#"residency_register_alarms_total{alarm="generation",jurisdiction="us"} 1"#)
    };
    following.until("refused", refused).await;
    assert_eq!(following.generation(1), Some(1));
    following.stopped().await;
}

#[tokio::test]
async fn what_a_cut_connection_lost_the_poll_finds() {
    let primary = register().await;
    let client = primary.session().await;
    let following = Following::new(&[&primary], SOON);
    following.followed().await;
    for generation in 1..=5 {
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE application_name = 'residency-gateway'";
        let killed: i64 = client.query_one(cut, &[]).await.expect("valid").get(0);
        assert!(killed > 0);
        // Told to nobody.
        put(&client, 1, "home", generation).await;
        following.until("found", |it| it.generation(1) == Some(generation)).await;
    }
    assert!(
        following.counted(r#"residency_register_reloads_total{jurisdiction="us",reason="first"} 1"#),
        "a new session goes on where the old one was"
    );
    following.stopped().await;
}

#[tokio::test]
async fn a_lower_generation_or_timeline_than_known_is_refused() {
    let primary = register().await;
    put(&primary.session().await, 1, "home", 9).await;
    let identifier = primary.sql(&["SELECT system_identifier FROM pg_control_system()"]).await;
    let system_identifier = identifier.and_then(|it| it.parse().ok()).expect("a number");
    let us = topology(&["us", "eu"]).jurisdiction("us").expect("there");
    for (generation, timeline, alarm) in [(2, 1, "generation"), (1, 2, "timeline")] {
        let height = super::super::Height {
            generation: Generation(generation),
            system_identifier,
            timeline: crate::domain::replication_lag::Timeline(timeline),
        };
        let progress = Progress { height: Some(height), ..Progress::default() };
        let known = super::super::tests::home(us, 3);
        let begin = Begin { progress, entries: vec![(1, known)], ..Begin::default() };
        let following = Following::beginning(vec![primary.url("postgres")], SOON, begin);
        following.seen("refused", |view| view.fault.is_some()).await;
        let sample = format!("residency_register_alarms_total{{alarm=\"{alarm}\",jurisdiction=\"us\"}} 1");
        following.until("raised once", |it| it.counted(&sample)).await;
        assert_eq!(following.generation(1), Some(3), "what was known stays");
        assert!(!following.handle.refresh(SOON).await);
        assert_eq!(following.handle.freshness(clock::now()), Freshness::Stale);
        following.stopped().await;
    }

    // One that sinks while it is followed.
    primary.sql(&["UPDATE residency.jurisdiction SET generation = 2"]).await;
    let following = Following::new(&[&primary], SOON);
    following.followed().await;
    let restored = "UPDATE residency.jurisdiction SET generation = 1";
    primary.sql(&["ALTER TABLE residency.jurisdiction DISABLE TRIGGER before_write", restored]).await;
    put(&primary.session().await, 2, "home", 1).await;
    following.seen("refused", |view| view.fault.is_some() && view.region.is_none()).await;
    primary.sql(&["UPDATE residency.jurisdiction SET generation = 2"]).await;
    following.followed().await;
    following.until("there", |it| it.generation(2) == Some(1)).await;
    following.stopped().await;
}

#[tokio::test]
async fn a_restarted_server_is_read_again_whole() {
    let mut primary = register().await;
    put(&primary.session().await, 1, "home", 1).await;
    let following = Following::new(&[&primary], SOON);
    following.followed().await;
    primary.kill();
    primary.start().await;
    put(&primary.session().await, 2, "home", 1).await;
    following.until("there", |it| it.generation(2) == Some(1)).await;
    assert!(following.counted(r#"residency_register_reloads_total{jurisdiction="us",reason="restart"} 1"#));
    assert_eq!(following.generation(1), Some(1));
    following.stopped().await;
}

#[tokio::test]
async fn a_gateway_registers_reports_and_leaves() {
    let primary = register().await;
    let client = primary.session().await;
    let following = Following::new(&[&primary], SOON);
    following.serving.store(true, Ordering::Relaxed);
    following.followed().await;
    let asked = async |sql: &str| client.query_one(sql, &[]).await.expect("valid").get::<_, i64>(0);
    let serving = "SELECT count(*) FROM residency.gateway WHERE name = 'gateway-1' AND serving";
    let start = clock::now();
    while asked(serving).await != 1 {
        assert!(start.elapsed() < PATIENCE, "never serving");
    }
    for stage in [Stage::Held, Stage::Drained] {
        following.handle.report(Report { move_id: MoveId(10), attempt: 2, stage }).expect("room");
    }
    let drained = "SELECT count(*) FROM residency.gateway_report WHERE drained_at IS NOT NULL AND attempt = 2 \
         AND move_id = '00000000-0000-0000-0000-00000000000a'";
    while asked(drained).await != 1 {
        assert!(start.elapsed() < PATIENCE, "never drained");
    }
    // Thrown out by mistake: it comes back by itself, and what it has done is known again.
    client
        .batch_execute("DELETE FROM residency.gateway; DELETE FROM residency.gateway_report")
        .await
        .expect("valid");
    while asked(drained).await != 1 {
        assert!(start.elapsed() < PATIENCE, "never again");
    }
    following.stopped().await;
    assert_eq!(asked("SELECT count(*) FROM residency.gateway").await, 0, "it has left");
}

#[tokio::test]
async fn a_gateway_is_there_for_a_register_whose_standbys_are_away() {
    let primary = register().await;
    let client = primary.session().await;
    for statement in ["ALTER SYSTEM SET synchronous_standby_names = 'away'", "SELECT pg_reload_conf()"] {
        client.batch_execute(statement).await.expect("valid");
    }
    let start = clock::now();
    let shows = "SELECT current_setting('synchronous_standby_names')";
    while client.query_one(shows, &[]).await.expect("valid").get::<_, String>(0) != "away" {
        assert!(start.elapsed() < PATIENCE, "never in force");
    }
    let following = Following::new(&[&primary], SOON);
    following.followed().await;
    let seen = "SELECT count(*) FROM residency.gateway WHERE serving";
    following.serving.store(true, Ordering::Relaxed);
    while client.query_one(seen, &[]).await.expect("valid").get::<_, i64>(0) != 1 {
        assert!(start.elapsed() < PATIENCE, "it never says that it serves");
    }
    following.stopped().await;
    assert_eq!(client.query_one(seen, &[]).await.expect("valid").get::<_, i64>(0), 0, "it has left");
}

/// Also one that a renewal replaces, and a gateway that was forgotten while it was connected.
#[tokio::test]
async fn a_forgotten_gateway_learns_so_and_comes_back_with_another_certificate() {
    let primary = register().await;
    let client = primary.session().await;
    let [first, second, other] = [1, 2, 3].map(|number| Fingerprint([number; 32]));
    let certificate = Arc::new(ArcSwapOption::from_pointee(first));
    let begin = Begin { certificate: Arc::clone(&certificate), ..Begin::default() };
    let following = Following::beginning(vec![primary.url("postgres")], SOON, begin);
    following.followed().await;
    let forget = async |one: Fingerprint| {
        let insert = format!(
            "INSERT INTO residency.forgotten_certificate (certificate, gateway, by) VALUES ('{one}', 'g', 'me')"
        );
        client.batch_execute(&insert).await.expect("valid");
    };
    let known_by = async |wanted: Fingerprint| {
        let asked = "SELECT certificate FROM residency.gateway";
        let start = clock::now();
        while client.query_one(asked, &[]).await.expect("valid").get::<_, String>(0) != wanted.to_string() {
            assert!(start.elapsed() < PATIENCE, "never known by {wanted}");
        }
    };
    known_by(first).await;
    // Another gateway's, and one in a spelling that is no gateway's.
    forget(other).await;
    client
        .batch_execute(
            "INSERT INTO residency.forgotten_certificate (certificate, gateway, by) VALUES ('AB', 'g', 'me')",
        )
        .await
        .expect("valid");
    following.until("listed", |it| it.forgotten.contains(&other)).await;
    assert!(!following.handle.view().forgotten);

    forget(first).await;
    client.batch_execute("DELETE FROM residency.gateway").await.expect("valid");
    let view = following.seen("forgotten", |view| view.forgotten).await;
    assert!(view.fault.expect("why").contains("pki rotate") && view.alarm == Some("forgotten"));
    let us = topology(&["us", "eu"]).jurisdiction("us").expect("there");
    assert!(following.forgotten.is_listed_by(us, &first));
    let alarm = r#"residency_register_alarms_total{alarm="forgotten",jurisdiction="us"} 1"#;
    following.until("raised once", |it| it.counted(alarm)).await;

    certificate.store(Some(Arc::new(second)));
    let view = following.seen("followed again", |view| view.region.is_some()).await;
    assert!(!view.forgotten && view.alarm.is_none());
    known_by(second).await;
    // A renewal while it is followed.
    certificate.store(Some(Arc::new(Fingerprint([4; 32]))));
    known_by(Fingerprint([4; 32])).await;
    // Who is taken off the list may come again.
    client.batch_execute("DELETE FROM residency.forgotten_certificate").await.expect("valid");
    following.until("off the list", |it| it.forgotten.all().is_empty()).await;
    following.stopped().await;
}

/// What is told inside is not for gateways elsewhere, whoever would tell it.
#[tokio::test]
async fn outside_only_what_is_told_outside_is_heard() {
    let primary = register().await;
    let client = primary.session().await;
    let outside = Following::beginning(
        vec![primary.url("postgres")],
        NEVER,
        Begin { outside: true, ..Begin::default() },
    );
    let inside = Following::new(&[&primary], NEVER);
    outside.followed().await;
    inside.followed().await;
    let told = |channel: &str, subject: u32| {
        let row = format!(
            r#"{{"hash":"{}","kind":1,"state":"home","generation":1,"attempt":0,"claim_answers":false,"deleted":false}}"#,
            hexadecimal(&key(subject).0)
        );
        format!("SELECT pg_notify('{channel}', '{row}')")
    };
    client.batch_execute(&told("residency_register", 1)).await.expect("valid");
    client.batch_execute(&told("residency_register_outside", 2)).await.expect("valid");
    put(&client, 3, "home", 1).await;
    outside.until("told", |it| it.generation(3).is_some()).await;
    inside.until("told", |it| it.generation(3).is_some()).await;
    assert_eq!([1, 2, 3].map(|subject| outside.generation(subject)), [None, Some(1), Some(1)]);
    assert_eq!([1, 2, 3].map(|subject| inside.generation(subject)), [Some(1), None, Some(1)]);
    outside.stopped().await;
    inside.stopped().await;
}

#[tokio::test]
async fn keys_that_the_register_does_not_know_are_found_at_once() {
    let primary = register().await;
    let foreign = "UPDATE residency.register_key SET key_id = '00000000'";
    primary.sql(&[foreign]).await;
    let following = Following::new(&[&primary], SOON);
    let view = following.seen("refused", |view| view.keys_differ).await;
    assert!(view.current_at.is_none() && view.fault.expect("why").contains("register.subject_key"));
    following
        .until("counted", |it| {
            it.counted(r#"residency_register_alarms_total{alarm="keys",jurisdiction="us"} 1"#)
        })
        .await;
    let ours = format!("INSERT INTO residency.register_key VALUES (1, '{}', false)", key_id());
    primary.sql(&[&ours]).await;
    assert!(!following.followed().await.keys_differ);
    following.stopped().await;
}

#[tokio::test]
async fn a_row_of_an_unknown_jurisdiction_refuses_its_subject_and_nothing_else() {
    let primary = register().await;
    let client = primary.session().await;
    put(&client, 1, "pending", 1).await;
    put(&client, 2, "home", 1).await;
    client
        .batch_execute("UPDATE residency.register SET toward = 'mars' WHERE state = 'pending'")
        .await
        .expect("valid");
    let following = Following::new(&[&primary], NEVER);
    following.followed().await;
    let placed = |subject| following.writer.table().get(&key(subject)).and_then(|entry| entry.placed());
    assert_eq!(placed(1), Some(Placed::Unknown));
    assert!(matches!(placed(2), Some(Placed::At(_))));
    assert!(
        following
            .counted(r#"residency_register_rows_refused_total{fault="jurisdiction",jurisdiction="us"} 1"#)
    );
    following.stopped().await;
}

/// More rows than a page, some changed while pages are read, and outside only those that claims can't answer.
#[tokio::test]
async fn a_large_register_is_loaded_page_by_page_while_it_changes() {
    let primary = register().await;
    let client = primary.session().await;
    let fill = format!(
        "INSERT INTO residency.register (hash, kind, key_id, state, generation, claim_answers) \
         SELECT decode(md5(n::text), 'hex'), 1, '{}', 'home', 1, n % 10 <> 0 FROM generate_series(1, 50000) AS n",
        key_id()
    );
    client.batch_execute(&fill).await.expect("valid");
    let urls = || vec![primary.url("postgres")];
    let inside = Following::beginning(urls(), NEVER, Begin::default());
    let outside = Following::beginning(urls(), NEVER, Begin { outside: true, ..Begin::default() });
    let raise = "UPDATE residency.register SET generation = 2 WHERE get_byte(hash, 15) < 32";
    client.batch_execute(raise).await.expect("valid");
    inside.followed().await;
    outside.followed().await;
    inside.refreshed().await;
    outside.refreshed().await;
    assert_eq!(inside.writer.table().len(), 50_000);
    // Whose generation was raised has moved since: no claim answers for it any more.
    let told = "SELECT count(*) FROM residency.register WHERE NOT claim_answers";
    let told: i64 = client.query_one(told, &[]).await.expect("valid").get(0);
    assert!(told > 5_000);
    assert_eq!(i64::try_from(outside.writer.table().len()).ok(), Some(told));
    for row in client
        .query("SELECT hash, generation, claim_answers FROM residency.register", &[])
        .await
        .expect("valid")
    {
        let key = SubjectKey(row.get::<_, &[u8]>(0).try_into().expect("16 bytes"));
        let generation =
            |it: &Following| it.writer.table().get(&key).map(|entry| entry.generation.0.cast_signed());
        let expected: i64 = row.get(1);
        assert_eq!(generation(&inside), Some(expected));
        assert_eq!(generation(&outside), (!row.get::<_, bool>(2)).then_some(expected));
    }
    inside.stopped().await;
    outside.stopped().await;
}

#[tokio::test]
async fn who_asks_at_the_same_time_shares_an_answer_and_gets_one_that_began_later() {
    let primary = register().await;
    primary.sql(&["DROP TRIGGER tell ON residency.register"]).await;
    let following = Following::new(&[&primary], NEVER);
    following.followed().await;
    let client = primary.session().await;
    for generation in 1..=20 {
        put(&client, 1, "home", generation).await;
        let (a, b, c) = tokio::join!(
            following.handle.refresh(PATIENCE),
            following.handle.refresh(PATIENCE),
            following.handle.refresh(PATIENCE)
        );
        assert!(a && b && c);
        assert_eq!(following.generation(1), Some(generation));
    }
    following.stopped().await;
}

#[test]
fn fresh_is_what_was_asked_for_lately() {
    let at: Instant = clock::now();
    let after = Duration::from_secs(10);
    let view = RegisterView { current_at: Some(at), ..RegisterView::default() };
    assert_eq!(view.freshness(at + Duration::from_secs(9), after), Freshness::Fresh);
    assert_eq!(view.freshness(at + after, after), Freshness::Stale);
    assert_eq!(RegisterView::default().freshness(at, after), Freshness::Stale);
}

#[test]
fn a_load_takes_rising_keys_only() {
    let us = topology(&["us"]).jurisdiction("us").expect("there");
    let mut load = RegisterLoad::new(us, 2);
    let entry = super::super::tests::home(us, 1);
    let taken = [2, 2, 1, 3].map(|first| load.push(SubjectKey([first; 16]), entry));
    assert_eq!((taken, load.len()), ([true, false, false, true], 2));
}
