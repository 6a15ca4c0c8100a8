//! Where things run: the four regions, the two jurisdictions, and how far apart they are.
//!
//! Invariants
//! - An address tells its slot and its region: `127.<region>.<slot>.1`; ports are the same in every region.
//! - All ports lie below the kernel's ephemeral range, so no outgoing connection can take one by chance.
//!
//! Absent by design: other topologies. Random ones are the decision's property tests' job; this one is real.
use std::{fmt, net::Ipv4Addr, net::SocketAddr, time::Duration};

/// A place where gateways, API processes, Redis and databases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Region {
    UsEast,
    EuFrankfurt,
    EuNuremberg,
    ApSingapore,
}

impl Region {
    pub const ALL: [Self; 4] = [Self::UsEast, Self::EuFrankfurt, Self::EuNuremberg, Self::ApSingapore];
    /// The regions inside the European Union.
    pub const EU: [Self; 2] = [Self::EuFrankfurt, Self::EuNuremberg];

    pub const fn name(self) -> &'static str {
        match self {
            Self::UsEast => "us-east",
            Self::EuFrankfurt => "eu-frankfurt",
            Self::EuNuremberg => "eu-nuremberg",
            Self::ApSingapore => "ap-singapore",
        }
    }

    /// The region of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|region| region.name() == name)
    }

    /// The name as environment variables carry it: `US_EAST`.
    pub fn env_name(self) -> String {
        self.name().replace('-', "_").to_uppercase()
    }

    /// Its loopback address in slot `slot`.
    pub const fn address(self, slot: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.number(), slot, 1)
    }

    /// Jurisdictions whose data may lie here, and does: this region runs a database of each.
    pub const fn databases(self) -> &'static [Jurisdiction] {
        match self {
            Self::UsEast | Self::ApSingapore => &[Jurisdiction::Us],
            Self::EuFrankfurt => &[Jurisdiction::Us, Jurisdiction::Eu],
            Self::EuNuremberg => &[Jurisdiction::Eu],
        }
    }

    pub const fn in_eu(self) -> bool {
        matches!(self, Self::EuFrankfurt | Self::EuNuremberg)
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::UsEast => 1,
            Self::EuFrankfurt => 2,
            Self::EuNuremberg => 3,
            Self::ApSingapore => 4,
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A legal area with a Postgres cluster of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Jurisdiction {
    Us,
    Eu,
}

impl Jurisdiction {
    pub const ALL: [Self; 2] = [Self::Us, Self::Eu];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Eu => "eu",
        }
    }

    /// Every region with a database of it, the initial home first.
    pub fn members(self) -> impl Iterator<Item = Region> {
        std::iter::once(self.home()).chain(self.replicas().iter().copied())
    }

    /// Where its primary runs at first. `World::primary` says where it runs now.
    pub const fn home(self) -> Region {
        match self {
            Self::Us => Region::UsEast,
            Self::Eu => Region::EuFrankfurt,
        }
    }

    /// Where its standbys run at first.
    pub const fn replicas(self) -> &'static [Region] {
        match self {
            Self::Us => &[Region::EuFrankfurt, Region::ApSingapore],
            Self::Eu => &[Region::EuNuremberg],
        }
    }

    /// The standbys a commit waits for.
    pub const fn synchronous(self) -> &'static [Region] {
        match self {
            Self::Us => &[],
            Self::Eu => &[Region::EuNuremberg],
        }
    }

    /// A billing country that belongs to it.
    pub const fn country(self) -> &'static str {
        match self {
            Self::Us => "US",
            Self::Eu => "DE",
        }
    }

    pub const fn postgres_port(self) -> u16 {
        match self {
            Self::Us => 25432,
            Self::Eu => 25433,
        }
    }
}

impl fmt::Display for Jurisdiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something of a region that listens, and that other regions may reach through a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    GatewayHttp,
    GatewayHttps,
    GatewayInternal,
    GatewayAdmin,
    /// API process 1, 2, …
    Api(u8),
    Postgres(Jurisdiction),
    Redis,
}

impl Port {
    pub const fn number(self) -> u16 {
        match self {
            Self::GatewayHttp => 20080,
            Self::GatewayHttps => 20443,
            Self::GatewayInternal => 27443,
            Self::GatewayAdmin => 29901,
            Self::Api(process) => 23000 + process as u16,
            Self::Postgres(jurisdiction) => jurisdiction.postgres_port(),
            Self::Redis => 26379,
        }
    }

    /// Its address in `region`, as seen from inside that region.
    pub fn at(self, region: Region, slot: u8) -> SocketAddr {
        SocketAddr::from((region.address(slot), self.number()))
    }
}

/// Round trip between two different regions, as the reference topology has it.
pub const fn round_trip(a: Region, b: Region) -> Duration {
    let ms = match (a, b) {
        (Region::EuFrankfurt, Region::EuNuremberg) | (Region::EuNuremberg, Region::EuFrankfurt) => 4,
        (Region::UsEast, Region::ApSingapore) | (Region::ApSingapore, Region::UsEast) => 220,
        (Region::ApSingapore, Region::EuFrankfurt | Region::EuNuremberg)
        | (Region::EuFrankfurt | Region::EuNuremberg, Region::ApSingapore) => 160,
        (Region::UsEast, Region::EuFrankfurt | Region::EuNuremberg)
        | (Region::EuFrankfurt | Region::EuNuremberg, Region::UsEast) => 90,
        (Region::UsEast, Region::UsEast)
        | (Region::EuFrankfurt, Region::EuFrankfurt)
        | (Region::EuNuremberg, Region::EuNuremberg)
        | (Region::ApSingapore, Region::ApSingapore) => 0,
    };
    Duration::from_millis(ms)
}
