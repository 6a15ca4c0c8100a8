//! What a gateway remembers of its subjects' last writes, for clients that keep no token.
//!
//! Two generations of fixed arrays of atomics, indexed by a keyed hash of the subject. A write goes into the current generation,
//! a look reads both, and every so often the older one is emptied and becomes the current: an entry lives for one to two such
//! times.
//!
//! Invariants
//! - No locks and no allocation where requests go: a write is a few atomic operations, a look four loads.
//! - Subjects that share a slot share requirements: that only makes them stricter.
//! - What is remembered is never weakened before its time, but for a pin that the home has resolved, and only the very pin
//!   that the resolving request had found.
//!
//! One memory is of one jurisdiction: positions of two logs don't compare.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::super::replication_lag::{LogPosition, Lsn, Timeline};
use super::{NOWHERE, Requirement};

/// A megabyte a generation. With a hundred thousand writers a minute most share their slot with another writer, whose last
/// write is as recent as their own.
const SLOTS: usize = 1 << 16;

/// A write was lost sight of: no answer of the home's can say that it is over.
const LOST: u32 = u32::MAX;

/// Where a subject's entries are. Made of a keyed hash that is the same at all gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u16);

/// One jurisdiction's memory, shared by all workers of a gateway.
#[derive(Debug)]
pub struct Memory {
    generations: [Box<[Entry]>; 2],
    /// Which of the two is written to.
    current: AtomicUsize,
    /// Numbers pins, so that one can be told from the next.
    pins: AtomicU32,
    in_flight: Box<[AtomicU32]>,
}

#[derive(Debug, Default)]
struct Entry {
    lsn: AtomicU64,
    timeline: AtomicU32,
    /// 0: none; [`LOST`]; else a pin's number.
    pin: AtomicU32,
}

/// What is remembered of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    at: LogPosition,
    pins: [u32; 2],
}

/// How a write ended that no position covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// The home will know when it is over.
    Resolvable,
    /// Whoever carries it out may still do so, and nobody watches. It holds for its time.
    Lost,
}

/// A write that is being carried out; over when dropped.
#[derive(Debug)]
pub struct InFlight {
    memory: Arc<Memory>,
    slot: Slot,
}

impl Slot {
    /// Of 64 evenly spread bits.
    pub const fn of_hash(hash: u64) -> Self {
        Self((hash >> 48) as u16)
    }

    const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Default for Memory {
    fn default() -> Self {
        let generation = || (0..SLOTS).map(|_| Entry::default()).collect();
        Self {
            generations: [generation(), generation()],
            current: AtomicUsize::new(0),
            pins: AtomicU32::new(0),
            in_flight: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
        }
    }
}

impl Memory {
    fn entries(&self, slot: Slot) -> [&Entry; 2] {
        [0, 1].map(|generation| &self.generations[generation][slot.index()])
    }

    fn current(&self, slot: Slot) -> &Entry {
        &self.generations[self.current.load(Ordering::Acquire) & 1][slot.index()]
    }

    /// A write of the slot's is covered by this position.
    pub fn remember(&self, slot: Slot, at: LogPosition) {
        let entry = self.current(slot);
        // In this order: whoever sees the position sees the timeline it needs.
        entry.timeline.fetch_max(at.timeline.0, Ordering::AcqRel);
        entry.lsn.fetch_max(at.lsn.0, Ordering::AcqRel);
    }

    /// Something of the slot's may have been written that no position covers.
    pub fn pin(&self, slot: Slot, pin: Pin) {
        let number = match pin {
            Pin::Lost => LOST,
            Pin::Resolvable => self.pins.fetch_add(1, Ordering::AcqRel) % (LOST - 1) + 1,
        };
        let entry = self.current(slot);
        // Later pins replace earlier ones, whatever their numbers; a lost write's stays.
        let replaced = |known| (known != LOST).then_some(number);
        // It fails only where a lost write's pin is there already.
        let _ = entry.pin.fetch_update(Ordering::AcqRel, Ordering::Acquire, replaced);
    }

    /// What is remembered of the slot now.
    pub fn look(&self, slot: Slot) -> Remembered {
        let [one, two] = self.entries(slot).map(|entry| {
            let lsn = entry.lsn.load(Ordering::Acquire);
            let timeline = entry.timeline.load(Ordering::Acquire);
            LogPosition { timeline: Timeline(timeline), lsn: Lsn(lsn) }
        });
        let pins = self.entries(slot).map(|entry| entry.pin.load(Ordering::Acquire));
        Remembered { at: super::highest(one, two), pins }
    }

    /// The home has answered a request that had found `found`, and whatever had pinned then is covered by `at`.
    pub fn resolve(&self, slot: Slot, found: Remembered, at: LogPosition) {
        self.remember(slot, at);
        for (entry, pin) in self.entries(slot).into_iter().zip(found.pins) {
            if pin != 0 && pin != LOST {
                // It fails where another write has pinned since.
                let _ = entry.pin.compare_exchange(pin, 0, Ordering::AcqRel, Ordering::Acquire);
            }
        }
    }

    /// A write of the slot's sets out.
    pub fn set_out(self: &Arc<Self>, slot: Slot) -> InFlight {
        self.in_flight[slot.index()].fetch_add(1, Ordering::AcqRel);
        InFlight { memory: Arc::clone(self), slot }
    }

    /// Writes of the slot's that are being carried out.
    pub fn in_flight(&self, slot: Slot) -> u32 {
        self.in_flight[slot.index()].load(Ordering::Acquire)
    }

    /// Forgets what is older than the call before this one. One caller at a time.
    pub fn rotate(&self) {
        let older = (self.current.load(Ordering::Acquire) & 1) ^ 1;
        for entry in &self.generations[older] {
            // The other order than in `remember`: no position without its timeline.
            entry.lsn.store(0, Ordering::Release);
            entry.timeline.store(0, Ordering::Release);
            entry.pin.store(0, Ordering::Release);
        }
        self.current.store(older, Ordering::Release);
    }
}

impl Remembered {
    pub fn requirement(self) -> Requirement {
        if self.pins != [0, 0] {
            Requirement::Home
        } else if self.at == NOWHERE {
            Requirement::Nothing
        } else {
            Requirement::Reached(self.at)
        }
    }

    /// A write was lost sight of.
    pub fn is_lost(self) -> bool {
        self.pins.contains(&LOST)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.memory.in_flight[self.slot.index()].fetch_sub(1, Ordering::AcqRel);
    }
}
