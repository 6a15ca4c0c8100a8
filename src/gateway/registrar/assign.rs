//! Making a subject at home somewhere, once and for all registers.
//!
//! The order is what makes it safe to repeat and to break off: look, at home first and then in every other register that
//! answers; write, in one transaction of one register. A subject that some register knows stays where that says, and one that
//! should be elsewhere is marked there. Two calls at the same time for the same new subject in the same jurisdiction meet in
//! its register. In two jurisdictions they can miss each other for as long as one look takes: no register waits for another
//! (R3). Both rows then have generation 1, every gateway prefers the same one of them, and `residency-migrate table check` lists
//! the other.

use futures_util::future::join_all;

use super::RegistrarFault;
use super::members::{Failed, Members};
use super::rows::Row;
use crate::domain::hexadecimal::hexadecimal;
use crate::domain::names::JurisdictionId;
use crate::domain::register::{EntryState, Generation, Placed, RegisterEntry};
use crate::gateway::Settings;

/// A subject and what is known of it, as keyed hashes. Under the key in use, and under the one before while there is one.
#[derive(Debug, Clone)]
pub struct Assignment {
    pub jurisdiction: JurisdictionId,
    pub subject: Hashes<[u8; 16]>,
    /// In the order of the call.
    pub identifiers: Hashes<Vec<[u8; 16]>>,
}

/// The same under each key, with the key's id.
#[derive(Debug, Clone)]
pub struct Hashes<T> {
    pub current: (T, String),
    pub previous: Option<(T, String)>,
}

/// What has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assigned {
    /// It is at home in the jurisdiction that was asked for.
    Here { generation: i64, created: bool, pending: Option<String>, unasked: Vec<JurisdictionId> },
    /// It is at home in another one, and marked to be moved.
    MoveRequired { is_in: JurisdictionId, generation: i64 },
    /// A move of it is under way.
    Moving { is_in: JurisdictionId },
    /// The identifier of this index is another subject's.
    Taken { identifier: usize },
}

const ASSIGN: &str =
    "SELECT state, generation, toward, created FROM residency.assign($1, $2, $3, $4, $5, $6, $7, $8)";
const MARK: &str = "SELECT generation FROM residency.mark_pending($1, $2, $3)";

impl Assignment {
    fn subjects(&self) -> impl Iterator<Item = [u8; 16]> {
        [Some(self.subject.current.0), self.subject.previous.as_ref().map(|(hash, _)| *hash)]
            .into_iter()
            .flatten()
    }

    fn identifiers(&self) -> impl Iterator<Item = (usize, [u8; 16])> {
        let previous = self.identifiers.previous.iter().flat_map(|(hashes, _)| hashes);
        let count = self.identifiers.current.0.len().max(1);
        self.identifiers
            .current
            .0
            .iter()
            .chain(previous)
            .copied()
            .enumerate()
            .map(move |(at, hash)| (at % count, hash))
    }

    fn all(&self) -> Vec<[u8; 16]> {
        self.subjects().chain(self.identifiers().map(|(_, hash)| hash)).collect()
    }

    /// The first identifier that these rows give to somebody else.
    fn taken(&self, rows: &[Row]) -> Option<usize> {
        let owner =
            |row: &Row| row.subject.as_deref().is_some_and(|owner| !self.subjects().any(|own| own == owner));
        self.identifiers()
            .find(|(_, hash)| rows.iter().any(|row| row.hash == *hash && owner(row)))
            .map(|(at, _)| at)
    }

    /// What one register says of the subject.
    fn entry(&self, rows: &[Row], jurisdiction: JurisdictionId) -> Option<RegisterEntry> {
        let entry = |row: &Row| {
            Some(RegisterEntry {
                state: EntryState::named(&row.state)?,
                generation: Generation(u64::try_from(row.generation).ok()?),
                jurisdiction,
                toward: None,
                move_id: None,
                floor: None,
                unknown: false,
            })
        };
        let own = |hash: &[u8; 16]| self.subjects().any(|subject| subject == *hash);
        rows.iter().filter(|row| own(&row.hash)).filter_map(entry).max_by_key(|entry| entry.generation)
    }

    /// Nothing is left to be written.
    fn is_done(&self, rows: &[Row]) -> bool {
        self.all()
            .iter()
            .all(|hash| rows.iter().any(|row| row.hash == *hash && row.state == EntryState::Home.name()))
    }
}

