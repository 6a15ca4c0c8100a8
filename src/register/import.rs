//! `table import`: the subjects and identifiers that an app already has, into the register beside them.
//!
//! Each batch is one transaction of the register, and writes only what isn't there: broken off at any point it is started
//! again, and finds its own work done. Rows are hashed under the current key; what the register says under the other
//! configured key is taken over with its generation, so that this is also how keys are replaced.
//!
//! A register knows better than the app's tables where a subject is: a row that is moving, gone, or pending already is left
//! as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};

use serde::Serialize;

use super::{
    RegisterFault,
    app_rows::{AppRow, AppRows, Belongs},
    keys::RegisterKeys,
    member::{Register, Session},
};
use crate::domain::{hexadecimal::hexadecimal, names::JurisdictionId, topology::Topology};
use crate::routing_table::KeyKind;

/// Examples shown of what went wrong.
const SHOWN: usize = 20;
/// Countries that are refused by name; a wrong column may have as many as it has rows.
const NAMED: usize = 100;
/// Batches between two lines about how far it has come.
const BATCHES_A_LINE: u64 = 20;

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Account {
    rows: u64,
    /// Rows about a subject of the same batch: one subject may have several.
    repeated: u64,
    subjects_written: u64,
    subjects_there: u64,
    /// Of those written, the ones whose rows are here and belong elsewhere, by where.
    pending: BTreeMap<String, u64>,
    identifiers_written: u64,
    identifiers_there: u64,
    /// Rows whose country or jurisdiction nobody knows, by how it is written.
    refused: BTreeMap<String, u64>,
    /// Subjects that several rows put into several jurisdictions.
    contradictory: u64,
    /// Identifiers that two subjects claim; the first has it.
    collisions: u64,
    examples: Vec<String>,
}

/// One import.
pub(super) struct Import<'a> {
    pub(super) register: &'a Register,
    pub(super) here: JurisdictionId,
    pub(super) topology: &'a Topology,
    pub(super) keys: &'a RegisterKeys,
    pub(super) show_subjects: bool,
}

/// A subject of one batch.
struct Subject {
    hashes: Vec<[u8; 16]>,
    toward: Option<JurisdictionId>,
    identifiers: BTreeSet<Vec<[u8; 16]>>,
}

