//! Listeners: one socket per worker on the same address, so that the kernel spreads connections without a shared queue.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::connection::{Activity, Client, Watched, serve};
use super::exchange::exchange;
use super::worker::{Listed, Worker};
use crate::domain::decide::Entry;
use crate::tls;

/// Connections the kernel may hold for us before they are accepted.
const BACKLOG: i32 = 4096;

/// How long to wait after accepting failed, as a rule because file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Header lines that hyper takes unless told otherwise.
const HYPER_HEADERS: usize = 100;

/// Which door a listener is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Plain,
    Tls,
    /// Mutual TLS, for other regions' gateways.
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
                tokio::task::spawn_local(async move {
                    welcome(&worker, stream, peer.ip(), door, activity, listed).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn welcome(
    worker: &Rc<Worker>,
    stream: TcpStream,
    peer: IpAddr,
    door: Door,
    activity: Arc<Activity>,
    listed: Listed,
) {
    // An error here means that the peer has gone already; reading will say so.
    let _ = stream.set_nodelay(true);
    // The settings at the start of the connection; not held while it lasts.
    let settings = Arc::clone(&worker.generation().settings);
    let config = &settings.config;
    let client = |entry, secure| {
        let mut client = Client::new(peer, entry, secure, Arc::clone(&activity));
        client.listed = Some(listed);
        Rc::new(client)
    };
    let server = match door {
        Door::Plain => {
            drop(settings);
            return converse(worker, client(Entry::Edge, false), stream).await;
        }
        Door::Tls => settings.tls.public.as_ref().map(|(_, server)| Arc::clone(server)),
        Door::Internal => settings.tls.internal.as_ref().map(|internal| internal.server_config()),
    };
    let Some(server) = server else { return };
    let shaken = tokio::time::timeout(config.timeouts.header, handshake(server, stream)).await;
    worker.generation().metrics.tls_handshake(matches!(shaken, Ok(Ok(_))));
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => return tracing::debug!("TLS handshake took too long"),
    };
    if door == Door::Tls {
        drop(settings);
        return converse(worker, client(Entry::Edge, true), stream).await;
    }
    let region = tls::peer_region(stream.get_ref().1);
    if region.as_deref().and_then(|name| config.topology.region(name)).is_none() {
        return tracing::warn!(?region, "a peer's certificate names no region of ours");
    }
    drop(settings);
    converse(worker, client(Entry::Hop, true), stream).await;
}

async fn handshake(
    server: Arc<ServerConfig>,
    stream: TcpStream,
) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    TlsAcceptor::from(server).accept(stream).await
}

async fn converse<S>(worker: &Rc<Worker>, client: Rc<Client>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::clone(&client.activity);
    let stream = TokioIo::new(Watched::new(stream, &activity));
    let limits = worker.generation().settings.config.limits.clone();
    let service_worker = Rc::clone(worker);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (worker, client) = (Rc::clone(&service_worker), Rc::clone(&client));
        async move { Ok::<_, std::convert::Infallible>(exchange(&worker, &client, request).await) }
    });
    let mut builder = http1::Builder::new();
    // Setting it, even to hyper's own default, costs each request an array of that many headers on the heap.
    if limits.headers != HYPER_HEADERS {
        builder.max_headers(limits.headers);
    }
    let connection = builder
        .max_header_size(limits.header_bytes)
        .half_close(false)
        .serve_connection(stream, service)
        .with_upgrades();
    if let Err(error) = serve(connection, &activity, UpgradeableConnection::graceful_shutdown).await {
        tracing::debug!(%error, "connection ended");
    }
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
