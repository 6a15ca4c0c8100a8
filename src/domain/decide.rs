//! The decision: where one request may go, and why.
//!
//! Invariants
//! - R1: in a jurisdiction set to `enforce`, a permit's destination is one of the jurisdiction's lawful regions. Unknown is
//!   refused, never guessed.
//! - A [`Permit`] has private fields and no other maker than [`decide`]; sending takes one.
//! - A request that came over a hop is never sent over another.
//! - R5: what the client has already seen is never answered by a database that is not known to have it.
//! - Neither allocates nor loops over more than the regions.
//!
//! Absent by design: tokens, headers, sockets, time. Callers say what was found and perform what comes out.

use super::liveness::Liveness;
use super::names::{JurisdictionId, RegionId, RegionSet};
use super::topology::{Mode, Topology};

/// What a request does to the subject's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// Where a read may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reads {
    /// In the nearest lawful region, by a replica if that is what is there.
    #[default]
    Nearest,
    /// At the home, by its primary: what is read must not be stale.
    Home,
}

/// Which database of the jurisdiction serves the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Primary,
    Replica,
}

/// Which door of the gateway the request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A client's connection: it may be sent to another region.
    Edge,
    /// Another region's gateway: it is served here or refused.
    Hop,
}

/// What is known of whose data the request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// A verified claim, a configured default, or a country named by the request.
    Jurisdiction(JurisdictionId),
    /// The register says that its rows are still there and that nobody may write them until its move ends.
    Moving(JurisdictionId),
    /// No token and nothing else that points to a subject: it may read what belongs to nobody.
    Anonymous,
    /// It could not be found out, for this reason.
    Unknown(Refusal),
}

/// Everything the decision depends on besides topology and liveness.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// The region of this gateway.
    pub at: RegionId,
    pub entry: Entry,
    pub location: Location,
    pub access: Access,
    /// What the route says of reads. Nothing for writes, nor for what touches no subject's data.
    pub reads: Reads,
    /// Regions whose database is known to have what the client has already seen; `None` when that may be anything. The home
    /// always has it.
    pub caught_up: Option<RegionSet>,
    /// Regions this very request already failed to reach.
    pub unreachable: RegionSet,
}

/// The answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    Forward(Permit),
    /// A write that has to wait until its subject's move has ended, and then to be decided anew.
    Hold,
    Refuse(Refusal),
}

/// The right to send one request to one region. Made by [`decide`] only, and never copied.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    destination: RegionId,
    leaves: bool,
    jurisdiction: Option<JurisdictionId>,
    access: Access,
    database: Option<Database>,
    basis: Basis,
}

/// What a permit rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The destination is one of the jurisdiction's lawful regions.
    Lawful,
    /// The request touches no subject's data.
    NoSubject,
    /// The jurisdiction is only observed: this is what enforcing would have done.
    Observed(Enforced),
}

/// What enforcing would have done with a request that was only observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforced {
    SameRegion,
    OtherRegion(RegionId),
    Refused(Refusal),
}

/// Why a request goes nowhere. Each has a stable code that clients and dashboards may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    TokenMissing,
    TokenInvalid,
    TokenExpired,
    KeysUnavailable,
    IntrospectionUnavailable,
    JurisdictionMissing,
    JurisdictionUnknown,
    CountryMissing,
    CountryUnknown,
    HomeUnavailable,
    ReadOnly,
    NoLawfulReplica,
    /// No reachable region has what the client has already seen.
    PositionUnavailable,
    /// The subject is being moved, for longer than a write may wait, or nobody here knows yet where to.
    SubjectMoving,
    /// The jurisdiction's register is hashed under other keys than this gateway's: whatever is looked up would be missed.
    RegisterUnreadable,
    /// The jurisdiction's register has forgotten this gateway: others go on without it.
    GatewayForgotten,
    Misdirected,
    /// Over a hop: the database here has not got what the client has already seen.
    Behind,
}

impl Permit {
    /// The region whose API gets the request.
    pub fn destination(&self) -> RegionId {
        self.destination
    }

    /// The destination is another region: its gateway gets the request, over the internal listener.
    pub fn leaves_region(&self) -> bool {
        self.leaves
    }

    /// `None` only when the request touches no subject's data, or is observed without a known jurisdiction.
    pub fn jurisdiction(&self) -> Option<JurisdictionId> {
        self.jurisdiction
    }

    pub fn access(&self) -> Access {
        self.access
    }

    /// `None` whenever [`Permit::jurisdiction`] is.
    pub fn database(&self) -> Option<Database> {
        self.database
    }

    pub fn basis(&self) -> Basis {
        self.basis
    }
}

impl Refusal {
    pub const ALL: [Self; 18] = [
        Self::TokenMissing,
        Self::TokenInvalid,
        Self::TokenExpired,
        Self::KeysUnavailable,
        Self::IntrospectionUnavailable,
        Self::JurisdictionMissing,
        Self::JurisdictionUnknown,
        Self::CountryMissing,
        Self::CountryUnknown,
        Self::HomeUnavailable,
        Self::ReadOnly,
        Self::NoLawfulReplica,
        Self::PositionUnavailable,
        Self::SubjectMoving,
        Self::RegisterUnreadable,
        Self::GatewayForgotten,
        Self::Misdirected,
        Self::Behind,
    ];

