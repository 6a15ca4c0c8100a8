//! URLs, and monitors of real servers: a primary, its standby, and what happens to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::{
    commit_horizon::CommitHorizon,
    sample::Constants,
    tests::cluster::{Server, signal},
    url::Check,
    *,
};
use crate::domain::position::{Reached, Requirement};
use crate::domain::replication_lag::{Lag, LagTracker, LogPosition, Lsn, Timeline};

pub(crate) mod cluster;

/// Enough for a busy machine; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(30);

const CADENCE: Cadence = Cadence {
    interval: Duration::from_millis(20),
    deadline: Duration::from_secs(1),
    longest_pause: Duration::from_millis(200),
};

fn parse(url: &str) -> Result<DatabaseUrl, UrlFault> {
    url.parse()
}

fn open(url: &str) -> Database {
    Database::open(&parse(url).unwrap(), Limits::default()).unwrap()
}

/// A running monitor.
struct Watched {
    state: watch::Receiver<DatabaseState>,
    _task: JoinSet<()>,
}

impl Watched {
    fn new(url: &str) -> Self {
        Self::at(url, CADENCE)
    }

    fn at(url: &str, cadence: Cadence) -> Self {
        let (monitor, state) = Monitor::new(open(url), cadence);
        let mut task = JoinSet::new();
        task.spawn(monitor.run());
        Self { state, _task: task }
    }

    async fn until(&mut self, what: &str, mut wanted: impl FnMut(&DatabaseState) -> bool) -> DatabaseState {
        let found = timeout(PATIENCE, self.state.wait_for(|state| wanted(state))).await;
        if let Ok(state) = found {
            return state.expect("the monitor runs").clone();
        }
        drop(found);
        panic!("never {what}: {:?}", self.state.borrow());
    }

    /// A sample asked for after this call.
    async fn fresh(&mut self) -> Sample {
        let now = crate::clock::now();
        let newer = |state: &DatabaseState| state.sample().is_some_and(|sample| sample.sampled_at > now);
        self.until("answering", newer).await.sample().expect("just seen").clone()
    }

    async fn fault(&mut self) -> String {
        match self.until("unreachable", |state| matches!(state, DatabaseState::Unreachable { .. })).await {
            DatabaseState::Unreachable { reason, .. } => reason.to_string(),
            state => unreachable!("{state:?}"),
        }
    }
}

/// A replica's lag behind its primary, as a gateway would work it out.
struct Pair {
    origin: Instant,
    tracker: LagTracker,
    primary: Watched,
    replica: Watched,
}

impl Pair {
    /// Samples both until the lag is as wanted.
    async fn until_lag(&mut self, what: &str, wanted: impl Fn(Lag) -> bool) {
        let start = crate::clock::now();
        loop {
            let sample = self.primary.fresh().await;
            self.tracker.primary_sample(sample.sampled_at.duration_since(self.origin), sample.position);
            let replayed = self.replica.fresh().await;
            assert_eq!(sample.system_identifier, replayed.system_identifier);
            let lag = self.tracker.lag(self.origin.elapsed(), replayed.position);
            if wanted(lag) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "lag never {what}: {lag:?}");
        }
    }
}

