//! Replaying a read at the home, because the API found that it has to write after all.
//!
//! The API at a replica answers `Residency-Replay: home` in place of what it can't do there, and has done nothing. The gateway
//! that the client is connected to then sends the same request to the home, as a write.
//!
//! Invariants
//! - Only a request whose method is safe is sent twice (RFC 9110 §9.2.1): whatever the API says, nothing that is meant to change
//!   something is repeated (R4).
//! - It is replayed once, and never by a gateway that got it over a hop.
//! - The replay is decided like any other request: R1 holds for it by the same code.
//!
//! Absent by design: keeping the request's body, which `limits.replay_bytes` bounds.

use super::decide::{Access, Basis, Decision, Entry, Location, Permit, Question, decide};
use super::liveness::Liveness;
use super::topology::Topology;

/// A request that was answered by asking for its replay.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'request> {
    /// As it was decided the first time.
    pub question: &'request Question,
    /// What was sent under which permit.
    pub permit: &'request Permit,
    pub method: &'request str,
    /// It was a replay already.
    pub is_replay: bool,
}

/// Why a request is not replayed: the answer goes to the client as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoReplay {
    /// The gateway of the client's connection does that.
    OverHop,
    /// Its method promises nothing.
    UnsafeMethod,
    /// It has been replayed.
    Again,
    /// It came from the home.
    AtHome,
    /// No jurisdiction's home is known, or it is only observed.
    NotEnforced,
}

impl Answered<'_> {
    /// What becomes of the request: the decision about it as a write of the same subject.
    pub fn replay(self, topology: &Topology, liveness: &Liveness) -> Result<Decision, NoReplay> {
        let Self { question, permit, method, is_replay } = self;
        let jurisdiction = match (permit.basis(), permit.jurisdiction()) {
            _ if question.entry == Entry::Hop => return Err(NoReplay::OverHop),
            _ if !is_safe(method) => return Err(NoReplay::UnsafeMethod),
            _ if is_replay => return Err(NoReplay::Again),
            (Basis::Lawful, Some(jurisdiction)) => jurisdiction,
            _ => return Err(NoReplay::NotEnforced),
        };
        if liveness.of(jurisdiction).home == permit.destination() {
            return Err(NoReplay::AtHome);
        }
        let location = match question.location {
            moving @ Location::Moving(_) => moving,
            _ => Location::Jurisdiction(jurisdiction),
        };
        let access = Access::Write;
        Ok(decide(topology, liveness, &Question { location, access, ..*question }))
    }
}

/// The method is meant to change nothing. TRACE is left out: it has no answer of the API's own.
pub fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

#[cfg(test)]
mod tests;
