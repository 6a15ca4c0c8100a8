//! Who asks where: users in four places, in two setups.
use serde::Serialize;

use crate::world::{Jurisdiction, Region};

/// Where the data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Setup {
    /// Everything in us-east.
    OnePlace,
    /// In the regions, as the law wants it.
    Regions,
}

impl Setup {
    pub(super) const ALL: [Self; 2] = [Self::OnePlace, Self::Regions];
}

/// The users of one place in one setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    /// The region nearest to them.
    pub(super) place: Region,
    pub(super) setup: Setup,
}

impl Stream {
    /// Place by place, so that both setups of a place follow each other.
    pub(super) fn all() -> Vec<Self> {
        let of = |place| Setup::ALL.map(|setup| Self { place, setup });
        Region::ALL.into_iter().flat_map(of).collect()
    }

    /// The region that they connect to.
    pub(super) fn entry(self) -> Region {
        match self.setup {
            Setup::OnePlace => Region::UsEast,
            Setup::Regions => self.place,
        }
    }

    /// Whose law holds for them.
    pub(super) fn jurisdiction(self) -> Jurisdiction {
        match self.setup {
            Setup::Regions if self.place.in_eu() => Jurisdiction::Eu,
            _ => Jurisdiction::Us,
        }
    }

    /// The id of a user; unique among all streams.
    pub(super) fn user(self, number: usize) -> String {
        let setup = match self.setup {
            Setup::OnePlace => "one",
            Setup::Regions => "regions",
        };
        format!("{}-{setup}-{number:05}", self.place)
    }
}
