//! The values that labels can take, and the dense numbers that stand for them.
//!
//! Invariants
//! - A label value is a name from the configuration or from a fixed list of the code. Nothing a client sent is one, so
//!   the number of series is known at start.
//! - Counting uses indices alone; names are looked up at scrape.

use super::catalog::{self, Family};

/// The value of a jurisdiction or region label for a request that has none.
pub(super) const NONE: &str = "none";

/// Names by index, as one configuration gives them. Indices beyond the lists count as `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    pub regions: Vec<String>,
    pub jurisdictions: Vec<String>,
    /// Codes of the problems the gateway answers with, by index.
    pub refusals: &'static [&'static str],
    /// What can be wrong with a token, by index.
    pub token_faults: &'static [&'static str],
}

/// Whether a request may change data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Access {
    Read,
    Write,
}

impl Access {
    pub(super) const ALL: [Self; 2] = [Self::Read, Self::Write];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// What the gateway did with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Sent to an API endpoint of this region.
    Local,
    /// Sent to the gateway of another region.
    Hop,
    /// Sent where it always went, by a permit of the observe mode.
    Observed,
    /// Answered with a problem; the index is one of [`Labels::refusals`].
    Refused(usize),
    /// Answered by the gateway itself: health, metrics.
    Own,
}

impl Decision {
    /// Labels by [`Decision::index`]. The gateway's own paths come last: they have no histogram.
    pub(super) const NAMES: [&'static str; 5] = ["local", "hop", "observed", "refused", "own"];

    /// How many of them have a duration histogram.
    pub(super) const TIMED: usize = 4;

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Local => 0,
            Self::Hop => 1,
            Self::Observed => 2,
            Self::Refused(_) => 3,
            Self::Own => 4,
        }
    }

    pub const fn as_str(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

/// How an attempt at an upstream failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum UpstreamFailure {
    /// No connection was made: the request did not leave.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection ended before the answer did.
    Reset,
    /// What came back was not HTTP.
    Protocol,
}

impl UpstreamFailure {
    pub(super) const ALL: [Self; 4] = [Self::Connect, Self::Timeout, Self::Reset, Self::Protocol];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
        }
    }
}

/// What became of a request in the matter of reading one's own writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PositionEvent {
    /// A write's position was asked for and learned.
    Learned,
    /// The API said it.
    SaidByApi,
    /// The answer's length was not known when its head went out: something may still be written.
    Streamed,
    /// The API answered 5xx.
    Failed,
    /// No answer came.
    Lost,
    /// The primary did not say where it was, in time.
    Unknown,
    /// A read waited, and its replica had the position then.
    CaughtUp,
    /// It waited in vain.
    Behind,
    /// A read goes home because no replica near has its position.
    HomeBehind,
    /// Because its client, or what is remembered of it, is pinned.
    HomePinned,
    /// Because what its client brought does not verify.
    HomeUnverified,
    /// Because the client's position is one of another jurisdiction, or of another cluster.
    HomeForeign,
    /// A client's token is no token.
    Malformed,
    /// Its signature does not hold.
    Signature,
    /// It is of another cluster.
    Cluster,
    /// What an API said is no position.
    Api,
}

impl PositionEvent {
    pub(super) const ALL: [Self; 16] = [
        Self::Learned,
        Self::SaidByApi,
        Self::Streamed,
        Self::Failed,
        Self::Lost,
        Self::Unknown,
        Self::CaughtUp,
        Self::Behind,
        Self::HomeBehind,
        Self::HomePinned,
        Self::HomeUnverified,
        Self::HomeForeign,
        Self::Malformed,
        Self::Signature,
        Self::Cluster,
        Self::Api,
    ];

    /// Where it is counted.
    pub(super) const fn place(self) -> (&'static Family, &'static str) {
        match self {
            Self::Learned => (&catalog::POSITION_WRITES, "learned"),
            Self::SaidByApi => (&catalog::POSITION_WRITES, "api"),
            Self::Streamed => (&catalog::POSITION_WRITES, "streamed"),
            Self::Failed => (&catalog::POSITION_WRITES, "failed"),
            Self::Lost => (&catalog::POSITION_WRITES, "lost"),
            Self::Unknown => (&catalog::POSITION_WRITES, "unknown"),
            Self::CaughtUp => (&catalog::POSITION_WAITS, "caught-up"),
            Self::Behind => (&catalog::POSITION_WAITS, "behind"),
            Self::HomeBehind => (&catalog::POSITION_HOME, "behind"),
            Self::HomePinned => (&catalog::POSITION_HOME, "pinned"),
            Self::HomeUnverified => (&catalog::POSITION_HOME, "unverified"),
            Self::HomeForeign => (&catalog::POSITION_HOME, "foreign"),
            Self::Malformed => (&catalog::POSITION_FAULTS, "malformed"),
            Self::Signature => (&catalog::POSITION_FAULTS, "signature"),
            Self::Cluster => (&catalog::POSITION_FAULTS, "cluster"),
            Self::Api => (&catalog::POSITION_FAULTS, "api"),
        }
    }
}

/// Status classes by index; the first is for requests that ended without an answer (the client went away).
pub(super) const STATUS_CLASSES: [&str; 6] = ["aborted", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The class of a status; 0 stands for no answer.
pub(super) const fn status_class(status: u16) -> usize {
    match status / 100 {
        class @ 1..=5 => class as usize,
        _ => 0,
    }
}

/// How a write stopped waiting for its subject's move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldOutcome {
    Released,
    TooLong,
    /// Too many waited already.
    Full,
    /// Its client left.
    Gone,
}

impl HoldOutcome {
    pub const ALL: [Self; 4] = [Self::Released, Self::TooLong, Self::Full, Self::Gone];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::TooLong => "too-long",
            Self::Full => "full",
            Self::Gone => "gone",
        }
    }
}
