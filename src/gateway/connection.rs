//! A client's connection: who is at its other end, its phase, and the one deadline it has in each phase.
//!
//! Invariants
//! - At any moment a connection, and a stream of an HTTP/2 connection, has exactly one deadline; the worker's tick wakes it
//!   when that has passed. A write that is held has the hold's.
//! - Setting a deadline costs two stores: no timer is armed on the request path.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::worker::Listed;
use crate::clock::{CoarseClock, Millis, millis};
use crate::config::Timeouts;
use crate::domain::decide::Entry;
use crate::domain::fingerprint::Fingerprint;
use crate::http1::Moved;
use crate::tls::ControlClient;
use crate::upstream::Inflow;

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// The first byte of a request.
    Idle,
    /// The rest of a request's head.
    Head,
    /// An upstream's answer to begin.
    Waiting,
    /// The bodies, or the tunnel it has become, to end.
    Streaming,
}

/// What is fixed for a connection.
#[derive(Debug)]
pub struct Peer {
    pub address: IpAddr,
    /// The address, written.
    pub text: String,
    pub entry: Entry,
    pub secure: bool,
    /// The program that uses the control API; it may do nothing else here.
    pub control: Option<ControlClient>,
    /// The `Forwarded` value of the last request, with the host it was made for: clients rarely change hosts.
    pub forwarded: RefCell<(Vec<u8>, Vec<u8>)>,
}

/// Who sends requests one after the other: a connection, or a stream of one that has many.
pub struct Client {
    pub peer: Rc<Peer>,
    pub activity: Rc<Activity>,
    /// The place in the worker's list, kept as long as anything of the exchange lives.
    pub listed: Option<Listed>,
    /// The stream, for one of several on a connection.
    pub open: Option<OpenStream>,
}

/// One open stream among its connection's. While there is one, the connection has no deadline of its own.
pub struct OpenStream {
    streams: Rc<Cell<usize>>,
    connection: Rc<Activity>,
}

/// Phase and deadline.
pub struct Activity {
    clock: Arc<CoarseClock>,
    /// By phase, in milliseconds.
    allowed: [Millis; 4],
    phase: Cell<Phase>,
    deadline: Cell<Millis>,
    expired: Cell<bool>,
    draining: Cell<bool>,
    held: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// The certificate that a gateway or a program has shown.
    bearer: OnceCell<Box<Fingerprint>>,
    /// It ends at once, whatever is under way.
    cut: Cell<bool>,
    /// The bodies the client sends.
    pub inflow: Rc<Inflow>,
    /// Bytes that went through the connection.
    pub moved: Rc<Moved>,
    /// What `inflow` and `moved` were at the last look.
    seen: Cell<[u64; 3]>,
}

/// A wait outside the deadlines.
pub struct Held<'a>(&'a Activity);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.set(false);
        // The API has all of its time from now on.
        self.0.enter(Phase::Waiting);
    }
}

impl Peer {
    pub fn new(address: IpAddr, entry: Entry, secure: bool) -> Rc<Self> {
        Self::with(address, entry, secure, None)
    }

    /// A program that uses the control API, or a gateway when there is none.
    pub fn internal(address: IpAddr, control: Option<ControlClient>) -> Rc<Self> {
        Self::with(address, Entry::Hop, true, control)
    }

    fn with(address: IpAddr, entry: Entry, secure: bool, control: Option<ControlClient>) -> Rc<Self> {
        let address = address.to_canonical();
        let text = address.to_string();
        Rc::new(Self { address, text, entry, secure, control, forwarded: RefCell::default() })
    }
}

impl OpenStream {
    /// `streams` counts those of the connection.
    pub fn new(streams: &Rc<Cell<usize>>, connection: &Rc<Activity>) -> Self {
        streams.set(streams.get() + 1);
        connection.rest();
        Self { streams: Rc::clone(streams), connection: Rc::clone(connection) }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.set(self.streams.get() - 1);
        if self.streams.get() == 0 {
            self.connection.enter(Phase::Idle);
        }
    }
}

