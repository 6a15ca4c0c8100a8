//! One database's position, asked for when somebody needs it, and for many at once.
//!
//! Whoever wants to know draws a ticket. The keeper sends one question at a time, and its answer serves all who had drawn theirs
//! before it was sent: nobody waits longer than for the rest of one question, a pause that grows with the load
//! ([`Pacing`]), and a question.
//!
//! Invariants
//! - An answer was asked for after the ticket was drawn: of a primary, everything committed before lies below it.
//! - What is known is forgotten as soon as the session that read it has ended, and not believed for longer than
//!   [`BELIEVED`]: a server that comes back after a crash may have less.
//! - Nothing is locked for those who ask; the keeper's session is its own, beside the monitor's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::sample::{Role, Sample, Sampler};
use super::{Database, DatabaseFault};
use crate::clock;
use crate::domain::position::{Pacing, Reached};

/// For each answer. Those who wait have shorter deadlines of their own.
const DEADLINE: Duration = Duration::from_secs(1);
/// After a failure nobody is made to wait for another one so soon.
const RETRY: Duration = Duration::from_millis(100);
/// How old a reading may be. A session to a machine that is gone looks open for a while; no server is back sooner.
const BELIEVED: Duration = Duration::from_secs(1);

/// Answers for as long as anyone may ask; see [`PositionKeeper::run`].
#[derive(Debug)]
pub struct PositionKeeper {
    database: Database,
    shared: Arc<Shared>,
    rounds: watch::Sender<Round>,
}

/// Where to ask. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PositionSource {
    shared: Arc<Shared>,
    rounds: watch::Receiver<Round>,
}

/// What became of one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Questioned {
    Primary,
    Replica,
    Failed,
}

#[derive(Debug, Default)]
struct Shared {
    tickets: AtomicU64,
    drawn: Notify,
    known: ArcSwapOption<Sample>,
    /// 0 until the cluster has said so.
    system_identifier: AtomicU64,
}

#[derive(Debug, Clone, Default)]
struct Round {
    /// Tickets up to this one are served.
    covers: u64,
    sample: Option<Sample>,
}

impl PositionSource {
    /// What the database has, read after this call. `None`: it can't be asked.
    pub async fn ask(&self) -> Option<Sample> {
        let ticket = self.shared.tickets.fetch_add(1, Ordering::AcqRel) + 1;
        self.shared.drawn.notify_one();
        let mut rounds = self.rounds.clone();
        // The keeper is gone only when its runtime is.
        let round = rounds.wait_for(|round| round.covers >= ticket).await.ok()?;
        round.sample.clone()
    }

    /// What it is known to have now without asking. Never more than it has.
    pub fn known(&self) -> Option<Reached> {
        let known = self.shared.known.load();
        let sample = known.as_ref()?;
        (clock::now().saturating_duration_since(sample.sampled_at) < BELIEVED).then(|| sample.reached())
    }

    /// The cluster's, once it has been heard.
    pub fn system_identifier(&self) -> Option<u64> {
        Some(self.shared.system_identifier.load(Ordering::Acquire)).filter(|known| *known != 0)
    }
}

impl Sample {
    pub fn reached(&self) -> Reached {
        Reached { at: self.position, is_primary: self.role == Role::Primary }
    }
}

impl PositionKeeper {
    pub fn new(database: Database) -> (Self, PositionSource) {
        let shared = Arc::<Shared>::default();
        let (rounds, receiver) = watch::channel(Round::default());
        (Self { database, shared: Arc::clone(&shared), rounds }, PositionSource { shared, rounds: receiver })
    }

    /// Answers until all sources are gone. `questioned` is told of every question.
    pub async fn run(self, questioned: impl Fn(Questioned)) {
        tokio::select! {
            () = self.rounds.closed() => {}
            () = self.answer(questioned) => {}
        }
    }

    async fn answer(&self, questioned: impl Fn(Questioned)) {
        let started = clock::now();
        let mut session: Option<Sampler> = None;
        let mut pacing = Pacing::default();
        let mut served = 0;
        let mut failed: Option<Instant> = None;
        loop {
            self.asked_for(served, &mut session).await;
            let pause = pacing.pause(started.elapsed());
            if !pause.is_zero() {
                sleep(pause).await;
            }
            let covers = self.shared.tickets.load(Ordering::Acquire);
            let sample = if failed.is_some_and(|at| at.elapsed() < RETRY) {
                None
            } else {
                pacing.sent(started.elapsed(), covers - served);
                let asked = self.question(&mut session).await;
                questioned(match &asked {
                    Ok(sample) if sample.role == Role::Primary => Questioned::Primary,
                    Ok(_) => Questioned::Replica,
                    Err(_) => Questioned::Failed,
                });
                match asked {
                    Ok(sample) => {
                        failed = None;
                        self.shared.known.store(Some(Arc::new(sample.clone())));
                        Some(sample)
                    }
                    Err(fault) => {
                        tracing::debug!(%fault, "no position");
                        failed = Some(clock::now());
                        session = None;
                        self.shared.known.store(None);
                        None
                    }
                }
            };
            served = covers;
            self.rounds.send_replace(Round { covers, sample });
        }
    }

    /// Waits until somebody has drawn a ticket that is not served, and meanwhile watches the session.
    async fn asked_for(&self, served: u64, session: &mut Option<Sampler>) {
        let mut ended = self.database.ended();
        loop {
            if session.as_ref().is_some_and(Sampler::is_closed) {
                *session = None;
                self.shared.known.store(None);
            }
            if self.shared.tickets.load(Ordering::Acquire) > served {
                return;
            }
            tokio::select! {
                () = self.shared.drawn.notified() => {}
                // The pool keeps the sender as long as this borrows the database.
                _ = ended.changed() => {}
            }
        }
    }

    async fn question(&self, session: &mut Option<Sampler>) -> Result<Sample, DatabaseFault> {
        if session.is_none() {
            let client = self.database.client().await?;
            let fresh = Sampler::start(client, self.database.address(), DEADLINE).await?;
            self.shared.system_identifier.store(fresh.system_identifier(), Ordering::Release);
            *session = Some(fresh);
        }
        session.as_mut().expect("opened just above").sample().await
    }
}
