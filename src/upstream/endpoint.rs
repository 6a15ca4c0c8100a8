//! One endpoint and the connections to it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::body::UpstreamBody;
use super::connection::Connection;
use super::io::Dial;
use super::watched::{SetAside, Watched};
use super::{Answered, FaultKind, Outgoing, Response, SendFault, http2};
use crate::clock::{CoarseClock, Millis, millis};
use crate::config::{Endpoint, UpstreamProtocol};
use crate::domain::ejection::Standing;
use crate::http1::Stream;
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
    /// For an endpoint that speaks HTTP/2.
    link: http2::Link,
    in_flight: Cell<usize>,
    ejected_until: Cell<Millis>,
    open: Cell<usize>,
    pub(super) watched: Watched,
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
    in_flight: InFlight,
}

/// One of an endpoint's requests, until its response has ended.
pub(super) struct InFlight(Rc<Target>);

impl Target {
    pub(super) fn new(
        endpoint: Endpoint,
        dial: Dial,
        limits: Limits,
        counted: Counted,
        set_aside: &Arc<SetAside>,
    ) -> Self {
        Self {
            endpoint,
            dial,
            limits,
            idle: RefCell::default(),
            link: http2::Link::default(),
            in_flight: Cell::new(0),
            ejected_until: Cell::new(0),
            open: Cell::new(0),
            watched: Watched::new(Arc::clone(set_aside)),
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

    /// Orders endpoints: one that is set aside, or failed a moment ago, comes after all others, else the fewest requests win.
    pub(super) fn burden(&self, now: Millis) -> (bool, bool, usize) {
        let is_out = self.watched.standing() == Standing::Out;
        (is_out, self.ejected_until.get() > now, self.in_flight.get())
    }

    pub(super) async fn exchange(
        self: &Rc<Self>,
        clock: &CoarseClock,
        outgoing: &mut Outgoing,
    ) -> Result<Response, SendFault> {
        if self.endpoint.protocol() == UpstreamProtocol::Http2 {
            return Box::pin(self.exchange_http2(clock, outgoing)).await;
        }
        loop {
            let idle = self.take_idle(clock);
            let reused = idle.is_some();
            let mut lease = match idle {
                Some(lease) => lease,
                // Rare, and large: kept out of the state that every request carries.
                None => Box::pin(self.open(clock)).await.map_err(SendFault)?,
            };
            match self.watched.unless_given_up(clock, lease.connection().exchange(outgoing)).await {
                Ok(head) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                    return Err(self.failed(SendFault(FaultKind::Protocol)));
                }
                Ok(head) => return Ok(Response { head, body: UpstreamBody::pooled(lease, clock.now()) }),
                // The upstream closed an idle connection in this very moment: nothing was sent, so another one may serve.
                Err(SendFault(FaultKind::Closed)) if reused && outgoing.is_some() => {}
                Err(fault) => {
                    if fault.0 == FaultKind::GivenUp && outgoing.is_none() {
                        *outgoing = lease.connection().take_repeatable();
                    }
                    return Err(self.failed(fault));
                }
            }
        }
    }

    /// Counts what went wrong, if it is the upstream's.
    fn failed(&self, fault: SendFault) -> SendFault {
        let kind = match fault.0 {
            FaultKind::Protocol => UpstreamFailure::Protocol,
            FaultKind::GivenUp => UpstreamFailure::Timeout,
            kind if kind.is_clients() => return fault,
            _ => UpstreamFailure::Reset,
        };
        self.counted.metrics.upstream_failed(self.counted.region, kind);
        fault
    }

    async fn exchange_http2(
        self: &Rc<Self>,
        clock: &CoarseClock,
        outgoing: &mut Outgoing,
    ) -> Result<Response, SendFault> {
        if self.in_flight.get() >= self.limits.connections {
            return Err(SendFault(FaultKind::Exhausted));
        }
        let in_flight = InFlight::new(self);
        self.link.touch(clock.now());
        loop {
            let (way, reused) = self.way(clock).await?;
            match self.watched.unless_given_up(clock, self.link.exchange(way, outgoing)).await {
                Ok((head, body)) => return Ok(Response { head, body: UpstreamBody::http2(body, in_flight) }),
                // It ended, or takes no more, in this very moment: another one may serve.
                Err(SendFault(FaultKind::Closed)) if reused && outgoing.is_some() => {}
                Err(fault) => return Err(self.failed(fault)),
            }
        }
    }

    /// The way onto the HTTP/2 connection, and whether there was one already.
    async fn way(self: &Rc<Self>, clock: &CoarseClock) -> Result<(http2::Way, bool), SendFault> {
        let reused = |way| {
            self.counted.metrics.upstream_reused(self.counted.region);
            (way, true)
        };
        if let Some(way) = self.link.way() {
            return Ok(reused(way));
        }
        let Some(_turn) = self.link.turn().await else { return Err(SendFault(FaultKind::Connect)) };
        if let Some(way) = self.link.way() {
            return Ok(reused(way));
        }
        let stream = self.connect(clock).await.map_err(SendFault).inspect_err(|_| self.link.failed())?;
        let way = self.link.start(stream, Open::new(self)).await.inspect_err(|_| self.link.failed())?;
        if self.retired.get() {
            self.link.close();
        }
        Ok((way, false))
    }

    /// Sends a request that may be upgraded, on a connection of its own.
    pub(super) async fn exchange_for_upgrade(
        &self,
        clock: &CoarseClock,
        outgoing: &mut Outgoing,
    ) -> Result<Answered, SendFault> {
        let stream = self.connect(clock).await.map_err(SendFault)?;
        let mut connection = Box::new(Connection::new(stream));
        let answered = self.watched.unless_given_up(clock, connection.exchange(outgoing)).await;
        let head = answered.map_err(|fault| self.failed(fault))?;
        Ok(if head.status == StatusCode::SWITCHING_PROTOCOLS {
            Answered::Switched(head, connection.into_stream())
        } else {
            Answered::Response(Response { head, body: UpstreamBody::own(connection) })
        })
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
        let connection = Connection::new(self.connect(clock).await?);
        slot.keep();
        Ok(Lease::new(Box::new(connection), self))
    }

    pub(super) async fn connect(&self, clock: &CoarseClock) -> Result<Stream, FaultKind> {
        match self.dial.open(&self.endpoint, self.limits.connect).await {
            Ok(stream) => {
                self.ejected_until.set(0);
                Ok(stream)
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
        self.link.sweep(self.in_flight.get() > 0, now, oldest);
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

    pub(super) fn close_idle(&self) {
        self.link.close();
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

impl InFlight {
    fn new(target: &Rc<Target>) -> Self {
        target.in_flight.set(target.in_flight.get() + 1);
        Self(Rc::clone(target))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

impl Lease {
    fn new(connection: Box<Connection>, target: &Rc<Target>) -> Self {
        Self { connection: Some(connection), in_flight: InFlight::new(target) }
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a lease holds its connection until it is given back")
    }

    /// Bytes of the response's body still to come, if that is known.
    pub(super) fn bytes_left(&self) -> Option<u64> {
        self.connection.as_ref().map_or(Some(0), |connection| connection.bytes_left())
    }

    /// Puts the connection back for the next request, if it takes one.
    pub(super) fn give_back(mut self, now: Millis) {
        let target = &self.in_flight.0;
        if target.retired.get()
            || !self.connection.as_ref().is_some_and(|connection| connection.is_reusable())
        {
            return;
        }
        if let Some(mut connection) = self.connection.take() {
            connection.rest();
            target.idle.borrow_mut().push(Idle { connection, since: now });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.connection.is_some() {
            self.in_flight.0.closed_one();
        }
    }
}

/// A connection that is counted as open.
struct Open(Rc<Target>);

impl Open {
    fn new(target: &Rc<Target>) -> Self {
        target.opened_one();
        Self(Rc::clone(target))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed_one();
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
