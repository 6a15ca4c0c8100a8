//! One connection of the load: a request in flight at most, and what has arrived of its answer.
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::Workload;
use super::answer::{Verdict, judge};

#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    /// The request in flight, since when, and how much of it the kernel took.
    flight: Option<Flight>,
    /// What arrived of an answer that did not come in one read.
    partial: Vec<u8>,
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
    /// Starts connecting; the first write may have to wait for it, which [`Client::resume`] sees to.
    pub(super) fn connect(target: SocketAddr, slot: usize, registry: &Registry) -> io::Result<Self> {
        let mut stream = TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token_of(slot), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, flight: None, partial: Vec::new() })
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
        let Some(flight) = &mut self.flight else { return Ok(()) };
        let request = workload.request(flight.request);
        while flight.sent < request.len() {
            match self.stream.write(&request[flight.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => flight.sent += n,
                // Not connected yet, or the socket's buffer is full: an event follows either way.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there. A read that did not fill the scratch space emptied the socket: with edge-triggered
    /// events the next arrival is announced again, so a second read that only says "nothing left" is saved.
    pub(super) fn receive(&mut self, scratch: &mut [u8], body: &[u8]) -> Progress {
        loop {
            let n = match self.stream.read(scratch) {
                Ok(0) => return Progress::Closed,
                Ok(n) => n,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Progress::Waiting;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Progress::Closed,
            };
            let verdict = if self.partial.is_empty() {
                let verdict = judge(&scratch[..n], body);
                if verdict.is_none() {
                    self.partial.extend_from_slice(&scratch[..n]);
                }
                verdict
            } else {
                self.partial.extend_from_slice(&scratch[..n]);
                judge(&self.partial, body)
            };
            match verdict {
                Some(verdict) => {
                    self.partial.clear();
                    return Progress::Judged(verdict);
                }
                None if n < scratch.len() => return Progress::Waiting,
                None => {}
            }
        }
    }

    /// Ends the request in flight and says since when it was; `None` for an answer that nobody asked for.
    pub(super) fn finish(&mut self) -> Option<Instant> {
        self.flight.take().map(|flight| flight.since)
    }
}

/// Clients have even tokens, the upstream odd ones.
fn token_of(slot: usize) -> Token {
    Token(slot * 2)
}

pub(super) fn slot_of(token: Token) -> Option<usize> {
    token.0.is_multiple_of(2).then_some(token.0 / 2)
}
