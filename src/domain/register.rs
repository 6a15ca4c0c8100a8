//! Registers: what a jurisdiction's own primary says of a subject, and what all of them together mean.
//!
//! Each jurisdiction keeps a register beside its data; the routing table is the union of all of them. A row names a keyed
//! hash, a state, and a generation, which every change of a subject's home raises. Where two registers speak of the same
//! subject the higher generation is right, at equal ones the home.
//!
//! Invariants
//! - The union is the same in whatever order its rows arrive, and however often (it is a join).
//! - `closed` and `void` route nothing: a target says them before and after a move, never where data is.
//!
//! Absent by design: hashing, storage, time.

use super::names::JurisdictionId;
use super::replication_lag::LogPosition;

/// The keyed hash of a subject, or of an identifier, whose key is another: 128 bits of HMAC-SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectKey(pub [u8; 16]);

/// A number that never falls; raised by every change of a subject's or a jurisdiction's home. 0: none was ever given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

/// One run of moving one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MoveId(pub u128);

/// What a register says of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryState {
    /// Its rows are here.
    Home,
    /// Its rows are here and belong elsewhere; nothing moves yet.
    Pending,
    /// A source whose writers are being waited for: no new ones.
    Closing,
    /// A source that nobody may write to.
    Fenced,
    /// A source that has given its rows away.
    Gone,
    /// A target that takes rows from the move's loader only.
    Closed,
    /// A target whose move was given up.
    Void,
}

/// One row of one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterEntry {
    pub state: EntryState,
    pub generation: Generation,
    /// Whose register says so.
    pub jurisdiction: JurisdictionId,
    /// The other side of a move, or where the rows of one that is `pending` belong.
    pub toward: Option<JurisdictionId>,
    /// The move, and which attempt at it.
    pub move_id: Option<(MoveId, u32)>,
    /// The least that a replica must have replayed to serve this subject: the flip's position in the new home.
    pub floor: Option<LogPosition>,
    /// It names a jurisdiction that this configuration doesn't know: nobody can say where its subject's requests may go.
    pub unknown: bool,
}

/// What the union of all registers means for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// Its rows are in this jurisdiction's databases.
    At(JurisdictionId),
    /// Its rows are still there, and nobody may write them until the move ends.
    Moving(JurisdictionId),
    /// They have left this jurisdiction, and no register known here says where they are: it has to be asked again.
    Left(JurisdictionId),
    /// A jurisdiction that this configuration doesn't know has to do with it: refused, never guessed.
    Unknown,
}

impl EntryState {
    pub const ALL: [Self; 7] =
        [Self::Home, Self::Pending, Self::Closing, Self::Fenced, Self::Gone, Self::Closed, Self::Void];

    /// As the register's column has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Pending => "pending",
            Self::Closing => "closing",
            Self::Fenced => "fenced",
            Self::Gone => "gone",
            Self::Closed => "closed",
            Self::Void => "void",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// `closed` and `void` say nothing of where data is.
    pub const fn routes(self) -> bool {
        !matches!(self, Self::Closed | Self::Void)
    }
}

impl RegisterEntry {
    /// Which of two entries of one subject is right; `true`: this one, not `other`.
    pub fn beats(&self, other: &Self) -> bool {
        let rank = |entry: &Self| {
            (
                entry.routes(),
                entry.generation,
                entry.state == EntryState::Home,
                entry.state,
                entry.jurisdiction,
            )
        };
        rank(self) > rank(other)
    }

    /// Whether it may take the place of what the same register said before of the same subject. A lower generation comes late.
    pub fn replaces(&self, before: &Self) -> bool {
        self.generation >= before.generation
    }

    /// Whether it says anything of where data is. One that is `unknown` does: that nobody knows.
    pub const fn routes(&self) -> bool {
        self.unknown || self.state.routes()
    }

    /// What it means; `None` when it routes nothing and the claim answers.
    pub fn placed(&self) -> Option<Placed> {
        if self.unknown {
            return Some(Placed::Unknown);
        }
        match self.state {
            EntryState::Home | EntryState::Pending => Some(Placed::At(self.jurisdiction)),
            EntryState::Closing | EntryState::Fenced => Some(Placed::Moving(self.jurisdiction)),
            EntryState::Gone => Some(Placed::Left(self.jurisdiction)),
            EntryState::Closed | EntryState::Void => None,
        }
    }
}

/// Which of the rows that the registers have of one subject, at most one each, is right.
pub fn union<'a>(rows: impl IntoIterator<Item = &'a RegisterEntry>) -> Option<&'a RegisterEntry> {
    rows.into_iter().reduce(|best, row| if row.beats(best) { row } else { best })
}

#[cfg(test)]
mod tests;
