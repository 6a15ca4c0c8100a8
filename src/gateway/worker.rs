//! One worker: a thread with a runtime, listeners and caches of its own.
//!
//! Invariants
//! - The request path of a worker touches nothing that another worker writes, but for a published snapshot's pointer.
//! - Everything a worker spawns ends with its runtime; drain waits for its connections first.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Gateway;
use super::connection::Activity;
use super::hold::Holds;
use super::identify::Identity;
use super::presence::Presences;
use super::settings::Settings;
use super::signer::Signer;
use crate::auth::TokenCache;
use crate::clock::{CoarseClock, TICK};
use crate::domain::fingerprint::Fingerprint;
use crate::http1::Pipes;
use crate::telemetry::{AccessLogHandle, AccessRecord, WorkerMetrics};
use crate::upstream::{Limits, Upstreams};

/// A worker's own state.
pub struct Worker {
    pub index: usize,
    pub gateway: Arc<Gateway>,
    pub clock: Arc<CoarseClock>,
    pub pipes: Rc<Pipes>,
    /// Writes that wait while their subjects move.
    pub holds: Holds,
    /// Whom this worker is busy for.
    pub presences: Rc<Presences>,
    generation: RefCell<Rc<Generation>>,
    /// Connections, and the streams of those that have many: all that have a deadline.
    activities: RefCell<HashMap<u64, Rc<Activity>>>,
    next_activity: Cell<u64>,
    connections: Cell<usize>,
    /// Tells those who wait that a connection has ended.
    pub ended: Notify,
    draining: Cell<bool>,
    /// The forgotten certificates whose bearers were looked for last.
    forgotten: RefCell<Arc<BTreeSet<Fingerprint>>>,
}

/// What a worker derives from one generation of the settings.
pub struct Generation {
    pub settings: Arc<Settings>,
    pub upstreams: Upstreams,
    pub tokens: RefCell<TokenCache<Identity>>,
    pub metrics: Arc<WorkerMetrics>,
    pub signer: Option<Signer>,
    log: Rc<RefCell<Option<AccessLogHandle>>>,
}

/// A connection's entry in its worker's list, taken out when dropped.
pub struct Listed {
    worker: Rc<Worker>,
    key: u64,
    is_connection: bool,
}

impl Worker {
    pub fn new(index: usize, gateway: Arc<Gateway>, log: Option<AccessLogHandle>) -> Rc<Self> {
        let clock = Arc::new(CoarseClock::default());
        let log = Rc::new(RefCell::new(log));
        let holds = Holds::new(gateway.settings().config.hold);
        let generation = RefCell::new(Rc::new(Generation::new(index, &gateway, None, log)));
        Rc::new(Self {
            index,
            gateway,
            clock,
            pipes: Rc::default(),
            holds,
            presences: Rc::default(),
            generation,
            activities: RefCell::default(),
            next_activity: Cell::new(0),
            connections: Cell::new(0),
            ended: Notify::new(),
            draining: Cell::new(false),
            forgotten: RefCell::default(),
        })
    }

    pub fn generation(&self) -> Rc<Generation> {
        Rc::clone(&self.generation.borrow())
    }

    /// Enters a connection into the list that the tick walks.
    pub fn list(self: &Rc<Self>, activity: &Rc<Activity>) -> Listed {
        self.connections.set(self.connections.get() + 1);
        self.generation.borrow().metrics.downstream_accepted();
        self.enter(activity, true)
    }

    /// Enters a stream of a connection that has many.
    pub fn list_stream(self: &Rc<Self>, activity: &Rc<Activity>) -> Listed {
        self.enter(activity, false)
    }

    fn enter(self: &Rc<Self>, activity: &Rc<Activity>, is_connection: bool) -> Listed {
        let key = self.next_activity.get();
        self.next_activity.set(key + 1);
        self.activities.borrow_mut().insert(key, Rc::clone(activity));
        if self.draining.get() {
            activity.drain();
        }
        Listed { worker: Rc::clone(self), key, is_connection }
    }

    pub fn connection_count(&self) -> usize {
        self.connections.get()
    }

