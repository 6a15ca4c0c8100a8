//! One row of a register as it arrives, by notification, answer or file, and what it means here.
//!
//! Invariants
//! - A row that can't be understood refuses its subject, if it is known whose row it is, and stops nothing else.
//! - Outside a jurisdiction's lawful regions a subject's row that only says what the claim says is not kept (R7).

use serde::Deserialize;

use super::writer::Change;
use crate::domain::{
    names::JurisdictionId,
    register::{EntryState, Generation, MoveId, RegisterEntry, SubjectKey},
    replication_lag::{LogPosition, Lsn, Timeline},
    topology::Topology,
};

/// As a notification has it, field by field.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Row {
    pub(super) hash: String,
    pub(super) kind: i16,
    pub(super) state: String,
    pub(super) generation: u64,
    pub(super) toward: Option<String>,
    pub(super) move_id: Option<String>,
    #[serde(default)]
    pub(super) attempt: u32,
    #[serde(default)]
    pub(super) claim_answers: bool,
    pub(super) floor: Option<(u32, String)>,
    #[serde(default)]
    pub(super) deleted: bool,
}

/// What is wrong with a row; the word is a metric's label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RowFault {
    #[error("it names jurisdiction `{0}`, which this configuration doesn't know; its subject is refused")]
    UnknownJurisdiction(String),
    #[error("its state is `{0}`, which this program doesn't know; its subject is refused")]
    UnknownState(String),
    #[error("it can't be read")]
    Malformed,
}

impl RowFault {
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::UnknownJurisdiction(_) => "jurisdiction",
            Self::UnknownState(_) => "state",
            Self::Malformed => "malformed",
        }
    }
}

/// Reads the rows of one register.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) topology: &'a Topology,
    pub(super) register: JurisdictionId,
    /// Whether this region is none of the jurisdiction's.
    pub(super) outside: bool,
}

impl Reading<'_> {
    /// The change, if it is known whose, and what is wrong with the row.
    pub(super) fn change(&self, row: &Row) -> (Option<Change>, Option<RowFault>) {
        let Some(key) = hash(&row.hash) else { return (None, Some(RowFault::Malformed)) };
        let change = |entry| Some(Change { register: self.register, key, entry });
        if row.deleted || self.is_left_out(row) {
            return (change(None), None);
        }
        let (entry, fault) = self.entry(row);
        (change(Some(entry)), fault)
    }

    fn is_left_out(&self, row: &Row) -> bool {
        self.outside && row.kind == 1 && row.claim_answers
    }

    fn entry(&self, row: &Row) -> (RegisterEntry, Option<RowFault>) {
        let state = EntryState::named(&row.state);
        let toward = row.toward.as_deref().map(|name| self.topology.jurisdiction(name).ok_or(name));
        // Where rows that are at home came from routes nothing: that jurisdiction may have been given up since.
        let fault = match (state, toward) {
            (None, _) => Some(RowFault::UnknownState(row.state.clone())),
            (Some(state), Some(Err(name))) if state != EntryState::Home => {
                Some(RowFault::UnknownJurisdiction(name.to_owned()))
            }
            _ => None,
        };
        let move_id = match row.move_id.as_deref().map(uuid) {
            None => Ok(None),
            Some(None) => Err(RowFault::Malformed),
            Some(Some(id)) => Ok(Some((id, row.attempt))),
        };
        let floor = match &row.floor {
            None => Ok(None),
            Some((timeline, lsn)) => match lsn.parse::<Lsn>() {
                Ok(lsn) => Ok(Some(LogPosition { timeline: Timeline(*timeline), lsn })),
                Err(_) => Err(RowFault::Malformed),
            },
        };
        let malformed = move_id.as_ref().err().or(floor.as_ref().err()).cloned();
        let fault = fault.or(malformed);
        let entry = RegisterEntry {
            // One that is unknown routes nothing, whatever its state.
            state: state.unwrap_or(EntryState::Gone),
            generation: Generation(row.generation),
            jurisdiction: self.register,
            toward: toward.and_then(Result::ok),
            move_id: move_id.unwrap_or_default(),
            floor: floor.unwrap_or_default(),
            unknown: fault.is_some(),
        };
        (entry, fault)
    }
}

/// 32 hexadecimal digits.
pub(super) fn hash(hex: &str) -> Option<SubjectKey> {
    (hex.len() == 32).then(|| hex_number(hex)).flatten().map(|number| SubjectKey(number.to_be_bytes()))
}

