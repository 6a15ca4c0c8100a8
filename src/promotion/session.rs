//! One member, asked over sessions of our own.
//!
//! The session that is kept is with the maintenance database `postgres`: a promotion closes the application's database, on
//! the primary and by replication everywhere else, and its lock and its questions must outlive that. The register is read
//! over a second one, with the application's database, which is opened again should it have ended; it is written over one
//! opened for that alone, since it may have settings of its own.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use deadpool_postgres::Client;
use tokio_postgres::{Row, types::ToSql};

use super::PromotionFault;
use crate::{
    domain::{
        promotion::{Answer, Fence, Row as JurisdictionRow, durability_named},
        register::Generation,
        replication_lag::{LogPosition, Lsn, Timeline},
    },
    postgres::{Database, DatabaseFault, DatabaseUrl, Limits, describe},
};

/// There in every cluster, unless somebody has dropped it.
const MAINTENANCE: &str = "postgres";
const APPLICATION: &str = "residency-migrate";
/// A question to a member, and the longest that one may take: ending a recovery replays what is left.
///
/// Over half the world a session takes eight round trips, so 2 s. Longer would be lost to writers while a dead member is
/// waited for.
const LIMITS: Limits = Limits {
    connections: 1,
    connect_timeout: Duration::from_millis(2_500),
    statement_timeout: Duration::from_secs(90),
};
const QUESTION: Duration = Duration::from_secs(8);

/// A receiver that has only asked, and got no answer, counts as having received up to the segment's start: so a standby has
/// streamed only if it received at least what it has replayed, and not just to a segment's start.
const FACTS: &str = "SELECT (SELECT system_identifier FROM pg_control_system())::text, recovering, \
     CASE WHEN recovering \
       THEN GREATEST((SELECT received_tli FROM pg_stat_wal_receiver), \
         (SELECT timeline_id FROM pg_control_checkpoint()), \
         (SELECT min_recovery_end_timeline FROM pg_control_recovery()), \
         (SELECT max(('x' || left(name, 8))::bit(32)::int) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$')) \
       ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END, \
     CASE WHEN recovering THEN GREATEST(pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn()) \
       ELSE pg_current_wal_insert_lsn() END::text, \
     CASE WHEN recovering THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text, \
     COALESCE(pg_last_wal_receive_lsn() >= pg_last_wal_replay_lsn() AND pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0') \
       % pg_size_bytes(current_setting('wal_segment_size')) <> 0, false), \
     (SELECT latest_end_lsn FROM pg_stat_wal_receiver)::text, \
     to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
     d.datallowconn, \
     (SELECT substr(setting, length('residency.fence=') + 1) \
        FROM pg_db_role_setting s, unnest(s.setconfig) AS setting \
        WHERE s.setdatabase = d.oid AND s.setrole = 0 AND setting LIKE 'residency.fence=%') \
     FROM pg_database d, (SELECT pg_is_in_recovery() AS recovering OFFSET 0) AS role WHERE datname = $1";

const ROW: &str =
    "SELECT home, generation, durability, synchronous FROM residency.jurisdiction WHERE name = $1";

/// A member that answers.
pub(super) struct Session {
    pub(super) region: String,
    url: DatabaseUrl,
    client: Client,
    register: Database,
    /// The application's database let us in when it was last heard of, so the register may be asked at once.
    is_open: AtomicBool,
}

impl Session {
    /// Connects to the member's maintenance database, and beside it to the application's, which may be closed.
    pub(super) async fn open(region: &str, url: &DatabaseUrl) -> Result<Self, PromotionFault> {
        let maintenance = url.with_database(MAINTENANCE, APPLICATION);
        let register = Database::open(&url.with_database(url.database(), APPLICATION), LIMITS)?;
        let (client, application) = tokio::join!(connect(&maintenance), register.client());
        let is_open = AtomicBool::new(application.is_ok());
        Ok(Self { region: region.to_owned(), url: url.clone(), client: client?, register, is_open })
    }

    /// A session of its own with the application's database.
    pub(super) async fn application(&self) -> Result<Client, PromotionFault> {
        Ok(connect(&self.url.with_database(self.url.database(), APPLICATION)).await?)
    }

    /// The application's database.
    pub(super) fn database(&self) -> &str {
        self.url.database()
    }

    pub(super) async fn rows(
        &self,
        doing: &'static str,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PromotionFault> {
        self.told(doing, self.client.query(sql, parameters).await)
    }

