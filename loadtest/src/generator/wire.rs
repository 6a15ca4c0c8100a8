//! What a connection of the load runs over: TCP as it is, or TLS on it.
//!
//! A read says `WouldBlock` when nothing more can be had until the next event; a write that the kernel does not take
//! stays in the TLS session and goes out with a later [`Wire::flush`].
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use anyhow::{Result, bail};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;

use super::secure::{Secure, is_full};

#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    session: Option<Box<ClientConnection>>,
}

impl Wire {
    /// Starts connecting. What is written before the connection stands is taken when it does.
    pub(super) fn connect(target: SocketAddr, secure: Option<&Secure>) -> io::Result<Self> {
        let stream = TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        let session = match secure {
            Some(secure) => Some(Box::new(secure.session().map_err(io::Error::other)?)),
            None => None,
        };
        Ok(Self { stream, session })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Whether a read that leaves room in its buffer has emptied the socket: with edge-triggered events the next
    /// arrival is announced again, so a second read that only says "nothing left" can be saved.
    pub(super) fn short_read_empties(&self) -> bool {
        self.session.is_none()
    }

    /// Whether the connection's handshake was a full one; so too without TLS, where there is none to cut short.
    pub(super) fn is_full_handshake(&self) -> bool {
        self.session.as_deref().is_none_or(is_full)
    }

    /// Whether TLS came out as it was asked for.
    pub(super) fn check(&self, secure: &Secure) -> Result<()> {
        match &self.session {
            Some(session) => secure.check(session),
            None => bail!("there is no TLS on this connection"),
        }
    }

    /// Reads what is there, decrypted; 0 at the end.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let Self { stream, session } = self;
        let Some(session) = session else {
            return retry(|| stream.read(scratch));
        };
        loop {
            match session.reader().read(scratch) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // An end without a farewell is an end.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            if retry(|| session.read_tls(stream))? == 0 {
                return Ok(0);
            }
            session.process_new_packets().map_err(io::Error::other)?;
            flush(stream, session)?;
        }
    }

    /// Writes what is taken without waiting. With TLS that is all, and [`Wire::flush`] sends it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.session {
            Some(session) => session.writer().write(bytes),
            None => retry(|| self.stream.write(bytes)),
        }
    }

    /// Sends what the TLS session holds, as far as the kernel takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.session {
            Some(session) => flush(&mut self.stream, session),
            None => Ok(()),
        }
    }

    /// Ends TLS as it should be ended; the connection closes with the drop.
    pub(super) fn farewell(&mut self) {
        if let Some(session) = &mut self.session {
            session.send_close_notify();
            // Whoever is gone already misses nothing.
            let _ = flush(&mut self.stream, session);
        }
    }
}

fn flush(stream: &mut TcpStream, session: &mut ClientConnection) -> io::Result<()> {
    while session.wants_write() {
        match retry(|| session.write_tls(stream)) {
            Ok(_) => {}
            Err(error) if is_not_yet(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Not connected yet, nothing there, or no room: an event follows.
pub(super) fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
