//! Watching one database for as long as anyone wants to know.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    Database, DatabaseFault,
    sample::{Sample, Sampler},
};
use crate::clock;

/// How often to ask, and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// Between samples, and the first pause after a failure.
    pub interval: Duration,
    /// For each answer. A database that takes longer is unreachable.
    pub deadline: Duration,
    /// The longest pause between attempts to connect; pauses double up to it.
    pub longest_pause: Duration,
}

impl Default for Cadence {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(100),
            deadline: Duration::from_secs(1),
            longest_pause: Duration::from_secs(2),
        }
    }
}

/// What is known of a database now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseState {
    /// Not asked yet.
    Connecting,
    /// The session that gave this sample is open. Still look at its age: a sample may be as old as the cadence's
    /// interval and deadline together before silence is noticed.
    Open(Sample),
    /// Since when, and the latest reason, for operators.
    Unreachable { since: Instant, reason: Arc<str> },
}

impl DatabaseState {
    /// The sample, while its session is open.
    pub fn sample(&self) -> Option<&Sample> {
        match self {
            Self::Open(sample) => Some(sample),
            Self::Connecting | Self::Unreachable { .. } => None,
        }
    }
}

/// The task that watches one database; see [`Monitor::run`].
#[derive(Debug)]
pub struct Monitor {
    database: Database,
    cadence: Cadence,
    state: watch::Sender<DatabaseState>,
}

impl Monitor {
    /// A monitor to be run, and where it will publish.
    pub fn new(database: Database, cadence: Cadence) -> (Self, watch::Receiver<DatabaseState>) {
        let (state, receiver) = watch::channel(DatabaseState::Connecting);
        (Self { database, cadence, state }, receiver)
    }

    /// Watches until all receivers are gone. Dropping the future ends the watch, too.
    pub async fn run(self) {
        tokio::select! {
            () = self.state.closed() => {}
            () = self.watch() => {}
        }
    }

    async fn watch(&self) {
        let mut pause = self.cadence.interval;
        loop {
            let mut answered = false;
            let fault = self.session(&mut answered).await;
            if answered {
                pause = self.cadence.interval;
            }
            self.publish_fault(&fault);
            sleep(pause).await;
            pause = (pause * 2).min(self.cadence.longest_pause.max(self.cadence.interval));
        }
    }

    /// One session, sampled until it fails. `answered` tells whether it ever gave a sample.
    async fn session(&self, answered: &mut bool) -> DatabaseFault {
        // Subscribed before the session exists, so that its end can't be missed.
        let mut ended = self.database.ended();
        let client = match self.database.client().await {
            Ok(client) => client,
            Err(fault) => return fault,
        };
        let mut sampler = match Sampler::start(client, self.database.address(), self.cadence.deadline).await {
            Ok(sampler) => sampler,
            Err(fault) => return fault,
        };
        let mut ticks = interval(self.cadence.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => match sampler.sample().await {
                    Ok(sample) => {
                        *answered = true;
                        self.state.send_replace(DatabaseState::Open(sample));
                    }
                    Err(fault) => break fault,
                },
                // The pool keeps the sender as long as this borrows the pool.
                _ = ended.changed() => if sampler.is_closed() {
                    break DatabaseFault::Query {
                        address: self.database.address().to_owned(),
                        reason: "the server closed the session".to_owned(),
                    };
                },
            }
        }
    }

    fn publish_fault(&self, fault: &DatabaseFault) {
        let reason: Arc<str> = fault.to_string().into();
        self.state.send_modify(|state| {
            let since = match state {
                DatabaseState::Unreachable { since, .. } => *since,
                DatabaseState::Connecting | DatabaseState::Open(_) => clock::now(),
            };
            *state = DatabaseState::Unreachable { since, reason };
        });
    }
}