#[tokio::test]
async fn a_primary_and_its_standby_are_told_apart_and_compared() {
    let mut primary = Server::primary("").await;
    let standby = primary.standby().await;
    let (mut home, mut away) =
        (Watched::new(&primary.url("postgres")), Watched::new(&standby.url("postgres")));
    let first = home.fresh().await;
    assert_eq!(first.role, Role::Primary);
    assert_eq!(first.position.timeline, Timeline(1));

    primary.sql(&["CREATE TABLE t (n int)", "INSERT INTO t SELECT generate_series(1, 10000)"]).await;
    let written = home.fresh().await;
    assert!(written.position.lsn > first.position.lsn);
    let caught_up = away
        .until("caught up", |state| {
            state.sample().is_some_and(|sample| sample.position.lsn >= written.position.lsn)
        })
        .await;
    let replayed = caught_up.sample().unwrap();
    assert!(
        matches!(replayed.role, Role::Replica { received: Some(received) } if received >= replayed.position.lsn)
    );
    assert_eq!(replayed.position.timeline, Timeline(1));
    assert_eq!(replayed.system_identifier, written.system_identifier);
    assert_eq!(standby.sql(&["SELECT count(*) FROM t"]).await.as_deref(), Some("10000"));

    // Lag grows while the standby does not replay, and falls when it does.
    let limit = Duration::from_millis(500);
    let tracker = LagTracker::new(Duration::from_secs(2));
    let mut pair = Pair { origin: crate::clock::now(), tracker, primary: home, replica: away };
    pair.until_lag("small", |lag| lag.within(limit)).await;
    standby.sql(&["SELECT pg_wal_replay_pause()"]).await;
    primary.sql(&["INSERT INTO t VALUES (0)"]).await;
    pair.until_lag("large", |lag| matches!(lag, Lag::Known(lag) if lag > limit)).await;
    standby.sql(&["SELECT pg_wal_replay_resume()"]).await;
    pair.until_lag("small again", |lag| lag.within(limit)).await;

    // A primary that is gone makes the lag unknown, though the standby has everything.
    primary.kill();
    pair.primary.fault().await;
    let position = pair.replica.fresh().await.position;
    let gone = Duration::from_secs(2) + pair.origin.elapsed();
    assert_eq!(pair.tracker.lag(gone + Duration::from_millis(1), position), Lag::Unknown);
}

#[tokio::test]
async fn an_open_transaction_on_a_quiet_primary_is_not_lag() {
    let primary = Server::primary("autovacuum = off").await;
    primary.sql(&["CREATE TABLE t (n int)"]).await;
    let mut home = Watched::new(&primary.url("postgres"));
    let settled = home.fresh().await.position;

    let thinker = primary.session().await;
    thinker.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    let end = primary.sql(&["SELECT pg_current_wal_insert_lsn()"]).await.unwrap().parse::<Lsn>().unwrap();
    assert!(end > settled.lsn, "the log went on: {settled:?}, {end}");
    assert_eq!(home.fresh().await.position, settled);

    thinker.batch_execute("COMMIT").await.unwrap();
    assert!(home.fresh().await.position.lsn >= end);
}

#[tokio::test]
async fn a_killed_standby_is_noticed_and_found_again() {
    let primary = Server::primary("").await;
    let mut standby = primary.standby().await;
    let mut away = Watched::new(&standby.url("postgres"));
    // One that is not due to ask again before the test has failed: it learns of the end by the connection.
    let seldom = Cadence { interval: PATIENCE * 2, ..CADENCE };
    let mut patient = Watched::at(&standby.url("postgres"), seldom);
    away.fresh().await;
    patient.until("answering", |state| state.sample().is_some()).await;

    standby.kill();
    patient.fault().await;
    let fault = away.fault().await;
    assert!(fault.starts_with(&format!("127.0.0.1:{}/postgres: ", standby.port())), "{fault}");
    away.until(
        "refused",
        |state| matches!(state, DatabaseState::Unreachable { reason, .. } if reason.contains("refused")),
    )
    .await;
    standby.start().await;
    assert!(matches!(away.fresh().await.role, Role::Replica { .. }));
}

#[tokio::test]
async fn a_silent_session_is_given_up_and_another_opened() {
    let primary = Server::primary("").await;
    let mut home = Watched::new(&primary.url("postgres"));
    home.fresh().await;
    let backend = primary
        .sql(&["SELECT pid FROM pg_stat_activity WHERE application_name = 'residency-gateway'"])
        .await
        .expect("the monitor's session")
        .parse()
        .unwrap();
    signal("STOP", backend);
    let fault = home.fault().await;
    assert!(fault.contains("no answer within 1s"), "{fault}");
    home.fresh().await;
    signal("CONT", backend);
}

