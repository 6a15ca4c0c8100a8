//! The numbers of one worker, on cache lines that no other worker touches.
//!
//! Invariants
//! - One thread writes, any thread reads. So adding is a plain load and store: no locked instruction. A second writer
//!   would lose counts, never corrupt them.
//! - The block begins and ends on a 128-byte boundary: two 64-byte lines, because processors prefetch them in pairs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const PER_LINE: usize = 16;

#[derive(Default)]
#[repr(align(128))]
struct Line([AtomicU64; PER_LINE]);

/// A fixed number of cells, all zero at first.
pub(super) struct Cells(Box<[Line]>);

impl Cells {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count.div_ceil(PER_LINE)).map(|_| Line::default()).collect())
    }

    pub(super) fn get(&self, index: usize) -> u64 {
        self.cell(index).load(Relaxed)
    }

    pub(super) fn set(&self, index: usize, value: u64) {
        self.cell(index).store(value, Relaxed);
    }

    /// Adds `by`, wrapping: a level that falls is a level to which `-1 as u64` is added.
    pub(super) fn add(&self, index: usize, by: u64) {
        let cell = self.cell(index);
        cell.store(cell.load(Relaxed).wrapping_add(by), Relaxed);
    }

    pub(super) fn subtract(&self, index: usize, by: u64) {
        self.add(index, by.wrapping_neg());
    }

    fn cell(&self, index: usize) -> &AtomicU64 {
        &self.0[index / PER_LINE].0[index % PER_LINE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_two_workers_share_no_pair_of_cache_lines() {
        let lines = |cells: &Cells| {
            let first = (&raw const cells.0[0]).addr();
            assert_eq!(first % 128, 0);
            first / 128..first / 128 + cells.0.len()
        };
        let blocks: Vec<Cells> = (0..50).map(|_| Cells::new(17)).collect();
        let mut seen = std::collections::HashSet::new();
        for line in blocks.iter().flat_map(lines) {
            assert!(seen.insert(line), "two workers share line {line}");
        }
        assert_eq!(size_of::<Line>(), 128);
    }

    #[test]
    fn levels_rise_and_fall() {
        let cells = Cells::new(20);
        cells.add(19, 2);
        cells.subtract(19, 3);
        assert_eq!(cells.get(19).cast_signed(), -1);
        cells.set(19, 7);
        assert_eq!((cells.get(19), cells.get(18)), (7, 0));
    }
}
