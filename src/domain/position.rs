//! Reading your own writes: what a client has seen, and which database has seen as much.
//!
//! A *position* is how far a primary's log had come after a write. It travels with the client, signed, as a [`Token`]; a read
//! that brings one may be answered by a replica only if that replica has replayed as much ([`Requirement::is_met_by`]). What is
//! not known pins to the home: its primary has everything.
//!
//! Invariants
//! - Requirements only rise when joined; nothing that is unknown, foreign or damaged makes one weaker.
//! - A replica meets a position only on its timeline or a later one: log positions go on rising over a promotion, and a
//!   standby that was left behind on the old timeline may have a higher one and lack the write.
//! - A token is at most [`MOST_BYTES`] long, whatever the jurisdiction's name.
//!
//! Absent by design: keys and signatures, HTTP, time, and how positions are learned.

mod memory;
mod pacing;
mod said_by_api;

pub use memory::{InFlight, Memory, Pin, Remembered, Slot};
pub use pacing::Pacing;
pub use said_by_api::{InvalidPosition, parse_said_by_api};

use super::register::Generation;
use super::replication_lag::{LogPosition, Lsn, Timeline};

/// The form of a token's bytes.
const VERSION: u8 = 1;
const PINNED: u8 = 1;
/// Before the jurisdiction's name: version, flags, timeline, position, generation, system identifier.
const FIXED: usize = 2 + 4 + 8 + 8 + 8;
/// Of a jurisdiction's name, as many bytes as keep a signed token in base64 below 120 characters.
const MOST_NAME: usize = 40;

/// The longest a token's bytes get, without a signature.
pub const MOST_BYTES: usize = FIXED + MOST_NAME;

/// What a client carries from one request to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Where the primary was, or further; zero when that is unknown and the token pins.
    pub at: LogPosition,
    /// Of the subject's home, as whoever made the token knew it.
    pub generation: Generation,
    /// Something may have been written that no position covers: only the home will do.
    pub pinned: bool,
    /// The cluster that `at` is a position of; 0 when whoever made the token did not know.
    pub system_identifier: u64,
    name: Box<[u8]>,
}

/// Bytes that are no token of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position token of version {VERSION}")]
pub struct NoToken;

/// How far a database has come, as a session that is open now has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    pub at: LogPosition,
    /// It takes writes: it has everything there is.
    pub is_primary: bool,
}

/// What a database must have before it may answer a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Requirement {
    /// Any state of it will do.
    #[default]
    Nothing,
    /// All of this.
    Reached(LogPosition),
    /// Only the primary will do.
    Home,
}

/// What a token means for a request of a certain jurisdiction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    Says(Requirement),
    /// It is of another jurisdiction and says nothing of this one.
    OtherJurisdiction,
    /// It is of another cluster: a position in a log that is not this one's.
    OtherCluster,
}

impl Token {
    pub fn new(jurisdiction: &str, at: LogPosition, system_identifier: u64) -> Self {
        let name = cut(jurisdiction).into();
        Self { at, generation: Generation(0), pinned: false, system_identifier, name }
    }

    /// One that asks for what `requirement` asks, if that is anything: for the next gateway.
    pub fn asking(jurisdiction: &str, requirement: Requirement) -> Option<Self> {
        match requirement {
            Requirement::Nothing => None,
            // Whoever made the requirement has looked at the cluster.
            Requirement::Reached(at) => Some(Self::new(jurisdiction, at, 0)),
            Requirement::Home => Some(Self::pin(jurisdiction)),
        }
    }

    /// One that says only that something may have been written.
    pub fn pin(jurisdiction: &str) -> Self {
        Self { pinned: true, ..Self::new(jurisdiction, NOWHERE, 0) }
    }

    #[must_use]
    pub fn of_generation(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }

    /// To be signed.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED + self.name.len());
        bytes.extend_from_slice(&[VERSION, if self.pinned { PINNED } else { 0 }]);
        bytes.extend_from_slice(&self.at.timeline.0.to_be_bytes());
        bytes.extend_from_slice(&self.at.lsn.0.to_be_bytes());
        bytes.extend_from_slice(&self.generation.0.to_be_bytes());
        bytes.extend_from_slice(&self.system_identifier.to_be_bytes());
        bytes.extend_from_slice(&self.name);
        bytes
    }

    /// Reads bytes whose signature holds.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoToken> {
        let (&[version, flags], rest) = bytes.split_first_chunk().ok_or(NoToken)?;
        let (timeline, rest) = rest.split_first_chunk().ok_or(NoToken)?;
        let (lsn, rest) = rest.split_first_chunk().ok_or(NoToken)?;
        let (generation, rest) = rest.split_first_chunk().ok_or(NoToken)?;
        let (system_identifier, name) = rest.split_first_chunk().ok_or(NoToken)?;
        if version != VERSION || flags & !PINNED != 0 || name.is_empty() || name.len() > MOST_NAME {
            return Err(NoToken);
        }
        Ok(Self {
            at: LogPosition {
                timeline: Timeline(u32::from_be_bytes(*timeline)),
                lsn: Lsn(u64::from_be_bytes(*lsn)),
            },
            generation: Generation(u64::from_be_bytes(*generation)),
            pinned: flags & PINNED != 0,
            system_identifier: u64::from_be_bytes(*system_identifier),
            name: name.into(),
        })
    }

    /// What it asks of a database of `jurisdiction`, whose cluster is `system_identifier` as far as is known here.
    pub fn reading(&self, jurisdiction: &str, system_identifier: Option<u64>) -> Reading {
        if *self.name != *cut(jurisdiction) {
            return Reading::OtherJurisdiction;
        }
        if self.pinned {
            return Reading::Says(Requirement::Home);
        }
        match system_identifier {
            Some(known) if self.system_identifier != 0 && self.system_identifier != known => {
                Reading::OtherCluster
            }
            _ => Reading::Says(Requirement::Reached(self.at)),
        }
    }
}

impl Requirement {
    /// What asks for both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Home, _) | (_, Self::Home) => Self::Home,
            (Self::Nothing, it) | (it, Self::Nothing) => it,
            (Self::Reached(one), Self::Reached(two)) => Self::Reached(highest(one, two)),
        }
    }

    /// Whether a database may answer. `None`: nothing is known of it now.
    pub fn is_met_by(self, database: Option<Reached>) -> bool {
        match (self, database) {
            (Self::Nothing, _) => true,
            (_, Some(reached)) if reached.is_primary => true,
            (_, None) | (Self::Home, _) => false,
            (Self::Reached(wanted), Some(Reached { at, .. })) => {
                at.timeline >= wanted.timeline && at.lsn >= wanted.lsn
            }
        }
    }
}

/// Before all of every log.
pub const NOWHERE: LogPosition = LogPosition { timeline: Timeline(0), lsn: Lsn(0) };

/// What lies after both. Of two timelines that forked it may be a place that never was; then only what comes later has it.
fn highest(one: LogPosition, two: LogPosition) -> LogPosition {
    LogPosition { timeline: one.timeline.max(two.timeline), lsn: one.lsn.max(two.lsn) }
}

fn cut(jurisdiction: &str) -> &[u8] {
    &jurisdiction.as_bytes()[..jurisdiction.len().min(MOST_NAME)]
}

#[cfg(test)]
mod tests;
