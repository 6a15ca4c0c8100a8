//! Connections over real socket pairs, and the test's end of them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::http1::fault::{BodyFault, HeadFault};
use crate::http1::head::{HeadLimits, RequestHead, ResponseHead};
use crate::http1::{ClientConnection, IncomingBody, SendError, ServerConnection, Stream};

pub const LIMITS: HeadLimits = HeadLimits { bytes: 32 * 1024, lines: 100 };

/// Ends a test that would hang; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The test's end of a connection.
pub struct Far(pub UnixStream);

/// A body made of pieces.
pub struct Pieces {
    pieces: VecDeque<Result<Frame<Bytes>, BodyFault>>,
    exact: Option<u64>,
}

pub fn server() -> (ServerConnection, Far) {
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    (ServerConnection::new(Stream::Unix(near), std::rc::Rc::default()), Far(far))
}

pub fn client() -> (ClientConnection, Far) {
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    (ClientConnection::new(Stream::Unix(near)), Far(far))
}

pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it hangs")
}

pub async fn next(server: &ServerConnection) -> Result<Option<(Box<RequestHead>, IncomingBody)>, HeadFault> {
    within(poll_fn(|context| server.poll_request(context, LIMITS))).await
}

/// The next request, which there is.
pub async fn request(server: &ServerConnection) -> (Box<RequestHead>, IncomingBody) {
    next(server).await.expect("a request, not a fault").expect("a request, not the end")
}

pub async fn response(client: &mut ClientConnection) -> Result<ResponseHead, SendError> {
    within(poll_fn(|context| client.poll_response(context))).await
}

/// A body's bytes and trailers, to its end.
pub async fn whole<B>(mut body: B) -> Result<(Vec<u8>, Option<HeaderMap>), B::Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (mut bytes, mut trailers) = (Vec::new(), None);
    while let Some(frame) = within(body.frame()).await {
        match frame?.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((bytes, trailers))
}

/// The same of the response that a client is at.
pub async fn whole_of(client: &mut ClientConnection) -> Result<(Vec<u8>, Option<HeaderMap>), BodyFault> {
    let (mut bytes, mut trailers) = (Vec::new(), None);
    while let Some(frame) = within(poll_fn(|context| client.poll_frame(context))).await {
        match frame?.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((bytes, trailers))
}

impl Far {
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.0.write_all(bytes.as_ref())).await.expect("the near end takes bytes");
    }

    /// No more will be sent.
    pub async fn end(&mut self) {
        within(self.0.shutdown()).await.expect("a socket that is open");
    }

    /// Exactly what comes next.
    pub async fn expect(&mut self, text: &str) {
        let mut bytes = vec![0; text.len()];
        within(self.0.read_exact(&mut bytes)).await.expect("that many bytes");
        assert_eq!(String::from_utf8_lossy(&bytes), text);
    }

    /// Everything to the connection's end.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        within(self.0.read_to_end(&mut bytes)).await.expect("an orderly end");
        bytes
    }

    /// What is there now.
    pub fn at_hand(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 256 * 1024];
        let count = self.0.try_read(&mut bytes).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }
}

impl Pieces {
    /// Of unknown length.
    pub fn of(pieces: &[&'static str]) -> Self {
        let pieces = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
        Self { pieces: pieces.collect(), exact: None }
    }

    /// Of the pieces' length, said in advance.
    pub fn exact(pieces: &[&'static str]) -> Self {
        let exact = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { exact: Some(exact), ..Self::of(pieces) }
    }

    pub fn then(mut self, frame: Result<Frame<Bytes>, BodyFault>) -> Self {
        self.pieces.push_back(frame);
        self
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        Poll::Ready(self.pieces.pop_front())
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
