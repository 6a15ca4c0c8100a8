//! Registers, written and asked on behalf of the control API.
//!
//! Workers have no connections to databases. What one wants done goes to the control plane over a bounded channel, and the
//! answer comes back by itself; whoever has gone away by then has still been served, as every call may be repeated.
//!
//! Invariants
//! - A register is written in its primary: asked first is the home that liveness names, and another member only when that one
//!   says that it takes no writes.
//! - A register that can't be asked delays nobody else's subjects for longer than [`PATIENCE`], and is left alone for
//!   [`LEFT_ALONE`] after that: each jurisdiction depends on its own database alone (R3).
//!
//! Absent by design: the subject and the identifiers themselves. Only their keyed hashes come here.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Gateway;
use crate::domain::names::JurisdictionId;

mod assign;
mod members;
mod rows;

pub use assign::{Assigned, Assignment, Hashes};
pub use rows::Row;

use members::Members;

/// Calls that wait for the control plane, and calls it has under way.
const QUEUE: usize = 256;
const UNDER_WAY: usize = 64;

/// How long another jurisdiction's register has to say what it knows. A first connection to one on the other side of the world
/// takes some six round trips before it says anything, which is why there is one from the start.
const PATIENCE: Duration = Duration::from_secs(2);
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// The workers' end.
pub struct Registrar {
    jobs: mpsc::Sender<Job>,
    /// Taken by the control plane when it starts.
    taken: Mutex<Option<mpsc::Receiver<Job>>>,
}

/// What is to be done.
#[derive(Debug)]
pub enum Task {
    Assign(Assignment),
    /// What each register says of one subject: its hashes, the current key's first.
    Look(Vec<[u8; 16]>),
    ReadOnly {
        jurisdiction: JurisdictionId,
        read_only: bool,
        by: String,
    },
}

/// What has come of it.
#[derive(Debug)]
pub enum Done {
    Assigned(Assigned),
    /// By [`JurisdictionId::index`]; `None`: that register could not be asked, or there is none.
    Seen(Vec<Option<Vec<Row>>>),
    /// Whether it was otherwise before.
    ReadOnly {
        changed: bool,
    },
}

/// Why nothing has come of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrarFault {
    #[error("too many calls are under way")]
    Busy,
    #[error("this gateway writes no register of that jurisdiction")]
    NoRegister,
    #[error("the register's primary can't be reached: {0}")]
    Unreachable(String),
    #[error("the jurisdiction is read-only")]
    ReadOnly,
    #[error("the register doesn't know the key under which this gateway hashes")]
    UnknownKey,
    #[error("the register refused: {0}")]
    Refused(String),
}

type Answer = Result<Done, RegistrarFault>;

struct Job {
    task: Task,
    answer: oneshot::Sender<Answer>,
}

impl Registrar {
    pub fn new() -> Self {
        let (jobs, taken) = mpsc::channel(QUEUE);
        Self { jobs, taken: Mutex::new(Some(taken)) }
    }

    pub async fn call(&self, task: Task) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job { task, answer }).map_err(|_| RegistrarFault::Busy)?;
        answered.await.map_err(|_| RegistrarFault::Busy)?
    }
}

/// The control plane's end: serves for as long as the process lives.
pub(super) async fn serve_forever(gateway: Arc<Gateway>) {
    let taken = gateway.registrar.taken.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut jobs) = taken else { return };
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    let settings = gateway.settings();
    let mut members = Rc::new(Members::open(settings.config.register.as_ref()));
    tokio::task::spawn_local(Rc::clone(&members).warm_up(settings));
    while let Some(Job { task, answer }) = jobs.recv().await {
        let settings = gateway.settings();
        if !members.are_of(settings.config.register.as_ref()) {
            members = Rc::new(Members::open(settings.config.register.as_ref()));
        }
        let current = Rc::clone(&members);
        let Ok(permit) = Arc::clone(&under_way).acquire_owned().await else { return };
        tokio::task::spawn_local(async move {
            let done = current.perform(&settings, task).await;
            if let Err(fault) = &done {
                tracing::warn!(%fault, "a call of the control API was not carried out");
            }
            // A client that has gone wants no answer.
            let _ = answer.send(done);
            drop(permit);
        });
    }
}

/// Registers that were silent, and until when they are left alone.
type Silent = HashMap<JurisdictionId, std::time::Instant>;
