//! Keeps the ring's keys fresh, from the control-plane runtime.
//!
//! One task an issuer, which is what makes fetches single-flight. Each begins at once, then waits for its timer or for a
//! worker that met an unknown `kid`. After a failure the timer is short and grows; the last good keys stay in use for as
//! long as it takes: an issuer that is down must not take our users with it.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fetch::{Fetcher, is_plain_remote};
use super::flight::Flight;
use super::key_ring::KeyRing;
use super::{FetchFault, FetchSetupFault, KeySource};

/// First pause after a failure; doubles up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);

/// How keys are kept fresh.
#[derive(Debug, Clone)]
pub struct RefreshOptions {
    /// Between fetches while all is well; up to a tenth is taken off at random so that gateways spread out.
    pub refresh_every: Duration,
    /// Certificate authorities trusted beside the system's, PEM.
    pub ca_file: Option<PathBuf>,
}

/// Fetches keys for one ring.
pub struct KeyRefresher {
    ring: Arc<KeyRing>,
    fetcher: Fetcher,
    refresh_every: Duration,
}

impl KeyRefresher {
    /// Reads certificate authorities; fetches nothing yet.
    pub fn new(ring: Arc<KeyRing>, options: &RefreshOptions) -> Result<Self, FetchSetupFault> {
        for keys in ring.issuers() {
            if let KeySource::Url(url) = &keys.source
                && is_plain_remote(url)
            {
                tracing::warn!(url, "keys come over plain http from another machine: use https");
            }
        }
        let fetcher = Fetcher::new(options.ca_file.as_deref())?;
        Ok(Self { ring, fetcher, refresh_every: options.refresh_every.max(FIRST_BACKOFF) })
    }

    /// Fetches every issuer's keys once, one after the other, and returns what failed by issuer index. For programs that
    /// check a token and end.
    pub async fn load_once(&self) -> Vec<(usize, FetchFault)> {
        let mut faults = Vec::new();
        for (index, keys) in self.ring.issuers().iter().enumerate().filter(|(_, keys)| keys.is_fetched()) {
            match self.fetcher.fetch(&keys.source).await {
                Ok(set) => {
                    self.ring.publish(index, set);
                }
                Err(fault) => faults.push((index, fault)),
            }
        }
        faults
    }

    /// Runs until cancelled. Dropping the future ends it too; whoever waits for a refetch is let go.
    pub async fn run(self, cancel: CancellationToken) {
        let this = Arc::new(self);
        let mut tasks = JoinSet::new();
        for (index, keys) in this.ring.issuers().iter().enumerate() {
            if keys.is_fetched() {
                tasks.spawn(Arc::clone(&this).follow(index, cancel.clone()));
            }
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(fault) = ended {
                tracing::error!(%fault, "a key refresher ended abnormally");
            }
        }
    }

    async fn follow(self: Arc<Self>, index: usize, cancel: CancellationToken) {
        let keys = &self.ring.issuers()[index];
        let _attendance = Attendance::begin(&self.ring, index);
        let mut backoff = FIRST_BACKOFF;
        let mut reported = None;
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
                () = keys.wanted.notified() => {
                    // A wish that a fetch by timer has meanwhile granted.
                    if !keys.flight.borrow().is_open() {
                        continue;
                    }
                }
            }
            keys.flight.send_modify(|flight| flight.begin(Instant::now()));
            let fetched = tokio::select! {
                () = cancel.cancelled() => return,
                fetched = self.fetcher.fetch(&keys.source) => fetched,
            };
            let succeeded = fetched.is_ok();
            self.take(index, fetched, &mut reported);
            keys.flight.send_modify(|flight| flight.finish(succeeded));
            let pause = if succeeded {
                backoff = FIRST_BACKOFF;
                self.refresh_every
            } else {
                let pause = backoff;
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
                // Never sparser than when all is well.
                pause.min(self.refresh_every)
            };
            next = Instant::now() + if succeeded { spread(pause) } else { pause };
        }
    }

    /// Publishes what was fetched. A fault that lasts is reported when it begins and when it becomes another.
    fn take(&self, index: usize, fetched: Result<super::KeySet, FetchFault>, reported: &mut Option<String>) {
        let source = &self.ring.issuers()[index].source;
        match fetched {
            Ok(set) => {
                *reported = None;
                let keys = set.len();
                if self.ring.publish(index, set) {
                    tracing::info!(%source, keys, "an issuer's keys changed");
                }
            }
            Err(fault) => {
                self.ring.note_failure(index);
                let fault = causes(&fault);
                if reported.as_ref() == Some(&fault) {
                    tracing::debug!(%source, %fault, "an issuer's keys still can't be fetched");
                } else {
                    tracing::error!(%source, %fault, "an issuer's keys can't be fetched; the last good ones stay");
                    *reported = Some(fault);
                }
            }
        }
    }
}

/// Says that somebody fetches for this issuer, and that nobody does any more when dropped, however that comes about.
struct Attendance {
    ring: Arc<KeyRing>,
    index: usize,
}

impl Attendance {
    fn begin(ring: &Arc<KeyRing>, index: usize) -> Self {
        let this = Self { ring: Arc::clone(ring), index };
        this.flight().send_modify(|flight| flight.attend(true));
        this
    }

    fn flight(&self) -> &tokio::sync::watch::Sender<Flight> {
        &self.ring.issuers()[self.index].flight
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.flight().send_modify(|flight| flight.attend(false));
    }
}

/// The fault and what caused it, in one line.
fn causes(fault: &dyn std::error::Error) -> String {
    let mut line = fault.to_string();
    let mut next = fault.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

/// Takes up to a tenth off.
fn spread(pause: Duration) -> Duration {
    let random = ahash::RandomState::new().hash_one(0_u8) % 1000;
    pause.saturating_sub(pause / 10 * (random as u32) / 1000)
}
