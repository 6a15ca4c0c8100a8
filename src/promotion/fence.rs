//! Closing the application's database on a primary that answers, and opening it again.
//!
//! `ALLOW_CONNECTIONS false` refuses everyone, superusers too, and outlives a restart. It is replicated like all else, so
//! the target refuses new sessions as well until it is promoted and opened. Beside it stands a mark, as a setting of the
//! database, which the maintenance database shows: a run that takes over knows from it what the closed register says.
//!
//! None of these commits waits for a standby: the one it would wait for may be the reason for the promotion.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    PromotionFault,
    session::{Session, literal, name},
};
use crate::{
    clock,
    domain::{promotion::Fence, replication_lag::Lsn},
};

/// For sessions to end once told to.
const SESSIONS_END: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);

/// Somebody is connecting: the lock that a starting session holds on its database until it shows among the others.
///
/// Looked at before the sessions, it leaves no gap: a session that started before the database was closed is seen by one of
/// the two looks, and one that starts later is refused.
const STARTING: &str = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON l.objid = d.oid \
     WHERE l.locktype = 'object' AND l.classid = 'pg_database'::regclass AND d.datname = $1";
/// Vacuuming goes on in a closed database, and acknowledges nothing to anybody.
const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE datname = $1 AND backend_type IS DISTINCT FROM 'autovacuum worker'";

/// Closes the database, ends its sessions, and answers a position that everything they wrote lies below.
pub(super) async fn close(session: &Session, fence: &Fence, by: Option<&str>) -> Result<Lsn, PromotionFault> {
    record(session, fence, by).await?;
    let database = name(session.database());
    let mark = literal(&fence.to_string());
    session
        .execute(
            "closing the database",
            &format!(
                "ROLLBACK; SET synchronous_commit = local; BEGIN; ALTER DATABASE {database} ALLOW_CONNECTIONS false; \
                 ALTER DATABASE {database} SET residency.fence = {mark}; COMMIT"
            ),
        )
        .await?;
    end_sessions(session).await?;
    // Committed, so flushed up to here, and small enough to be replayed at once.
    let position: String = session
        .value(
            "marking the end of the log",
            "SELECT pg_logical_emit_message(true, 'residency', 'fence')::text",
        )
        .await?;
    position.parse().map_err(|_| PromotionFault::Statement {
        region: session.region.clone(),
        doing: "marking the end of the log",
        reason: format!("`{position}` is no position"),
    })
}

/// Says in the register that it is about to be closed; a run that takes over finds it closed already, and said.
async fn record(session: &Session, fence: &Fence, by: Option<&str>) -> Result<(), PromotionFault> {
    const DOING: &str = "recording the fence";
    let open: bool = session
        .rows(DOING, "SELECT datallowconn FROM pg_database WHERE datname = $1", &[&session.database()])
        .await?
        .first()
        .is_some_and(|row| row.get(0));
    if !open {
        return Ok(());
    }
    let client = session.application().await?;
    session.told(DOING, client.batch_execute("SET synchronous_commit = local").await)?;
    let detail =
        serde_json::json!({ "to": fence.to, "from": fence.row.home, "generation": fence.row.generation.0 });
    let inserted = client
        .execute(
            "INSERT INTO residency.act (kind, detail, by) \
             VALUES ('fence', $1::text::jsonb, COALESCE($2, session_user::text))",
            &[&detail.to_string(), &by],
        )
        .await;
    session.told(DOING, inserted).map(drop)
}

async fn end_sessions(session: &Session) -> Result<(), PromotionFault> {
    const DOING: &str = "ending its sessions";
    let deadline = Instant::from_std(clock::now() + SESSIONS_END);
    let ended = async {
        loop {
            let starting = session.rows(DOING, STARTING, &[&session.database()]).await?;
            let sessions = session.rows(DOING, END, &[&session.database()]).await?;
            if sessions.is_empty() && starting.first().is_some_and(|row| row.get::<_, i64>(0) == 0) {
                return Ok(());
            }
            sleep(POLL).await;
        }
    };
    timeout_at(deadline, ended).await.unwrap_or_else(|_| {
        Err(PromotionFault::Late {
            region: session.region.clone(),
            what: "its sessions have not ended",
            seconds: SESSIONS_END.as_secs(),
            remedy: "look for them in pg_stat_activity there, end them, and run the same command again",
        })
    })
}

/// Makes a closed former primary that still runs look as it is: not writable. Standbys look for who is, and leave it.
pub(super) async fn repel(session: &Session) -> Result<(), PromotionFault> {
    const DOING: &str = "turning standbys away from it";
    session.execute(DOING, "ALTER SYSTEM SET default_transaction_read_only = 'on'").await?;
    session.execute(DOING, "SELECT pg_reload_conf()").await?;
    let read_only = "SELECT current_setting('default_transaction_read_only') = 'on'";
    let deadline = Instant::from_std(clock::now() + SESSIONS_END);
    while !session.value::<bool>(DOING, read_only).await? && Instant::now() < deadline {
        sleep(POLL).await;
    }
    session.execute(DOING, "SELECT pg_terminate_backend(pid) FROM pg_stat_replication").await
}

/// Opens the database, if it is closed or marked.
pub(super) async fn open(session: &Session) -> Result<(), PromotionFault> {
    const DOING: &str = "opening the database";
    let database = name(session.database());
    session.execute(DOING, "ALTER SYSTEM RESET default_transaction_read_only").await?;
    session.execute(DOING, "SELECT pg_reload_conf()").await?;
    session
        .execute(
            DOING,
            &format!(
                "ROLLBACK; SET synchronous_commit = local; BEGIN READ WRITE; ALTER DATABASE {database} ALLOW_CONNECTIONS true; \
                 ALTER DATABASE {database} RESET residency.fence; COMMIT"
            ),
        )
        .await
}
