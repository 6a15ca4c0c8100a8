//! Upstreams: the API processes of this region, and the gateways of the others.
//!
//! Each worker has an [`Upstreams`] of its own; nothing here is shared between threads. A connection is driven by the task
//! that uses it, so a request costs no hand-over to another task.
//!
//! Invariants
//! - R1: nothing is sent without a [`Permit`], and only to the region the permit names.
//! - A request that an upstream may have looked at is never sent again; one that it can't have is handed back whole. So is a
//!   GET or HEAD without a body whose upstream was given up: a region that is gone, a process that hangs.
//! - Connections per endpoint are bounded; idle ones are closed before the upstream would close them.
//!
//! Absent by design: time-outs of the exchange (the gateway watches its connection), retries in another region.

mod body;
mod connection;
mod control;
mod endpoint;
mod http2;
mod io;
mod retained;
mod watched;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

pub use body::{Inflow, RequestBody, UpstreamBody};
pub use control::{ControlFault, ControlLink};
pub use endpoint::{Counted, Limits, Target};
pub use http2::Local;
pub use io::Dial;
pub use watched::SetAside;

use crate::clock::{CoarseClock, Millis};
use crate::config::Endpoint;
use crate::domain::decide::Permit;
use crate::domain::names::{RegionId, RegionSet};
use crate::domain::upstream_groups::UpstreamGroup;
use crate::http1::{BodyFault, Prefixed, RequestHead, ResponseHead};
use crate::telemetry::WorkerMetrics;

/// Endpoints of one region that are tried: as many as a word has bits.
const MOST_ENDPOINTS: usize = 64;

/// One worker's way to every region.
pub struct Upstreams {
    /// The own region's processes, by [`UpstreamGroup::index`].
    groups: Vec<Vec<Rc<Target>>>,
    /// By region index: the gateways of other regions; empty where there is none.
    gateways: Vec<Vec<Rc<Target>>>,
    /// Where the next look for the least busy endpoint starts.
    turn: Cell<usize>,
    hang_after: Duration,
    /// Regions that were gone at the last tick.
    gone: Cell<RegionSet>,
    /// Somebody who waits must be woken to be told to wait no longer.
    gave_up: Rc<Cell<bool>>,
    metrics: Arc<WorkerMetrics>,
}

/// Whom requests may go to, and how.
pub struct Endpoints {
    /// The gateway's own region, as an index.
    pub own: usize,
    /// Its processes, by [`UpstreamGroup::index`].
    pub groups: Vec<Vec<(Endpoint, Arc<SetAside>)>>,
    /// Other regions' gateways, by region index.
    pub gateways: Vec<Vec<(Endpoint, Dial)>>,
    /// A process that answers nothing for so long, while requests wait, is asked whether it hangs.
    pub hang_after: Duration,
}

/// A request on its way.
#[derive(Debug)]
pub struct Request {
    pub head: Box<RequestHead>,
    pub body: RequestBody,
}

/// Whoever sends the request takes it out; while it is there, nothing of it has been sent.
pub type Outgoing = Option<Request>;

/// What an upstream answered.
#[derive(Debug)]
pub struct Response {
    pub head: ResponseHead,
    pub body: UpstreamBody,
}

/// What an upstream answered to a request for an upgrade.
#[derive(Debug)]
pub enum Answered {
    /// It is granted: head, and the stream behind it.
    Switched(ResponseHead, Prefixed),
    Response(Response),
}

/// Why a request was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.label())]
pub struct SendFault(pub FaultKind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The region has no endpoint configured.
    NoEndpoint,
    /// No endpoint took a connection.
    Connect,
    /// All endpoints have as many connections as they may.
    Exhausted,
    /// The connection ended before the response's head.
    Closed,
    /// What came back is no response, or one that can be read in two ways.
    Protocol,
    /// It was sent, and neither answered nor worth waiting for any longer: the region is gone, or the endpoint hangs.
    GivenUp,
    /// The client broke off within its body.
    Request,
    /// The client's body can be read in two ways.
    RequestMalformed,
}

impl FaultKind {
    /// A short name for logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no-endpoint",
            Self::Connect => "connect",
            Self::Exhausted => "exhausted",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
            Self::GivenUp => "given-up",
            Self::Request => "request",
            Self::RequestMalformed => "request-malformed",
        }
    }

    /// No other endpoint would make anything of the request either.
    const fn is_clients(self) -> bool {
        matches!(self, Self::Request | Self::RequestMalformed)
    }

    /// Whose body could not be sent on.
    const fn of_request(fault: &BodyFault) -> Self {
        match fault {
            BodyFault::Malformed(_) => Self::RequestMalformed,
            _ => Self::Request,
        }
    }
}

