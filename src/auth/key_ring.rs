//! Every issuer's current keys, shared by all workers, and the version that tells one state from the next.
//!
//! Invariants
//! - Keys and version change in one swap; whoever holds a snapshot holds matching ones.
//! - The version changes when the content of any set changes, and only then. Versions of different rings never compare
//!   equal, so a cache can't carry a verdict from one configuration into another.
//! - A failed fetch changes nothing but counters.
//!
//! Absent by design: fetching. The `KeyRefresher` does that elsewhere and publishes here.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::flight::{Ask, Flight};
use super::{KeySet, KeySource};

/// At most one fetch a second for each issuer, however many unknown `kid`s come.
const REFETCH_INTERVAL: Duration = Duration::from_secs(1);

/// The shared state of all issuers' keys. Issuers are numbered as in the configuration.
pub struct KeyRing {
    id: u64,
    snapshot: ArcSwap<Snapshot>,
    /// The snapshot's generation, readable with one load.
    generation: AtomicU64,
    issuers: Vec<IssuerKeys>,
}

/// Names one state of one ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeysVersion {
    ring: u64,
    generation: u64,
}

/// How a [`KeyRing::refetch`] ended. In each case the keys are as new as they get right now: verify once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refetch {
    /// A fetch ended well.
    Fetched,
    /// A fetch failed; the last good keys stay.
    Failed,
    /// The last one began less than a second ago; nothing was done.
    Limited,
    /// No refresher runs.
    Unattended,
}

/// One issuer's keys as the operator sees them.
#[derive(Debug, Clone)]
pub struct KeyStatus {
    /// URL, `file:` path or `secret`.
    pub source: String,
    /// How many keys are in use; None before the first good fetch.
    pub keys: Option<usize>,
    /// Since the last good fetch.
    pub age: Option<Duration>,
    /// Fetches that ended well.
    pub fetched: u64,
    /// Fetches that failed.
    pub failed: u64,
    /// Fetches that changed the keys.
    pub changed: u64,
    /// Requests for a fetch that came too soon after the last one.
    pub limited: u64,
}

pub(super) struct Snapshot {
    pub(super) version: KeysVersion,
    sets: Vec<Option<Arc<KeySet>>>,
}

pub(super) struct IssuerKeys {
    pub(super) source: KeySource,
    /// Wakes the refresher.
    pub(super) wanted: Notify,
    pub(super) flight: watch::Sender<Flight>,
    last_good: ArcSwap<Option<Instant>>,
    fetched: AtomicU64,
    failed: AtomicU64,
    changed: AtomicU64,
    limited: AtomicU64,
}

impl KeyRing {
    /// A ring for these sources. Sources the previous ring knew start with its keys, so that a reload does not make
    /// the gateway forget what it had.
    pub(super) fn new(sources: impl IntoIterator<Item = KeySource>, previous: Option<&Self>) -> Self {
        let known = previous.map(|ring| (ring, ring.snapshot.load()));
        let mut sets = Vec::new();
        let mut issuers = Vec::new();
        for source in sources {
            let inherited = known.as_ref().and_then(|(ring, snapshot)| {
                let index = ring.issuers.iter().position(|keys| keys.source == source)?;
                Some((snapshot.sets[index].clone()?, **ring.issuers[index].last_good.load()))
            });
            let (set, last_good) = match (&source, inherited) {
                (KeySource::Secret(secret), _) => (Some(Arc::new(KeySet::of_secret(secret))), None),
                (KeySource::None, _) => (Some(Arc::default()), None),
                (_, Some((set, last_good))) => (Some(set), last_good),
                (_, None) => (None, None),
            };
            sets.push(set);
            issuers.push(IssuerKeys::new(source, last_good));
        }
        // Randomly keyed, so that two rings of one process share an id once in 2^64.
        let id = ahash::RandomState::new().hash_one(issuers.len());
        let snapshot = Snapshot { version: KeysVersion { ring: id, generation: 0 }, sets };
        Self { id, snapshot: ArcSwap::from_pointee(snapshot), generation: AtomicU64::new(0), issuers }
    }

    /// The version a cache must have to be believed. One atomic load.
    #[inline]
    pub fn version(&self) -> KeysVersion {
        KeysVersion { ring: self.id, generation: self.generation.load(Ordering::Acquire) }
    }

