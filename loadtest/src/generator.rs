//! Load and its destination on one thread: a closed-loop HTTP client and the upstream that answers it.
//!
//! A proxy that is to be measured sits between the two on a core of its own. Client and upstream share one epoll
//! loop because that is the cheapest arrangement there is: whatever the load costs is taken from the proxy's share
//! of a small machine, and one thread never wakes another.
//!
//! Invariants
//! - Every connection has at most one request in flight, every HTTP/2 stream exactly one (no pipelining). [`Rig::drive`]
//!   is a closed loop; [`Rig::pace`] is an open one.
//! - Every answer is checked in full: status 200, and exactly the body that the upstream sent. Anything else is a
//!   counted fault, and its connection is replaced.
//! - Request and answer bytes are made before the clock starts; the loop allocates nothing on the way of a request.
//! - An answer counts for the window in which it arrived. A request that waits longer than [`STUCK_AFTER`] is a fault.
//!
//! - Where each request has a connection of its own, a TLS handshake that was not a full one is a fault.
//!
//! Absent by design: HTTP/2 upstream.
mod answer;
mod client;
mod exchange;
mod hpack;
mod http2;
mod huffman;
mod link;
mod origin;
mod paced;
mod resting;
mod secure;
mod tally;
mod wire;
mod workload;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::event::Event;
use mio::{Events, Poll};

pub use answer::Answer;
pub use exchange::Exchange;
pub use link::Manner;
pub use origin::{OriginCount, Seen};
pub use secure::{Protocol, Secure, TERMS, Trust};
pub use tally::{Fault, Tally};
pub use workload::Workload;

use answer::Verdict;
use client::Progress;
use hpack::{Blocks, Encoder};
use http2::Done;
use link::Link;
use origin::Origin;

/// A request that has no answer after this long counts as a fault. Far above any latency of a saturated proxy.
pub const STUCK_AFTER: Duration = Duration::from_secs(2);

/// A window is given up after this many faults: the proxy is broken, and a busy loop of reconnects measures nothing.
const FAULTS_BEFORE_GIVING_UP: u64 = 1_000;

/// Room for one read. Small answers arrive whole; 1 MiB bodies in a dozen reads.
const SCRATCH_BYTES: usize = 128 * 1024;

/// Longest sleep of the loop, so that it looks at the clock when nothing arrives.
const TICK: Duration = Duration::from_millis(50);

/// The load generator and the upstream, driven by the thread that owns it.
#[derive(Debug)]
pub struct Rig {
    poll: Poll,
    events: Events,
    scratch: Box<[u8]>,
    origin: Origin,
    links: Vec<Link>,
    target: Option<SocketAddr>,
    manner: Manner,
    workload: Workload,
    /// The workload's requests as HTTP/2 has them, when that is spoken.
    blocks: Vec<Blocks>,
    /// Answers that one read of an HTTP/2 connection completed.
    done: Vec<Done>,
    cursor: usize,
    /// Whether an answer is followed by the next request.
    going: bool,
}

