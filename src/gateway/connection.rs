//! A client's connection: its byte stream, its phase, and the one deadline it has in each phase.
//!
//! Invariants
//! - At any moment a connection has exactly one deadline; the worker's tick wakes it when that has passed.
//! - Setting a deadline costs two stores: no timer is armed on the request path.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::{CoarseClock, Millis, millis};
use crate::config::Timeouts;
use crate::domain::decide::Entry;

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

/// What is fixed for a connection, and what requests on it share.
pub struct Client {
    pub peer: IpAddr,
    pub peer_text: HeaderValue,
    pub entry: Entry,
    pub secure: bool,
    pub activity: Arc<Activity>,
    /// The connection's place in its worker's list, kept as long as anything of it lives.
    pub listed: Option<super::worker::Listed>,
    /// The `Forwarded` value of the last request, with the host it was made for: clients rarely change hosts.
    pub forwarded: RefCell<Option<(Option<HeaderValue>, HeaderValue)>>,
}

/// Phase and deadline. Written by the connection's own thread only; the atomics are there because hyper wants streams that
/// could move to another thread once they are upgraded.
pub struct Activity {
    clock: Arc<CoarseClock>,
    /// By phase, in milliseconds.
    allowed: [Millis; 4],
    phase: AtomicU8,
    deadline: AtomicU64,
    expired: AtomicBool,
    draining: AtomicBool,
    waker: OnceLock<Waker>,
    /// Bytes of the bodies the client sent so far.
    pub body_bytes: Arc<AtomicU64>,
}

impl Client {
    pub fn new(peer: IpAddr, entry: Entry, secure: bool, activity: Arc<Activity>) -> Self {
        let peer = peer.to_canonical();
        let peer_text = HeaderValue::from_str(&peer.to_string()).expect("an address is visible ASCII");
        Self { peer, peer_text, entry, secure, activity, listed: None, forwarded: RefCell::default() }
    }
}

impl Activity {
    pub fn new(clock: &Arc<CoarseClock>, timeouts: &Timeouts) -> Arc<Self> {
        let Timeouts { header, idle, first_byte, stream_idle, .. } = timeouts;
        let allowed = [*idle, *header, *first_byte, *stream_idle].map(millis);
        let activity = Self {
            clock: Arc::clone(clock),
            allowed,
            phase: AtomicU8::new(Phase::Idle as u8),
            deadline: AtomicU64::new(0),
            expired: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            waker: OnceLock::new(),
            body_bytes: Arc::default(),
        };
        activity.enter(Phase::Head);
        Arc::new(activity)
    }

    /// Begins a phase, or begins it again because something moved.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.deadline.store(self.clock.now() + self.allowed[phase as usize], Relaxed);
    }

    fn is_in(&self, phase: Phase) -> bool {
        self.phase.load(Relaxed) == phase as u8
    }

    /// The deadline of the phase has passed.
    pub fn expired(&self) -> bool {
        self.expired.load(Relaxed)
    }

    /// The deadline that passed has been dealt with.
    pub fn forgive(&self) {
        self.expired.store(false, Relaxed);
    }

    /// Called once a tick: wakes the connection if its deadline has passed.
    pub fn check(&self, now: Millis) {
        if self.deadline.load(Relaxed) <= now {
            self.expired.store(true, Relaxed);
            self.wake();
        }
    }

    /// The connection is to end with the request under way, or at once when there is none.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    fn moved(&self) {
        if self.is_in(Phase::Idle) {
            self.enter(Phase::Head);
        } else if self.is_in(Phase::Streaming) {
            self.enter(Phase::Streaming);
        } else if self.is_in(Phase::Waiting) {
            self.enter(Phase::Waiting);
        }
    }
}

/// Serves one connection to its end: hyper's connection, under the deadline. `shutdown` asks it to end after the request
/// under way.
pub async fn serve<C>(
    connection: C,
    activity: &Activity,
    shutdown: impl Fn(Pin<&mut C>),
) -> Result<(), hyper::Error>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut connection = std::pin::pin!(connection);
    let mut told = false;
    std::future::poll_fn(|context| {
        activity.waker.get_or_init(|| context.waker().clone());
        if activity.draining.load(Relaxed) && !told {
            told = true;
            shutdown(connection.as_mut());
        }
        if activity.expired() && !activity.is_in(Phase::Waiting) {
            return Poll::Ready(Ok(()));
        }
        connection.as_mut().poll(context)
    })
    .await
}

/// A byte stream that tells what moves through it.
pub struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub fn new(stream: S, activity: &Arc<Activity>) -> Self {
        Self { stream, activity: Arc::clone(activity) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.moved();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if polled.is_ready() {
            self.wrote();
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if polled.is_ready() {
            self.wrote();
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> Watched<S> {
    /// A client that takes what is sent is alive; one that waits for an answer is not kept alive by our own bytes.
    fn wrote(&self) {
        if self.activity.is_in(Phase::Streaming) {
            self.activity.enter(Phase::Streaming);
        }
    }
}
