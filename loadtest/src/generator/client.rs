//! One HTTP/1.1 connection of the load: a request in flight at most, and what has arrived of its answer.
use std::io::{self, ErrorKind};
use std::time::Instant;

use super::Workload;
use super::answer::{Judge, Verdict};
use super::wire::{Wire, is_not_yet};

#[derive(Debug)]
pub(super) struct Client {
    wire: Wire,
    /// The request in flight, since when, and how much of it the kernel took.
    flight: Option<Flight>,
    judge: Judge,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    request: usize,
    since: Instant,
    sent: usize,
}

/// How far a read brought the answer.
pub(super) enum Progress {
    Waiting,
    Closed,
    Judged(Verdict),
}

impl Client {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, flight: None, judge: Judge::default() }
    }

    pub(super) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    pub(super) fn is_idle(&self) -> bool {
        self.flight.is_none()
    }

    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.flight.map(|flight| flight.since)
    }

    pub(super) fn begin(&mut self, request: usize, now: Instant, workload: &Workload) -> io::Result<()> {
        self.flight = Some(Flight { request, since: now, sent: 0 });
        self.resume(workload)
    }

    /// Writes what is left of the request in flight, as far as the socket takes it.
    pub(super) fn resume(&mut self, workload: &Workload) -> io::Result<()> {
        if let Some(flight) = &mut self.flight {
            let head = workload.request(flight.request);
            while let Some(left) = workload.left(head, flight.sent) {
                match self.wire.write(left) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(n) => flight.sent += n,
                    Err(error) if is_not_yet(&error) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        self.wire.flush()
    }

    /// Reads what is there.
    pub(super) fn receive(&mut self, scratch: &mut [u8], body: &[u8]) -> Progress {
        loop {
            let n = match self.wire.read(scratch) {
                Ok(0) => return Progress::Closed,
                Ok(n) => n,
                Err(error) if is_not_yet(&error) => return Progress::Waiting,
                Err(_) => return Progress::Closed,
            };
            match self.judge.feed(&scratch[..n], body) {
                Some(verdict) => return Progress::Judged(verdict),
                None if n < scratch.len() && self.wire.short_read_empties() => return Progress::Waiting,
                None => {}
            }
        }
    }

    /// Ends the request in flight and says since when it was; `None` for an answer that nobody asked for.
    pub(super) fn finish(&mut self) -> Option<Instant> {
        self.flight.take().map(|flight| flight.since)
    }
}