#[tokio::test]
async fn a_promoted_standby_is_a_primary_on_the_next_timeline() {
    let mut primary = Server::primary("").await;
    let standby = primary.standby().await;
    let cascaded = standby.standby().await;
    let mut new_home = Watched::new(&standby.url("postgres"));
    let mut follower = Watched::new(&cascaded.url("postgres"));
    assert!(matches!(new_home.fresh().await.role, Role::Replica { .. }));
    follower.fresh().await;

    primary.kill();
    // Between streams the timeline comes from the control file.
    assert_eq!(new_home.fresh().await.position.timeline, Timeline(1));
    standby.sql(&["SELECT pg_promote()"]).await;
    let promoted = new_home
        .until("promoted", |state| state.sample().is_some_and(|sample| sample.role == Role::Primary))
        .await;
    assert_eq!(promoted.sample().unwrap().position.timeline, Timeline(2));
    standby.sql(&["CREATE TABLE t ()"]).await;
    let position = new_home.fresh().await.position;
    let has_followed = |state: &DatabaseState| {
        state.sample().is_some_and(|sample| {
            sample.position.timeline == Timeline(2) && sample.position.lsn >= position.lsn
        })
    };
    follower.until("following", has_followed).await;
}

#[tokio::test]
async fn an_unprivileged_role_is_enough() {
    let primary = Server::primary("").await;
    let mut standby = primary.standby().await;
    primary.sql(&["CREATE ROLE watcher LOGIN"]).await;
    let (mut home, mut away) = (Watched::new(&primary.url("watcher")), Watched::new(&standby.url("watcher")));
    assert_eq!(home.fresh().await.role, Role::Primary);
    let created = home.fresh().await.position;
    away.until("replayed", |state| state.sample().is_some_and(|sample| sample.position.lsn >= created.lsn))
        .await;
    assert_eq!(away.fresh().await.position.timeline, Timeline(1));
    standby.kill();
    away.fault().await;
}

#[tokio::test]
async fn a_jurisdictions_row_is_seen_as_soon_as_it_may_be_and_a_lock_on_it_delays_nothing() {
    let primary = Server::primary("").await;
    let standby = primary.standby().await;
    primary.sql(&["CREATE ROLE watcher LOGIN"]).await;
    let (mut home, mut away) = (Watched::new(&primary.url("watcher")), Watched::new(&standby.url("watcher")));
    assert_eq!(home.fresh().await.jurisdiction, None, "there is no schema");
    primary
        .sql(&[
            "CREATE SCHEMA residency",
            "CREATE TABLE residency.jurisdiction \
               (name text, home text, generation bigint, read_only boolean, durability text)",
        ])
        .await;
    assert_eq!(home.fresh().await.jurisdiction, None, "it may not be seen");
    primary
        .sql(&[
            "GRANT USAGE ON SCHEMA residency TO watcher",
            "GRANT SELECT ON residency.jurisdiction TO watcher",
        ])
        .await;
    assert_eq!(home.fresh().await.jurisdiction, None, "it has no row");
    primary.sql(&["INSERT INTO residency.jurisdiction VALUES ('us', 'us-east', 7, true, 'remote')"]).await;
    let row = JurisdictionRow {
        home: "us-east".to_owned(),
        generation: 7,
        read_only: true,
        durability: "remote".to_owned(),
    };
    let shows =
        |state: &DatabaseState| state.sample().is_some_and(|sample| sample.jurisdiction == Some(row.clone()));
    home.until("showing the row", shows).await;
    away.until("showing the row", shows).await;

    let locker = primary.session().await;
    locker.batch_execute("BEGIN; LOCK TABLE residency.jurisdiction").await.unwrap();
    for _ in 0..3 {
        assert_eq!(home.fresh().await.jurisdiction, Some(row.clone()), "as last seen");
    }
    locker.batch_execute("COMMIT; REVOKE SELECT ON residency.jurisdiction FROM watcher").await.unwrap();
    home.until("not allowed to see it", |state| {
        state.sample().is_some_and(|sample| sample.jurisdiction.is_none())
    })
    .await;
}