/// A UUID in its usual form.
pub(super) fn uuid(text: &str) -> Option<MoveId> {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    (lengths == [8, 4, 4, 4, 12]).then(|| hex_number(&text.replace('-', ""))).flatten().map(MoveId)
}

/// … and back.
pub(super) fn uuid_text(MoveId(id): MoveId) -> String {
    let hex = format!("{id:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn hex_number(hex: &str) -> Option<u128> {
    let digits = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u128::from_str_radix(hex, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::tests::topology;
    use super::*;

    fn read(outside: bool, json: &str) -> (Option<Change>, Option<RowFault>) {
        let topology = topology(&["us", "eu"]);
        let register = topology.jurisdiction("us").expect("there");
        let row = serde_json::from_str(json).expect("a row");
        Reading { topology: &topology, register, outside }.change(&row)
    }

    fn row(rest: &str) -> String {
        format!(r#"{{"hash":"000102030405060708090a0b0c0d0e0f","kind":1,{rest}}}"#)
    }

    #[test]
    fn a_row_comes_with_all_it_says() {
        let json = row(
            r#""state":"fenced","generation":7,"toward":"eu","move_id":"00000000-0000-0000-0000-0000000000ff","attempt":3,
               "claim_answers":false,"floor":[2,"1/A0"],"deleted":false"#,
        );
        let (change, fault) = read(false, &json);
        let topology = topology(&["us", "eu"]);
        let entry = RegisterEntry {
            state: EntryState::Fenced,
            generation: Generation(7),
            jurisdiction: topology.jurisdiction("us").expect("there"),
            toward: topology.jurisdiction("eu"),
            move_id: Some((MoveId(255), 3)),
            floor: Some(LogPosition { timeline: Timeline(2), lsn: Lsn(0x1_0000_00A0) }),
            unknown: false,
        };
        let change = change.expect("a change");
        assert_eq!((change.entry, fault), (Some(entry), None));
        assert_eq!(change.key, SubjectKey(std::array::from_fn(|index| index as u8)));
        assert_eq!(uuid_text(MoveId(255)), "00000000-0000-0000-0000-0000000000ff");
    }

    #[test]
    fn what_is_not_understood_refuses_its_subject() {
        for (json, label) in [
            (row(r#""state":"pending","generation":1,"toward":"mars""#), "jurisdiction"),
            (row(r#""state":"closed","generation":1,"toward":"mars""#), "jurisdiction"),
            (row(r#""state":"frozen","generation":1"#), "state"),
            (row(r#""state":"home","generation":1,"move_id":"1""#), "malformed"),
            (row(r#""state":"home","generation":1,"floor":[1,"x"]"#), "malformed"),
        ] {
            let (change, fault) = read(false, &json);
            assert_eq!(fault.expect(&json).label(), label);
            let entry = change.and_then(|change| change.entry).expect(&json);
            assert_eq!(entry.placed(), Some(crate::domain::register::Placed::Unknown), "{json}");
        }
        for hash in ["", "00", "zz0102030405060708090a0b0c0d0e0f", "+00102030405060708090a0b0c0d0e0f"] {
            let json = format!(r#"{{"hash":"{hash}","kind":1,"state":"home","generation":1}}"#);
            assert_eq!(read(false, &json), (None, Some(RowFault::Malformed)));
        }
    }

    #[test]
    fn where_settled_rows_came_from_may_be_forgotten() {
        let (change, fault) = read(false, &row(r#""state":"home","generation":4,"toward":"mars""#));
        assert_eq!(fault, None);
        assert!(!change.and_then(|change| change.entry).expect("an entry").unknown);
    }

    #[test]
    fn outside_only_what_the_claim_cannot_answer_is_kept() {
        let claim = row(r#""state":"home","generation":1,"claim_answers":true"#);
        let moved = row(r#""state":"home","generation":2,"claim_answers":false"#);
        let identifier = claim.replace(r#""kind":1"#, r#""kind":2"#);
        let deleted = row(r#""state":"home","generation":2,"deleted":true"#);
        for (json, inside, outside) in
            [(claim, true, false), (moved, true, true), (identifier, true, true), (deleted, false, false)]
        {
            let kept = |is_outside| read(is_outside, &json).0.expect("a change").entry.is_some();
            assert_eq!((kept(false), kept(true)), (inside, outside), "{json}");
        }
    }
}
