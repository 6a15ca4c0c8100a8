//! The app's own rows, as the operator's query shows them: who there is, by what names, and where each belongs.
//!
//! The query is read through a cursor in one snapshot, so its size doesn't matter. It may not write, and row-level security
//! that would hide rows is an error.

use std::collections::BTreeMap;

use super::{RegisterFault, member::Session};
use crate::domain::{countries::Country, names::JurisdictionId, topology::Topology};

/// Rows read at a time.
const BATCH: usize = 1_000;

/// One row of the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AppRow {
    pub(super) subject: String,
    pub(super) identifiers: Vec<String>,
    /// The country or the jurisdiction, as it is written.
    pub(super) place: Option<String>,
}

/// What the third column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Country,
    Jurisdiction,
    Absent,
}

/// A query that has been found usable, and its transaction.
pub(super) struct AppRows<'a> {
    session: &'a Session,
    place: Place,
    query: String,
}

/// Where somebody belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belongs {
    /// In the jurisdiction whose database this is: nothing was said, or that.
    Here,
    To(JurisdictionId),
    /// Nobody knows a jurisdiction of this name, or for this country.
    Nowhere,
}

impl<'a> AppRows<'a> {
    /// Looks at the query's columns and opens its cursor. The session is in a transaction from now on.
    pub(super) async fn open(session: &'a Session, sql: &str) -> Result<AppRows<'a>, RegisterFault> {
        let sql = sql.trim().trim_end_matches(';');
        let unusable = |reason: String| RegisterFault::Query { address: session.address.clone(), reason };
        let statement = session.client.prepare(sql).await.map_err(|error| session.fault(&error))?;
        if !statement.params().is_empty() {
            return Err(unusable("it has parameters".to_owned()));
        }
        let columns: Vec<&str> = statement.columns().iter().map(tokio_postgres::Column::name).collect();
        let known = ["subject", "identifier", "identifiers", "country", "jurisdiction"];
        if let Some(unknown) = columns.iter().find(|column| !known.contains(column)) {
            return Err(unusable(format!(
                "column `{unknown}` means nothing; it gives subject and, if there are, identifier or identifiers (text[]), \
                 country or jurisdiction"
            )));
        }
        let has = |name: &str| columns.contains(&name);
        if !has("subject") {
            return Err(unusable("it has no column `subject`".to_owned()));
        }
        for (one, other) in [("identifier", "identifiers"), ("country", "jurisdiction")] {
            if has(one) && has(other) {
                return Err(unusable(format!("it has both `{one}` and `{other}`")));
            }
        }
        let identifiers = match (has("identifier"), has("identifiers")) {
            (true, _) => "ARRAY[q.identifier::text]",
            (_, true) => "q.identifiers::text[]",
            _ => "'{}'::text[]",
        };
        let (place, column) = match (has("country"), has("jurisdiction")) {
            (true, _) => (Place::Country, "q.country::text"),
            (_, true) => (Place::Jurisdiction, "q.jurisdiction::text"),
            _ => (Place::Absent, "NULL::text"),
        };
        let query = format!(
            "SELECT q.subject::text AS subject, {identifiers} AS identifiers, {column} AS place FROM ({sql}) AS q"
        );
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL row_security = off; \
             DECLARE residency_rows NO SCROLL CURSOR FOR {query}"
        );
        session.client.batch_execute(&begin).await.map_err(|error| session.fault(&error))?;
        Ok(Self { session, place, query })
    }

    /// The next rows; none at the end. A row without a subject is left out: nobody owns it.
    pub(super) async fn next(&self) -> Result<Option<Vec<AppRow>>, RegisterFault> {
        let fetch = format!("FETCH {BATCH} FROM residency_rows");
        let rows = self.session.client.query(&fetch, &[]).await;
        let rows = rows.map_err(|error| self.session.fault(&error))?;
        if rows.is_empty() {
            return Ok(None);
        }
        let row = |row: &tokio_postgres::Row| {
            let identifiers: Option<Vec<Option<String>>> = row.get(1);
            Some(AppRow {
                subject: row.get::<_, Option<String>>(0)?,
                identifiers: identifiers
                    .into_iter()
                    .flatten()
                    .flatten()
                    .filter(|identifier| !identifier.trim().is_empty())
                    .collect(),
                place: row.get(2),
            })
        };
        Ok(Some(rows.iter().filter_map(row).collect()))
    }

    /// Subjects that several rows put into different places, with the places.
    pub(super) async fn contradictions(&self) -> Result<BTreeMap<String, Vec<String>>, RegisterFault> {
        if self.place == Place::Absent {
            return Ok(BTreeMap::new());
        }
        let asked = format!(
            "SELECT subject, array_agg(DISTINCT place ORDER BY place) FROM ({}) AS q \
             WHERE subject IS NOT NULL AND place IS NOT NULL GROUP BY subject HAVING count(DISTINCT place) > 1",
            self.query
        );
        let rows = self.session.client.query(&asked, &[]).await;
        let rows = rows.map_err(|error| self.session.fault(&error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// What a row says of where it belongs.
    pub(super) fn belongs(&self, place: Option<&str>, here: JurisdictionId, topology: &Topology) -> Belongs {
        let Some(written) = place else { return Belongs::Here };
        let written = written.trim();
        let found = match self.place {
            Place::Absent => return Belongs::Here,
            Place::Country => {
                Country::parse(written).and_then(|country| topology.jurisdiction_of_country(country))
            }
            Place::Jurisdiction => {
                topology.jurisdiction(written).or_else(|| topology.jurisdiction_of_claim(written))
            }
        };
        match found {
            Some(jurisdiction) if jurisdiction == here => Belongs::Here,
            Some(jurisdiction) => Belongs::To(jurisdiction),
            None => Belongs::Nowhere,
        }
    }

    /// Ends the transaction.
    pub(super) async fn close(self) -> Result<(), RegisterFault> {
        let ended = self.session.client.batch_execute("ROLLBACK").await;
        ended.map_err(|error| self.session.fault(&error))
    }
}
