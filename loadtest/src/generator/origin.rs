//! The upstream: answers every request with the same bytes, keeps connections open, and counts both.
//!
//! It listens on a TCP port and on a Unix socket, and what it counts says how much came over which. It never closes a
//! connection that behaves, so what it counts as connections is the proxy's pool at work. A connection counts with its
//! first request: one that was opened to see whether the port answers does not.
//!
//! A POST must announce the length of the workload's upload and bring exactly its bytes. Whatever is neither GET nor
//! that ends its connection and is counted as malformed.
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use memchr::memmem::Finder;
use mio::event::{Event, Source};
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use tempfile::TempDir;

use super::Workload;
use super::answer::content_length_of_request;

/// The listeners' tokens; connections have the odd ones after them.
const TCP: Token = Token(1);
const UNIX: Token = Token(3);
const FIRST: usize = 5;

#[derive(Debug)]
pub(super) struct Origin {
    tcp: TcpListener,
    address: SocketAddr,
    unix: UnixListener,
    /// Holds the Unix socket. Not among the results: paths of sockets are limited to some hundred bytes.
    directory: TempDir,
    answer: Arc<[u8]>,
    upload: Arc<[u8]>,
    blank_line: Finder<'static>,
    connections: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    count: OriginCount,
    recording: bool,
    recorded: Option<Seen>,
}

/// A request as it reached the upstream.
#[derive(Debug, Clone)]
pub struct Seen {
    pub head: String,
    pub over_unix: bool,
}

/// What reached the upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OriginCount {
    /// Connections that carried at least one request.
    pub connections: u64,
    pub requests: u64,
    /// Those of them that came over the Unix socket.
    pub over_unix: u64,
    /// Requests that were neither a GET nor the upload; their connections were closed.
    pub malformed: u64,
}

impl OriginCount {
    /// What came since an earlier count.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            connections: self.connections - earlier.connections,
            requests: self.requests - earlier.requests,
            over_unix: self.over_unix - earlier.over_unix,
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
    stream: Stream,
    used: bool,
    partial: Vec<u8>,
    /// How much of an upload has arrived, while one is under way.
    upload: Option<usize>,
    /// Answers owed, and how much of the first has been written.
    owed: usize,
    written: usize,
}

trait Duplex: Read + Write + Source + std::fmt::Debug {}
impl<T: Read + Write + Source + std::fmt::Debug> Duplex for T {}

/// A connection, and which listener it came from.
#[derive(Debug)]
struct Stream {
    duplex: Box<dyn Duplex>,
    over_unix: bool,
}

impl Stream {
    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { duplex: Box::new(stream), over_unix: false })
    }

    fn unix(stream: UnixStream) -> Self {
        Self { duplex: Box::new(stream), over_unix: true }
    }
}

impl Origin {
    pub(super) fn bind(host: Ipv4Addr, registry: &Registry, workload: &Workload) -> Result<Self> {
        let mut tcp = TcpListener::bind(SocketAddr::from((host, 0))).context("no port for the upstream")?;
        let address = tcp.local_addr()?;
        let directory = tempfile::tempdir().context("no directory for the upstream's socket")?;
        let mut unix = UnixListener::bind(socket_in(&directory)).context("no socket for the upstream")?;
        registry.register(&mut tcp, TCP, Interest::READABLE)?;
        registry.register(&mut unix, UNIX, Interest::READABLE)?;
        Ok(Self {
            tcp,
            address,
            unix,
            directory,
            answer: workload.answer(),
            upload: workload.upload(),
            blank_line: Finder::new(b"\r\n\r\n"),
            connections: Vec::new(),
            vacant: Vec::new(),
            count: OriginCount::default(),
            recording: false,
            recorded: None,
        })
    }

