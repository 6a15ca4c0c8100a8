//! The way to an upstream: plain TCP or a unix socket within a region, mutual TLS between regions.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
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