impl Import<'_> {
    pub(super) async fn run(&self, sql: &str, out: &mut dyn Write) -> Result<Account, RegisterFault> {
        let mut writer = self.register.primary_with_schema().await?;
        let reader = self.register.primary().await?;
        let rows = AppRows::open(&reader, sql).await?;
        let mut account = Account::default();
        let contradictory = self.contradictory(&rows, &mut account).await?;
        let mut batches = 0;
        while let Some(batch) = rows.next().await? {
            let subjects = self.sort_out(batch, &rows, &contradictory, &mut account);
            self.write(&mut writer, &subjects, &mut account).await?;
            batches += 1;
            if batches % BATCHES_A_LINE == 0 {
                writeln!(
                    out,
                    "{} rows read, {} subjects written, {} there",
                    account.rows, account.subjects_written, account.subjects_there
                )?;
            }
        }
        rows.close().await?;
        Ok(account)
    }

    async fn contradictory(
        &self,
        rows: &AppRows<'_>,
        account: &mut Account,
    ) -> Result<BTreeSet<String>, RegisterFault> {
        let mut contradictory = BTreeSet::new();
        for (subject, places) in rows.contradictions().await? {
            let belongs = |place: &String| rows.belongs(Some(place), self.here, self.topology);
            let first = belongs(&places[0]);
            if places.iter().any(|place| belongs(place) != first) {
                account.contradictory += 1;
                let shown = self.shown(&subject, &self.keys.subject(&subject));
                account.example(format!("subject {shown} is said to be in {}", places.join(" and ")));
                contradictory.insert(subject);
            }
        }
        Ok(contradictory)
    }

    /// What of a batch is to be written: each subject once.
    fn sort_out(
        &self,
        batch: Vec<AppRow>,
        rows: &AppRows<'_>,
        contradictory: &BTreeSet<String>,
        account: &mut Account,
    ) -> Vec<Subject> {
        let mut subjects: HashMap<String, Subject> = HashMap::new();
        for row in batch {
            account.rows += 1;
            if contradictory.contains(&row.subject) {
                continue;
            }
            let toward = match rows.belongs(row.place.as_deref(), self.here, self.topology) {
                Belongs::Here => None,
                Belongs::To(other) => Some(other),
                Belongs::Nowhere => {
                    let written = row.place.as_deref().unwrap_or_default().trim().escape_debug().to_string();
                    account.refuse(written);
                    continue;
                }
            };
            let identifiers = row.identifiers.iter().map(|identifier| self.keys.identifier(identifier));
            if let Some(known) = subjects.get_mut(&row.subject) {
                account.repeated += 1;
                known.toward = known.toward.or(toward);
                known.identifiers.extend(identifiers);
            } else {
                let hashes = self.keys.subject(&row.subject);
                let identifiers = identifiers.collect();
                subjects.insert(row.subject, Subject { hashes, toward, identifiers });
            }
        }
        let mut subjects: Vec<Subject> = subjects.into_values().collect();
        // As everyone does, so that no two writers wait for each other.
        subjects.sort_unstable_by(|one, other| one.hashes.cmp(&other.hashes));
        subjects
    }

    async fn write(
        &self,
        session: &mut Session,
        subjects: &[Subject],
        account: &mut Account,
    ) -> Result<(), RegisterFault> {
        if subjects.is_empty() {
            return Ok(());
        }
        let address = session.address.clone();
        let fault = |error: tokio_postgres::Error| RegisterFault::answer(&address, &error);
        let transaction = session.client.transaction().await.map_err(fault)?;
        let hashes: Vec<&[u8]> = subjects.iter().map(|subject| &subject.hashes[0][..]).collect();
        let others: Vec<Option<&[u8]>> =
            subjects.iter().map(|subject| subject.hashes.get(1).map(|hash| &hash[..])).collect();
        let toward: Vec<Option<&str>> = subjects
            .iter()
            .map(|subject| subject.toward.map(|other| self.topology.jurisdiction_name(other)))
            .collect();
        let key = self.keys.ids(KeyKind::Subject)[0];
        let written = transaction.query(SUBJECTS, &[&hashes, &others, &toward, &key]).await.map_err(fault)?;
        for row in &written {
            if let Some(toward) = row.get::<_, Option<String>>(0) {
                *account.pending.entry(toward).or_default() += 1;
            }
        }
        account.subjects_written += written.len() as u64;
        account.subjects_there += (subjects.len() - written.len()) as u64;

        let mut pairs: Vec<(&[[u8; 16]], &Subject)> = subjects
            .iter()
            .flat_map(|subject| subject.identifiers.iter().map(move |hashes| (&hashes[..], subject)))
            .collect();
        pairs.sort_unstable_by_key(|(hashes, _)| *hashes);
        let hashes: Vec<&[u8]> = pairs.iter().map(|(hashes, _)| &hashes[0][..]).collect();
        let others: Vec<Option<&[u8]>> =
            pairs.iter().map(|(hashes, _)| hashes.get(1).map(|hash| &hash[..])).collect();
        let owners: Vec<&[u8]> = pairs.iter().map(|(_, subject)| &subject.hashes[0][..]).collect();
        let other_owners: Vec<Option<&[u8]>> =
            pairs.iter().map(|(_, subject)| subject.hashes.get(1).map(|hash| &hash[..])).collect();
        let key = self.keys.ids(KeyKind::Identifier)[0];
        let written =
            transaction.execute(IDENTIFIERS, &[&hashes, &others, &owners, &other_owners, &key]).await;
        let written = written.map_err(fault)?;
        let re_owned =
            transaction.execute(OWNERS, &[&hashes, &owners, &other_owners]).await.map_err(fault)?;
        let taken =
            transaction.query(TAKEN, &[&hashes, &others, &owners, &other_owners]).await.map_err(fault)?;
        transaction.commit().await.map_err(fault)?;

        account.identifiers_written += written + re_owned;
        account.identifiers_there +=
            (pairs.len() as u64).saturating_sub(written + re_owned + taken.len() as u64);
        account.collisions += taken.len() as u64;
        for row in taken {
            let [identifier, claimed, owner] = [0, 1, 2].map(|index| hexadecimal(row.get(index)));
            account.example(format!(
                "identifier {identifier} of subject {claimed} belongs to subject {owner} already"
            ));
        }
        Ok(())
    }

    /// A subject as it may be shown.
    fn shown(&self, subject: &str, hashes: &[[u8; 16]]) -> String {
        if self.show_subjects { subject.escape_debug().to_string() } else { hexadecimal(&hashes[0]) }
    }
}

