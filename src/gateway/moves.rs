//! Subjects that are being moved, between the control plane, which hears of them, and the workers, whose writes have to wait.
//!
//! The table is in force before the workers are told, so whatever a worker decides after it was told waits. Each worker says
//! when it holds a subject's writes, and when none of those that it let go before is under way any more; when all of them have
//! said so, the register is told (DESIGN: a move waits for every registered gateway).
//!
//! Invariants
//! - `Drained` is said only when every worker has nothing of the subject under way and nothing of it open.
//! - What is said of one attempt is never taken for another's.

use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::registers::Registers;
use super::worker::Worker;
use crate::clock::TICK;
use crate::domain::names::JurisdictionId;
use crate::domain::register::{MoveId, SubjectKey};
use crate::routing_table::{Stage, Table};

/// Reports that may be on their way; workers wait when there are more.
const MOST_UNDER_WAY: usize = 1024;

/// One attempt at moving one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Move {
    pub subject: SubjectKey,
    /// `None` for one that nobody waits for.
    pub attempt: Option<(MoveId, u32)>,
    /// Whose register says so.
    pub register: JurisdictionId,
}

/// What workers are told, and what they say.
pub struct Moves {
    now: watch::Sender<Arc<[Move]>>,
    said: mpsc::Sender<Said>,
}

/// One worker's word.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    worker: usize,
    about: Move,
    stage: Stage,
}

/// What the workers have said, until all have.
#[derive(Debug)]
pub struct Roll {
    workers: usize,
    by_move: BTreeMap<Move, [Vec<bool>; 2]>,
}

impl Moves {
    pub fn new() -> (Self, mpsc::Receiver<Said>) {
        let (said, receiver) = mpsc::channel(MOST_UNDER_WAY);
        (Self { now: watch::Sender::new(Arc::from([])), said }, receiver)
    }

    /// Tells the workers what the table in force says. To be called after every version of it.
    pub fn tell(&self, table: &Table) {
        let moving: Arc<[Move]> = table
            .moving()
            .iter()
            .map(|(subject, entry)| Move {
                subject: *subject,
                attempt: entry.move_id,
                register: entry.jurisdiction,
            })
            .collect();
        self.now.send_if_modified(|now| {
            let changed = *now != moving;
            *now = moving;
            changed
        });
    }
}

/// A worker's part: shuts lines by ending what is open, says how far it is, and opens lines when moves have ended.
pub async fn attend(worker: Rc<Worker>) {
    loop {
        let registers = worker.generation().settings.registers.clone();
        if let Some(registers) = registers {
            attend_to(&worker, &registers).await;
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Until other registers than these are followed.
async fn attend_to(worker: &Worker, registers: &Arc<Registers>) {
    let moves = &registers.moves;
    let mut told = moves.now.subscribe();
    let mut said: BTreeMap<Move, Stage> = BTreeMap::new();
    let in_force =
        || worker.generation().settings.registers.as_ref().is_some_and(|now| Arc::ptr_eq(now, registers));
    while in_force() {
        // Before looking, so that nobody leaves unseen.
        let mut left = pin!(worker.presences.left.notified());
        left.as_mut().enable();
        let now = Arc::clone(&told.borrow_and_update());
        said.retain(|about, _| now.contains(about));
        for subject in worker.holds.subjects() {
            if !now.iter().any(|about| about.subject == subject) {
                worker.holds.open(&subject);
            }
        }
        for about in now.iter() {
            let mut say = async |stage| {
                if said.get(about).is_none_or(|before| (*before as u8) < stage as u8) {
                    said.insert(*about, stage);
                    let _ = moves.said.send(Said { worker: worker.index, about: *about, stage }).await;
                }
            };
            say(Stage::Held).await;
            worker.presences.end_open(&about.subject);
            if worker.presences.is_quiet(&about.subject) {
                say(Stage::Drained).await;
            }
        }
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return },
            () = left, if !now.is_empty() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

impl Roll {
    pub fn new(workers: usize) -> Self {
        Self { workers, by_move: BTreeMap::new() }
    }

    /// Notes a worker's word. Returns what the register is to be told: that of which this was the last word missing.
    pub fn note(&mut self, said: Said) -> Option<(Move, Stage)> {
        let Said { worker, about, stage } = said;
        let none = || [vec![false; self.workers], vec![false; self.workers]];
        let marks = &mut self.by_move.entry(about).or_insert_with(none)[stage as usize];
        let was_complete = marks.iter().all(|mark| *mark);
        if let Some(mark) = marks.get_mut(worker) {
            *mark = true;
        }
        (!was_complete && marks.iter().all(|mark| *mark)).then_some((about, stage))
    }

    /// Forgets moves that are over.
    pub fn keep(&mut self, table: &Table) {
        let goes_on = |about: &Move| {
            let rows = table.moving();
            let found = rows.binary_search_by(|(subject, _)| subject.cmp(&about.subject));
            found.is_ok_and(|index| rows[index].1.move_id == about.attempt)
        };
        self.by_move.retain(|about, _| goes_on(about));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::topology::{JurisdictionSpec, Mode, RegionSpec, Topology};

    #[test]
    fn the_register_is_told_once_and_when_the_last_worker_has_said_so() {
        let topology = Topology::new(
            vec![RegionSpec { name: "us-east".into(), ..RegionSpec::default() }],
            &[JurisdictionSpec { name: "us".into(), home: "us-east".into(), ..JurisdictionSpec::default() }],
            Mode::Enforce,
        )
        .expect("valid");
        let register = topology.jurisdictions().next().expect("there is one");
        let about =
            |attempt| Move { subject: SubjectKey([1; 16]), attempt: Some((MoveId(7), attempt)), register };
        let mut roll = Roll::new(2);
        let mut note = |worker, attempt, stage| roll.note(Said { worker, about: about(attempt), stage });
        assert_eq!(note(0, 1, Stage::Held), None);
        assert_eq!(note(1, 2, Stage::Held), None, "another attempt");
        assert_eq!(note(0, 1, Stage::Drained), None);
        assert_eq!(note(1, 1, Stage::Held), Some((about(1), Stage::Held)));
        assert_eq!(note(1, 1, Stage::Held), None, "said already");
        assert_eq!(note(1, 1, Stage::Drained), Some((about(1), Stage::Drained)));
    }
}
