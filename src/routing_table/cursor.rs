//! How far a register has been read, and how high it has ever stood.
//!
//! Transactions become visible in another order than they began in, so no number of a row says what has been read. A cursor
//! is therefore the snapshot of the last reading: what was not visible in it is new, whenever it began. It means something only
//! to the server that gave it, and only while that server has not restarted: after a promotion new changes have lower transaction
//! ids, and after a crash some that were seen may never have happened. Then the register is loaded whole.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::{register::Generation, replication_lag::Timeline};

/// Where reading goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub source: SourceIdentity,
    /// Below it everything has been read. A transaction id with its epoch.
    pub xmin: u64,
    /// The whole snapshot, as Postgres writes it.
    pub snapshot: String,
}

/// Which server's which life a cursor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    pub system_identifier: u64,
    #[serde(with = "timeline")]
    pub timeline: Timeline,
    /// When the server started, by its own clock, in microseconds: compared for equality only.
    pub started: i64,
}

/// The highest that was ever accepted of a register: jurisdiction's generation, and cluster and timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Height {
    #[serde(with = "generation")]
    pub generation: Generation,
    pub system_identifier: u64,
    #[serde(with = "timeline")]
    pub timeline: Timeline,
}

/// Why a server's register is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLow {
    #[error("its jurisdiction's generation is {}, {} was known: a former primary, or a forgery", found.0, known.0)]
    Generation { found: Generation, known: Generation },
    #[error("it is on timeline {}, {} was known: a former primary, or a restored one", found.0, known.0)]
    Timeline { found: Timeline, known: Timeline },
}

impl Cursor {
    /// From it on nothing had begun when this was taken.
    pub(super) fn xmax(&self) -> u64 {
        self.snapshot.split(':').nth(1).and_then(|xmax| xmax.parse().ok()).unwrap_or(u64::MAX)
    }
}

impl Height {
    /// Whether a register that stands at `found` may be believed by who knows this one. Timelines of different clusters do
    /// not compare: there the generation alone decides.
    pub fn admits(&self, found: &Self) -> Result<(), TooLow> {
        if found.generation < self.generation {
            return Err(TooLow::Generation { found: found.generation, known: self.generation });
        }
        if found.system_identifier == self.system_identifier && found.timeline < self.timeline {
            return Err(TooLow::Timeline { found: found.timeline, known: self.timeline });
        }
        Ok(())
    }

    /// For choosing among several that call themselves primary.
    pub fn rank(&self) -> (Generation, Timeline) {
        (self.generation, self.timeline)
    }
}

impl TooLow {
    /// A metric's label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Generation { .. } => "generation",
            Self::Timeline { .. } => "timeline",
        }
    }
}

impl fmt::Display for Height {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "generation {}, timeline {}", self.generation.0, self.timeline.0)
    }
}

mod timeline {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Timeline;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn serialize<S: Serializer>(timeline: &Timeline, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(timeline.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timeline, D::Error> {
        u32::deserialize(deserializer).map(Timeline)
    }
}

mod generation {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Generation;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn serialize<S: Serializer>(
        generation: &Generation,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(generation.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Generation, D::Error> {
        u64::deserialize(deserializer).map(Generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_never_sinks() {
        let at = |generation, system_identifier, timeline| Height {
            generation: Generation(generation),
            system_identifier,
            timeline: Timeline(timeline),
        };
        let known = at(3, 7, 2);
        for (found, admitted) in [
            (at(3, 7, 2), true),
            (at(3, 7, 3), true),
            (at(4, 7, 3), true),
            (at(2, 7, 3), false),
            (at(3, 7, 1), false),
            (at(4, 7, 1), false),
            // Dumped and restored into a new cluster.
            (at(3, 8, 1), true),
            (at(2, 8, 9), false),
        ] {
            assert_eq!(known.admits(&found).is_ok(), admitted, "{found}");
        }
    }
}
