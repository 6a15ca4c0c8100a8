//! Which subjects one worker is busy with: writes under way, and connections and streams that stay open.
//!
//! A move has to know when nobody writes a subject's rows any more on the strength of an old decision, and to end what would
//! go on showing the old home. Counting costs a write one look-up in a map that only this worker touches.
//!
//! Invariants
//! - Whoever is counted is counted until its guard is dropped, and no longer.
//! - Deciding and counting happen without an await in between: after a worker has been told that a subject moves, no write that
//!   was decided before escapes the count.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::rc::Rc;

use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::domain::register::SubjectKey;
use crate::routing_table::SubjectKeys;

/// One worker's subjects.
#[derive(Default)]
pub struct Presences {
    subjects: RefCell<HashMap<SubjectKey, Presence, BuildHasherDefault<OwnHash>>>,
    /// Somebody has left.
    pub left: Notify,
}

/// What counts for one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// A write, until its answer has ended.
    Write,
    /// A connection or stream without an end of its own, until it is told to end.
    Open,
}

/// Counts for its subject until it is dropped.
pub struct Present {
    presences: Rc<Presences>,
    subject: SubjectKeys,
    busy: Busy,
    /// One of them is cancelled when what is open is to end.
    endings: SmallVec<[CancellationToken; 1]>,
}

#[derive(Default)]
struct Presence {
    writes: usize,
    open: usize,
    ending: Option<CancellationToken>,
}

impl Presences {
    /// Counts under each of a subject's keys: while they are being replaced, a move may name it by either.
    pub fn count(self: &Rc<Self>, subject: &SubjectKeys, busy: Busy) -> Present {
        let mut endings = SmallVec::new();
        let mut subjects = self.subjects.borrow_mut();
        for key in subject {
            let presence = subjects.entry(*key).or_default();
            match busy {
                Busy::Write => presence.writes += 1,
                Busy::Open => {
                    presence.open += 1;
                    endings.push(presence.ending.get_or_insert_default().clone());
                }
            }
        }
        Present { presences: Rc::clone(self), subject: subject.clone(), busy, endings }
    }

    /// Nothing of the subject is under way or open here.
    pub fn is_quiet(&self, subject: &SubjectKey) -> bool {
        !self.subjects.borrow().contains_key(subject)
    }

    /// Tells everything of the subject that is open to end.
    pub fn end_open(&self, subject: &SubjectKey) {
        // What is opened from now on has a token of its own.
        let ending = self.subjects.borrow_mut().get_mut(subject).and_then(|presence| presence.ending.take());
        if let Some(ending) = ending {
            ending.cancel();
        }
    }
}

impl Present {
    /// It was decided before the subject moved, and comes when nobody is told any more: it ends at once.
    pub fn end(&mut self) {
        let told = CancellationToken::new();
        told.cancel();
        self.endings = SmallVec::from_elem(told, 1);
    }

    /// When what is open is told to end. `None` for a write.
    pub fn told_to_end(&self) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
        let mut endings = self.endings.iter().cloned().map(CancellationToken::cancelled_owned);
        let first = endings.next()?;
        let Some(second) = endings.next() else { return Some(Box::pin(first)) };
        Some(Box::pin(async move {
            tokio::select! { () = first => {}, () = second => {} }
        }))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut subjects = self.presences.subjects.borrow_mut();
        for key in &self.subject {
            let Some(presence) = subjects.get_mut(key) else { continue };
            match self.busy {
                Busy::Write => presence.writes -= 1,
                Busy::Open => presence.open -= 1,
            }
            if presence.writes == 0 && presence.open == 0 {
                subjects.remove(key);
                self.presences.left.notify_waiters();
            }
        }
    }
}

impl std::fmt::Debug for Present {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Present").field("busy", &self.busy).finish_non_exhaustive()
    }
}

/// A keyed hash is as good a hash as any.
#[derive(Default)]
struct OwnHash(u64);

impl Hasher for OwnHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 ^= u64::from_ne_bytes(*first);
        }
    }

    // The length of an array, which is always the same.
    fn write_usize(&mut self, _length: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_quiet_when_its_last_write_and_its_last_connection_have_ended() {
        let presences = Rc::new(Presences::default());
        let (one, other) = (SubjectKey([1; 16]), SubjectKey([2; 16]));
        let count = |keys: &[SubjectKey], busy| presences.count(&SubjectKeys::from_slice(keys), busy);
        let write = count(&[one], Busy::Write);
        // Known by two keys.
        let open = count(&[SubjectKey([3; 16]), one], Busy::Open);
        let elsewhere = count(&[other], Busy::Open);
        assert!(!presences.is_quiet(&one));
        presences.end_open(&one);
        let ended = |present: &Present| present.endings.iter().any(CancellationToken::is_cancelled);
        assert!(ended(&open) && !ended(&elsewhere));
        let later = count(&[one], Busy::Open);
        assert!(!ended(&later), "what comes after a move is not ended by it");
        drop((write, later));
        assert!(!presences.is_quiet(&one));
        drop(open);
        assert!(presences.is_quiet(&one) && !presences.is_quiet(&other));
    }
}