impl Rig {
    /// Binds the upstream to a free port of 127.0.0.1 and to a Unix socket, and readies the loop.
    pub fn new(workload: Workload) -> Result<Self> {
        let poll = Poll::new().context("no epoll instance")?;
        let origin = Origin::bind(Ipv4Addr::LOCALHOST, poll.registry(), &workload)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            origin,
            links: Vec::new(),
            target: None,
            manner: Manner::Plain,
            workload,
            blocks: Vec::new(),
            done: Vec::new(),
            cursor: 0,
            going: false,
        })
    }

    /// Sends and expects another workload from now on, and has no connections. No proxy may be at work.
    pub fn assume(&mut self, workload: Workload) {
        self.disconnect();
        self.origin.assume(&workload);
        self.workload = workload;
        self.cursor = 0;
    }

    /// How many different requests there are.
    pub fn requests(&self) -> usize {
        self.workload.len()
    }

    /// Where the upstream listens.
    pub fn origin_address(&self) -> SocketAddr {
        self.origin.address()
    }

    /// The upstream's Unix socket.
    pub fn origin_socket(&self) -> PathBuf {
        self.origin.socket()
    }

    /// What reached the upstream since the rig was made.
    pub fn origin_count(&self) -> OriginCount {
        self.origin.count()
    }

    /// Opens `connections` to `target`; requests start with the next [`Rig::drive`].
    pub fn connect(&mut self, target: SocketAddr, connections: usize, manner: Manner) -> Result<()> {
        self.disconnect();
        if matches!(manner, Manner::Http2(..)) {
            let encoder = Encoder::new();
            self.blocks = (0..self.workload.len())
                .map(|request| encoder.blocks(self.workload.request(request)))
                .collect::<Result<_>>()?;
        }
        self.target = Some(target);
        self.manner = manner;
        for slot in 0..connections {
            let link = Link::open(target, slot, &self.manner, self.poll.registry())
                .with_context(|| format!("connection {slot} to {target}"))?;
            self.links.push(link);
        }
        Ok(())
    }

    /// Closes the load's connections, whatever is in flight.
    pub fn disconnect(&mut self) {
        self.links.clear();
        self.blocks.clear();
        self.target = None;
    }

    /// Sends requests on every connection for `span` and says what came back in it. Connections and requests in
    /// flight carry over to the next call, so a warm-up is a call whose tally is dropped.
    ///
    /// Fails when the loop itself does (epoll), or when there is no connection. Faults of the proxy are in the tally.
    pub fn drive(&mut self, span: Duration) -> Result<Tally> {
        if self.links.is_empty() {
            bail!("drive() before connect()");
        }
        let mut tally = Tally::new();
        let start = Instant::now();
        let end = start + span;
        self.going = true;
        for slot in 0..self.links.len() {
            self.fill(slot, start, &mut tally);
        }
        let mut now = start;
        while now < end && tally.faults() < FAULTS_BEFORE_GIVING_UP {
            self.turn(TICK.min(end - now), &mut tally)?;
            now = Instant::now();
        }
        for link in &self.links {
            if link.waiting_since().is_some_and(|since| now.duration_since(since) > STUCK_AFTER) {
                tally.fault(Fault::Stuck);
            }
        }
        tally.finish(now.duration_since(start));
        Ok(tally)
    }

    /// Lets the upstream answer whatever reaches it for about `span`: while a proxy starts and probes its upstream, or
    /// while connections rest. The tally has what happened to them meanwhile.
    pub fn serve(&mut self, span: Duration) -> Result<Tally> {
        let end = Instant::now() + span;
        let mut tally = Tally::new();
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.turn(TICK.min(left), &mut tally)?;
        }
        Ok(tally)
    }

    fn turn(&mut self, wait: Duration, tally: &mut Tally) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other.context("epoll")?,
        }
        // Taken out so that handlers may borrow the rig; put back below, with its capacity.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            self.handle(event, tally);
        }
        self.events = events;
        Ok(())
    }

    fn handle(&mut self, event: &Event, tally: &mut Tally) {
        match link::slot_of(event.token()) {
            Some(slot) => self.advance(slot, event, tally),
            None => self.origin.handle(event, self.poll.registry(), &mut self.scratch),
        }
    }

    /// Moves one connection of the load as far as it goes: finishes its write, reads, judges, sends the next request.
    fn advance(&mut self, slot: usize, event: &Event, tally: &mut Tally) {
        match self.links.get_mut(slot) {
            Some(Link::Http1(_)) => self.advance_http1(slot, event, tally),
            Some(Link::Http2(_)) => self.advance_http2(slot, tally),
            None => {}
        }
    }

    fn advance_http1(&mut self, slot: usize, event: &Event, tally: &mut Tally) {
        let Some(Link::Http1(client)) = self.links.get_mut(slot) else { return };
        if event.is_writable() && client.resume(&self.workload).is_err() {
            return self.replace(slot, Fault::Closed, tally);
        }
        match client.receive(&mut self.scratch, self.workload.body()) {
            Progress::Waiting => {}
            Progress::Closed => self.replace(slot, Fault::Closed, tally),
            Progress::Judged(Verdict::Right) => {
                let now = Instant::now();
                let Some(since) = client.finish() else {
                    return self.replace(slot, Fault::Unasked, tally);
                };
                if self.manner.is_fleeting() {
                    if !client.wire().is_full_handshake() {
                        return self.replace(slot, Fault::Resumed, tally);
                    }
                    client.wire().farewell();
                    self.renew(slot, tally);
                }
                tally.right(now.duration_since(since));
                self.fill(slot, now, tally);
            }
            Progress::Judged(Verdict::WrongStatus) => self.replace(slot, Fault::Status, tally),
            Progress::Judged(Verdict::WrongBody) => self.replace(slot, Fault::Body, tally),
        }
    }

    fn advance_http2(&mut self, slot: usize, tally: &mut Tally) {
        let Some(Link::Http2(session)) = self.links.get_mut(slot) else { return };
        let received = session.receive(&mut self.scratch, self.workload.body(), &mut self.done);
        let now = Instant::now();
        for Done { since, verdict, .. } in self.done.drain(..) {
            match verdict {
                Verdict::Right => tally.right(now.duration_since(since)),
                Verdict::WrongStatus => tally.fault(Fault::Status),
                Verdict::WrongBody => tally.fault(Fault::Body),
            }
        }
        match received {
            Ok(()) => self.fill(slot, now, tally),
            Err(fault) => self.replace(slot, fault, tally),
        }
    }

    /// Sends as many requests as the connection has room for, while the load is going.
    fn fill(&mut self, slot: usize, now: Instant, tally: &mut Tally) {
        while self.going && self.links[slot].has_room() {
            let request = self.next_request();
            if let Err(fault) = self.begin(slot, request, now) {
                return self.replace(slot, fault, tally);
            }
        }
        if let Link::Http2(session) = &mut self.links[slot]
            && session.flush().is_err()
        {
            self.replace(slot, Fault::Closed, tally);
        }
    }

    fn begin(&mut self, slot: usize, request: usize, now: Instant) -> Result<(), Fault> {
        match &mut self.links[slot] {
            Link::Http1(client) => client.begin(request, now, &self.workload).map_err(|_| Fault::Closed),
            Link::Http2(session) => {
                session.begin(&self.blocks[request], now);
                Ok(())
            }
        }
    }

    fn next_request(&mut self) -> usize {
        let request = self.cursor;
        self.cursor = if request + 1 == self.workload.len() { 0 } else { request + 1 };
        request
    }

    /// Counts the fault and puts a fresh connection in the slot; its first request follows once it is writable.
    fn replace(&mut self, slot: usize, fault: Fault, tally: &mut Tally) {
        tally.fault(fault);
        self.renew(slot, tally);
        if self.going && self.links[slot].has_room() {
            let request = self.next_request();
            if self.begin(slot, request, Instant::now()).is_err() {
                tally.fault(Fault::Connect);
            }
        }
    }

    fn renew(&mut self, slot: usize, tally: &mut Tally) {
        let Some(target) = self.target else { return };
        match Link::open(target, slot, &self.manner, self.poll.registry()) {
            Ok(link) => self.links[slot] = link,
            // The old, dead connection stays in its slot; the window ends by its clock or by its faults.
            Err(_) => tally.fault(Fault::Connect),
        }
    }
}

#[cfg(test)]
mod tests;
