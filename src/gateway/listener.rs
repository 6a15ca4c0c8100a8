//! Listeners: one socket per worker on the same address, so that the kernel spreads connections without a shared queue.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::connection::{Activity, Client, Peer};
use super::conversation::converse;
use super::multiplex::multiplex;
use super::worker::{Listed, Worker};
use crate::domain::decide::Entry;
use crate::http1::{Prefixed, ServerConnection, Stream};
use crate::tls;

/// Connections the kernel may hold for us before they are accepted.
const BACKLOG: i32 = 4096;

/// How long to wait after accepting failed, as a rule because file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Which door a listener is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Plain,
    Tls,
    /// Mutual TLS, for other regions' gateways and for programs that use the control API.
    Internal,
}

/// Binds without a runtime, so that a gateway finds out before it starts threads.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts for as long as the worker lives. Stops taking connections while the worker has as many as it may.
pub async fn accept_forever(
    worker: Rc<Worker>,
    listener: std::net::TcpListener,
    door: Door,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        while worker.connection_count() >= worker.generation().settings.config.limits.connections {
            worker.ended.notified().await;
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                let worker = Rc::clone(&worker);
                // Listed before anything else is accepted, so that the limit holds in a burst, too.
                let activity = Activity::new(&worker.clock, &worker.generation().settings.config.timeouts);
                let listed = worker.list(&activity);
                tokio::task::spawn_local(welcome(worker, stream, peer.ip(), door, activity, listed));
            }
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end. What is large and soon over is boxed: every connection carries this future's state for as
/// long as it lives.
async fn welcome(
    worker: Rc<Worker>,
    stream: TcpStream,
    address: IpAddr,
    door: Door,
    activity: Rc<Activity>,
    listed: Listed,
) {
    // An error here means that the peer has gone already; reading will say so.
    let _ = stream.set_nodelay(true);
    let greeted = Box::pin(greet(&worker, stream, address, door, &activity)).await;
    let (peer, connection) = match greeted {
        Some(Greeted::Http1(peer, connection)) => (peer, connection),
        Some(Greeted::Http2(peer, stream)) => {
            let _listed = listed;
            return Box::pin(multiplex(&worker, &peer, &activity, stream)).await;
        }
        None => return,
    };
    let client = Rc::new(Client { peer, activity, listed: Some(listed), open: None });
    client.activity.attend(pin!(converse(&worker, &client, connection))).await;
}

/// Who is there, and what is spoken.
enum Greeted {
    Http1(Rc<Peer>, ServerConnection),
    Http2(Rc<Peer>, Prefixed),
}

/// Shakes hands where that is due, and finds out what is spoken.
async fn greet(
    worker: &Rc<Worker>,
    stream: TcpStream,
    address: IpAddr,
    door: Door,
    activity: &Rc<Activity>,
) -> Option<Greeted> {
    if door == Door::Plain {
        let peer = Peer::new(address, Entry::Edge, false);
        let connection = ServerConnection::new(Stream::Tcp(stream), Rc::clone(&activity.moved));
        let http2 = worker.generation().settings.config.listen.http2;
        let first = poll_fn(|context| connection.poll_preface(context));
        return if http2 && activity.attend(pin!(first)).await?.ok()? {
            Some(Greeted::Http2(peer, connection.into_stream()?))
        } else {
            Some(Greeted::Http1(peer, connection))
        };
    }
    // The settings at the start of the connection; not held while it lasts.
    let settings = Arc::clone(&worker.generation().settings);
    let tls = &settings.tls;
    let shaking = async {
        match (door, &tls.internal, &tls.public) {
            (Door::Internal, Some(internal), _) => {
                TlsAcceptor::from(internal.server_config()).accept(stream).await
            }
            (Door::Tls, _, Some((store, server))) => tls::accept(store, Arc::clone(server), stream).await,
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    };
    let shaken = tokio::time::timeout(settings.config.timeouts.header, shaking).await;
    let generation = worker.generation();
    generation.metrics.tls_handshake(matches!(shaken, Ok(Ok(_))));
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!("TLS handshake took too long");
            return None;
        }
    };
    let (_, session) = stream.get_ref();
    let facts = tls::handshake_facts(session);
    generation.metrics.tls_session(facts.is_tls13, facts.is_resumed);
    let peer = if door == Door::Internal {
        if let Some(shown) = tls::shown_by(session) {
            // Noted before the look: what is listed from now on is found by the tick.
            activity.shows(shown);
            if worker.refuses(&shown) {
                return None;
            }
        }
        match tls::Caller::of(session) {
            Some(tls::Caller::Gateway(region)) if settings.config.topology.region(&region).is_some() => {
                Peer::internal(address, None)
            }
            Some(tls::Caller::Control(program)) => Peer::internal(address, Some(program)),
            caller => {
                tracing::warn!(?caller, "a peer's certificate names no region of ours");
                return None;
            }
        }
    } else {
        Peer::new(address, Entry::Edge, true)
    };
    let http2 = session.alpn_protocol() == Some(b"h2");
    let stream = Stream::Tls(Box::new(stream.into()));
    Some(if http2 {
        Greeted::Http2(peer, Prefixed::new(bytes::Bytes::new(), stream))
    } else {
        Greeted::Http1(peer, ServerConnection::new(stream, Rc::clone(&activity.moved)))
    })
}

/// An address in use, with what to do about it.
pub fn explain_bind(address: SocketAddr, key: &str, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there; stop it or choose another port",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; choose a higher one",
        _ => "check the address",
    };
    let everywhere = address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    format!(
        "listen.{key} = \"{address}\": {error}; {remedy}{}",
        if everywhere { " (0.0.0.0 is every address)" } else { "" }
    )
}
