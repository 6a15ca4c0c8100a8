//! What was asked, and what came of it, as the clients saw it.
use std::{fmt, time::Duration};

use crate::world::{Jurisdiction, Region};

/// One request. Times are since the load began.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    /// When it should have begun.
    pub(super) due: Duration,
    /// From then to the end of the answer, or to the end of patience.
    pub(super) took: Duration,
    pub(super) place: Region,
    pub(super) jurisdiction: Jurisdiction,
    pub(super) writes: bool,
    /// When the user's latest order before it was placed, or may have been: its answer was lost.
    pub(super) wrote: Option<Duration>,
    pub(super) outcome: Outcome,
}

impl Asked {
    /// The moment that decides into which phase it falls: when it was due, or if it was not done, when it failed. A fault takes
    /// with it what was under way.
    pub(super) fn counts_at(&self) -> Duration {
        if self.outcome.is_done() { self.due } else { self.due + self.took }
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Done,
    /// Another status than asked for, and the problem's code if it is one.
    Refused(u16, Option<String>),
    /// No connection to the gateway.
    Unconnected,
    /// The connection ended before the answer.
    Broken,
    TimedOut,
}

impl Outcome {
    pub(super) fn is_done(&self) -> bool {
        *self == Self::Done
    }

    /// Nobody who answers has what the user has seen already.
    pub(super) fn is_unseen(&self) -> bool {
        matches!(self, Self::Refused(503, Some(code)) if code == "position-unavailable")
    }

    /// Whether a write may have been done all the same.
    pub(super) fn is_unknown(&self) -> bool {
        match self {
            Self::Broken | Self::TimedOut => true,
            Self::Refused(status, _) => matches!(status, 500 | 502 | 504),
            Self::Done | Self::Unconnected => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => formatter.write_str("done"),
            Self::Refused(status, Some(code)) => write!(formatter, "{status} {code}"),
            Self::Refused(status, None) => write!(formatter, "{status}"),
            Self::Unconnected => formatter.write_str("unconnected"),
            Self::Broken => formatter.write_str("broken off"),
            Self::TimedOut => formatter.write_str("timed out"),
        }
    }
}

/// An order whose user was told that it is placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) at: Duration,
    pub(super) jurisdiction: Jurisdiction,
    pub(super) order: String,
}

/// An order that was acknowledged before a read began, and that the read did not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// When the read was due.
    pub(super) due: Duration,
    pub(super) order: String,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Diary {
    pub(super) asked: Vec<Asked>,
    pub(super) acknowledged: Vec<Acknowledged>,
    pub(super) missing: Vec<Missing>,
}
