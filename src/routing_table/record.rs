//! Rows as bytes in a snapshot: fixed fields, little-endian, jurisdictions by their place in the snapshot's list of names.

use super::{rows::Rows, run::Word};
use crate::domain::{
    names::JurisdictionId,
    register::{EntryState, Generation, MoveId, RegisterEntry, SubjectKey},
    replication_lag::{LogPosition, Lsn, Timeline},
};

const UNKNOWN: u8 = 1;
const MOVES: u8 = 2;
const FLOOR: u8 = 4;
/// In place of a jurisdiction; there are at most 64.
const NONE: u8 = u8::MAX;

/// The jurisdictions of a snapshot's list, as numbered here.
#[derive(Debug)]
pub(super) struct Names(Vec<JurisdictionId>);

/// Takes rows from bytes. `None` of anything: that is no row.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    names: &'a Names,
}

impl Names {
    /// `None` when one is named twice.
    pub(super) fn new(ids: Vec<JurisdictionId>) -> Option<Self> {
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        (sorted.len() == ids.len()).then_some(Self(ids))
    }

    pub(super) fn ids(&self) -> &[JurisdictionId] {
        &self.0
    }
}

pub(super) fn put_rows(bytes: &mut Vec<u8>, rows: &Rows) {
    let rows = rows.as_slice();
    bytes.push(u8::try_from(rows.len()).expect("one of a register, and there are at most 64"));
    for row in rows {
        put_row(bytes, row);
    }
}

pub(super) fn put_row(bytes: &mut Vec<u8>, row: &RegisterEntry) {
    let number = |id: JurisdictionId| u8::try_from(id.index()).expect("there are at most 64");
    let state = EntryState::ALL.iter().position(|state| *state == row.state).expect("all are there");
    let flag = |is: bool, bit: u8| if is { bit } else { 0 };
    let flags =
        flag(row.unknown, UNKNOWN) | flag(row.move_id.is_some(), MOVES) | flag(row.floor.is_some(), FLOOR);
    bytes.push(u8::try_from(state).expect("seven states"));
    bytes.push(flags);
    bytes.push(number(row.jurisdiction));
    bytes.push(row.toward.map_or(NONE, number));
    bytes.extend_from_slice(&row.generation.0.to_le_bytes());
    if let Some((MoveId(id), attempt)) = row.move_id {
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.extend_from_slice(&attempt.to_le_bytes());
    }
    if let Some(floor) = row.floor {
        bytes.extend_from_slice(&floor.timeline.0.to_le_bytes());
        bytes.extend_from_slice(&floor.lsn.0.to_le_bytes());
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], names: &'a Names) -> Self {
        Self { rest: bytes, names }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn key(&mut self) -> Option<SubjectKey> {
        self.take().map(SubjectKey)
    }

    pub(super) fn rows(&mut self) -> Option<Rows> {
        let [count] = self.take()?;
        let rows = (0..count).map(|_| self.row()).collect::<Option<Vec<_>>>()?;
        Rows::of(rows)
    }

    /// A row that tells of no move.
    pub(super) fn word(&mut self) -> Option<Word> {
        self.row().filter(|row| row.move_id.is_none() && row.floor.is_none()).map(|row| Word::of(&row))
    }

    fn row(&mut self) -> Option<RegisterEntry> {
        let [state, flags, jurisdiction, toward] = self.take()?;
        if flags & !(UNKNOWN | MOVES | FLOOR) != 0 {
            return None;
        }
        let named = |number: u8| self.names.0.get(usize::from(number)).copied();
        let jurisdiction = named(jurisdiction)?;
        let toward = if toward == NONE { None } else { Some(named(toward)?) };
        let generation = Generation(u64::from_le_bytes(self.take()?));
        let move_id = if flags & MOVES == 0 {
            None
        } else {
            Some((MoveId(u128::from_le_bytes(self.take()?)), u32::from_le_bytes(self.take()?)))
        };
        let floor = if flags & FLOOR == 0 {
            None
        } else {
            let timeline = Timeline(u32::from_le_bytes(self.take()?));
            Some(LogPosition { timeline, lsn: Lsn(u64::from_le_bytes(self.take()?)) })
        };
        Some(RegisterEntry {
            state: *EntryState::ALL.get(usize::from(state))?,
            generation,
            jurisdiction,
            toward,
            move_id,
            floor,
            unknown: flags & UNKNOWN != 0,
        })
    }

    fn take<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }
}
