//! The gateway: from accepted connections to answered requests.
//!
//! One thread a core serves requests ([`worker`]); one more, the control plane ([`control`]), keeps what they read fresh:
//! keys, health, liveness, settings. What they share is in [`Gateway`], and the request path only reads it.
//!
//! Invariants
//! - A request is answered with one generation of settings from beginning to end.
//! - A configuration that can't be put to work changes nothing.

pub mod body;
pub mod command;
pub mod connection;
mod control;
mod control_api;
mod conversation;
mod exchange;
pub mod explain;
mod forward;
pub mod headers;
mod health;
mod hold;
mod identify;
mod listener;
mod moves;
mod multiplex;
mod own_paths;
mod peek;
mod position;
mod presence;
mod problem;
mod record;
mod registers;
mod registrar;
mod reply;
mod script;
mod settings;
mod sight;
mod signer;
mod tunnel;
mod watch;
mod watched_files;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwap;

use crate::telemetry::Metrics;
pub use registers::Registers;
use registrar::Registrar;
pub use settings::{Settings, SettingsFault};

/// What all threads of a gateway share.
pub struct Gateway {
    settings: ArcSwap<Settings>,
    pub metrics: Arc<Metrics>,
    /// By which workers have registers written.
    pub registrar: Registrar,
    draining: AtomicBool,
}

impl Gateway {
    pub fn new(settings: Settings, metrics: Arc<Metrics>) -> Arc<Self> {
        let settings = ArcSwap::from_pointee(settings);
        Arc::new(Self { settings, metrics, registrar: Registrar::new(), draining: AtomicBool::new(false) })
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Workers take them over at their next tick.
    fn replace_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// From now on the gateway tells balancers to send nobody any more.
    fn begin_drain(&self) {
        self.draining.store(true, Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}
