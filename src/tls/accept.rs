//! A client's handshake on an accepted stream, and what is worth counting of it.

use std::io;
use std::sync::Arc;

use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection, server::Acceptor};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, server::TlsStream};

use super::CertificateStore;

/// A fatal alert `unrecognized_name` (112) in a record of its own, as it stands before any keys are agreed on
/// (RFC 8446 §6, RFC 6066 §3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What a complete handshake was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeFacts {
    /// TLS 1.3, else TLS 1.2.
    pub is_tls13: bool,
    /// By ticket or session id: no certificate was shown and nothing was signed.
    pub is_resumed: bool,
}

/// What a connection's handshake was. Meaningful once it is complete.
pub fn handshake_facts(connection: &ServerConnection) -> HandshakeFacts {
    HandshakeFacts {
        is_tls13: connection.protocol_version() == Some(ProtocolVersion::TLSv1_3),
        is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
    }
}

/// Shakes hands with a client. `config` is a [`downstream_config`](super::downstream_config) over `store`. A name that
/// `store` refuses is answered with the alert that says so, which the configuration alone can't (rustls says
/// `access_denied`). The caller bounds the time.
pub async fn accept<S>(
    store: &CertificateStore,
    config: Arc<ServerConfig>,
    stream: S,
) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if !store.is_strict() {
        return TlsAcceptor::from(config).accept(stream).await;
    }
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    if store.refuses(start.client_hello().server_name()) {
        start.io.write_all(&UNRECOGNIZED_NAME).await?;
        start.io.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the client asked for no name of ours"));
    }
    start.into_stream(config).await
}
