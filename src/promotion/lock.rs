//! One promotion at a time: a session's advisory lock on every member that answers.
//!
//! Standbys take such locks too, and keep them over their own promotion. They are tried, never waited for, in the order of
//! the regions' names: of two that begin at once one has the first lock that both ask for. A lock ends with its session, so
//! nothing is left behind by a run that dies. `primary check` opens no database while one is held.

use super::{PromotionFault, cluster::Members};

/// `residenc` in ASCII. Held in the maintenance database, whose locks are its own.
pub(super) const KEY: i64 = 0x7265_7369_6465_6e63;
/// Whether anybody holds it, as `pg_locks` shows 64-bit keys: two halves.
pub(super) const HELD: &str = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted \
     AND classid = 1919251305 AND objid = 1684368995 AND objsubid = 1)";
const HOLDER: &str = "SELECT COALESCE((SELECT format('process %s, %s from %s since %s', a.pid, a.usename, \
       COALESCE(host(a.client_addr), 'a local socket'), to_char(a.backend_start AT TIME ZONE 'UTC', 'HH24:MI:SS')) \
     FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
     WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 1919251305 AND l.objid = 1684368995 LIMIT 1), \
     'a session that has just ended')";

/// Takes it on every member that answers, or on none.
pub(super) async fn take(members: &Members) -> Result<(), PromotionFault> {
    for session in members.sessions() {
        let taken: bool =
            session.value("taking the lock", &format!("SELECT pg_try_advisory_lock({KEY})")).await?;
        if !taken {
            let holder = session.value("asking who holds the lock", HOLDER).await?;
            release(members).await;
            return Err(PromotionFault::Busy { region: session.region.clone(), holder });
        }
    }
    Ok(())
}

async fn release(members: &Members) {
    for session in members.sessions() {
        // What can't be released ends with its session, when this command does.
        let _ = session.execute("releasing the lock", "SELECT pg_advisory_unlock_all()").await;
    }
}