    pub const fn code(self) -> &'static str {
        match self {
            Self::TokenMissing => "token-missing",
            Self::TokenInvalid => "token-invalid",
            Self::TokenExpired => "token-expired",
            Self::KeysUnavailable => "keys-unavailable",
            Self::IntrospectionUnavailable => "introspection-unavailable",
            Self::JurisdictionMissing => "jurisdiction-missing",
            Self::JurisdictionUnknown => "jurisdiction-unknown",
            Self::CountryMissing => "country-missing",
            Self::CountryUnknown => "country-unknown",
            Self::HomeUnavailable => "home-unavailable",
            Self::ReadOnly => "read-only",
            Self::NoLawfulReplica => "no-lawful-replica",
            Self::PositionUnavailable => "position-unavailable",
            Self::SubjectMoving => "subject-moving",
            Self::RegisterUnreadable => "register-unreadable",
            Self::GatewayForgotten => "gateway-forgotten",
            Self::Misdirected => "misdirected",
            Self::Behind => "behind",
        }
    }
}

/// Decides one request.
pub fn decide(topology: &Topology, liveness: &Liveness, question: &Question) -> Decision {
    let (jurisdiction, mode, enforced) = match question.location {
        Location::Moving(jurisdiction)
            if question.access == Access::Write && topology.mode(jurisdiction) == Mode::Enforce =>
        {
            return match question.entry {
                Entry::Edge => Decision::Hold,
                // The gateway where it arrived holds it, once it knows.
                Entry::Hop => Decision::Refuse(Refusal::Misdirected),
            };
        }
        Location::Jurisdiction(jurisdiction) | Location::Moving(jurisdiction) => (
            Some(jurisdiction),
            topology.mode(jurisdiction),
            lawful(topology, liveness, question, jurisdiction),
        ),
        Location::Anonymous if question.access == Access::Read => {
            return Decision::Forward(here(question, None, None, Basis::NoSubject));
        }
        Location::Anonymous => (None, topology.mode_of_unlocated(), Err(Refusal::TokenMissing)),
        Location::Unknown(reason) => (None, topology.mode_of_unlocated(), Err(reason)),
    };
    match (mode, enforced) {
        (Mode::Enforce, Ok(destination)) => Decision::Forward(
            Permit {
                destination,
                ..here(
                    question,
                    jurisdiction,
                    jurisdiction.map(|found| database_at(liveness, question, found, destination)),
                    Basis::Lawful,
                )
            }
            .mark_leaving(question.at),
        ),
        (Mode::Enforce, Err(refusal)) => Decision::Refuse(refusal),
        (Mode::Observe, enforced) => {
            let would = match enforced {
                Ok(destination) if destination == question.at => Enforced::SameRegion,
                Ok(destination) => Enforced::OtherRegion(destination),
                Err(refusal) => Enforced::Refused(refusal),
            };
            let database = jurisdiction.map(|found| database_at(liveness, question, found, question.at));
            Decision::Forward(here(question, jurisdiction, database, Basis::Observed(would)))
        }
    }
}

impl Permit {
    fn mark_leaving(mut self, at: RegionId) -> Self {
        self.leaves = self.destination != at;
        self
    }
}

fn here(
    question: &Question,
    jurisdiction: Option<JurisdictionId>,
    database: Option<Database>,
    basis: Basis,
) -> Permit {
    Permit { destination: question.at, leaves: false, jurisdiction, access: question.access, database, basis }
}

/// The lawful region that should serve the request, by the rules alone.
fn lawful(
    topology: &Topology,
    liveness: &Liveness,
    question: &Question,
    jurisdiction: JurisdictionId,
) -> Result<RegionId, Refusal> {
    let live = liveness.of(jurisdiction);
    let home = live.home;
    let at_home = question.access == Access::Write || question.reads == Reads::Home;
    match (at_home, question.entry) {
        (true, Entry::Hop) if question.at != home => Err(Refusal::Misdirected),
        // Liveness goes by what databases say; the law is what the configuration says.
        (true, _) if !topology.lawful_regions(jurisdiction).contains(home) => Err(Refusal::HomeUnavailable),
        (true, _) if !live.writable || question.unreachable.contains(home) => Err(Refusal::HomeUnavailable),
        (true, _) if live.read_only && question.access == Access::Write => Err(Refusal::ReadOnly),
        (true, _) => Ok(home),
        (false, Entry::Hop) if !topology.lawful_regions(jurisdiction).contains(question.at) => {
            Err(Refusal::Misdirected)
        }
        (false, entry) => {
            let lawful = match entry {
                Entry::Edge => topology.lawful_regions(jurisdiction),
                Entry::Hop => RegionSet::EMPTY.with(question.at),
            };
            let reachable = lawful.and(live.readable).minus(question.unreachable);
            let readable = question.caught_up.map_or(reachable, |set| reachable.and(set.with(home)));
            let fresh = readable.and(live.fresh);
            let candidates = if fresh.is_empty() { readable } else { fresh };
            liveness
                .nearest(topology, question.at)
                .iter()
                .copied()
                .find(|&region| candidates.contains(region))
                .ok_or(match entry {
                    _ if reachable.is_empty() => Refusal::NoLawfulReplica,
                    Entry::Edge => Refusal::PositionUnavailable,
                    Entry::Hop => Refusal::Behind,
                })
        }
    }
}

fn database_at(
    liveness: &Liveness,
    question: &Question,
    jurisdiction: JurisdictionId,
    region: RegionId,
) -> Database {
    if question.access == Access::Write || liveness.of(jurisdiction).home == region {
        Database::Primary
    } else {
        Database::Replica
    }
}

#[cfg(test)]
mod tests;
