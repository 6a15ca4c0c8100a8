//! `table check`: what the registers say, against what the databases hold.
//!
//! The app's rows of each database are read in one snapshot; for each subject every register is asked, and what they say
//! together is compared with where the rows are and where they belong. The other way round, a subject that a register has
//! at home and of whom there is no row was never completed.
//!
//! Absent by design: looking into rows, and changing anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};

use serde::Serialize;

use super::{
    RegisterFault,
    app_rows::{AppRows, Belongs},
    keys::RegisterKeys,
    member::{Register, Session},
};
use crate::domain::{
    hexadecimal::hexadecimal,
    names::JurisdictionId,
    register::{EntryState, Generation, Placed, RegisterEntry, union},
    topology::Topology,
};
use crate::routing_table::KeyKind;

/// Everything that was looked at, and all that is wrong.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    databases: Vec<Database>,
    findings: Vec<Finding>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Database {
    jurisdiction: String,
    rows: u64,
    /// Subjects with rows there.
    subjects: u64,
    findings: BTreeMap<Wrong, u64>,
}

/// A subject whose placement is not what it should be.
#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    jurisdiction: String,
    wrong: Wrong,
    /// Keyed hash, or, if that was asked for, the subject itself.
    subject: String,
    /// What the registers say, or where it belongs.
    #[serde(skip_serializing_if = "Option::is_none")]
    toward: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
enum Wrong {
    /// Rows are here and belong elsewhere, as the register says.
    Pending,
    /// A move is under way.
    Moving,
    /// Rows are here and belong elsewhere, and no register says so.
    Unmarked,
    /// Rows are here, and the registers say that it is elsewhere.
    Elsewhere,
    /// Two registers have it at home.
    TwoHomes,
    /// Nobody knows the country or the jurisdiction that its row, or its register entry, names.
    UnknownPlace,
    /// At home here, and without a row.
    WithoutRows,
}

/// One check.
pub(super) struct Check<'a> {
    pub(super) registers: &'a [Register],
    /// Whose databases are read.
    pub(super) only: Option<&'a str>,
    pub(super) topology: &'a Topology,
    pub(super) keys: &'a RegisterKeys,
    pub(super) show_subjects: bool,
}

/// A register that answers, and whose it is.
type Source = (JurisdictionId, Session);