    /// The first column of the only row.
    pub(super) async fn value<T>(&self, doing: &'static str, sql: &str) -> Result<T, PromotionFault>
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        let row = self.told(doing, self.client.query_one(sql, &[]).await)?;
        self.told(doing, row.try_get(0))
    }

    pub(super) async fn execute(&self, doing: &'static str, sql: &str) -> Result<(), PromotionFault> {
        self.told(doing, self.client.batch_execute(sql).await)
    }

    /// The fault of a statement, with its place.
    pub(super) fn told<T>(
        &self,
        doing: &'static str,
        result: Result<T, tokio_postgres::Error>,
    ) -> Result<T, PromotionFault> {
        result.map_err(|error| PromotionFault::Statement {
            region: self.region.clone(),
            doing,
            reason: describe(&error),
        })
    }

    /// What the member says of itself.
    pub(super) async fn answer(&self, jurisdiction: &str) -> Result<Answer, PromotionFault> {
        match tokio::time::timeout(QUESTION, self.ask(jurisdiction)).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(DatabaseFault::Silent { address: self.url.address().to_owned(), after: QUESTION }.into())
            }
        }
    }

    async fn ask(&self, jurisdiction: &str) -> Result<Answer, PromotionFault> {
        const DOING: &str = "asking what it is";
        let database = self.database();
        let parameters: [&(dyn ToSql + Sync); 1] = [&database];
        let facts = self.rows(DOING, FACTS, &parameters);
        let (rows, early) = if self.is_open.load(Ordering::Relaxed) {
            let (facts, row) = tokio::join!(facts, self.row(jurisdiction));
            (facts?, Some(row))
        } else {
            (facts.await?, None)
        };
        let malformed = |what: &str| PromotionFault::Statement {
            region: self.region.clone(),
            doing: DOING,
            reason: what.to_owned(),
        };
        let Some(row) = rows.first() else {
            return Err(malformed(&format!("it has no database `{}`", self.database())));
        };
        let text = |column: usize| self.told(DOING, row.try_get::<_, Option<String>>(column));
        let lsn = |text: Option<String>| text.and_then(|text| text.parse::<Lsn>().ok());
        let timeline: Option<i32> = self.told(DOING, row.try_get(2))?;
        let timeline = timeline.and_then(|timeline| u32::try_from(timeline).ok());
        let open: bool = self.told(DOING, row.try_get(8))?;
        self.is_open.store(open, Ordering::Relaxed);
        let register = match early {
            _ if !open => None,
            Some(row) => row?,
            None => self.row(jurisdiction).await?,
        };
        Ok(Answer {
            system_identifier: text(0)?
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| malformed("its system identifier can't be read"))?,
            recovering: self.told(DOING, row.try_get(1))?,
            has: LogPosition {
                timeline: Timeline(timeline.ok_or_else(|| malformed("its timeline can't be read"))?),
                lsn: lsn(text(3)?).ok_or_else(|| malformed("it has replayed nothing yet"))?,
            },
            replayed: lsn(text(4)?).unwrap_or(Lsn(0)),
            streamed: self.told(DOING, row.try_get(5))?,
            heard: lsn(text(6)?),
            last_commit: text(7)?,
            open,
            fence: text(9)?.as_deref().and_then(Fence::parse),
            row: register,
        })
    }

    async fn row(&self, jurisdiction: &str) -> Result<Option<JurisdictionRow>, PromotionFault> {
        let client = self.register.client().await?;
        let row = match client.query_opt(ROW, &[&jurisdiction]).await {
            Ok(row) => row,
            // The register has not been made yet.
            Err(error) if error.code().is_some_and(|code| ["42P01", "3F000"].contains(&code.code())) => None,
            Err(error) => return self.told("reading the register", Err(error)),
        };
        Ok(row.and_then(|row| {
            Some(JurisdictionRow {
                home: row.get(0),
                generation: Generation(u64::try_from(row.get::<_, i64>(1)).ok()?),
                durability: durability_named(row.get(2))?,
                synchronous: row.get(3),
            })
        }))
    }
}

async fn connect(url: &DatabaseUrl) -> Result<Client, DatabaseFault> {
    Database::open(url, LIMITS)?.client().await
}

/// A literal, for statements that take no parameters.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name, likewise.
pub(super) fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
