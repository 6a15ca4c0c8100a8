//! One question to one server, and the answer: what it is and how far it has come.

use std::time::{Duration, Instant};

use deadpool_postgres::Client;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::{DatabaseFault, commit_horizon::CommitHorizon, fault::describe};
use crate::clock;
use crate::domain::replication_lag::{LogPosition, Lsn, Timeline};

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    pub role: Role,
    /// Of a primary: every commit acknowledged before `sampled_at` lies below. Of a replica: what it has replayed.
    pub position: LogPosition,
    /// The same for all members of a cluster; positions of different clusters do not compare.
    pub system_identifier: u64,
    /// Before the question was sent.
    pub sampled_at: Instant,
    /// Until the answer was there.
    pub round_trip: Duration,
    /// What the database says of its jurisdiction, where the schema is and this role may see it.
    pub jurisdiction: Option<JurisdictionRow>,
}

/// The one row of `residency.jurisdiction`. A replica shows it as far as it has replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JurisdictionRow {
    /// The name of a region.
    pub home: String,
    pub generation: u64,
    pub read_only: bool,
    /// `async` or `remote`.
    pub durability: String,
}

/// What a server is at the time of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Primary,
    Replica {
        /// What it has received and flushed, replayed or not; `None` before it has streamed at all.
        received: Option<Lsn>,
    },
}

/// Asked once a session: constants of the cluster.
///
/// The jurisdiction's row is read without waiting for who changes its table: the rest of a sample must not wait with it.
const CONSTANTS: &str = "SELECT (SELECT system_identifier FROM pg_control_system()), \
     current_setting('wal_block_size'), pg_size_bytes(current_setting('wal_segment_size')), \
     set_config('lock_timeout', '100ms', false)";

/// Asked for each sample. Simple protocol: one round trip, text.
///
/// A replica's timeline is the one it streams; between streams the highest that this session has seen it on, and before that,
/// as for roles that may not see the receiver, the one its control file has reached, which may be behind but is never ahead.
const SAMPLE: &str = "recovering, \
     CASE WHEN recovering THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END, \
     CASE WHEN recovering \
       THEN COALESCE((SELECT received_tli FROM pg_stat_wal_receiver), \
         GREATEST((SELECT timeline_id FROM pg_control_checkpoint()), \
                  (SELECT min_recovery_end_timeline FROM pg_control_recovery()))) \
       ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END, \
     CASE WHEN recovering THEN pg_last_wal_receive_lsn() END, \
     CASE WHEN NOT recovering THEN pg_current_snapshot()::text END";

/// Whom the sample is asked.
const ROLE: &str = "(SELECT pg_is_in_recovery() AS recovering OFFSET 0) AS role";

/// Whether there is a row of the jurisdiction to ask for. The schema may come, and rights be granted, while a session is open.
const SHOWS_ROW: &str = "COALESCE(has_schema_privilege(to_regnamespace('residency'), 'USAGE') \
     AND has_table_privilege(to_regclass('residency.jurisdiction'), 'SELECT'), false)";

/// Where the row's columns begin.
const ROW: usize = 5;

/// Bytes of a header at the start of a log page, and of the longer one at the start of a segment
/// (`xlog_internal.h`: `SizeOfXLogShortPHD`, `SizeOfXLogLongPHD`).
const PAGE_HEADER: u64 = 24;
const SEGMENT_HEADER: u64 = 40;

/// Asks over one session, which ends with it: one that was given up amid a question must not go back to the pool.
pub(super) struct Sampler {
    address: String,
    session: Session,
    deadline: Duration,
    constants: Constants,
    horizon: CommitHorizon,
    /// Of a replica, the highest so far: while its server runs it does not go back.
    timeline: Timeline,
    /// The database shows its jurisdiction's row.
    shows_row: bool,
    /// As last seen in this session.
    row: Option<JurisdictionRow>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Constants {
    pub(super) system_identifier: u64,
    pub(super) page: u64,
    pub(super) segment: u64,
}

impl Sampler {
    /// Learns the cluster's constants. `deadline` bounds this and each sample.
    pub(super) async fn start(
        client: Client,
        address: &str,
        deadline: Duration,
    ) -> Result<Self, DatabaseFault> {
        let session = Session(Some(client));
        let row = session.ask(CONSTANTS, address, deadline).await?;
        let constants = Constants {
            system_identifier: field(&row, 0, "system identifier", address)?,
            page: field(&row, 1, "WAL block size", address)?,
            segment: field(&row, 2, "WAL segment size", address)?,
        };
        Ok(Self {
            address: address.to_owned(),
            session,
            deadline,
            constants,
            horizon: CommitHorizon::default(),
            timeline: Timeline(0),
            shows_row: false,
            row: None,
        })
    }