impl Check<'_> {
    pub(super) async fn run(&self, sql: &str) -> Report {
        let mut report = Report::default();
        let mut sources = Vec::new();
        for register in self.registers {
            let here =
                self.topology.jurisdiction(&register.jurisdiction).expect("registers are of the topology");
            match register.primary_with_schema().await {
                Ok(session) => sources.push((here, session)),
                Err(fault) => report.problems.push(fault.to_string()),
            }
        }
        for register in self.registers {
            let here =
                self.topology.jurisdiction(&register.jurisdiction).expect("registers are of the topology");
            let wanted = self.only.is_none_or(|only| only == register.jurisdiction);
            // One that can't be asked is in the report already.
            if wanted && sources.iter().any(|(jurisdiction, _)| *jurisdiction == here) {
                match self.database(register, here, &sources, sql, &mut report.findings).await {
                    Ok(database) => report.databases.push(database),
                    Err(fault) => report.problems.push(fault.to_string()),
                }
            }
        }
        report.findings.sort();
        report
    }

    async fn database(
        &self,
        register: &Register,
        here: JurisdictionId,
        sources: &[Source],
        sql: &str,
        findings: &mut Vec<Finding>,
    ) -> Result<Database, RegisterFault> {
        let seen = Seen::start(register.primary().await?).await?;
        let reader = register.primary().await?;
        let rows = AppRows::open(&reader, sql).await?;
        let mut database = Database {
            jurisdiction: register.jurisdiction.clone(),
            rows: 0,
            subjects: 0,
            findings: BTreeMap::new(),
        };
        // A subject with several rows in several batches is found wrong once.
        let mut known = BTreeSet::new();
        let mut note = |finding: Finding| {
            if known.insert((finding.subject.clone(), finding.wrong)) {
                *database.findings.entry(finding.wrong).or_default() += 1;
                findings.push(finding);
            }
        };
        while let Some(batch) = rows.next().await? {
            database.rows += batch.len() as u64;
            let with_hashes: Vec<_> =
                batch.iter().map(|row| (row, self.keys.subject(&row.subject))).collect();
            let hashes: Vec<[u8; 16]> = with_hashes.iter().flat_map(|(_, hashes)| hashes.clone()).collect();
            seen.add(&hashes).await?;
            let entries = self.entries(sources, &hashes).await?;
            for (row, hashes) in &with_hashes {
                let known: Vec<&RegisterEntry> =
                    hashes.iter().filter_map(|hash| entries.get(hash)).flatten().collect();
                let belongs = rows.belongs(row.place.as_deref(), here, self.topology);
                if let Some((wrong, toward)) = verdict(&known, belongs, here) {
                    note(Finding {
                        jurisdiction: register.jurisdiction.clone(),
                        wrong,
                        subject: if self.show_subjects {
                            row.subject.clone()
                        } else {
                            hexadecimal(&hashes[0])
                        },
                        toward: toward.map(|other| self.topology.jurisdiction_name(other).to_owned()),
                    });
                }
            }
        }
        rows.close().await?;
        for hash in seen.missing(self.keys).await? {
            note(Finding {
                jurisdiction: register.jurisdiction.clone(),
                wrong: Wrong::WithoutRows,
                subject: hexadecimal(&hash),
                toward: None,
            });
        }
        database.subjects = seen.count().await? / self.keys.ids(KeyKind::Subject).len() as u64;
        Ok(database)
    }

    /// What all registers have of these hashes.
    async fn entries(
        &self,
        sources: &[Source],
        hashes: &[[u8; 16]],
    ) -> Result<HashMap<[u8; 16], Vec<RegisterEntry>>, RegisterFault> {
        let wanted: Vec<&[u8]> = hashes.iter().map(|hash| &hash[..]).collect();
        let mut entries: HashMap<[u8; 16], Vec<RegisterEntry>> = HashMap::new();
        let asked = "SELECT hash, state, generation, toward FROM residency.register \
             WHERE hash = ANY ($1) AND kind = 1 AND NOT deleted";
        for (jurisdiction, session) in sources {
            let rows =
                session.client.query(asked, &[&wanted]).await.map_err(|error| session.fault(&error))?;
            for row in rows {
                let hash: &[u8] = row.get(0);
                let named: Option<&str> = row.get(3);
                let toward = named.and_then(|name| self.topology.jurisdiction(name));
                let entry = RegisterEntry {
                    state: EntryState::named(row.get(1)).expect("the column's check allows no other"),
                    generation: Generation(row.get::<_, i64>(2).unsigned_abs()),
                    jurisdiction: *jurisdiction,
                    toward,
                    move_id: None,
                    floor: None,
                    unknown: named.is_some() && toward.is_none(),
                };
                let hash = hash.try_into().expect("the column's check allows 16 bytes only");
                entries.entry(hash).or_default().push(entry);
            }
        }
        Ok(entries)
    }
}

/// What is wrong with a subject that has rows in `here`.
fn verdict(
    entries: &[&RegisterEntry],
    belongs: Belongs,
    here: JurisdictionId,
) -> Option<(Wrong, Option<JurisdictionId>)> {
    let homes: BTreeSet<JurisdictionId> = entries
        .iter()
        .filter(|entry| entry.state == EntryState::Home)
        .map(|entry| entry.jurisdiction)
        .collect();
    if homes.len() > 1 {
        return Some((Wrong::TwoHomes, homes.into_iter().find(|home| *home != here)));
    }
    let best = union(entries.iter().copied());
    let elsewhere = match belongs {
        Belongs::Nowhere => return Some((Wrong::UnknownPlace, None)),
        Belongs::Here => None,
        Belongs::To(other) => Some(other),
    };
    match best.and_then(RegisterEntry::placed) {
        Some(Placed::At(home) | Placed::Moving(home)) if home != here => Some((Wrong::Elsewhere, Some(home))),
        Some(Placed::Moving(_)) => Some((Wrong::Moving, best.and_then(|entry| entry.toward))),
        Some(Placed::Left(_)) => Some((Wrong::Elsewhere, best.and_then(|entry| entry.toward))),
        Some(Placed::At(_)) if best.is_some_and(|entry| entry.state == EntryState::Pending) => {
            Some((Wrong::Pending, best.and_then(|entry| entry.toward)))
        }
        Some(Placed::Unknown) => Some((Wrong::UnknownPlace, None)),
        Some(Placed::At(_)) | None => elsewhere.map(|other| (Wrong::Unmarked, Some(other))),
    }
}

