//! Replication lag without clocks that agree and without heartbeat writes.
//!
//! A primary's log position is sampled again and again, each sample stamped by this process's own monotonic clock.
//! A replica that has replayed a sample's position has everything the primary had at that sample's time; so its
//! lag is the age of the newest such sample. An idle primary keeps producing samples at the same position, so a
//! replica that is level with it stays fresh although nothing is written.
//!
//! Times are `Duration`s since any origin the caller keeps for the life of the tracker. A sample's time must not be
//! later than the moment the position was read: the time *before* the query was sent, or for a sample learned from
//! a peer, the time before the peer was asked less the age the peer gave.
//!
//! Invariants
//! - Never too low: a replica of lag `Known(l)` has every commit that was acknowledged `l` or longer ago.
//! - Samples rise in time, position or both, never fall in either; all are of one timeline.
//! - Bounded: at `CAPACITY` samples the older half is thinned, which can only raise a lag that was already long.
//!
//! Absent by design: clocks, I/O, and what lag is too much.

use std::{collections::VecDeque, fmt, num::ParseIntError, str::FromStr, time::Duration};

/// Samples kept. At ten a second the newer half, never thinned, reaches back 25 s: past every limit worth setting.
const CAPACITY: usize = 512;

/// What is known of one primary's recent positions.
#[derive(Debug)]
pub struct LagTracker {
    stale_after: Duration,
    timeline: Option<Timeline>,
    samples: VecDeque<Sample>,
}

/// How far a replica's data is behind its primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// At most this much: every older commit is there.
    Known(Duration),
    /// The primary has not been heard lately, the replica is on another timeline, or it is behind all samples.
    Unknown,
}

/// How far a database's log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    pub timeline: Timeline,
    pub lsn: Lsn,
}

/// A branch of a cluster's history; a promotion starts the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline(pub u32);

/// A byte offset in the write-ahead log, written as Postgres writes it: `16/B374D848`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    lsn: Lsn,
}

impl LagTracker {
    /// `stale_after`: how old the newest sample may be before the primary counts as unreachable.
    pub fn new(stale_after: Duration) -> Self {
        Self { stale_after, timeline: None, samples: VecDeque::with_capacity(CAPACITY) }
    }

    /// Notes where the primary was, at `at` or later. A sample of an older timeline, or one older than the newest,
    /// says nothing new and is ignored.
    pub fn primary_sample(&mut self, at: Duration, position: LogPosition) {
        match self.timeline {
            Some(known) if position.timeline < known => return,
            Some(known) if position.timeline == known => {}
            // A promotion. Positions of another history do not compare.
            _ => {
                self.timeline = Some(position.timeline);
                self.samples.clear();
            }
        }
        if self.samples.back().is_some_and(|newest| at < newest.at) {
            return;
        }
        // A crash loses the unflushed end of the log, so a position may fall. What lay above it never happened.
        while self.samples.back().is_some_and(|newest| newest.lsn >= position.lsn) {
            self.samples.pop_back();
        }
        if self.samples.len() == CAPACITY {
            self.thin();
        }
        self.samples.push_back(Sample { at, lsn: position.lsn });
    }

    /// The lag at `now` of a replica that has replayed `replica`.
    pub fn lag(&self, now: Duration, replica: LogPosition) -> Lag {
        if self.timeline != Some(replica.timeline)
            || self.newest_age(now).is_none_or(|age| age > self.stale_after)
        {
            return Lag::Unknown;
        }
        let replayed = self.samples.partition_point(|sample| sample.lsn <= replica.lsn);
        match replayed.checked_sub(1).and_then(|index| self.samples.get(index)) {
            Some(sample) => Lag::Known(now.saturating_sub(sample.at)),
            None => Lag::Unknown,
        }
    }

    /// The age at `now` of the newest sample; `None` when the primary has never been heard.
    pub fn newest_age(&self, now: Duration) -> Option<Duration> {
        self.samples.back().map(|newest| now.saturating_sub(newest.at))
    }

    /// Drops every second sample of the older half. A replica that was level with a dropped one counts as level
    /// with the one before: later, never sooner.
    fn thin(&mut self) {
        let half = self.samples.len() / 2;
        let mut index = 0;
        self.samples.retain(|_| {
            let keep = index >= half || index % 2 == 0;
            index += 1;
            keep
        });
    }
}

impl Lag {
    /// Whether the replica is known to be at most `limit` behind.
    pub fn within(self, limit: Duration) -> bool {
        matches!(self, Self::Known(lag) if lag <= limit)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = InvalidLsn;

    fn from_str(text: &str) -> Result<Self, InvalidLsn> {
        let half = |digits: &str| match digits.len() {
            1..=8 if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                u64::from_str_radix(digits, 16).ok()
            }
            _ => None,
        };
        let (high, low) = text.split_once('/').ok_or(InvalidLsn)?;
        Ok(Self((half(high).ok_or(InvalidLsn)? << 32) | half(low).ok_or(InvalidLsn)?))
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Timeline {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// The text is not two hexadecimal numbers of at most 32 bits with a slash between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a log position such as 16/B374D848")]
pub struct InvalidLsn;

#[cfg(test)]
mod tests;
