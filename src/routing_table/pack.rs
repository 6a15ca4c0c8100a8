//! A new base from the old one, what has changed since, and perhaps all that one register says now.
//!
//! All three are sorted, so it is one pass; most of a big table is copied slot by slot.

use std::{cmp::Ordering, iter::Peekable};

use crate::domain::{names::JurisdictionId, register::SubjectKey};

use super::{
    overlay::Overlay,
    rows::Rows,
    run::{Run, RunBuilder},
};

/// All rows of one register, in place of those it had.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) register: JurisdictionId,
    pub(super) by: Run,
}

pub(super) fn pack(base: &Run, changes: &Overlay, replaced: Option<Replaced>) -> Run {
    let below = over(base.iter(), changes.iter().map(|(key, rows)| (*key, rows.clone())));
    let Some(Replaced { register, by }) = replaced else {
        let mut packed = RunBuilder::with_capacity(base.len() + changes.len());
        below.for_each(|(key, rows)| packed.push(&key, rows));
        return packed.finish();
    };
    if base.len() == 0 && changes.is_empty() {
        return by;
    }
    let mut packed = RunBuilder::with_capacity(base.len() + changes.len() + by.len());
    for (key, below, loaded) in both(below, by.iter()) {
        let mut rows = below.unwrap_or_default();
        rows.set(register, loaded.and_then(|loaded| loaded.winner().copied()));
        packed.push(&key, rows);
    }
    packed.finish()
}

type Keyed = (SubjectKey, Rows);

/// The first with the second laid over it.
fn over(
    below: impl Iterator<Item = Keyed>,
    above: impl Iterator<Item = Keyed>,
) -> impl Iterator<Item = Keyed> {
    both(below, above).filter_map(|(key, below, above)| Some((key, above.or(below)?)))
}

/// Every key of either, rising, with what each has of it.
fn both<A: Iterator<Item = Keyed>, B: Iterator<Item = Keyed>>(a: A, b: B) -> Both<A, B> {
    Both { a: a.peekable(), b: b.peekable() }
}

struct Both<A: Iterator, B: Iterator> {
    a: Peekable<A>,
    b: Peekable<B>,
}

impl<A: Iterator<Item = Keyed>, B: Iterator<Item = Keyed>> Iterator for Both<A, B> {
    type Item = (SubjectKey, Option<Rows>, Option<Rows>);

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.a.peek(), self.b.peek()) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let a = if order == Ordering::Greater { None } else { self.a.next() };
        let b = if order == Ordering::Less { None } else { self.b.next() };
        let key = a.as_ref().or(b.as_ref()).map(|(key, _)| *key)?;
        Some((key, a.map(|(_, rows)| rows), b.map(|(_, rows)| rows)))
    }
}
