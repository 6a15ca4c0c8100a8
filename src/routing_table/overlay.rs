//! What has changed since the base was packed: a sorted trie of two levels whose versions share what they have in common.
//!
//! A change copies the three small nodes on its way and nothing else, and only those that an older version still uses; so
//! publishing a version costs as much as the change, not as much as the overlay.
//!
//! Invariant: what the overlay has of a subject is all that is known of it; the base below is not asked. No rows at all says
//! that no register speaks of it.

use std::sync::Arc;

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
    len: usize,
}

impl Overlay {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `None`: nothing has changed here, ask what lies below.
    pub(super) fn get(&self, key: &SubjectKey) -> Option<&Rows> {
        if self.is_empty() {
            return None;
        }
        let (root, middle) = path(key);
        let leaf: &Leaf = &self.root[root][middle];
        leaf.binary_search_by_key(key, |(key, _)| *key).ok().map(|found| &leaf[found].1)
    }

    pub(super) fn insert(&mut self, key: SubjectKey, rows: Rows) {
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
        let leaf: Arc<Leaf> = Arc::default();
        let middle: Arc<Middle> = Arc::new(std::array::from_fn(|_| Arc::clone(&leaf)));
        Self { root: Arc::new(std::array::from_fn(|_| Arc::clone(&middle))), len: 0 }
    }
}

fn path(key: &SubjectKey) -> (usize, usize) {
    let [first, second, ..] = key.0;
    (usize::from(first >> 2), usize::from((first & 3) << 4 | second >> 4))
}
