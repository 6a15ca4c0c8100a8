//! Promotion: what is known of a cluster's members, and what follows from it.
//!
//! A jurisdiction's cluster has a member in each of some regions; one is the primary. Two questions are decided here, each
//! from facts alone: [`plan`] says whether another member may become the primary, in which steps, on what proof, and what
//! is lost by it; [`boot`] says whether a member that starts may open as the primary.
//!
//! Invariants
//! - No plan without proof that the old primary can't acknowledge any more, unless its operator names that risk.
//! - A plan says *nothing is lost* only where every acknowledged commit is on the target when it is promoted.
//! - A member opens unasked only when every other one has answered and none is, or follows, a later primary.
//!
//! Absent by design: asking members, performing steps, time. `tests/model.rs` performs plans on a cluster of its own, with
//! crashes at every step, and holds the invariants.

use super::register::Generation;
use super::replication_lag::{LogPosition, Lsn};
use super::topology::Durability;

mod boot;
mod conninfo;
mod plan;
mod refusal;

#[cfg(test)]
mod tests;

pub use boot::{BootVerdict, Own, Peer, boot};
pub use conninfo::{beginning_with, first_last, is_list};
pub use plan::{Loss, Plan, Proof, Step, Whole, plan};
pub use refusal::Refusal;

/// A cluster, member by member, as far as it could be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub jurisdiction: String,
    /// Regions where its data may be.
    pub lawful: Vec<String>,
    /// In the order of the configuration.
    pub members: Vec<Member>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub region: String,
    /// What it answered, or why it did not.
    pub answer: Result<Answer, String>,
}

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The same for all members of a cluster.
    pub system_identifier: u64,
    pub recovering: bool,
    /// Of a standby: all that it has, replayed or not. Of a primary: the end of its log.
    pub has: LogPosition,
    /// What a standby has replayed; a primary's own end.
    pub replayed: Lsn,
    /// A standby that has streamed since its server started. One that has not may have missed anything.
    pub streamed: bool,
    /// The last position that its former or present primary is known to have had.
    pub heard: Option<Lsn>,
    /// The commit time of the last transaction replayed, as the primary's clock had it.
    pub last_commit: Option<String>,
    /// The application's database takes connections.
    pub open: bool,
    /// A promotion's mark, left when it closed the application's database.
    pub fence: Option<Fence>,
    /// The register's row of the jurisdiction; absent where the database is closed or has no register.
    pub row: Option<Row>,
}

/// A promotion's mark on the primary that it closes; kept where a closed database still shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    pub to: String,
    /// The row, which nobody can read while the database is closed.
    pub row: Row,
}

/// What the register says of its own jurisdiction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub home: String,
    pub generation: Generation,
    pub durability: Durability,
    /// A commit waits until one of these has flushed it.
    pub synchronous: Vec<String>,
}

/// What an operator asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    pub to: String,
    /// The named risk: the old primary is taken for dead without proof.
    pub assume_dead: bool,
    /// The operator's command has confirmed that the old primary is off, or will be asked whether it is.
    pub confirm_off: bool,
    /// Members that are left out of account, whatever they may have.
    pub without: Vec<String>,
    /// Commits shall wait for nobody from now on.
    pub relax: bool,
}

impl Fence {
    /// As it is kept in the database: five words.
    pub fn parse(text: &str) -> Option<Self> {
        let [to, home, generation, durability, synchronous] = text.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        let listed = synchronous.split(',').filter(|name| !name.is_empty());
        let row = Row {
            home: home.to_owned(),
            generation: Generation(generation.parse().ok()?),
            durability: durability_named(durability)?,
            synchronous: listed.map(str::to_owned).collect(),
        };
        Some(Self { to: to.to_owned(), row })
    }
}

impl std::fmt::Display for Fence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Row { home, generation, durability, synchronous } = &self.row;
        let (durability, synchronous) = (durability_name(*durability), synchronous.join(","));
        write!(f, "{} {home} {} {durability} {synchronous}", self.to, generation.0)
    }
}

/// As the register's column and the configuration have it.
pub const fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::Async => "async",
        Durability::Remote => "remote",
    }
}

pub fn durability_named(name: &str) -> Option<Durability> {
    [Durability::Async, Durability::Remote]
        .into_iter()
        .find(|durability| durability_name(*durability) == name)
}

impl Cluster {
    pub fn member(&self, region: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.region == region)
    }

    /// Members that answered, with what they said.
    pub fn answers(&self) -> impl Iterator<Item = (&str, &Answer)> {
        self.members.iter().filter_map(|member| Some((member.region.as_str(), member.answer.as_ref().ok()?)))
    }

    /// The row of the highest generation that any member shows, in its register or in a fence.
    pub fn row(&self) -> Option<&Row> {
        self.answers().filter_map(|(_, answer)| answer.row()).max_by_key(|row| row.generation)
    }

    /// The primary, if it answers. One that somebody has gone past, in timeline or, on the same timeline, in generation, is a
    /// former one. A row that only an earlier timeline has is of a history that ended there, however high its generation.
    pub fn primary(&self) -> Option<(&str, &Answer)> {
        let latest = self.answers().map(|(_, answer)| answer.has.timeline).max()?;
        let on_latest = || self.answers().filter(|(_, answer)| answer.has.timeline == latest);
        let generation = on_latest().filter_map(|(_, answer)| answer.row()).map(|row| row.generation).max();
        on_latest().find(|(_, answer)| {
            let row = answer.row().map(|row| row.generation);
            !answer.recovering && (row.is_none() || row == generation)
        })
    }
}

impl Answer {
    /// What it knows of the jurisdiction, also while its database is closed.
    pub fn row(&self) -> Option<&Row> {
        self.row.as_ref().or_else(|| self.fence.as_ref().map(|fence| &fence.row))
    }
}

/// `synchronous_standby_names` for a commit that waits until one of these standbys has flushed it.
pub fn synchronous_standby_names(standbys: &[String]) -> String {
    if standbys.is_empty() {
        return String::new();
    }
    let quoted: Vec<_> =
        standbys.iter().map(|standby| format!("\"{}\"", standby.replace('"', "\"\""))).collect();
    format!("ANY 1 ({})", quoted.join(", "))
}
