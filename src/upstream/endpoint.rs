//! One endpoint and the connections to it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Response;

use super::body::UpstreamBody;
use super::connection::Connection;
use super::io::{Dial, UpstreamIo};
use super::{FaultKind, Outgoing, SendFault};
use crate::clock::{CoarseClock, Millis, millis};
use crate::config::Endpoint;
use crate::telemetry::{UpstreamFailure, WorkerMetrics};

/// How long an endpoint that refused a connection is asked last.
const EJECTED_FOR: Duration = Duration::from_secs(1);

/// Bounds on connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open at once, for one endpoint.
    pub connections: usize,
    pub connect: Duration,
    /// An idle connection's life.
    pub idle: Duration,
}

/// An endpoint, its idle connections and its burden.
pub struct Target {
    endpoint: Endpoint,
    dial: Dial,
    limits: Limits,
    idle: RefCell<Vec<Idle>>,
    in_flight: Cell<usize>,
    ejected_until: Cell<Millis>,
    open: Cell<usize>,
    /// No longer configured: what comes back is closed.
    retired: Cell<bool>,
    counted: Counted,
}

/// Where an endpoint's connections are counted.
#[derive(Clone)]
pub struct Counted {
    pub metrics: Arc<WorkerMetrics>,
    /// Index of the endpoint's region.
    pub region: usize,
}

struct Idle {
    connection: Box<Connection>,
    since: Millis,
}

/// A connection in use. Given back when its exchange is over, closed when dropped before.
pub(super) struct Lease {
    connection: Option<Box<Connection>>,
    target: Rc<Target>,
}

impl Target {
    pub(super) fn new(endpoint: Endpoint, dial: Dial, limits: Limits, counted: Counted) -> Self {
        Self {
            endpoint,
            dial,
            limits,
            idle: RefCell::default(),
            in_flight: Cell::new(0),
            ejected_until: Cell::new(0),
            open: Cell::new(0),
            retired: Cell::new(false),
            counted,
        }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn is(&self, endpoint: &Endpoint, dial: &Dial, limits: Limits, counted: &Counted) -> bool {
        self.endpoint == *endpoint
            && self.dial.same(dial)
            && self.limits == limits
            && self.counted.region == counted.region
            && Arc::ptr_eq(&self.counted.metrics, &counted.metrics)
    }

    /// Orders endpoints: one that failed a moment ago comes after all others, else the fewest requests win.
    pub(super) fn burden(&self, now: Millis) -> (bool, usize) {
        (self.ejected_until.get() > now, self.in_flight.get())
    }

    pub(super) async fn exchange(
        self: &Rc<Self>,
        clock: &CoarseClock,
        request: &mut Outgoing,
    ) -> Result<Response<UpstreamBody>, SendFault> {
        loop {
            let idle = self.take_idle(clock);
            let reused = idle.is_some();
            let mut lease = match idle {
                Some(lease) => lease,
                // Rare, and large: kept out of the state that every request carries.
                None => Box::pin(self.open(clock)).await.map_err(SendFault)?,
            };
            match lease.connection().exchange(request).await {
                Ok(response) => {
                    let now = clock.now();
                    return Ok(response.map(|incoming| UpstreamBody::new(incoming, lease, now)));
                }
                // The upstream closed an idle connection in this very moment: nothing was sent, so another one may serve.
                Err(_) if reused && request.is_some() => {}
                Err(fault) => {
                    let kind = match fault.0 {
                        FaultKind::Protocol => UpstreamFailure::Protocol,
                        _ => UpstreamFailure::Reset,
                    };
                    self.counted.metrics.upstream_failed(self.counted.region, kind);
                    return Err(fault);
                }
            }
        }
    }

    /// An idle connection, if one still works.
    fn take_idle(self: &Rc<Self>, clock: &CoarseClock) -> Option<Lease> {
        let oldest = clock.now().saturating_sub(millis(self.limits.idle));
        loop {
            let mut idle = self.idle.borrow_mut().pop()?;
            if idle.since >= oldest && idle.connection.is_usable() {
                self.counted.metrics.upstream_reused(self.counted.region);
                return Some(Lease::new(idle.connection, self));
            }
            self.closed_one();
        }
    }

    /// A new connection.
    async fn open(self: &Rc<Self>, clock: &CoarseClock) -> Result<Lease, FaultKind> {
        if self.open.get() >= self.limits.connections {
            return Err(FaultKind::Exhausted);
        }
        // Counted before it is open, so that a burst of requests can't pass the limit while connecting.
        let slot = Slot::take(self);
        let io = self.connect(clock).await?;
        let connection = Connection::start(io).await?;
        slot.keep();
        Ok(Lease::new(Box::new(connection), self))
    }

    pub(super) async fn connect(&self, clock: &CoarseClock) -> Result<UpstreamIo, FaultKind> {
        match self.dial.open(self.endpoint.as_str(), self.limits.connect).await {
            Ok(io) => {
                self.ejected_until.set(0);
                Ok(io)
            }
            Err(error) => {
                tracing::warn!(endpoint = %self.endpoint, %error, "no connection to upstream");
                self.counted.metrics.upstream_failed(self.counted.region, UpstreamFailure::Connect);
                self.ejected_until.set(clock.after(EJECTED_FOR));
                Err(FaultKind::Connect)
            }
        }
    }

    pub(super) fn sweep(&self, now: Millis) {
        let oldest = now.saturating_sub(millis(self.limits.idle));
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|one| one.since >= oldest);
        let closed = before - idle.len();
        drop(idle);
        (0..closed).for_each(|_| self.closed_one());
    }

    /// Closes idle connections now, and those in use after their exchange.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.close_idle();
    }

    fn close_idle(&self) {
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        for _ in &idle {
            self.closed_one();
        }
    }

    fn opened_one(&self) {
        self.open.set(self.open.get() + 1);
        self.counted.metrics.upstream_opened(self.counted.region);
    }

    fn closed_one(&self) {
        self.open.set(self.open.get() - 1);
        self.counted.metrics.upstream_closed(self.counted.region);
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.close_idle();
    }
}

impl Lease {
    fn new(connection: Box<Connection>, target: &Rc<Target>) -> Self {
        target.in_flight.set(target.in_flight.get() + 1);
        Self { connection: Some(connection), target: Rc::clone(target) }
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a lease holds its connection until it is given back")
    }

    /// Puts the connection back for the next request. One that turns out to be unusable is found when it is taken.
    pub(super) fn give_back(mut self, now: Millis) {
        if self.target.retired.get() {
            return;
        }
        if let Some(connection) = self.connection.take() {
            self.target.idle.borrow_mut().push(Idle { connection, since: now });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.target.in_flight.set(self.target.in_flight.get() - 1);
        if self.connection.is_some() {
            self.target.closed_one();
        }
    }
}

/// A place among the endpoint's open connections, freed unless a connection takes it over.
struct Slot<'target>(&'target Target, bool);

impl<'target> Slot<'target> {
    fn take(target: &'target Target) -> Self {
        target.opened_one();
        Self(target, true)
    }

    fn keep(mut self) {
        self.1 = false;
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.closed_one();
        }
    }
}
