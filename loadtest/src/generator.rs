//! Load and its destination on one thread: a closed-loop HTTP/1.1 client and the upstream that answers it.
//!
//! A proxy that is to be measured sits between the two on a core of its own. Client and upstream share one epoll
//! loop because that is the cheapest arrangement there is: whatever the load costs is taken from the proxy's share
//! of a small machine, and one thread never wakes another.
//!
//! Invariants
//! - Every connection has at most one request in flight (closed loop, no pipelining).
//! - Every answer is checked in full: status 200, and exactly the body that the upstream sent. Anything else is a
//!   counted fault, and its connection is replaced.
//! - Request and answer bytes are made before the clock starts; the loop allocates nothing on the way of a request.
//! - An answer counts for the window in which it arrived. A request that waits longer than [`STUCK_AFTER`] is a fault.
//!
//! Absent by design: open-loop arrival (what is measured is cost at saturation, not queueing at a given rate),
//! request bodies, TLS.
mod answer;
mod client;
mod origin;
mod tally;
mod workload;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::event::Event;
use mio::{Events, Poll};

pub use answer::Answer;
pub use origin::OriginCount;
pub use tally::{Fault, Tally};
pub use workload::Workload;

use answer::Verdict;
use client::{Client, Progress};
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
    clients: Vec<Client>,
    target: Option<SocketAddr>,
    workload: Workload,
    cursor: usize,
}

impl Rig {
    /// Binds the upstream to a free port of 127.0.0.1 and readies the loop.
    pub fn new(workload: Workload) -> Result<Self> {
        let poll = Poll::new().context("no epoll instance")?;
        let origin = Origin::bind(Ipv4Addr::LOCALHOST, poll.registry(), workload.answer())?;
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            origin,
            clients: Vec::new(),
            target: None,
            workload,
            cursor: 0,
        })
    }

    /// Where the upstream listens.
    pub fn origin_address(&self) -> SocketAddr {
        self.origin.address()
    }

    /// What reached the upstream since the rig was made.
    pub fn origin_count(&self) -> OriginCount {
        self.origin.count()
    }

    /// Opens `connections` to `target`; requests start with the next [`Rig::drive`].
    pub fn connect(&mut self, target: SocketAddr, connections: usize) -> Result<()> {
        self.disconnect();
        self.target = Some(target);
        for slot in 0..connections {
            let client = Client::connect(target, slot, self.poll.registry())
                .with_context(|| format!("connection {slot} to {target}"))?;
            self.clients.push(client);
        }
        Ok(())
    }

    /// Closes the load's connections, whatever is in flight.
    pub fn disconnect(&mut self) {
        self.clients.clear();
        self.target = None;
    }

    /// Sends requests on every connection for `span` and says what came back in it. Connections and requests in
    /// flight carry over to the next call, so a warm-up is a call whose tally is dropped.
    ///
    /// Fails when the loop itself does (epoll), or when there is no connection. Faults of the proxy are in the tally.
    pub fn drive(&mut self, span: Duration) -> Result<Tally> {
        if self.clients.is_empty() {
            bail!("drive() before connect()");
        }
        let mut tally = Tally::new();
        let start = Instant::now();
        let end = start + span;
        for slot in 0..self.clients.len() {
            if self.clients[slot].is_idle() {
                self.begin(slot, start, &mut tally);
            }
        }
        let mut now = start;
        while now < end && tally.faults() < FAULTS_BEFORE_GIVING_UP {
            self.turn(TICK.min(end - now), &mut tally)?;
            now = Instant::now();
        }
        for client in &self.clients {
            if client.waiting_since().is_some_and(|since| now.duration_since(since) > STUCK_AFTER) {
                tally.fault(Fault::Stuck);
            }
        }
        tally.finish(now.duration_since(start));
        Ok(tally)
    }

    /// Lets the upstream answer whatever reaches it for about `span`: while a proxy starts and probes its upstream.
    pub fn serve(&mut self, span: Duration) -> Result<()> {
        let end = Instant::now() + span;
        let mut ignored = Tally::new();
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.turn(TICK.min(left), &mut ignored)?;
        }
        Ok(())
    }

    /// One request on a connection of its own, with what the upstream saw of it. For checks before a measurement.
    pub fn exchange(&mut self, target: SocketAddr, request: &[u8], within: Duration) -> Result<Exchange> {
        let deadline = Instant::now() + within;
        let mut stream = TcpStream::connect_timeout(&target, within)?;
        stream.write_all(request)?;
        stream.set_nonblocking(true)?;
        self.origin.record(true);
        let mut received = Vec::new();
        let mut ignored = Tally::new();
        let answer = loop {
            self.turn(Duration::from_millis(1), &mut ignored)?;
            let mut chunk = [0; 16 * 1024];
            match stream.read(&mut chunk) {
                Ok(0) => {
                    bail!("closed after {} bytes: {:?}", received.len(), String::from_utf8_lossy(&received))
                }
                Ok(n) => received.extend_from_slice(&chunk[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(answer) = Answer::parse(&received)? {
                break answer;
            }
            if Instant::now() > deadline {
                bail!("no complete answer within {within:?}: {:?}", String::from_utf8_lossy(&received));
            }
        };
        let upstream_saw = self.origin.recorded();
        self.origin.record(false);
        Ok(Exchange { answer, upstream_saw })
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
        match client::slot_of(event.token()) {
            Some(slot) => self.advance(slot, event, tally),
            None => self.origin.handle(event, self.poll.registry(), &mut self.scratch),
        }
    }

    /// Moves one client connection as far as it goes: finishes its write, reads, judges, sends the next request.
    fn advance(&mut self, slot: usize, event: &Event, tally: &mut Tally) {
        let Some(client) = self.clients.get_mut(slot) else { return };
        if event.is_writable() && client.resume(&self.workload).is_err() {
            return self.replace(slot, Fault::Closed, tally);
        }
        match client.receive(&mut self.scratch, self.workload.body()) {
            Progress::Waiting => {}
            Progress::Closed => self.replace(slot, Fault::Closed, tally),
            Progress::Judged(Verdict::Right) => {
                let now = Instant::now();
                match self.clients[slot].finish() {
                    Some(since) => tally.right(now.duration_since(since)),
                    None => return self.replace(slot, Fault::Unasked, tally),
                }
                self.begin(slot, now, tally);
            }
            Progress::Judged(Verdict::WrongStatus) => self.replace(slot, Fault::Status, tally),
            Progress::Judged(Verdict::WrongBody) => self.replace(slot, Fault::Body, tally),
        }
    }

    fn begin(&mut self, slot: usize, now: Instant, tally: &mut Tally) {
        let request = self.next_request();
        if self.clients[slot].begin(request, now, &self.workload).is_err() {
            self.replace(slot, Fault::Closed, tally);
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
        let Some(target) = self.target else { return };
        match Client::connect(target, slot, self.poll.registry()) {
            Ok(client) => self.clients[slot] = client,
            // The old, dead connection stays in its slot; the window ends by its clock or by its faults.
            Err(_) => return tally.fault(Fault::Connect),
        }
        let request = self.next_request();
        if self.clients[slot].begin(request, Instant::now(), &self.workload).is_err() {
            tally.fault(Fault::Connect);
        }
    }
}

/// One answer, and the request head as the upstream received it (none when the proxy answered itself).
#[derive(Debug)]
pub struct Exchange {
    pub answer: Answer,
    pub upstream_saw: Option<String>,
}

#[cfg(test)]
mod tests;
