//! Clients that write, and remember what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use residency_loadtest::world::{Jurisdiction, Region, Sql, World};
use tokio::task::JoinHandle;

/// One acknowledged write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    pub id: i64,
    /// The end of the primary's log, read after the acknowledgement: the write lies below.
    pub below: u64,
    /// When the client was told, by the primary's clock.
    pub at: String,
}

/// One client that writes as fast as it can, until it is stopped or its session ends.
pub struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<Acknowledged>>,
}

/// Makes the table that writers write to.
pub async fn table(world: &World, region: Region, jurisdiction: Jurisdiction) {
    let session = world.sql(region, jurisdiction).await.expect("a session");
    session.batch_execute("CREATE TABLE written (id bigint PRIMARY KEY)").await.expect("a table");
}

impl Writer {
    /// Begins to write `first`, `first + 1`, …
    pub async fn start(world: &World, region: Region, jurisdiction: Jurisdiction, first: i64) -> Self {
        let session = world.sql(region, jurisdiction).await.expect("a session");
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut told = Vec::new();
            for id in first.. {
                if asked.load(SeqCst) {
                    break;
                }
                match write(&session, id).await {
                    Ok(acknowledged) => told.push(acknowledged),
                    Err(_) => break,
                }
            }
            told
        });
        Self { stop, task }
    }

    /// What it was told, once it has ended by itself or is told to.
    pub async fn stopped(self) -> Vec<Acknowledged> {
        self.stop.store(true, SeqCst);
        self.task.await.expect("it doesn't panic")
    }
}

/// One write.
pub async fn write(session: &Sql, id: i64) -> Result<Acknowledged, tokio_postgres::Error> {
    session.execute("INSERT INTO written VALUES ($1)", &[&id]).await?;
    let told = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, \
                to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    let row = session.query_one(told, &[]).await?;
    let below = u64::try_from(row.get::<_, i64>(0)).expect("logs begin at 0");
    Ok(Acknowledged { id, below, at: row.get(1) })
}

/// Of what clients were told, what the database in `region` doesn't have.
pub async fn missing(
    world: &World,
    region: Region,
    jurisdiction: Jurisdiction,
    told: &[Acknowledged],
) -> Vec<Acknowledged> {
    let session = world.sql(region, jurisdiction).await.expect("a session");
    let rows = session.query("SELECT id FROM written", &[]).await.expect("the table");
    let held: std::collections::HashSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    told.iter().filter(|one| !held.contains(&one.id)).cloned().collect()
}