impl Upstreams {
    /// Targets that `previous` has already are taken over with their connections.
    pub fn new(
        endpoints: Endpoints,
        limits: Limits,
        metrics: &Arc<WorkerMetrics>,
        previous: Option<&Self>,
    ) -> Self {
        let Endpoints { own, groups, gateways, hang_after } = endpoints;
        let target = |region: usize, endpoint: Endpoint, dial: Dial, set_aside: &Arc<SetAside>| {
            let counted = Counted { metrics: Arc::clone(metrics), region };
            previous
                .and_then(|known| {
                    known.targets().find(|target| target.is(&endpoint, &dial, limits, &counted))
                })
                .cloned()
                .unwrap_or_else(|| Rc::new(Target::new(endpoint, dial, limits, counted, set_aside)))
        };
        let processes = |group: Vec<(Endpoint, Arc<SetAside>)>| {
            group.into_iter().map(|(endpoint, aside)| target(own, endpoint, Dial::Plain, &aside)).collect()
        };
        // There is one for each region, and none is set aside.
        let gateway = |region: usize, endpoints: Vec<(Endpoint, Dial)>| {
            let one = |(endpoint, dial)| target(region, endpoint, dial, &Arc::default());
            endpoints.into_iter().map(one).collect()
        };
        Self {
            groups: groups.into_iter().map(processes).collect(),
            gateways: gateways.into_iter().enumerate().map(|(region, one)| gateway(region, one)).collect(),
            hang_after,
            gone: Cell::default(),
            gave_up: Rc::default(),
            metrics: Arc::clone(metrics),
            turn: Cell::default(),
        }
    }

    /// The permit's destination: processes of the group in this region, or the gateway of another.
    fn targets_of(&self, permit: &Permit, group: UpstreamGroup) -> &[Rc<Target>] {
        let targets = if permit.leaves_region() {
            self.gateways.get(permit.destination().index())
        } else {
            self.groups.get(group.index())
        };
        targets.map_or(&[], Vec::as_slice)
    }

    /// Sends one request to the permit's region, to a process of `group` if it is this one, and waits for the response's head. After a fault the request is still in
    /// `request` if no byte of it was sent.
    pub async fn send(
        &self,
        permit: &Permit,
        group: UpstreamGroup,
        clock: &CoarseClock,
        request: &mut Outgoing,
    ) -> Result<Response, SendFault> {
        let targets = self.targets_of(permit, group);
        let mut last = SendFault(FaultKind::NoEndpoint);
        let mut tried = 0u64;
        while let Some((index, target)) = self.least_busy(targets, tried, clock.now()) {
            if tried != 0 {
                self.metrics.upstream_retried(permit.destination().index());
            }
            tried |= 1 << index;
            let _trial = target.watched.trial();
            match target.exchange(clock, request).await {
                Ok(response) => {
                    if !permit.leaves_region() {
                        watched::note(targets, index, !is_failure(response.head.status), clock.now());
                    }
                    return Ok(response);
                }
                Err(fault) => {
                    let broke = matches!(fault.0, FaultKind::Closed | FaultKind::Protocol);
                    if broke && !permit.leaves_region() {
                        watched::note(targets, index, false, clock.now());
                    }
                    if request.is_none() || fault.0.is_clients() {
                        return Err(fault);
                    }
                    last = fault;
                }
            }
        }
        Err(last)
    }

    /// The same for a request that may be upgraded, on a connection of its own.
    pub async fn send_for_upgrade(
        &self,
        permit: &Permit,
        group: UpstreamGroup,
        clock: &CoarseClock,
        request: &mut Outgoing,
    ) -> Result<Answered, SendFault> {
        let targets = self.targets_of(permit, group);
        let mut last = SendFault(FaultKind::NoEndpoint);
        let mut tried = 0u64;
        while let Some((index, target)) = self.least_busy(targets, tried, clock.now()) {
            tried |= 1 << index;
            match target.exchange_for_upgrade(clock, request).await {
                Err(fault) if request.is_some() => last = fault,
                outcome => return outcome,
            }
        }
        Err(last)
    }

    /// The endpoint with the fewest requests in flight, those that failed a moment ago last.
    fn least_busy<'targets>(
        &self,
        targets: &'targets [Rc<Target>],
        tried: u64,
        now: Millis,
    ) -> Option<(usize, &'targets Rc<Target>)> {
        let start = self.turn.get();
        self.turn.set(start.wrapping_add(1));
        (0..targets.len())
            .map(|offset| (start.wrapping_add(offset)) % targets.len())
            .filter(|index| *index < MOST_ENDPOINTS && tried & (1 << index) == 0)
            .min_by_key(|&index| targets[index].burden(now))
            .map(|index| (index, &targets[index]))
    }

    /// Lets go of the targets that `next` didn't take over. Requests under way on them end as they began.
    pub fn retire(&self, next: &Self) {
        let kept = |target: &Rc<Target>| next.targets().any(|other| Rc::ptr_eq(target, other));
        self.targets().filter(|target| !kept(target)).for_each(|target| target.retire());
    }

    /// Closes connections that were idle too long, asks processes that answer nothing, and gives up on what was sent to regions
    /// that are gone since. Called once a tick. Returns whether those who wait for an answer must be polled again.
    pub fn sweep(&self, clock: &Arc<CoarseClock>, gone: RegionSet) -> bool {
        self.targets().for_each(|target| target.sweep(clock.now()));
        for group in &self.groups {
            watched::sweep(group, clock, self.hang_after, &self.gave_up);
        }
        let lost = gone.minus(self.gone.replace(gone));
        for region in lost.iter().map(RegionId::index) {
            for target in self.gateways.get(region).into_iter().flatten() {
                target.watched.give_up();
                target.close_idle();
                self.gave_up.set(true);
            }
        }
        self.gave_up.replace(false)
    }

    pub fn targets(&self) -> impl Iterator<Item = &Rc<Target>> {
        self.groups.iter().chain(&self.gateways).flatten()
    }
}

/// Of a process that does not do well, as far as its answer tells.
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