    /// The worker's heartbeat: deadlines, idle upstreams, log lines, a reloaded configuration.
    pub async fn tick_forever(self: Rc<Self>) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.tick();
        }
    }

    fn tick(&self) {
        self.clock.advance();
        let now = self.clock.now();
        for activity in self.activities.borrow().values() {
            activity.check(now);
        }
        self.adopt_settings();
        self.cut_forgotten();
        let generation = self.generation();
        let gone = generation.settings.liveness.load().gone();
        if generation.upstreams.sweep(&self.clock, gone) {
            self.activities.borrow().values().for_each(|activity| activity.wake());
        }
        generation.metrics.token_cache_entries(generation.tokens.borrow().len() as u64);
        if let Some(log) = &mut *generation.log.borrow_mut() {
            log.flush();
        }
    }

    /// Whether the bearer of this certificate is let in no more, because some register has forgotten it.
    pub fn refuses(&self, certificate: &Fingerprint) -> bool {
        let settings = self.gateway.settings();
        let Some(registers) = &settings.registers else { return false };
        let is_forgotten = registers.forgotten.contains(certificate);
        if is_forgotten {
            self.gateway.metrics.control().forgotten_certificate("refused");
            if registers.forgotten.is_first(certificate) {
                tracing::warn!(%certificate, "the bearer of a forgotten certificate is not let in");
            }
        }
        is_forgotten
    }

    /// Ends the connections of those whose certificates were forgotten since the last look.
    fn cut_forgotten(&self) {
        let settings = self.gateway.settings();
        let Some(registers) = &settings.registers else { return };
        let forgotten = registers.forgotten.all();
        if Arc::ptr_eq(&forgotten, &self.forgotten.borrow()) {
            return;
        }
        for activity in self.activities.borrow().values() {
            let Some(certificate) = activity.bearer().filter(|bearer| forgotten.contains(bearer)) else {
                continue;
            };
            if activity.cut() {
                self.gateway.metrics.control().forgotten_certificate("closed");
                tracing::warn!(%certificate, "the bearer of a forgotten certificate is sent away");
            }
        }
        *self.forgotten.borrow_mut() = forgotten;
    }

    fn adopt_settings(&self) {
        let settings = self.gateway.settings();
        if Arc::ptr_eq(&settings, &self.generation.borrow().settings) {
            return;
        }
        let previous = self.generation();
        let next = Generation::new(self.index, &self.gateway, Some(&previous), Rc::clone(&previous.log));
        // Requests may hold the previous generation for hours; its idle connections must not stay as long.
        previous.upstreams.retire(&next.upstreams);
        self.holds.bound(next.settings.config.hold);
        *self.generation.borrow_mut() = Rc::new(next);
    }

    /// Lets every connection end with the request under way, and waits for that.
    pub async fn drain(&self) {
        self.draining.set(true);
        for activity in self.activities.borrow().values() {
            activity.drain();
        }
        while self.connection_count() > 0 {
            self.ended.notified().await;
        }
        if let Some(log) = &mut *self.generation().log.borrow_mut() {
            log.flush();
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.worker.activities.borrow_mut().remove(&self.key);
        if self.is_connection {
            self.worker.connections.set(self.worker.connections.get() - 1);
            self.worker.generation.borrow().metrics.downstream_closed();
            self.worker.ended.notify_waiters();
        }
    }
}

impl Generation {
    fn new(
        index: usize,
        gateway: &Gateway,
        previous: Option<&Self>,
        log: Rc<RefCell<Option<AccessLogHandle>>>,
    ) -> Self {
        let settings = gateway.settings();
        let config = &settings.config;
        let metrics = match previous {
            Some(previous) if previous.settings.labels == settings.labels => Arc::clone(&previous.metrics),
            _ => gateway.metrics.worker(index, Arc::clone(&settings.labels)),
        };
        let limits = Limits {
            connections: config.limits.upstream_connections,
            connect: config.timeouts.connect,
            // A tick's delay must not carry it past the upstream's own time-out.
            idle: config.timeouts.upstream_idle.saturating_sub(Duration::from_millis(200)),
        };
        let endpoints = settings.endpoints().expect("the settings were accepted, with every region's name");
        let upstreams =
            Upstreams::new(endpoints, limits, &metrics, previous.map(|generation| &generation.upstreams));
        Self {
            upstreams,
            tokens: RefCell::new(TokenCache::new(config.token.cache_entries)),
            metrics,
            signer: config.signing_secret.as_ref().map(Signer::new),
            log,
            settings,
        }
    }

    pub fn log(&self, record: &AccessRecord<'_>) {
        if let Some(log) = &mut *self.log.borrow_mut() {
            log.write(record);
        }
    }
}