/// The subjects that have rows, kept in the database: there may be millions.
struct Seen {
    session: Session,
    /// As the database's clock has it: what came later may have rows that the snapshot doesn't show.
    since: String,
}

impl Seen {
    async fn start(session: Session) -> Result<Self, RegisterFault> {
        let make = "CREATE TEMPORARY TABLE residency_seen (hash bytea PRIMARY KEY)";
        session.client.batch_execute(make).await.map_err(|error| session.fault(&error))?;
        let row = session.client.query_one("SELECT clock_timestamp()::text", &[]).await;
        let since = row.map_err(|error| session.fault(&error))?.get(0);
        Ok(Self { session, since })
    }

    async fn add(&self, hashes: &[[u8; 16]]) -> Result<(), RegisterFault> {
        let hashes: Vec<&[u8]> = hashes.iter().map(|hash| &hash[..]).collect();
        let add =
            "INSERT INTO pg_temp.residency_seen SELECT DISTINCT unnest($1::bytea[]) ON CONFLICT DO NOTHING";
        self.session.client.execute(add, &[&hashes]).await.map_err(|error| self.session.fault(&error))?;
        Ok(())
    }

    async fn count(&self) -> Result<u64, RegisterFault> {
        let row = self.session.client.query_one("SELECT count(*) FROM pg_temp.residency_seen", &[]).await;
        Ok(row.map_err(|error| self.session.fault(&error))?.get::<_, i64>(0).unsigned_abs())
    }

    /// Those that the register has at home, under keys in use, and nobody has seen.
    async fn missing(&self, keys: &RegisterKeys) -> Result<Vec<[u8; 16]>, RegisterFault> {
        let asked = "SELECT r.hash FROM residency.register r WHERE r.kind = 1 AND NOT r.deleted \
             AND r.state IN ('home', 'pending') AND r.changed_at < $2::text::timestamptz AND r.key_id = ANY ($1) \
             AND NOT EXISTS (SELECT FROM pg_temp.residency_seen s WHERE s.hash = r.hash) ORDER BY r.hash";
        let ids = keys.ids(KeyKind::Subject);
        let rows = self.session.client.query(asked, &[&ids, &self.since]).await;
        let rows = rows.map_err(|error| self.session.fault(&error))?;
        let hash =
            |row: &tokio_postgres::Row| row.get::<_, &[u8]>(0).try_into().expect("16 bytes by its check");
        Ok(rows.iter().map(hash).collect())
    }
}

impl Report {
    pub(super) fn has_problems(&self) -> bool {
        !self.findings.is_empty() || !self.problems.is_empty()
    }

    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for database in &self.databases {
            let Database { jurisdiction, rows, subjects, findings } = database;
            writeln!(out, "{jurisdiction}: {subjects} subjects in {rows} rows")?;
            for (wrong, count) in findings {
                writeln!(out, "  {count} {}", wrong.text())?;
            }
        }
        for finding in &self.findings {
            let toward = finding.toward.as_ref().map(|toward| format!(" ({toward})")).unwrap_or_default();
            let subject = finding.subject.escape_debug();
            writeln!(out, "{} {subject}: {}{toward}", finding.jurisdiction, finding.wrong.text())?;
        }
        self.problems.iter().try_for_each(|problem| writeln!(out, "PROBLEM   {problem}"))
    }
}

impl Wrong {
    const fn text(self) -> &'static str {
        match self {
            Self::Pending => "pending: rows are here and belong elsewhere",
            Self::Moving => "moving",
            Self::Unmarked => "belongs elsewhere, and no register says so",
            Self::Elsewhere => "rows are here, and the registers have it elsewhere",
            Self::TwoHomes => "at home in two registers",
            Self::UnknownPlace => "its country or jurisdiction is unknown",
            Self::WithoutRows => "assigned here, and without a row",
        }
    }
}
