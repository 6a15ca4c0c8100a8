//! What has changed since the base was packed: a sorted trie of two levels whose versions share what they have in common.
//!
//! A change copies the three small nodes on its way and nothing else, and only those that an older version still uses; so
//! publishing a version costs as much as the change, not as much as the overlay.
//!
//! Most look-ups are for what has not changed. A filter that all versions share tells nearly all of these at the cost of one
//! word, where the trie would cost four.
//!
//! Invariant: what the overlay has of a subject is all that is known of it; the base below is not asked. No rows at all says
//! that no register speaks of it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::domain::register::SubjectKey;

use super::rows::Rows;

/// Children of a node; two levels take the first 12 bits of a key.
const FANOUT: usize = 64;

type Leaf = Vec<(SubjectKey, Rows)>;
type Middle = [Arc<Leaf>; FANOUT];
type Root = [Arc<Middle>; FANOUT];

#[derive(Debug, Clone)]
pub(super) struct Overlay {
    root: Arc<Root>,
    filter: Arc<Filter>,
    len: usize,
}

/// Keys that an overlay may have in one of its versions: two bits of one word for each (a blocked Bloom filter). Bits are only
/// ever set, and before the version with the key is published; to an older version they are false alarms.
#[derive(Debug)]
struct Filter(Box<[AtomicU64]>);

/// With two bits set for a key, one look in fifty is a false alarm.
const BITS_PER_KEY: usize = 16;

impl Overlay {
    /// For about so many changes. More make it slower and not wrong.
    pub(super) fn for_changes(expected: usize) -> Self {
        let leaf: Arc<Leaf> = Arc::default();
        let middle: Arc<Middle> = Arc::new(std::array::from_fn(|_| Arc::clone(&leaf)));
        let root = Arc::new(std::array::from_fn(|_| Arc::clone(&middle)));
        Self { root, filter: Arc::new(Filter::for_keys(expected)), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `None`: nothing has changed here, ask what lies below.
    pub(super) fn get(&self, key: &SubjectKey) -> Option<&Rows> {
        if self.is_empty() || !self.filter.may_have(key) {
            return None;
        }
        let (root, middle) = path(key);
        let leaf: &Leaf = &self.root[root][middle];
        leaf.binary_search_by_key(key, |(key, _)| *key).ok().map(|found| &leaf[found].1)
    }

    pub(super) fn insert(&mut self, key: SubjectKey, rows: Rows) {
        self.filter.note(&key);
        let (root, middle) = path(&key);
        let middle_node = Arc::make_mut(&mut Arc::make_mut(&mut self.root)[root]);
        let leaf = Arc::make_mut(&mut middle_node[middle]);
        match leaf.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(found) => leaf[found].1 = rows,
            Err(place) => {
                leaf.insert(place, (key, rows));
                self.len += 1;
            }
        }
    }

    /// By rising key.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(SubjectKey, Rows)> {
        self.root.iter().flat_map(|middle| middle.iter()).flat_map(|leaf| leaf.iter())
    }

    /// Whether a version elsewhere still holds it.
    pub(super) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.root) > 1
    }
}

impl Default for Overlay {
    fn default() -> Self {
        Self::for_changes(0)
    }
}

impl Filter {
    fn for_keys(expected: usize) -> Self {
        let words = (expected * BITS_PER_KEY).div_ceil(64).next_power_of_two();
        Self((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    fn may_have(&self, key: &SubjectKey) -> bool {
        let (word, bits) = self.place(key);
        // Published together with the version by the pointer's own release and acquire.
        word.load(Ordering::Relaxed) & bits == bits
    }

    fn note(&self, key: &SubjectKey) {
        let (word, bits) = self.place(key);
        word.fetch_or(bits, Ordering::Relaxed);
    }

    /// Keyed hashes are evenly spread, so their own bytes serve; the first ones lead through the trie already.
    fn place(&self, key: &SubjectKey) -> (&AtomicU64, u64) {
        let [.., one, other, a, b, c, d] = key.0;
        let word = u32::from_be_bytes([a, b, c, d]) as usize & (self.0.len() - 1);
        (&self.0[word], 1 << (one & 63) | 1 << (other & 63))
    }
}

fn path(key: &SubjectKey) -> (usize, usize) {
    let [first, second, ..] = key.0;
    (usize::from(first >> 2), usize::from((first & 3) << 4 | second >> 4))
}
