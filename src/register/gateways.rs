//! `gateways list` and `gateways forget`: who a register waits for.
//!
//! A move waits for every registered gateway. One that is gone for good, without having left, is forgotten here: nothing waits
//! for it any more, and its certificate is in `residency.forgotten_certificate`, which gateways read and whose bearers they
//! refuse. Each register is told for itself: the jurisdictions depend on their own databases alone.

use std::{
    io::{self, Write},
    time::Duration,
};

use serde::Serialize;

use super::{
    RegisterFault,
    member::{Register, Session},
};

/// Reports of one gateway that are shown, the latest first.
const REPORTS_SHOWN: usize = 5;

/// Who is registered where.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    registers: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    jurisdiction: String,
    gateways: Vec<Gateway>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Gateway {
    name: String,
    region: String,
    version: String,
    certificate_sha256: Option<String>,
    registered_s_ago: f64,
    heard_s_ago: f64,
    /// Silent for longer than `stale_after_ms`: no move waits for it.
    stale: bool,
    serving: bool,
    forgotten: bool,
    /// Of all moves it ever reported about.
    reports: i64,
    latest: Vec<MoveReport>,
}

#[derive(Debug, Serialize)]
struct MoveReport {
    move_id: String,
    attempt: i32,
    held: bool,
    drained: bool,
}

/// Asks every register; one that can't be asked is a problem.
pub(super) async fn list(registers: &[Register], stale_after: Duration) -> Listing {
    let mut listing = Listing { registers: Vec::new() };
    for register in registers {
        let (gateways, problems) = match look(register, stale_after).await {
            Ok(gateways) => (gateways, Vec::new()),
            Err(fault) => (Vec::new(), vec![fault.to_string()]),
        };
        listing.registers.push(Entry { jurisdiction: register.jurisdiction.clone(), gateways, problems });
    }
    listing
}

async fn look(register: &Register, stale_after: Duration) -> Result<Vec<Gateway>, RegisterFault> {
    let session = register.primary_with_schema().await?;
    let asked = "SELECT name, region, version, certificate, \
         extract(epoch FROM clock_timestamp() - registered_at)::float8, \
         extract(epoch FROM clock_timestamp() - heartbeat_at)::float8, serving, forgotten, \
         (SELECT count(*) FROM residency.gateway_report r WHERE r.gateway = g.name) \
         FROM residency.gateway g ORDER BY region, name";
    let rows = session.client.query(asked, &[]).await.map_err(|error| session.fault(&error))?;
    let mut gateways = Vec::new();
    for row in rows {
        let name: String = row.get(0);
        let heard_s_ago: f64 = row.get(5);
        gateways.push(Gateway {
            region: row.get(1),
            version: row.get(2),
            certificate_sha256: row.get(3),
            registered_s_ago: row.get(4),
            heard_s_ago,
            stale: heard_s_ago > stale_after.as_secs_f64(),
            serving: row.get(6),
            forgotten: row.get(7),
            reports: row.get(8),
            latest: latest(&session, &name).await?,
            name,
        });
    }
    Ok(gateways)
}

async fn latest(session: &Session, gateway: &str) -> Result<Vec<MoveReport>, RegisterFault> {
    let asked = format!(
        "SELECT move_id::text, attempt, held_at IS NOT NULL, drained_at IS NOT NULL FROM residency.gateway_report \
         WHERE gateway = $1 ORDER BY greatest(held_at, drained_at) DESC NULLS LAST, move_id, attempt LIMIT {REPORTS_SHOWN}"
    );
    let rows = session.client.query(&asked, &[&gateway]).await.map_err(|error| session.fault(&error))?;
    let report = |row: &tokio_postgres::Row| MoveReport {
        move_id: row.get(0),
        attempt: row.get(1),
        held: row.get(2),
        drained: row.get(3),
    };
    Ok(rows.iter().map(report).collect())
}

/// What forgetting did; failure of one register doesn't keep it from the others.
pub(super) async fn forget(
    registers: &[Register],
    name: &str,
    by: Option<&str>,
    out: &mut dyn Write,
) -> Result<bool, RegisterFault> {
    let (mut found, mut failed) = (false, false);
    for register in registers {
        let jurisdiction = &register.jurisdiction;
        match forget_in(register, name, by).await {
            Ok(None) => writeln!(out, "{jurisdiction}: not registered")?,
            Ok(Some(certificate)) => {
                found = true;
                match certificate {
                    Some(certificate) => {
                        writeln!(out, "{jurisdiction}: forgotten; certificate {certificate} is refused")?;
                    }
                    None => writeln!(out, "{jurisdiction}: forgotten; it showed no certificate")?,
                }
            }
            Err(fault) => {
                failed = true;
                writeln!(out, "{jurisdiction}: PROBLEM {fault}; run this again once it can be reached")?;
            }
        }
    }
    if !found && !failed {
        return Err(RegisterFault::NoSuchGateway(name.to_owned()));
    }
    Ok(failed)
}

/// Its certificate, if it is registered and showed one.
async fn forget_in(
    register: &Register,
    name: &str,
    by: Option<&str>,
) -> Result<Option<Option<String>>, RegisterFault> {
    let session = register.primary_with_schema().await?;
    let forget =
        "SELECT name, certificate FROM residency.gateway_forget($1, coalesce($2, session_user::text))";
    let row = session.client.query_one(forget, &[&name, &by]).await.map_err(|error| session.fault(&error))?;
    Ok(row.get::<_, Option<String>>(0).map(|_| row.get(1)))
}

impl Listing {
    pub(super) fn has_problems(&self) -> bool {
        self.registers.iter().any(|entry| !entry.problems.is_empty())
    }

    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for entry in &self.registers {
            writeln!(out, "{}", entry.jurisdiction)?;
            for problem in &entry.problems {
                writeln!(out, "  PROBLEM   {problem}")?;
            }
            if entry.gateways.is_empty() && entry.problems.is_empty() {
                writeln!(out, "  no gateway is registered")?;
            }
            for gateway in &entry.gateways {
                gateway.write_text(out)?;
            }
        }
        Ok(())
    }
}

impl Gateway {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let state = match (self.forgotten, self.stale, self.serving) {
            (true, _, _) => "forgotten",
            (_, true, _) => "STALE: no move waits for it",
            (_, _, true) => "serving",
            _ => "loading",
        };
        writeln!(
            out,
            "  {}: {}, {}, heard {:.1} s ago, {state}",
            self.name, self.region, self.version, self.heard_s_ago
        )?;
        if let Some(certificate) = &self.certificate_sha256 {
            writeln!(out, "    certificate {certificate}")?;
        }
        for report in &self.latest {
            let held = if report.held { "holds" } else { "does not hold yet" };
            let drained = if report.drained { ", has drained" } else { "" };
            writeln!(out, "    move {} attempt {}: {held}{drained}", report.move_id, report.attempt)?;
        }
        let more = self.reports.unsigned_abs().saturating_sub(self.latest.len() as u64);
        if more > 0 {
            writeln!(out, "    and {more} earlier reports")?;
        }
        Ok(())
    }
}
