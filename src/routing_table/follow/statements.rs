//! What a follower asks a register, and how the answers read.
//!
//! One statement is one snapshot: how far a poll has read and the rows it read are of the same moment. Parameters go as text
//! where the driver has no type for them.

use tokio_postgres::{Row as Answer, types::PgLsn};

use super::super::{
    cursor::{Cursor, Height, SourceIdentity},
    row::Row,
};
use crate::domain::{hexadecimal::hexadecimal, register::Generation, replication_lag::Timeline};

/// What a server is and how high it stands: the columns of [`standing`].
macro_rules! standing {
    () => {
        "SELECT recovering, system_identifier, timeline, started, snapshot, xmin, name, generation FROM (SELECT recovering, \
            (SELECT system_identifier FROM pg_control_system()) AS system_identifier, \
            CASE WHEN NOT recovering \
              THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END AS timeline, \
            (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::int8 AS started, \
            pg_current_snapshot() AS seen \
          FROM (SELECT pg_is_in_recovery() AS recovering OFFSET 0) AS role) AS server, \
          LATERAL (SELECT seen::text AS snapshot, pg_snapshot_xmin(seen)::text AS xmin) AS cursor, \
          (SELECT name, generation FROM residency.jurisdiction) AS jurisdiction"
    };
}

/// Of any member of the cluster. A standby's timeline is not asked: nobody follows it.
pub(super) const STANDING: &str = standing!();

/// The columns of [`row`], in its order.
macro_rules! columns {
    () => {
        "r.hash, r.kind, r.state, r.generation, r.toward, r.move_id::text, r.attempt, r.claim_answers, \
         r.floor_timeline, r.floor_lsn, r.deleted"
    };
}

/// Rows changed by transactions that `$2`, the snapshot of an earlier poll, did not show, a page at a time: after the row
/// (`$3`, `$4`), at most `$5`, outside (`$6`) without those that only say what claims say. What changes while pages are read is left to the next poll,
/// or a busy register would never be read to its end. There is one row at least, for the standing.
pub(super) const CHANGES: &str = concat!(
    "SELECT standing.*, ",
    columns!(),
    ", r.changed::text FROM (",
    standing!(),
    ") AS standing \
     LEFT JOIN LATERAL (SELECT * FROM residency.register AS r \
       WHERE r.changed >= $1::text::xid8 AND NOT pg_visible_in_snapshot(r.changed, $2::text::pg_snapshot) \
         AND (r.changed, r.hash) > ($3::text::xid8, $4) \
         AND (r.kind = 2 OR NOT ($6 AND r.claim_answers)) \
       ORDER BY r.changed, r.hash LIMIT $5) AS r ON true"
);

/// The next page of all rows, by rising hash: after `$1`, at most `$2` looked at, of which `$3` leaves out as above. There is
/// one row at least, with how many were looked at and where the next page begins.
pub(super) const PAGE: &str = concat!(
    "WITH page AS MATERIALIZED (SELECT * FROM residency.register WHERE hash > $1 ORDER BY hash LIMIT $2) \
     SELECT ends.seen, ends.last, ",
    columns!(),
    " FROM (SELECT count(*) AS seen, (SELECT hash FROM page ORDER BY hash DESC LIMIT 1) AS last FROM page) AS ends \
     LEFT JOIN page AS r ON NOT r.deleted AND (r.kind = 2 OR NOT ($3 AND r.claim_answers)) ORDER BY r.hash"
);

/// Where rows are told; outside the jurisdiction's regions nothing is heard that claims answer (R7).
pub(super) const CHANNEL: &str = "residency_register";
pub(super) const CHANNEL_OUTSIDE: &str = "residency_register_outside";
/// That this gateway is there must not wait for standbys: with them away it would be silent to everybody, and a new primary is
/// told anew.
pub(super) const LOCAL: &str = "SET synchronous_commit = local";
pub(super) const LISTEN: &str = "LISTEN residency_register; LISTEN residency_jurisdiction";
pub(super) const LISTEN_OUTSIDE: &str = "LISTEN residency_register_outside; LISTEN residency_jurisdiction";
pub(super) const FORGOTTEN: &str = "SELECT certificate FROM residency.forgotten_certificate";
pub(super) const KEYS: &str = "SELECT kind, key_id FROM residency.register_key";
pub(super) const REGISTER: &str = "SELECT residency.gateway_register($1, $2, $3, $4)";
pub(super) const HEARTBEAT: &str = "SELECT residency.gateway_heartbeat($1, $2)";
pub(super) const LEAVE: &str = "SELECT residency.gateway_leave($1)";
pub(super) const REPORT: &str = "SELECT residency.gateway_report($1, $2::text::uuid, $3, $4, $5)";

/// Where the columns of a page's or a poll's row begin.
pub(super) const PAGE_ROW: usize = 2;
pub(super) const CHANGES_ROW: usize = 8;

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) recovering: bool,
    pub(super) jurisdiction: String,
    pub(super) height: Height,
    /// How far a reading begun now has read all.
    pub(super) cursor: Cursor,
}

pub(super) fn standing(answer: &Answer) -> Result<Standing, tokio_postgres::Error> {
    // Postgres has no unsigned numbers; the identifier is one.
    let system_identifier = answer.try_get::<_, i64>("system_identifier")?.cast_unsigned();
    let timeline =
        Timeline(answer.try_get::<_, Option<i32>>("timeline")?.unwrap_or_default().cast_unsigned());
    let generation = Generation(answer.try_get::<_, i64>("generation")?.cast_unsigned());
    let xmin: String = answer.try_get("xmin")?;
    Ok(Standing {
        recovering: answer.try_get("recovering")?,
        jurisdiction: answer.try_get("name")?,
        height: Height { generation, system_identifier, timeline },
        cursor: Cursor {
            source: SourceIdentity { system_identifier, timeline, started: answer.try_get("started")? },
            xmin: xmin.parse().unwrap_or_default(),
            snapshot: answer.try_get("snapshot")?,
        },
    })
}

/// The row whose columns begin at `first`; `None` when the answer has none.
pub(super) fn row(answer: &Answer, first: usize) -> Result<Option<Row>, tokio_postgres::Error> {
    let Some(hash) = answer.try_get::<_, Option<&[u8]>>(first)? else { return Ok(None) };
    let floor_timeline: Option<i32> = answer.try_get(first + 8)?;
    let floor_lsn: Option<PgLsn> = answer.try_get(first + 9)?;
    Ok(Some(Row {
        hash: hexadecimal(hash),
        kind: answer.try_get(first + 1)?,
        state: answer.try_get(first + 2)?,
        generation: answer.try_get::<_, i64>(first + 3)?.cast_unsigned(),
        toward: answer.try_get(first + 4)?,
        move_id: answer.try_get(first + 5)?,
        attempt: answer.try_get::<_, i32>(first + 6)?.cast_unsigned(),
        claim_answers: answer.try_get(first + 7)?,
        floor: floor_timeline
            .zip(floor_lsn)
            .map(|(timeline, lsn)| (timeline.cast_unsigned(), lsn.to_string())),
        deleted: answer.try_get(first + 10)?,
    }))
}