impl Activity {
    pub fn new(clock: &Arc<CoarseClock>, timeouts: &Timeouts) -> Rc<Self> {
        let Timeouts { header, idle, first_byte, stream_idle, .. } = timeouts;
        let activity = Self {
            clock: Arc::clone(clock),
            allowed: [*idle, *header, *first_byte, *stream_idle].map(millis),
            phase: Cell::new(Phase::Idle),
            deadline: Cell::new(0),
            expired: Cell::new(false),
            draining: Cell::new(false),
            held: Cell::new(false),
            waker: RefCell::new(None),
            bearer: OnceCell::new(),
            cut: Cell::new(false),
            inflow: Rc::default(),
            moved: Rc::default(),
            seen: Cell::default(),
        };
        activity.enter(Phase::Head);
        Rc::new(activity)
    }

    /// Begins a phase, or begins it again because something moved.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.deadline.set(self.clock.now() + self.allowed[phase as usize]);
    }

    /// Has no deadline of its own until the next phase: others have.
    pub fn rest(&self) {
        self.deadline.set(Millis::MAX);
    }

    /// A write waits for its subject's move to end, which has a bound of its own: no deadline here until this is dropped. Its
    /// connection is looked at once a tick, since a body that nobody reads hides that the client has gone.
    pub fn hold(&self) -> Held<'_> {
        self.held.set(true);
        Held(self)
    }

    pub fn is_held(&self) -> bool {
        self.held.get()
    }

    /// A request's first byte has come: from now on its head has its time, however it trickles in.
    pub fn began(&self) {
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// Something of a body has moved.
    pub fn touch(&self) {
        let phase = self.phase.get();
        if matches!(phase, Phase::Waiting | Phase::Streaming) {
            self.enter(phase);
        }
    }

    /// The deadline of the phase has passed.
    pub fn expired(&self) -> bool {
        self.expired.get()
    }

    /// The deadline that passed has been dealt with.
    pub fn forgive(&self) {
        self.expired.set(false);
    }

    /// Called once a tick: wakes the connection if its deadline has passed, and nothing has moved meanwhile: a body on its way
    /// to an upstream's own connection doesn't wake those who wait for the answer.
    pub fn check(&self, now: Millis) {
        if self.held.get() {
            return self.wake();
        }
        if self.deadline.get() <= now {
            self.look();
        }
        if self.deadline.get() <= now {
            self.expired.set(true);
            self.wake();
        }
    }

    /// The connection is to end with the request under way, or at once when there is none.
    pub fn drain(&self) {
        self.draining.set(true);
        self.wake();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Notes by which certificate the other end is known. Once: it stays for as long as the connection.
    pub fn shows(&self, bearer: Fingerprint) {
        let _known = self.bearer.set(Box::new(bearer));
    }

    pub fn bearer(&self) -> Option<&Fingerprint> {
        self.bearer.get().map(|bearer| &**bearer)
    }

    /// The connection ends now, with whatever is under way on it. `false`: it was told so before.
    pub fn cut(&self) -> bool {
        self.wake();
        !self.cut.replace(true)
    }

    /// Has whoever waits here look again.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Whom to wake from now on.
    fn watched_by(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
    }

    /// Looks whether something moved. A client that takes what it is sent is alive; one that waits for an answer is not kept
    /// alive by our own bytes.
    pub fn look(&self) {
        let now = [self.moved.read.get(), self.inflow.received(), self.moved.written.get()];
        let before = self.seen.replace(now);
        if now[..2] != before[..2] || (now[2] != before[2] && self.phase.get() == Phase::Streaming) {
            self.touch();
        }
    }

    /// Polls `work` under the deadline: `None` when the connection was cut or it has passed, but for that of [`Phase::Waiting`], which `work` itself
    /// answers.
    pub async fn attend<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|context| {
            self.watched_by(context);
            if self.cut.get() || self.expired() && self.phase.get() != Phase::Waiting {
                return Poll::Ready(None);
            }
            let polled = work.as_mut().poll(context);
            self.look();
            polled.map(Some)
        })
        .await
    }

    /// Polls `work` while the deadline of [`Phase::Waiting`] has not passed.
    pub async fn wait_for<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|context| {
            if self.expired() {
                self.forgive();
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    }
}