    /// Serves another workload from now on. Answers that are under way would be garbled: call it between proxies.
    pub(super) fn assume(&mut self, workload: &Workload) {
        self.answer = workload.answer();
        self.upload = workload.upload();
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn socket(&self) -> PathBuf {
        socket_in(&self.directory)
    }

    pub(super) fn count(&self) -> OriginCount {
        self.count
    }

    /// Whether to keep the head of the latest request; forgets an earlier one.
    pub(super) fn record(&mut self, on: bool) {
        self.recording = on;
        self.recorded = None;
    }

    pub(super) fn recorded(&mut self) -> Option<Seen> {
        self.recorded.take()
    }

    pub(super) fn handle(&mut self, event: &Event, registry: &Registry, scratch: &mut [u8]) {
        match event.token() {
            // Until the backlog is empty: the listeners' events are edge-triggered too.
            TCP => {
                while let Ok((stream, _)) = self.tcp.accept() {
                    if let Ok(stream) = Stream::tcp(stream) {
                        self.admit(stream, registry);
                    }
                }
            }
            UNIX => {
                while let Ok((stream, _)) = self.unix.accept() {
                    self.admit(Stream::unix(stream), registry);
                }
            }
            Token(token) => {
                let slot = (token - FIRST) / 2;
                if let Err(End) = self.advance(slot, event.is_writable(), scratch)
                    && let Some(connection) = self.connections.get_mut(slot)
                    && connection.take().is_some()
                {
                    self.vacant.push(slot);
                }
            }
        }
    }

    fn admit(&mut self, mut stream: Stream, registry: &Registry) {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let token = Token(slot * 2 + FIRST);
        match registry.register(&mut *stream.duplex, token, Interest::READABLE | Interest::WRITABLE) {
            Ok(()) => {
                let partial = Vec::new();
                let connection =
                    Connection { stream, used: false, partial, upload: None, owed: 0, written: 0 };
                self.connections[slot] = Some(connection);
            }
            Err(_) => self.vacant.push(slot),
        }
    }

    fn advance(&mut self, slot: usize, writable: bool, scratch: &mut [u8]) -> Result<(), End> {
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return Ok(()) };
        if writable && connection.owed > 0 {
            connection.flush(&self.answer)?;
        }
        loop {
            let n = match connection.stream.duplex.read(scratch) {
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
            loop {
                if let Some(arrived) = connection.upload {
                    let taken = rest.len().min(self.upload.len() - arrived);
                    let (piece, next) = rest.split_at(taken);
                    if piece != &self.upload[arrived..arrived + taken] {
                        self.count.malformed += 1;
                        return Err(End);
                    }
                    rest = next;
                    let whole = arrived + taken == self.upload.len();
                    connection.upload = (!whole).then_some(arrived + taken);
                    if !whole {
                        break;
                    }
                    connection.owed += 1;
                }
                let Some(end) = self.blank_line.find(rest) else { break };
                let (head, next) = rest.split_at(end + 4);
                rest = next;
                if head.starts_with(b"GET ") {
                    connection.owed += 1;
                } else if !self.upload.is_empty()
                    && head.starts_with(b"POST ")
                    && content_length_of_request(head) == Some(self.upload.len())
                {
                    connection.upload = Some(0);
                } else {
                    self.count.malformed += 1;
                    return Err(End);
                }
                self.count.requests += 1;
                self.count.over_unix += u64::from(connection.stream.over_unix);
                self.count.connections += u64::from(!connection.used);
                connection.used = true;
                if self.recording {
                    let head = String::from_utf8_lossy(head).into_owned();
                    self.recorded = Some(Seen { head, over_unix: connection.stream.over_unix });
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

fn socket_in(directory: &TempDir) -> PathBuf {
    Path::join(directory.path(), "api.sock")
}

/// The connection is over.
struct End;

impl Connection {
    fn flush(&mut self, answer: &[u8]) -> Result<(), End> {
        while self.owed > 0 {
            match self.stream.duplex.write(&answer[self.written..]) {
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
