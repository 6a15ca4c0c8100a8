//! Whether something far away is alive, from answers to questions and from signs that it is not.
//!
//! Questions are asked all the time; requests that fail on the way are signs beside them. Silence alone decides within
//! `dead_after`; signs shorten it to half. What is dead comes back after several good answers in a row, so that a path that
//! lets one packet in ten through is not taken for a region every second.
//!
//! Invariants
//! - While questions are answered it is alive, whatever signs there are: never dead on a sign alone.
//! - Without an answer to anything asked in the last `dead_after` it is dead.
//! - Dead until [`ANSWERS_TO_RETURN`] questions asked since were answered, with no failure in between.
//!
//! Times are `Duration`s since any origin the caller keeps. An answer counts from when its question was asked.

use std::time::Duration;

/// Signs since the last answered question that make half the silence enough. One lost packet is no more than one.
pub const SIGNS_TO_DOUBT: u32 = 3;

/// Good answers in a row after which what was dead counts as alive.
pub const ANSWERS_TO_RETURN: u32 = 3;

/// What is known of one region, endpoint or database.
#[derive(Debug, Clone)]
pub struct Suspicion {
    dead_after: Duration,
    /// When the newest answered question was asked; at first, when the watch began.
    answered: Duration,
    /// Since then.
    signs: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was heard yet; what was never looked at counts as working.
    Unheard,
    Alive,
    /// Since when, and good answers to what was asked since.
    Dead {
        since: Duration,
        answers: u32,
    },
}

/// What is to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Unheard,
    Alive,
    Dead,
}

impl Suspicion {
    pub const fn new(now: Duration, dead_after: Duration) -> Self {
        Self { dead_after, answered: now, signs: 0, state: State::Unheard }
    }

    /// A question asked at `asked` was answered well.
    pub fn answered(&mut self, asked: Duration) {
        match &mut self.state {
            State::Dead { since, answers } => {
                if asked < *since {
                    return;
                }
                *answers += 1;
                if *answers >= ANSWERS_TO_RETURN {
                    self.state = State::Alive;
                }
            }
            State::Unheard | State::Alive => self.state = State::Alive,
        }
        if asked >= self.answered {
            self.answered = asked;
            self.signs = 0;
        }
    }

    /// A question was not answered, or a request met a closed or silent door.
    pub fn sign(&mut self) {
        self.signs = self.signs.saturating_add(1);
        if let State::Dead { answers, .. } = &mut self.state {
            *answers = 0;
        }
    }

    /// What is to be believed at `now`. Silence turns into death here.
    pub fn verdict(&mut self, now: Duration) -> Verdict {
        let silence = now.saturating_sub(self.answered);
        let enough = if self.signs >= SIGNS_TO_DOUBT { self.dead_after / 2 } else { self.dead_after };
        match &mut self.state {
            State::Dead { answers, .. } => {
                if silence >= enough {
                    *answers = 0;
                }
                Verdict::Dead
            }
            State::Unheard | State::Alive if silence >= enough => {
                self.state = State::Dead { since: now, answers: 0 };
                Verdict::Dead
            }
            State::Unheard => Verdict::Unheard,
            State::Alive => Verdict::Alive,
        }
    }
}

#[cfg(test)]
mod tests;
