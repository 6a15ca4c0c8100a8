//! Setting aside one of several like processes that hangs or fails while the others do well.
//!
//! A process that answers nothing, or errors only, is not worth more requests; but when all do, it is the application that is
//! wrong, and setting any aside helps nobody. So an endpoint goes only while a neighbour does well, for a time that doubles
//! with each relapse, and returns by proving itself: it answers a question of the gateway's own, and then one request.
//!
//! Invariants
//! - At most half of a group is set aside, so of one endpoint none is.
//! - One that never failed [`FAILURES_TO_EJECT`] times in a row, and never hung, is never set aside.
//! - Back after its time on trial: one request, and a second only when that was answered well.
//!
//! Absent by design: time (passed in, in milliseconds), connections, what is a failure.

/// Errors in a row that are no accident.
pub const FAILURES_TO_EJECT: u32 = 5;

/// The first time, and the longest.
pub const FIRST_MS: u64 = 1_000;
pub const LONGEST_MS: u64 = 30_000;

/// Good answers after which relapses are forgotten.
const ANSWERS_TO_FORGIVE: u32 = 100;

/// One endpoint's conduct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conduct {
    /// In a row.
    failures: u32,
    /// In a row, since the last failure.
    answers: u32,
    /// How often it was set aside without having been forgiven.
    relapses: u32,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    #[default]
    In,
    Out {
        until: u64,
        /// It answered nothing.
        hung: bool,
    },
    /// Its time is over; `asked`: it has the one request on which it is judged.
    OnTrial { asked: bool },
}

/// How an endpoint that is set aside has answered the gateway's own question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Nothing,
    /// A 5xx, as it answers everything, or as it answers what it does not know.
    Error,
    Well,
}

/// Whether an endpoint may have a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Good,
    /// One request at a time, to be noted with [`Conduct::tried`].
    Trial,
    Out,
}

impl Conduct {
    pub const fn standing(&self) -> Standing {
        match self.place {
            Place::In => Standing::Good,
            Place::OnTrial { asked: false } => Standing::Trial,
            Place::Out { .. } | Place::OnTrial { asked: true } => Standing::Out,
        }
    }

    /// It does well enough to take another's place: it answered as often in a row as the other failed.
    pub const fn is_well(&self) -> bool {
        matches!(self.place, Place::In) && self.answers >= FAILURES_TO_EJECT
    }

    /// It has yet to prove itself.
    pub const fn is_out(&self) -> bool {
        !matches!(self.place, Place::In)
    }

    /// Its time is not over, or it has to be asked.
    pub const fn is_out_for_now(&self) -> bool {
        matches!(self.place, Place::Out { .. })
    }

    /// Its time is over, and it has to be asked before it gets a request.
    pub const fn is_to_be_asked(&self, now: u64) -> bool {
        matches!(self.place, Place::Out { until, .. } if until <= now)
    }

    /// It got the request on which it is judged.
    pub const fn tried(&mut self) {
        if let Place::OnTrial { asked } = &mut self.place {
            *asked = true;
        }
    }

    /// The request of its trial ended without a verdict: the client went away.
    pub const fn untried(&mut self) {
        if let Place::OnTrial { asked } = &mut self.place {
            *asked = false;
        }
    }

    /// It answered a request well.
    pub const fn answered(&mut self) {
        self.failures = 0;
        self.answers = self.answers.saturating_add(1);
        if matches!(self.place, Place::OnTrial { .. }) {
            self.place = Place::In;
            self.answers = 1;
        }
        if self.answers >= ANSWERS_TO_FORGIVE {
            self.relapses = 0;
        }
    }

    /// It failed a request. Returns whether it is to be set aside, if the group can do without it.
    pub const fn failed(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.answers = 0;
        match self.place {
            Place::In => self.failures >= FAILURES_TO_EJECT,
            Place::OnTrial { .. } => true,
            Place::Out { .. } => false,
        }
    }

    /// Sets it aside; `hung`: it answers nothing.
    pub fn eject(&mut self, now: u64, hung: bool) {
        let lasts = (FIRST_MS << self.relapses.min(16)).min(LONGEST_MS);
        self.relapses += 1;
        self.failures = 0;
        self.answers = 0;
        self.place = Place::Out { until: now + lasts, hung };
    }

    /// It was asked. An error is no better than those it was set aside for; but some answer every such question so, and after
    /// the longest time one request tells.
    pub fn asked(&mut self, now: u64, said: Said) {
        let Place::Out { until, hung } = self.place else { return };
        if until > now {
            return;
        }
        let was_longest = FIRST_MS << self.relapses.saturating_sub(1).min(16) >= LONGEST_MS;
        match said {
            Said::Nothing => self.eject(now, true),
            Said::Error if !hung && !was_longest => self.eject(now, false),
            Said::Error | Said::Well => self.place = Place::OnTrial { asked: false },
        }
    }

    /// It can't be asked, and is tried when its time is over.
    pub const fn pass(&mut self, now: u64) {
        if self.is_to_be_asked(now) {
            self.place = Place::OnTrial { asked: false };
        }
    }
}

/// Whether a group can do without `candidate`: some other one does well, and at most half are out then.
pub fn can_spare(group: &[Conduct], candidate: usize) -> bool {
    let others = || group.iter().enumerate().filter(|(index, _)| *index != candidate).map(|(_, one)| one);
    let out = others().filter(|one| one.is_out()).count() + 1;
    out * 2 <= group.len() && others().any(Conduct::is_well)
}

#[cfg(test)]
mod tests;
