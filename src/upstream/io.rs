//! The way to an upstream: plain TCP or a unix socket within a region, mutual TLS between regions.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::config::{Endpoint, EndpointAddress};
use crate::http1::Stream;

/// How to open a connection to an endpoint.
#[derive(Clone)]
pub enum Dial {
    Plain,
    /// Mutual TLS, to a peer whose certificate carries exactly this name.
    Tls {
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    },
}

impl Dial {
    pub(super) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain, Self::Plain) => true,
            (Self::Tls { config, name }, Self::Tls { config: other_config, name: other_name }) => {
                Arc::ptr_eq(config, other_config) && name == other_name
            }
            _ => false,
        }
    }

    /// Resolves, connects and, over TLS, shakes hands, all within `limit`.
    pub(super) async fn open(&self, endpoint: &Endpoint, limit: Duration) -> io::Result<Stream> {
        let open = async {
            let stream = match endpoint.address() {
                EndpointAddress::Tcp(address) => TcpStream::connect(address).await?,
                EndpointAddress::Unix(path) => return Ok(Stream::Unix(UnixStream::connect(path).await?)),
            };
            stream.set_nodelay(true)?;
            match self {
                Self::Plain => Ok(Stream::Tcp(stream)),
                Self::Tls { config, name } => {
                    let connector = TlsConnector::from(Arc::clone(config));
                    Ok(Stream::Tls(Box::new(connector.connect(name.clone(), stream).await?.into())))
                }
            }
        };
        tokio::time::timeout(limit, open).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

/// How many bytes came on a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Rc<Cell<u64>>);

impl Heard {
    pub(super) fn count(&self) -> u64 {
        self.0.get()
    }

    /// Both tell of the same connection.
    pub(super) fn same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

/// A stream that counts what comes.
pub(super) struct Listening {
    stream: Stream,
    heard: Heard,
}

impl Listening {
    pub(super) const fn new(stream: Stream, heard: Heard) -> Self {
        Self { stream, heard }
    }
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.heard.0.set(self.heard.count() + (buffer.filled().len() - before) as u64);
        polled
    }
}

impl AsyncWrite for Listening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
