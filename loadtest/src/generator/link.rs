//! How the load speaks to a proxy, and one connection of it, whatever the protocol.
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use mio::{Registry, Token};

use super::client::Client;
use super::http2::Session;
use super::secure::Secure;
use super::wire::Wire;

/// The protocol of the load, and what a connection is used for.
#[derive(Debug, Clone)]
pub enum Manner {
    /// HTTP/1.1 on kept connections.
    Plain,
    /// The same over TLS.
    Tls(Secure),
    /// HTTP/2 over TLS, so many streams at a time on each connection.
    Http2(Secure, usize),
    /// HTTP/1.1 over TLS, a new connection for each request.
    Handshakes(Secure),
}

impl Manner {
    /// Whether a connection ends with its first answer.
    pub(super) fn is_fleeting(&self) -> bool {
        matches!(self, Self::Handshakes(_))
    }

    pub(super) fn secure(&self) -> Option<&Secure> {
        match self {
            Self::Plain => None,
            Self::Tls(secure) | Self::Http2(secure, _) | Self::Handshakes(secure) => Some(secure),
        }
    }
}

/// A connection of the load.
#[derive(Debug)]
pub(super) enum Link {
    Http1(Client),
    Http2(Box<Session>),
}

impl Link {
    /// Starts connecting.
    pub(super) fn open(
        target: SocketAddr,
        slot: usize,
        manner: &Manner,
        registry: &Registry,
    ) -> io::Result<Self> {
        let mut wire = Wire::connect(target, manner.secure())?;
        wire.register(registry, token_of(slot))?;
        Ok(match manner {
            Manner::Http2(_, streams) => Self::Http2(Box::new(Session::new(wire, *streams, false))),
            _ => Self::Http1(Client::new(wire)),
        })
    }

    /// Whether another request may be sent on it now.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::Http1(client) => client.is_idle(),
            Self::Http2(session) => session.has_room(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Http1(client) => client.is_idle(),
            Self::Http2(session) => session.is_idle(),
        }
    }

    /// Since when its oldest request waits.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        match self {
            Self::Http1(client) => client.waiting_since(),
            Self::Http2(session) => session.waiting_since(),
        }
    }
}

/// Clients have even tokens, the upstream odd ones.
fn token_of(slot: usize) -> Token {
    Token(slot * 2)
}

pub(super) fn slot_of(token: Token) -> Option<usize> {
    token.0.is_multiple_of(2).then_some(token.0 / 2)
}
