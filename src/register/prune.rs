//! `table prune`: rows under a key that is no longer in use.
//!
//! Nobody looks such rows up any more, so that it doesn't matter who has seen them go. Refused while anything still needs
//! them: a configured key, a move, an identifier whose owner is known by the old hash only.

use std::io::Write;

use super::{
    RegisterFault,
    keys::{KINDS, RegisterKeys},
    member::{Register, Session},
};

/// Rows dropped in one transaction: each makes a notification.
const BATCH: i64 = 5_000;

/// Drops the rows under `key` in one register, and the key. False: the register doesn't know it.
pub(super) async fn prune(
    register: &Register,
    keys: &RegisterKeys,
    key: &str,
    out: &mut dyn Write,
) -> Result<bool, RegisterFault> {
    let session = register.primary_with_schema().await?;
    if KINDS.iter().any(|kind| keys.ids(*kind).contains(&key)) {
        return Err(RegisterFault::KeyInUse { address: session.address.clone(), key: key.to_owned() });
    }
    let known = session.client.query("SELECT key_id FROM residency.register_key ORDER BY 1", &[]).await;
    let known: Vec<String> =
        known.map_err(|error| session.fault(&error))?.iter().map(|row| row.get(0)).collect();
    if !known.iter().any(|id| id == key) {
        writeln!(out, "{}: knows {}, not {key}", register.jurisdiction, known.join(", "))?;
        return Ok(false);
    }
    for (needed, by) in [(MOVING, "a move under way"), (OWNERS, "an identifier under a key in use")] {
        let row = session.client.query_one(needed, &[&key]).await.map_err(|error| session.fault(&error))?;
        let rows: i64 = row.get(0);
        if rows > 0 {
            return Err(RegisterFault::RowsNeeded {
                address: session.address.clone(),
                key: key.to_owned(),
                rows,
                by,
            });
        }
    }
    all(&session, TOMBSTONES, key).await?;
    let dropped = all(&session, REMOVALS, key).await?;
    let forget = "DELETE FROM residency.register_key WHERE key_id = $1";
    let forgotten = session.client.execute(forget, &[&key]).await;
    forgotten.map_err(|error| session.fault(&error))?;
    writeln!(out, "{}: {dropped} rows under key {key} are dropped, and the key", register.jurisdiction)?;
    Ok(true)
}

async fn all(session: &Session, statement: &str, key: &str) -> Result<u64, RegisterFault> {
    let mut total = 0;
    loop {
        let done = session.client.execute(statement, &[&key, &BATCH]).await;
        let done = done.map_err(|error| session.fault(&error))?;
        if done == 0 {
            return Ok(total);
        }
        total += done;
    }
}

const MOVING: &str = "SELECT count(*) FROM residency.register \
    WHERE key_id = $1 AND NOT deleted AND state IN ('closing', 'fenced', 'closed')";

const OWNERS: &str = "SELECT count(*) FROM residency.register i \
    JOIN residency.register s ON s.hash = i.subject AND s.kind = 1 AND s.key_id = $1 \
    WHERE i.kind = 2 AND NOT i.deleted AND i.key_id <> $1";

const TOMBSTONES: &str = "UPDATE residency.register SET deleted = true WHERE hash IN \
    (SELECT hash FROM residency.register WHERE key_id = $1 AND NOT deleted LIMIT $2)";

const REMOVALS: &str = "DELETE FROM residency.register WHERE hash IN \
    (SELECT hash FROM residency.register WHERE key_id = $1 AND deleted LIMIT $2)";
