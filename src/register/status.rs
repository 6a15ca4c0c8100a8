//! `schema status`: what each register is, and what is wrong. Reads only.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    RegisterFault,
    apply::applied,
    keys::{KINDS, RegisterKeys, kind_name},
    member::{Register, Session},
    migrations::{MIGRATIONS, pending},
};
use crate::routing_table::KeyKind;

/// All registers, as found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    registers: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    jurisdiction: String,
    #[serde(flatten)]
    found: Option<Found>,
    problems: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct Found {
    address: String,
    versions: Vec<Version>,
    home: Option<Home>,
    keys: Vec<Key>,
    rows: Vec<Rows>,
    gateways: i64,
}

#[derive(Debug, Serialize)]
struct Version {
    number: i32,
    name: String,
    applied_at: String,
}

#[derive(Debug, Serialize)]
struct Home {
    region: String,
    generation: i64,
    read_only: bool,
    durability: String,
    synchronous: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Key {
    kind: &'static str,
    id: String,
    /// As the register has it.
    current: bool,
    configured: bool,
    rows: i64,
}

#[derive(Debug, Serialize)]
struct Rows {
    kind: &'static str,
    state: String,
    count: i64,
}

/// Looks at every register; one that can't be asked is a problem, and the others are looked at all the same.
pub(super) async fn inspect(registers: &[Register], keys: &RegisterKeys) -> Report {
    let mut report = Report { registers: Vec::new() };
    for register in registers {
        let mut problems = Vec::new();
        let found = match look(register, keys, &mut problems).await {
            Ok(found) => Some(found),
            Err(fault) => {
                problems.push(fault.to_string());
                None
            }
        };
        report.registers.push(Entry { jurisdiction: register.jurisdiction.clone(), found, problems });
    }
    report
}

async fn look(
    register: &Register,
    keys: &RegisterKeys,
    problems: &mut Vec<String>,
) -> Result<Found, RegisterFault> {
    let session = register.primary().await?;
    let there = applied(&**session.client, &session.address).await?;
    match pending(&there, MIGRATIONS) {
        Err(mismatch) => problems.push(mismatch.at(&session.address).to_string()),
        Ok(missing) => problems.extend(missing.iter().map(|migration| {
            format!("version {} ({}) is missing: `schema apply`", migration.version, migration.name)
        })),
    }
    let versions: Vec<Version> = there
        .into_iter()
        .map(|one| Version { number: one.version, name: one.name, applied_at: one.at })
        .collect();
    let mut found = Found { address: session.address.clone(), versions, ..Found::default() };
    if found.versions.is_empty() {
        return Ok(found);
    }
    found.home = home(&session, register, problems).await?;
    found.keys = key_rows(&session, keys, problems).await?;
    let counted =
        "SELECT kind, state, count(*) FROM residency.register WHERE NOT deleted GROUP BY 1, 2 ORDER BY 1, 2";
    let rows = session.client.query(counted, &[]).await.map_err(|error| session.fault(&error))?;
    found.rows = rows
        .iter()
        .map(|row| Rows { kind: numbered(row.get(0)), state: row.get(1), count: row.get(2) })
        .collect();
    let gateways = "SELECT count(*) FROM residency.gateway WHERE NOT forgotten";
    let row = session.client.query_one(gateways, &[]).await.map_err(|error| session.fault(&error))?;
    found.gateways = row.get(0);
    Ok(found)
}

async fn home(
    session: &Session,
    register: &Register,
    problems: &mut Vec<String>,
) -> Result<Option<Home>, RegisterFault> {
    let asked =
        "SELECT name, home, generation, read_only, durability, synchronous FROM residency.jurisdiction";
    let row = session.client.query_opt(asked, &[]).await.map_err(|error| session.fault(&error))?;
    let Some(row) = row else {
        problems.push("the jurisdiction has no row: `schema apply`".to_owned());
        return Ok(None);
    };
    let name: String = row.get(0);
    if name != register.jurisdiction {
        let (address, wanted) = (session.address.clone(), register.jurisdiction.clone());
        problems.push(RegisterFault::WrongJurisdiction { address, found: name, wanted }.to_string());
    }
    let home = Home {
        region: row.get(1),
        generation: row.get(2),
        read_only: row.get(3),
        durability: row.get(4),
        synchronous: row.get(5),
    };
    if !register.members.iter().any(|(region, _)| *region == home.region) {
        problems.push(format!(
            "its home is {}, which jurisdictions.{}.register does not name",
            home.region, register.jurisdiction
        ));
    }
    Ok(Some(home))
}

async fn key_rows(
    session: &Session,
    keys: &RegisterKeys,
    problems: &mut Vec<String>,
) -> Result<Vec<Key>, RegisterFault> {
    let counted = "SELECT k.kind, k.key_id, k.current, \
         (SELECT count(*) FROM residency.register r WHERE r.kind = k.kind AND r.key_id = k.key_id) \
         FROM residency.register_key k ORDER BY k.kind, k.current DESC, k.key_id";
    let rows = session.client.query(counted, &[]).await.map_err(|error| session.fault(&error))?;
    let mut found = Vec::new();
    for row in rows {
        let kind = numbered(row.get(0));
        let id: String = row.get(1);
        let configured =
            KINDS.iter().any(|one| kind_name(*one) == kind && keys.ids(*one).contains(&id.as_str()));
        found.push(Key { kind, id, current: row.get(2), configured, rows: row.get(3) });
    }
    for kind in KINDS {
        for id in keys.ids(kind) {
            if !found.iter().any(|key| key.kind == kind_name(kind) && key.id == id) {
                problems.push(format!(
                    "the configured {} key {id} is not in it: `schema apply`",
                    kind_name(kind)
                ));
            }
        }
    }
    for key in found.iter().filter(|key| !key.configured) {
        problems.push(format!(
            "{} rows are under {} key {}, which is not configured: no gateway finds them; `table import` writes them under the \
             current key, `table prune --key {}` drops these",
            key.rows, key.kind, key.id, key.id
        ));
    }
    Ok(found)
}

fn numbered(number: i16) -> &'static str {
    kind_name(KeyKind::numbered(number).expect("the column's check allows no other"))
}

impl Report {
    pub(super) fn has_problems(&self) -> bool {
        self.registers.iter().any(|entry| !entry.problems.is_empty())
    }

    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for entry in &self.registers {
            writeln!(out, "{}", entry.jurisdiction)?;
            if let Some(found) = &entry.found {
                found.write_text(out)?;
            }
            for problem in &entry.problems {
                writeln!(out, "  PROBLEM   {problem}")?;
            }
        }
        Ok(())
    }
}

impl Found {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "  database  {}", self.address)?;
        for one in &self.versions {
            writeln!(out, "  version   {} ({}), applied {} UTC", one.number, one.name, one.applied_at)?;
        }
        if let Some(home) = &self.home {
            let read_only = if home.read_only { ", read-only" } else { "" };
            writeln!(out, "  home      {}, generation {}{read_only}", home.region, home.generation)?;
            let waits = match home.synchronous.as_slice() {
                [] => String::new(),
                regions => format!(", waiting for {}", regions.join(" or ")),
            };
            writeln!(out, "  commits   {}{waits}", home.durability)?;
        }
        for key in &self.keys {
            let current = if key.current { "current" } else { "other" };
            writeln!(out, "  key       {} {} ({current}): {} rows", key.kind, key.id, key.rows)?;
        }
        for rows in &self.rows {
            writeln!(out, "  rows      {} {}: {}", rows.kind, rows.state, rows.count)?;
        }
        writeln!(out, "  gateways  {}", self.gateways)
    }
}