    /// One sample.
    pub(super) async fn sample(&mut self) -> Result<Sample, DatabaseFault> {
        let (sampled_at, row) = self.ask().await?;
        let round_trip = sampled_at.elapsed();
        let read = LogPosition {
            lsn: field(&row, 1, "position", &self.address)?,
            timeline: Timeline(field(&row, 2, "timeline", &self.address)?),
        };
        let (role, position) = if row.get(0) == Some("t") {
            self.horizon.clear();
            let received =
                row.get(3).map(|_| field(&row, 3, "received position", &self.address)).transpose()?;
            self.timeline = self.timeline.max(read.timeline);
            (Role::Replica { received }, LogPosition { timeline: self.timeline, ..read })
        } else {
            let snapshot: String = field(&row, 4, "snapshot", &self.address)?;
            let end = LogPosition { lsn: self.constants.end_of_record(read.lsn), ..read };
            (Role::Primary, self.horizon.settle(&snapshot, end))
        };
        Ok(Sample {
            role,
            position,
            system_identifier: self.constants.system_identifier,
            sampled_at,
            round_trip,
            jurisdiction: self.row.clone(),
        })
    }

    /// The answer, and when its question was sent. Notes the jurisdiction's row as soon as there is one to see.
    async fn ask(&mut self) -> Result<(Instant, SimpleQueryRow), DatabaseFault> {
        if !self.shows_row {
            let (sampled_at, answer) = self.ask_without_row().await?;
            if !self.shows_row {
                return Ok((sampled_at, answer));
            }
        }
        let sampled_at = clock::now();
        match self.session.ask(&with_row(), &self.address, self.deadline).await {
            Ok(answer) => {
                self.row = self.jurisdiction(&answer)?;
                Ok((sampled_at, answer))
            }
            // The table is locked, or gone, or the right to see it is; the session is as good as before.
            Err(DatabaseFault::Query { .. }) if !self.is_closed() => self.ask_without_row().await,
            Err(fault) => Err(fault),
        }
    }

    async fn ask_without_row(&mut self) -> Result<(Instant, SimpleQueryRow), DatabaseFault> {
        let sampled_at = clock::now();
        let answer = self.session.ask(&without_row(), &self.address, self.deadline).await?;
        self.shows_row = answer.get(ROW) == Some("t");
        if !self.shows_row {
            self.row = None;
        }
        Ok((sampled_at, answer))
    }

    /// The jurisdiction's row in the answer; none while the table is empty.
    fn jurisdiction(&self, row: &SimpleQueryRow) -> Result<Option<JurisdictionRow>, DatabaseFault> {
        if row.get(ROW).is_none() {
            return Ok(None);
        }
        Ok(Some(JurisdictionRow {
            home: field(row, ROW, "home", &self.address)?,
            generation: field(row, ROW + 1, "generation", &self.address)?,
            read_only: row.get(ROW + 2) == Some("t"),
            durability: field(row, ROW + 3, "durability", &self.address)?,
        }))
    }

    /// The cluster's.
    pub(super) fn system_identifier(&self) -> u64 {
        self.constants.system_identifier
    }

    /// Whether the session has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.session.client().is_closed()
    }
}

/// A connection that never returns to its pool.
struct Session(Option<Client>);

impl Session {
    fn client(&self) -> &Client {
        self.0.as_ref().expect("taken only when dropped")
    }

    async fn ask(
        &self,
        sql: &str,
        address: &str,
        deadline: Duration,
    ) -> Result<SimpleQueryRow, DatabaseFault> {
        let answer = match tokio::time::timeout(deadline, self.client().simple_query(sql)).await {
            Err(_) => return Err(DatabaseFault::Silent { address: address.to_owned(), after: deadline }),
            Ok(Err(error)) => {
                return Err(DatabaseFault::Query { address: address.to_owned(), reason: describe(&error) });
            }
            Ok(Ok(messages)) => messages,
        };
        let row = answer.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        row.ok_or_else(|| DatabaseFault::Answer { address: address.to_owned(), reason: "no row".to_owned() })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.0.take().map(Client::take));
    }
}

impl Constants {
    /// Where the last record ends if the next would start at `insert`. When a record fills its page, the insert
    /// position lies past the next page's header, which a replica that has replayed everything does not count.
    pub(super) fn end_of_record(self, insert: Lsn) -> Lsn {
        if insert.0 % self.segment == SEGMENT_HEADER {
            Lsn(insert.0 - SEGMENT_HEADER)
        } else if insert.0 % self.page == PAGE_HEADER {
            Lsn(insert.0 - PAGE_HEADER)
        } else {
            insert
        }
    }
}

fn without_row() -> String {
    format!("SELECT {SAMPLE}, {SHOWS_ROW} FROM {ROLE}")
}

fn with_row() -> String {
    format!(
        "SELECT {SAMPLE}, home, generation, read_only, durability FROM {ROLE} \
         LEFT JOIN (SELECT home, generation, read_only, durability FROM residency.jurisdiction LIMIT 1) AS said ON true"
    )
}

fn field<T: std::str::FromStr>(
    row: &SimpleQueryRow,
    column: usize,
    what: &str,
    address: &str,
) -> Result<T, DatabaseFault> {
    row.get(column).and_then(|text| text.parse().ok()).ok_or_else(|| DatabaseFault::Answer {
        address: address.to_owned(),
        reason: format!("{what} is {}", row.get(column).unwrap_or("null")),
    })
}
