//! The upstream: answers every GET with the same bytes, keeps connections open, and counts both.
//!
//! It never closes a connection that behaves, so what it counts as connections is the proxy's pool at work. A
//! connection counts with its first request: one that was opened to see whether the port answers does not.
//! Requests with bodies are out of its reach; whatever is no GET ends its connection and is counted as malformed.
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use memchr::memmem::Finder;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

/// The listener's token; connections have the odd ones after it.
const LISTENER: Token = Token(1);

#[derive(Debug)]
pub(super) struct Origin {
    listener: TcpListener,
    address: SocketAddr,
    answer: Arc<[u8]>,
    blank_line: Finder<'static>,
    connections: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    count: OriginCount,
    recording: bool,
    recorded: Option<String>,
}

/// What reached the upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OriginCount {
    /// Connections that carried at least one request.
    pub connections: u64,
    pub requests: u64,
    /// Requests that were no GET; their connections were closed.
    pub malformed: u64,
}

impl OriginCount {
    /// What came since an earlier count.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            connections: self.connections - earlier.connections,
            requests: self.requests - earlier.requests,
            malformed: self.malformed - earlier.malformed,
        }
    }

    /// The share of requests that found a connection open already, 0 to 1.
    pub fn reuse(self) -> f64 {
        if self.requests == 0 {
            return 0.0;
        }
        1.0 - self.connections as f64 / self.requests as f64
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    used: bool,
    partial: Vec<u8>,
    /// Answers owed, and how much of the first has been written.
    owed: usize,
    written: usize,
}

impl Origin {
    pub(super) fn bind(host: Ipv4Addr, registry: &Registry, answer: Arc<[u8]>) -> Result<Self> {
        let mut listener =
            TcpListener::bind(SocketAddr::from((host, 0))).context("no port for the upstream")?;
        let address = listener.local_addr()?;
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            listener,
            address,
            answer,
            blank_line: Finder::new(b"\r\n\r\n"),
            connections: Vec::new(),
            vacant: Vec::new(),
            count: OriginCount::default(),
            recording: false,
            recorded: None,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn count(&self) -> OriginCount {
        self.count
    }

    /// Whether to keep the head of the latest request; forgets an earlier one.
    pub(super) fn record(&mut self, on: bool) {
        self.recording = on;
        self.recorded = None;
    }

    pub(super) fn recorded(&mut self) -> Option<String> {
        self.recorded.take()
    }

    pub(super) fn handle(&mut self, event: &Event, registry: &Registry, scratch: &mut [u8]) {
        if event.token() == LISTENER {
            return self.accept(registry);
        }
        let slot = event.token().0 / 2 - 1;
        if let Err(End) = self.advance(slot, event.is_writable(), scratch)
            && let Some(connection) = self.connections.get_mut(slot)
            && connection.take().is_some()
        {
            self.vacant.push(slot);
        }
    }

    fn accept(&mut self, registry: &Registry) {
        // Until the backlog is empty: the listener's events are edge-triggered too.
        while let Ok((mut stream, _)) = self.listener.accept() {
            let slot = self.vacant.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let token = Token(slot * 2 + 3);
            let ready = stream.set_nodelay(true).and_then(|()| {
                registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)
            });
            match ready {
                Ok(()) => {
                    let connection =
                        Connection { stream, used: false, partial: Vec::new(), owed: 0, written: 0 };
                    self.connections[slot] = Some(connection);
                }
                Err(_) => self.vacant.push(slot),
            }
        }
    }

    fn advance(&mut self, slot: usize, writable: bool, scratch: &mut [u8]) -> Result<(), End> {
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return Ok(()) };
        if writable && connection.owed > 0 {
            connection.flush(&self.answer)?;
        }
        loop {
            let n = match connection.stream.read(scratch) {
                Ok(0) => return Err(End),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(End),
            };
            let mut stitched = Vec::new();
            let mut rest = if connection.partial.is_empty() {
                &scratch[..n]
            } else {
                stitched.append(&mut connection.partial);
                stitched.extend_from_slice(&scratch[..n]);
                &stitched[..]
            };
            while let Some(end) = self.blank_line.find(rest) {
                let (head, next) = rest.split_at(end + 4);
                rest = next;
                if !head.starts_with(b"GET ") {
                    self.count.malformed += 1;
                    return Err(End);
                }
                self.count.requests += 1;
                self.count.connections += u64::from(!connection.used);
                connection.used = true;
                connection.owed += 1;
                if self.recording {
                    self.recorded = Some(String::from_utf8_lossy(head).into_owned());
                }
            }
            connection.partial.extend_from_slice(rest);
            connection.flush(&self.answer)?;
            if n < scratch.len() {
                return Ok(());
            }
        }
    }
}

/// The connection is over.
struct End;

impl Connection {
    fn flush(&mut self, answer: &[u8]) -> Result<(), End> {
        while self.owed > 0 {
            match self.stream.write(&answer[self.written..]) {
                Ok(0) => return Err(End),
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(End),
            }
            if self.written == answer.len() {
                self.written = 0;
                self.owed -= 1;
            }
        }
        Ok(())
    }
}