#[tokio::test]
async fn certificates_are_checked_as_far_as_sslmode_says() {
    let files = TempDir::new().unwrap();
    let pair = |names: &[&str]| {
        generate_simple_self_signed(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap()
    };
    let CertifiedKey { cert, signing_key } = pair(&["localhost"]);
    let ours = files.path().join("ours.pem");
    let other = files.path().join("other.pem");
    std::fs::write(&ours, cert.pem()).unwrap();
    std::fs::write(&other, pair(&["localhost"]).cert.pem()).unwrap();

    let mut primary = Server::primary("").await;
    primary.private_file("server.crt", &cert.pem());
    primary.private_file("server.key", &signing_key.serialize_pem());
    primary.sql(&["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"]).await;
    primary.kill();
    primary.start().await;

    let (ours, other) = (ours.display(), other.display());
    let (by_name, by_address) = ("localhost", "127.0.0.1");
    let cases = [
        (by_address, "disable".to_owned(), Ok("f")),
        (by_address, "prefer".to_owned(), Ok("t")),
        (by_address, "require".to_owned(), Ok("t")),
        (by_address, format!("require&sslrootcert={ours}"), Ok("t")),
        (by_address, format!("require&sslrootcert={other}"), Err("certificate")),
        (by_address, format!("verify-ca&sslrootcert={ours}"), Ok("t")),
        (by_address, format!("verify-ca&sslrootcert={other}"), Err("certificate")),
        (by_name, format!("verify-full&sslrootcert={ours}"), Ok("t")),
        (by_name, format!("verify-full&sslrootcert={other}"), Err("certificate")),
        (by_address, format!("verify-full&sslrootcert={ours}"), Err("not valid for name")),
    ];
    for (host, mode, expected) in cases {
        let url = format!(
            "postgres://postgres@{host}:{}/postgres?hostaddr=127.0.0.1&sslmode={mode}",
            primary.port()
        );
        match (open(&url).client().await, expected) {
            (Ok(client), Ok(encrypted)) => {
                let row =
                    client.query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await;
                assert_eq!(row.unwrap().get::<_, bool>(0), encrypted == "t", "{url}");
            }
            (Err(fault), Err(words)) => assert!(fault.to_string().contains(words), "{url}: {fault}"),
            (outcome, _) => panic!("{url}: {outcome:?}"),
        }
    }

    let missing = parse("postgres://u@h/?sslmode=verify-full&sslrootcert=/nowhere.pem").unwrap();
    let fault = Database::open(&missing, Limits::default()).unwrap_err().to_string();
    assert!(fault.contains("h:5432/u") && fault.contains("/nowhere.pem"), "{fault}");

    // A server without TLS.
    let plain = Server::primary("").await;
    let url = format!("{}?sslmode=require", plain.url("postgres"));
    let fault = open(&url).client().await.unwrap_err().to_string();
    assert!(fault.contains("server does not support TLS"), "{fault}");
}

#[tokio::test]
async fn limits_hold_and_no_fault_carries_the_password() {
    let primary = Server::primary("password_encryption = 'scram-sha-256'").await;
    primary.sql(&["CREATE ROLE app LOGIN PASSWORD 'correct horse'"]).await;
    primary.private_file(
        "pg_hba.conf",
        "host all app 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n",
    );
    primary.sql(&["SELECT pg_reload_conf()"]).await;
    let url = |password: &str| format!("postgres://app:{password}@127.0.0.1:{}/postgres", primary.port());

    let database = open(&url("correct%20horse"));
    let client = database.client().await.unwrap();
    let row = client.query_one("SELECT current_setting('statement_timeout')", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "1s");
    let own = open(&(url("correct%20horse") + "?options=-c%20statement_timeout%3D7s"));
    let row = own
        .client()
        .await
        .unwrap()
        .query_one("SELECT current_setting('statement_timeout')", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "7s");

    let _second = database.client().await.unwrap();
    assert!(matches!(database.client().await, Err(DatabaseFault::Silent { .. })), "two connections at most");

    let wrong = open(&url("sesame-0815"));
    let fault = wrong.client().await.unwrap_err();
    assert!(fault.to_string().contains("28P01"), "{fault}");
    for text in [
        fault.to_string(),
        format!("{fault:?}"),
        format!("{wrong:?}"),
        format!("{:?}", parse(&url("sesame-0815"))),
    ] {
        assert!(!text.contains("sesame"), "{text}");
    }
}

#[test]
fn urls_are_read_as_libpq_reads_them() {
    let check =
        |url: &str| parse(url).map(|url| (url.check, url.roots.map(|path| path.display().to_string())));
    let root = Some("/ca.pem".to_owned());
    let cases = [
        ("postgres://u:p@h/d", Ok((Check::Nothing, None))),
        ("postgresql://u:p@h:1/d?sslmode=prefer", Ok((Check::Nothing, None))),
        ("postgres://u@h/d?sslmode=require&sslrootcert=%2Fca.pem", Ok((Check::Issuer, root.clone()))),
        ("postgres://u@h/d?sslmode=verify-full&sslrootcert=/ca.pem", Ok((Check::IssuerAndName, root))),
        ("postgres://u@h/d?sslmode=verify-full", Ok((Check::IssuerAndName, None))),
        ("postgres://u@h/d?sslrootcert=system", Ok((Check::IssuerAndName, None))),
        ("postgres://u@h/d?sslmode=verify-ca", Err(UrlFault::RootNeeded("verify-ca"))),
        ("postgres://u@h/d?sslmode=require&sslrootcert=system", Err(UrlFault::RootNeeded("require"))),
        ("postgres://u@h/d?sslmode=yes", Err(UrlFault::SslMode)),
        ("postgres://u@h/d?sslcert=/c.pem", Err(UrlFault::ClientCertificate)),
        ("postgres://u@h/d?gssencmode=disable&application_name=x", Ok((Check::Nothing, None))),
        ("postgres://u@h/d?target_session_attrs=any", Err(UrlFault::Unsupported("target_session_attrs"))),
        ("postgres://u@h/d?nonsense=1", Err(UrlFault::UnknownParameter)),
        ("postgres://u@h/d?sslmode", Err(UrlFault::Malformed)),
        ("postgres://u@h:port/d", Err(UrlFault::Malformed)),
        ("postgres://u@a,b/d", Err(UrlFault::Hosts)),
        ("postgres://u@/d", Err(UrlFault::Hosts)),
        ("host=h user=u", Err(UrlFault::Scheme)),
        ("", Err(UrlFault::Scheme)),
    ];
    for (url, expected) in cases {
        assert_eq!(check(url), expected, "{url}");
    }
    for (url, address) in [
        ("postgres://u:p?q@h:7/d", "h:7/d"),
        ("postgres://u@h", "h:5432/u"),
        ("postgres://u@[::1]:7/d", "::1:7/d"),
        ("postgres://u@%2Frun%2Fpg/d", "/run/pg:5432/d"),
        ("postgres://u@h/d?hostaddr=10.0.0.1", "h:5432/d"),
    ] {
        assert_eq!(parse(url).unwrap().address(), address);
    }
    for url in
        ["postgres://u:secret&x@h/d?secret=1", "postgres://u:sec%ret@h:x/d", "postgres://u:p@secret@h,i/d"]
    {
        let fault = parse(url).map_or_else(|fault| format!("{fault} {fault:?}"), |url| format!("{url:?}"));
        assert!(!fault.contains("sec"), "{url}: {fault}");
    }
}

#[test]
fn the_end_of_a_full_page_is_where_its_last_record_ends() {
    let constants = Constants { system_identifier: 1, page: 8192, segment: 16 << 20 };
    let segment = 16 << 20;
    for (insert, end) in [
        (8192 + 24, 8192),
        (8192 + 25, 8192 + 25),
        (8192 + 40, 8192 + 40),
        (segment + 40, segment),
        (segment + 24, segment),
        (8192, 8192),
    ] {
        assert_eq!(constants.end_of_record(Lsn(insert)), Lsn(end), "{insert}");
    }
}

#[test]
fn a_position_stays_until_a_transaction_ends() {
    let at = |timeline, lsn| LogPosition { timeline: Timeline(timeline), lsn: Lsn(lsn) };
    let mut horizon = CommitHorizon::default();
    assert_eq!(horizon.settle("10:10:", at(1, 100)), at(1, 100));
    assert_eq!(horizon.settle("10:10:", at(1, 200)), at(1, 100));
    assert_eq!(horizon.settle("10:12:10", at(1, 300)), at(1, 300));
    assert_eq!(horizon.settle("10:12:10", at(2, 310)), at(2, 310));
    horizon.clear();
    assert_eq!(horizon.settle("10:12:10", at(2, 400)), at(2, 400));
}

/// A running keeper.
struct Kept {
    source: PositionSource,
    questions: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Kept {
    fn new(url: &str) -> Self {
        let limits = Limits { connections: 1, ..Limits::default() };
        let (keeper, source) = PositionKeeper::new(Database::open(&parse(url).unwrap(), limits).unwrap());
        let questions = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&questions);
        let mut task = JoinSet::new();
        task.spawn(keeper.run(move |_| {
            counted.fetch_add(1, Relaxed);
        }));
        Self { source, questions, _task: task }
    }

    async fn ask(&self) -> Option<Sample> {
        timeout(PATIENCE, self.source.ask()).await.expect("it answers, or says that it can't")
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Sample) -> bool) -> Sample {
        for _ in 0..3_000 {
            if let Some(sample) = self.ask().await.filter(&wanted) {
                return sample;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {what}");
    }
}

#[tokio::test]
async fn a_position_covers_what_was_committed_and_is_believed_while_its_session_is_open() {
    let primary = Server::primary("").await;
    let mut standby = primary.standby().await;
    let (at_home, away) = (Kept::new(&primary.url("postgres")), Kept::new(&standby.url("postgres")));
    assert_eq!(at_home.source.known(), None, "nobody has asked");
    primary.sql(&["CREATE TABLE written (n int)"]).await;
    for number in 0..20 {
        primary.sql(&[&format!("INSERT INTO written VALUES ({number})")]).await;
        let wanted = Requirement::Reached(at_home.ask().await.expect("it is there").position);
        let replayed = away.until("replayed", |sample| wanted.is_met_by(Some(sample.reached()))).await;
        assert!(matches!(replayed.role, Role::Replica { .. }));
        let found = standby.sql(&["SELECT max(n) FROM written"]).await;
        assert_eq!(found.as_deref(), Some(number.to_string().as_str()), "{wanted:?} at {replayed:?}");
    }
    assert!(away.source.known().is_some());
    assert_eq!(at_home.source.system_identifier(), away.source.system_identifier());

    // What was known of it dies with its sessions, however soon it is back.
    standby.kill();
    for _ in 0..3_000 {
        if away.source.known().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((away.source.known(), away.ask().await), (None, None));
    standby.start().await;
    let before = away.until("back", |_| true).await.position;

    // Promoted, its positions are of the next timeline, and lie behind those before.
    standby.sql(&["SELECT pg_promote()"]).await;
    let promoted = away.until("promoted", |sample| sample.role == Role::Primary).await.position;
    assert!(promoted.timeline > before.timeline && promoted.lsn >= before.lsn, "{before:?}, {promoted:?}");
    assert!(!Requirement::Reached(promoted).is_met_by(Some(Reached { at: before, is_primary: false })));
}

#[tokio::test]
async fn one_question_serves_all_who_had_asked_before_it() {
    let primary = Server::primary("").await;
    let kept = Kept::new(&primary.url("postgres"));
    kept.ask().await.expect("it is there");
    let before = kept.questions.load(Relaxed);
    let mut asking = JoinSet::new();
    for _ in 0..500 {
        let source = kept.source.clone();
        asking.spawn(async move { source.ask().await.is_some() });
    }
    assert!(
        timeout(PATIENCE, asking.join_all()).await.expect("answers").into_iter().all(|answered| answered)
    );
    let questions = kept.questions.load(Relaxed) - before;
    assert!(questions <= 2, "{questions} questions for 500 who asked at once");
}
