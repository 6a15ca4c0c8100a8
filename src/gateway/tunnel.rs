//! An upgraded connection: bytes both ways until one side ends, or nothing moves for too long.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use super::connection::Activity;
use super::record::Ending;
use crate::http1::Prefixed;
use crate::telemetry::WorkerMetrics;

/// The upstream's side of a granted upgrade. The exchange ends with the tunnel.
#[derive(Debug)]
pub struct Tunnel {
    pub upstream: Prefixed,
    pub ending: Box<Ending>,
}

/// Counts an open tunnel, however it ends.
struct Counted(Arc<WorkerMetrics>);

/// The client's side, which tells when something moves.
struct Watched {
    stream: Prefixed,
    activity: Rc<Activity>,
}

impl Tunnel {
    /// Joins the sides. Runs under the connection's deadline.
    pub async fn run(mut self, stream: Prefixed) {
        let _counted = Counted::new(self.ending.metrics());
        let mut downstream = Watched { stream, activity: self.ending.activity() };
        if let Err(error) = copy_bidirectional(&mut downstream, &mut self.upstream).await {
            tracing::debug!(%error, "tunnel ended");
        }
    }
}

impl Counted {
    fn new(metrics: Arc<WorkerMetrics>) -> Self {
        metrics.websocket_opened();
        Self(metrics)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.websocket_closed();
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.touch();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if polled.is_ready() {
            self.activity.touch();
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if polled.is_ready() {
            self.activity.touch();
        }
        polled
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
