//! What happens in turn, and when it happened.
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::world::{Jurisdiction, Region};

/// A part of the day. Each begins with an act, and lasts until the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing is wrong.
    Calm,
    /// Every link of us-east goes silent.
    UsEastSilent,
    /// … and every process there is killed.
    UsEastDead,
    /// eu-frankfurt becomes the home of `us`.
    UsPromoted,
    /// us-east comes back, and its database as a standby.
    UsEastBack,
    /// us-east becomes the home of `us` again, with both alive.
    UsReturned,
    /// Every process in eu-frankfurt is killed.
    EuFrankfurtDead,
    /// eu-nuremberg becomes the home of `eu`.
    EuPromoted,
    /// eu-frankfurt comes back, and its databases as standbys.
    EuFrankfurtBack,
    /// eu-frankfurt becomes the home of `eu` again, with both alive.
    EuReturned,
    /// Every process in eu-nuremberg is killed: commits in `eu` wait for its standby.
    EuNurembergDead,
    /// Commits in `eu` wait for nobody, by name and on record.
    EuRelaxed,
    /// eu-nuremberg comes back, and commits wait for it again.
    EuNurembergBack,
    /// Every link of ap-singapore goes silent.
    SingaporeCutOff,
    /// … and is healed.
    SingaporeHealed,
    /// Standbys replay with 0 to 5 s of lag.
    ReplicasLag,
    /// An API process takes requests and answers none.
    EndpointHangs,
    /// An API process answers everything with 500.
    EndpointFails,
    /// Nothing is wrong any more.
    CalmAgain,
}

impl Phase {
    pub const ALL: [Self; 19] = [
        Self::Calm,
        Self::UsEastSilent,
        Self::UsEastDead,
        Self::UsPromoted,
        Self::UsEastBack,
        Self::UsReturned,
        Self::EuFrankfurtDead,
        Self::EuPromoted,
        Self::EuFrankfurtBack,
        Self::EuReturned,
        Self::EuNurembergDead,
        Self::EuRelaxed,
        Self::EuNurembergBack,
        Self::SingaporeCutOff,
        Self::SingaporeHealed,
        Self::ReplicasLag,
        Self::EndpointHangs,
        Self::EndpointFails,
        Self::CalmAgain,
    ];

    /// The name in reports and for `--only`.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// How long it lasts after its act.
    pub(super) const fn lasts(self) -> Duration {
        Duration::from_secs(match self {
            Self::Calm
            | Self::EuFrankfurtDead
            | Self::EuNurembergBack
            | Self::EndpointHangs
            | Self::EndpointFails => 15,
            Self::UsEastDead | Self::EuNurembergDead | Self::EuRelaxed | Self::CalmAgain => 10,
            Self::UsEastSilent
            | Self::UsPromoted
            | Self::UsEastBack
            | Self::UsReturned
            | Self::EuPromoted
            | Self::EuFrankfurtBack
            | Self::EuReturned
            | Self::SingaporeHealed => 12,
            Self::SingaporeCutOff | Self::ReplicasLag => 30,
        })
    }

    /// A region that can't be reached meanwhile: who is connected through it gets nothing.
    pub(super) const fn away(self) -> Option<Region> {
        match self {
            Self::UsEastSilent | Self::UsEastDead | Self::UsPromoted | Self::UsEastBack => {
                Some(Region::UsEast)
            }
            Self::EuFrankfurtDead | Self::EuPromoted | Self::EuFrankfurtBack => Some(Region::EuFrankfurt),
            Self::EuNurembergDead | Self::EuRelaxed | Self::EuNurembergBack => Some(Region::EuNuremberg),
            Self::SingaporeCutOff | Self::SingaporeHealed => Some(Region::ApSingapore),
            _ => None,
        }
    }

    /// A region that is reached again from its act on.
    pub(super) const fn heals(self) -> Option<Region> {
        match self {
            Self::UsEastBack => Some(Region::UsEast),
            Self::EuFrankfurtBack => Some(Region::EuFrankfurt),
            Self::EuNurembergBack => Some(Region::EuNuremberg),
            Self::SingaporeHealed => Some(Region::ApSingapore),
            _ => None,
        }
    }

    /// The phase with which a home went away that is away in this one, until another takes its place. Seen from Singapore all
    /// are while it is cut off.
    pub(super) const fn homeless_since(self) -> Option<Self> {
        match self {
            Self::UsEastSilent | Self::UsEastDead | Self::UsPromoted => Some(Self::UsEastSilent),
            Self::EuFrankfurtDead | Self::EuPromoted => Some(Self::EuFrankfurtDead),
            Self::SingaporeCutOff => Some(Self::SingaporeCutOff),
            _ => None,
        }
    }

    /// Whose writes go on again from its act on.
    pub(super) const fn opens(self) -> Option<Jurisdiction> {
        match self {
            Self::UsPromoted | Self::UsReturned => Some(Jurisdiction::Us),
            Self::EuPromoted | Self::EuReturned | Self::EuRelaxed => Some(Jurisdiction::Eu),
            _ => None,
        }
    }
}

/// When a phase was, since the load began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) phase: Phase,
    pub(super) began: Duration,
    /// When its act was done.
    pub(super) acted: Duration,
    pub(super) ended: Duration,
}

impl Span {
    pub(super) fn contains(&self, moment: Duration) -> bool {
        self.began <= moment && moment < self.ended
    }
}
