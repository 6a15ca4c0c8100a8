//! Writes that wait while their subject is being moved: one line for each subject, first come, first served.
//!
//! A line is shut while the move lasts. When it has ended the line opens, and lets its writes go one after the other: the
//! next one goes when the one before has its answer, so that they reach the new home in the order in which they came. A write
//! that comes while others still stand in line goes behind them.
//!
//! Invariants
//! - Of a line at most one write is under way, and none while it is shut.
//! - No line and not all together is longer than its bound (R9).
//! - Whoever leaves, for whatever reason, frees its place; a line without anybody in it is forgotten.
//! - Nobody is passed over: who is at the head of an open line goes, or has gone.
//!
//! Absent by design: time, wakers, and how one knows that a move has ended. Callers wait, and perform what comes out.

use std::collections::{HashMap, VecDeque};

use super::register::SubjectKey;

/// How many may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub per_subject: usize,
    pub all: usize,
}

/// All lines of one worker.
#[derive(Debug)]
pub struct Lines {
    bounds: Bounds,
    by_subject: HashMap<SubjectKey, Line>,
    /// In all lines together.
    standing: usize,
    next: u64,
}

/// One write's place in its subject's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

/// The line is as long as it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many writes wait as may")]
pub struct Full;

#[derive(Debug, Default)]
struct Line {
    open: bool,
    /// The first one of these may be under way.
    places: VecDeque<Place>,
    under_way: bool,
}

impl Lines {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, by_subject: HashMap::new(), standing: 0, next: 0 }
    }

    /// Others of the same subject stand in line: whoever comes now goes behind them.
    pub fn has_line(&self, subject: &SubjectKey) -> bool {
        self.standing > 0 && self.by_subject.contains_key(subject)
    }

    /// Takes a place at the end. A line that was empty is shut.
    pub fn enter(&mut self, subject: SubjectKey) -> Result<Place, Full> {
        let length = self.by_subject.get(&subject).map_or(0, |line| line.places.len());
        if length >= self.bounds.per_subject || self.standing >= self.bounds.all {
            return Err(Full);
        }
        let place = Place(self.next);
        self.next += 1;
        self.standing += 1;
        self.by_subject.entry(subject).or_default().places.push_back(place);
        Ok(place)
    }

    /// The move has ended. Returns whom that lets go.
    pub fn open(&mut self, subject: &SubjectKey) -> Option<Place> {
        let line = self.by_subject.get_mut(subject)?;
        line.open = true;
        line.go()
    }

    /// The one under way has found that a move goes on: it waits again, where it is, and everybody behind it.
    pub fn shut(&mut self, subject: &SubjectKey) {
        if let Some(line) = self.by_subject.get_mut(subject) {
            line.open = false;
            line.under_way = false;
        }
    }

    /// Gives a place up. Returns whom that lets go.
    pub fn leave(&mut self, subject: &SubjectKey, place: Place) -> Option<Place> {
        let line = self.by_subject.get_mut(subject)?;
        let index = line.places.iter().position(|other| *other == place)?;
        line.places.remove(index);
        self.standing -= 1;
        if index == 0 {
            line.under_way = false;
        }
        if line.places.is_empty() {
            self.by_subject.remove(subject);
            return None;
        }
        line.go()
    }

    /// Subjects with somebody in line.
    pub fn subjects(&self) -> impl Iterator<Item = &SubjectKey> {
        self.by_subject.keys()
    }

    /// How many stand in all lines.
    pub fn standing(&self) -> usize {
        self.standing
    }

    /// Other bounds from now on; who stands already may stay.
    pub fn bound(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }
}

impl Line {
    fn go(&mut self) -> Option<Place> {
        if !self.open || self.under_way {
            return None;
        }
        let first = *self.places.front()?;
        self.under_way = true;
        Some(first)
    }
}

#[cfg(test)]
mod tests;