/// Makes subjects at home or pending; answers where those written belong. What the register says under the other key is
/// taken over. Of what is there only a `home` that belongs elsewhere is changed, and a tombstone.
const SUBJECTS: &str = "\
    INSERT INTO residency.register AS r (hash, kind, key_id, state, generation, toward, move_id, attempt, claim_answers, \
        floor_timeline, floor_lsn) \
    SELECT i.hash, 1, $4, \
        CASE WHEN o.hash IS NOT NULL AND NOT (o.state = 'home' AND i.toward IS NOT NULL) THEN o.state \
             WHEN i.toward IS NULL THEN 'home' ELSE 'pending' END, \
        CASE WHEN o.state = 'home' AND i.toward IS NOT NULL THEN o.generation + 1 ELSE coalesce(o.generation, 1) END, \
        CASE WHEN o.hash IS NOT NULL AND NOT (o.state = 'home' AND i.toward IS NOT NULL) THEN o.toward \
             ELSE i.toward END, \
        o.move_id, coalesce(o.attempt, 0), coalesce(o.claim_answers, true) AND i.toward IS NULL, \
        o.floor_timeline, o.floor_lsn \
    FROM unnest($1::bytea[], $2::bytea[], $3::text[]) AS i (hash, other, toward) \
    LEFT JOIN residency.register o ON o.hash = i.other AND NOT o.deleted \
    ORDER BY i.hash \
    ON CONFLICT (hash) DO UPDATE SET state = excluded.state, toward = excluded.toward, \
        generation = greatest(r.generation + 1, excluded.generation), claim_answers = excluded.claim_answers, \
        deleted = false \
    WHERE r.deleted OR (r.state = 'home' AND excluded.state = 'pending') \
    RETURNING CASE WHEN state = 'pending' THEN toward END";

/// Writes identifiers that nobody has, under this key or the other.
const IDENTIFIERS: &str = "\
    INSERT INTO residency.register AS r (hash, kind, key_id, state, generation, subject) \
    SELECT DISTINCT ON (i.hash) i.hash, 2, $5, coalesce(o.state, 'home'), coalesce(o.generation, 1), i.owner \
    FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[]) AS i (hash, other, owner, other_owner) \
    LEFT JOIN residency.register o ON o.hash = i.other AND NOT o.deleted \
    WHERE o.hash IS NULL OR o.subject IN (i.owner, i.other_owner) \
    ORDER BY i.hash, i.owner \
    ON CONFLICT (hash) DO UPDATE SET state = excluded.state, subject = excluded.subject, \
        generation = r.generation + 1, deleted = false \
    WHERE r.deleted";

/// Identifiers whose owner is known by its other hash.
const OWNERS: &str = "\
    UPDATE residency.register r SET subject = i.owner \
    FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) AS i (hash, owner, other_owner) \
    WHERE r.hash = i.hash AND r.subject = i.other_owner AND r.subject <> i.owner AND NOT r.deleted";

/// Identifiers that are somebody else's.
const TAKEN: &str = "\
    SELECT i.hash, i.owner, r.subject \
    FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[]) AS i (hash, other, owner, other_owner) \
    JOIN residency.register r ON r.hash IN (i.hash, i.other) AND NOT r.deleted \
    WHERE r.subject NOT IN (i.owner, coalesce(i.other_owner, i.owner)) ORDER BY i.hash, i.owner";

impl Account {
    pub(super) fn has_problems(&self) -> bool {
        !self.refused.is_empty() || self.contradictory > 0 || self.collisions > 0
    }

    /// By name, as far as there are not too many of them.
    fn refuse(&mut self, written: String) {
        let known = self.refused.contains_key(&written) || self.refused.len() < NAMED;
        *self.refused.entry(if known { written } else { "…".to_owned() }).or_default() += 1;
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < SHOWN {
            self.examples.push(text);
        }
    }

    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "rows read             {} ({} about a subject just read)", self.rows, self.repeated)?;
        writeln!(out, "subjects written      {}", self.subjects_written)?;
        for (toward, count) in &self.pending {
            writeln!(out, "  pending toward {toward}: {count}")?;
        }
        writeln!(out, "subjects there        {}", self.subjects_there)?;
        writeln!(out, "identifiers written   {}", self.identifiers_written)?;
        writeln!(out, "identifiers there     {}", self.identifiers_there)?;
        for (written, count) in &self.refused {
            writeln!(out, "REFUSED   {count} rows: no jurisdiction is known for `{written}`")?;
        }
        if self.contradictory > 0 {
            writeln!(out, "REFUSED   {} subjects with rows in several jurisdictions", self.contradictory)?;
        }
        if self.collisions > 0 {
            writeln!(out, "COLLISION {} identifiers that are another subject's", self.collisions)?;
        }
        for example in &self.examples {
            writeln!(out, "  {example}")?;
        }
        let not_shown = (self.contradictory + self.collisions).saturating_sub(self.examples.len() as u64);
        if not_shown > 0 {
            writeln!(out, "  and {not_shown} more")?;
        }
        Ok(())
    }
}