impl Members {
    pub(super) async fn assign(
        &self,
        settings: &Settings,
        assignment: &Assignment,
    ) -> Result<Assigned, RegistrarFault> {
        let jurisdiction = assignment.jurisdiction;
        let hashes = assignment.all();
        let own = self.look(settings, jurisdiction, &hashes).await?;
        if let Some(identifier) = assignment.taken(&own) {
            return Ok(Assigned::Taken { identifier });
        }
        let here = assignment.entry(&own, jurisdiction);
        if let Some(entry) = here.filter(|_| assignment.is_done(&own)) {
            let generation = i64::try_from(entry.generation.0).unwrap_or(i64::MAX);
            return Ok(Assigned::Here { generation, created: false, pending: None, unasked: Vec::new() });
        }
        let others: Vec<_> = self.jurisdictions(settings).filter(|other| *other != jurisdiction).collect();
        let seen = join_all(others.iter().map(|other| self.ask(settings, *other, &hashes))).await;
        let mut winner = here;
        let mut unasked = Vec::new();
        for (other, rows) in others.into_iter().zip(seen) {
            let Ok(rows) = rows else {
                unasked.push(other);
                continue;
            };
            if let Some(identifier) = assignment.taken(&rows) {
                return Ok(Assigned::Taken { identifier });
            }
            if let Some(entry) = assignment.entry(&rows, other)
                && winner.is_none_or(|best| entry.beats(&best))
            {
                winner = Some(entry);
            }
        }
        match winner.and_then(|entry| entry.placed()) {
            None => {}
            Some(Placed::At(is_in)) if is_in == jurisdiction => {}
            Some(Placed::At(is_in)) => return self.mark(settings, assignment, is_in).await,
            Some(Placed::Moving(is_in) | Placed::Left(is_in)) => return Ok(Assigned::Moving { is_in }),
            Some(Placed::Unknown) => unreachable!("every row here is of a configured register"),
        }
        self.write(settings, assignment, unasked).await
    }

    async fn write(
        &self,
        settings: &Settings,
        assignment: &Assignment,
        unasked: Vec<JurisdictionId>,
    ) -> Result<Assigned, RegistrarFault> {
        let Assignment { jurisdiction, subject, identifiers } = assignment;
        let list = |hashes: &[[u8; 16]]| hashes.iter().map(|hash| hash.to_vec()).collect::<Vec<_>>();
        let (own, own_key) = &subject.current;
        let other = subject.previous.as_ref().map(|(hash, _)| hash.to_vec());
        let other_key = subject.previous.as_ref().map(|(_, key)| key);
        let (named, named_key) = (list(&identifiers.current.0), &identifiers.current.1);
        let before = identifiers.previous.as_ref().map(|(hashes, _)| list(hashes)).unwrap_or_default();
        let before_key = identifiers.previous.as_ref().map(|(_, key)| key);
        let done = self
            .at_primary(settings, *jurisdiction, async |client| {
                let statement = client.prepare_cached(ASSIGN).await?;
                let row = client
                    .query_one(
                        &statement,
                        &[
                            &own.to_vec(),
                            own_key,
                            &named,
                            named_key,
                            &other,
                            &other_key,
                            &before,
                            &before_key,
                        ],
                    )
                    .await?;
                Ok((row.get::<_, String>(0), row.get(1), row.get(2), row.get(3)))
            })
            .await;
        match done {
            Ok((state, generation, pending, created)) => match EntryState::named(&state) {
                Some(EntryState::Home) => Ok(Assigned::Here { generation, created, pending: None, unasked }),
                Some(EntryState::Pending) => Ok(Assigned::Here { generation, created, pending, unasked }),
                _ => Ok(Assigned::Moving { is_in: *jurisdiction }),
            },
            // Somebody was faster.
            Err(Failed::Refusal(code, detail)) if code == "RS001" => {
                let identifier = detail.and_then(|detail| {
                    let detail: serde_json::Value = serde_json::from_str(&detail).ok()?;
                    let taken = detail["identifier"].as_str()?.to_owned();
                    assignment.identifiers().find(|(_, hash)| hexadecimal(hash) == taken).map(|(at, _)| at)
                });
                Ok(Assigned::Taken { identifier: identifier.unwrap_or_default() })
            }
            Err(failed) => Err(failed.plain()),
        }
    }

    /// Notes where the subject is that it belongs elsewhere.
    async fn mark(
        &self,
        settings: &Settings,
        assignment: &Assignment,
        is_in: JurisdictionId,
    ) -> Result<Assigned, RegistrarFault> {
        let toward = settings.config.topology.jurisdiction_name(assignment.jurisdiction);
        let (subject, key) = &assignment.subject.current;
        let subject = subject.to_vec();
        let marked = self
            .at_primary(settings, is_in, async |client| {
                let statement = client.prepare_cached(MARK).await?;
                Ok(client.query_one(&statement, &[&subject, &toward, key]).await?.get(0))
            })
            .await;
        match marked {
            Ok(generation) => Ok(Assigned::MoveRequired { is_in, generation }),
            Err(Failed::Refusal(code, _)) if code == "RS006" => Ok(Assigned::Moving { is_in }),
            Err(failed) => Err(failed.plain()),
        }
    }
}