    /// Asks for newer keys of one issuer and resolves when the fetch that is then under way has ended, or at once when
    /// the last one began less than a second ago. May be called from any thread and runtime; bounded by the fetch
    /// timeout. An index that is not an issuer's is `Unattended`.
    pub async fn refetch(&self, issuer_index: usize) -> Refetch {
        let Some(keys) = self.issuers.get(issuer_index) else { return Refetch::Unattended };
        let mut progress = keys.flight.subscribe();
        let mut asked = Ask::Unattended;
        keys.flight.send_if_modified(|flight| {
            asked = flight.ask(Instant::now(), REFETCH_INTERVAL);
            matches!(asked, Ask::Start { .. })
        });
        let ticket = match asked {
            Ask::Unattended => return Refetch::Unattended,
            Ask::Limited => {
                keys.limited.fetch_add(1, Ordering::Relaxed);
                return Refetch::Limited;
            }
            Ask::Start { ticket } => {
                keys.wanted.notify_one();
                ticket
            }
            Ask::Join { ticket } => ticket,
        };
        match progress.wait_for(|flight| flight.is_finished(ticket)).await {
            Ok(flight) if flight.succeeded() => Refetch::Fetched,
            Ok(_) => Refetch::Failed,
            Err(_) => Refetch::Unattended,
        }
    }

    /// Resolves when every issuer's keys have been fetched or have failed once. Needs a running refresher.
    pub async fn settled(&self) {
        for keys in self.issuers.iter().filter(|keys| keys.is_fetched()) {
            // An error means the ring is gone, and with it the question.
            let _ = keys.flight.subscribe().wait_for(Flight::is_settled).await;
        }
    }

    /// The state of every issuer that has keys, in order.
    pub fn status(&self) -> Vec<KeyStatus> {
        let snapshot = self.snapshot.load();
        let state = self.issuers.iter().zip(&snapshot.sets);
        state
            .filter(|(keys, _)| keys.source != KeySource::None)
            .map(|(keys, set)| KeyStatus {
                source: keys.source.to_string(),
                keys: set.as_ref().map(|set| set.len()),
                age: keys.last_good.load().map(|at| at.elapsed()),
                fetched: keys.fetched.load(Ordering::Relaxed),
                failed: keys.failed.load(Ordering::Relaxed),
                changed: keys.changed.load(Ordering::Relaxed),
                limited: keys.limited.load(Ordering::Relaxed),
            })
            .collect()
    }

    pub(super) fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    pub(super) fn issuers(&self) -> &[IssuerKeys] {
        &self.issuers
    }

    /// Takes a fetched set. Returns whether it differs from what was there.
    pub(super) fn publish(&self, issuer_index: usize, set: KeySet) -> bool {
        let keys = &self.issuers[issuer_index];
        keys.fetched.fetch_add(1, Ordering::Relaxed);
        keys.last_good.store(Arc::new(Some(Instant::now())));
        let set = Arc::new(set);
        let before = self.snapshot.rcu(|old| old.with(issuer_index, &set));
        if before.has(issuer_index, &set) {
            return false;
        }
        keys.changed.fetch_add(1, Ordering::Relaxed);
        self.generation.fetch_max(before.version.generation + 1, Ordering::Release);
        true
    }

    pub(super) fn note_failure(&self, issuer_index: usize) {
        self.issuers[issuer_index].failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl KeysVersion {
    /// Whether this is a later state of the same ring.
    pub(super) fn is_after(self, other: Self) -> bool {
        self.ring == other.ring && self.generation > other.generation
    }

    pub(super) fn same_ring(self, other: Self) -> bool {
        self.ring == other.ring
    }
}

impl Snapshot {
    pub(super) fn set(&self, issuer_index: usize) -> Option<&KeySet> {
        self.sets[issuer_index].as_deref()
    }

    fn has(&self, issuer_index: usize, set: &KeySet) -> bool {
        self.set(issuer_index) == Some(set)
    }

    fn with(self: &Arc<Self>, issuer_index: usize, set: &Arc<KeySet>) -> Arc<Self> {
        if self.has(issuer_index, set) {
            return Arc::clone(self);
        }
        let mut sets = self.sets.clone();
        sets[issuer_index] = Some(Arc::clone(set));
        let generation = self.version.generation + 1;
        Arc::new(Self { version: KeysVersion { generation, ..self.version }, sets })
    }
}

impl IssuerKeys {
    fn new(source: KeySource, last_good: Option<Instant>) -> Self {
        Self {
            source,
            wanted: Notify::new(),
            flight: watch::Sender::new(Flight::new()),
            last_good: ArcSwap::from_pointee(last_good),
            fetched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            limited: AtomicU64::new(0),
        }
    }

    /// Whether the keys come from outside; a configured secret never changes, nor does none.
    pub(super) const fn is_fetched(&self) -> bool {
        !matches!(self.source, KeySource::Secret(_) | KeySource::None)
    }
}
