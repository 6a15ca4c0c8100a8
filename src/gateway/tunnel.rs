//! An upgraded connection: bytes both ways until one side ends, or nothing moves for too long.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, copy_bidirectional};

use super::connection::Activity;
use super::presence::Present;
use super::record::Ending;
use crate::http1::Prefixed;
use crate::telemetry::WorkerMetrics;

mod frames;

use frames::Frames;

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
    written: Rc<Cell<Frames>>,
    read: Rc<Cell<Frames>>,
}

/// A close frame with status 1012, "service restart" (RFC 6455 §5.5.1, IANA's registry of close codes).
const CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xf4];
/// The same as a client has to send it: masked, by a mask of nothing.
const MASKED_CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xf4];
/// How long the two sides have to take their farewell.
const FAREWELL: Duration = Duration::from_secs(1);

fn pass(frames: &Cell<Frames>, bytes: &[u8]) {
    let mut now = frames.get();
    now.pass(bytes);
    frames.set(now);
}

impl Tunnel {
    /// Joins the sides, until one of them ends or the subject moves. Runs under the connection's deadline.
    pub async fn run(mut self, stream: Prefixed) {
        let _counted = Counted::new(self.ending.metrics());
        let told_to_end = self.ending.record.present.as_ref().and_then(Present::told_to_end);
        let mut told_to_end = told_to_end.unwrap_or_else(|| Box::pin(std::future::pending()));
        let (to_client, to_upstream) = (Rc::default(), Rc::default());
        let mut downstream = Watched {
            stream,
            activity: self.ending.activity(),
            written: Rc::clone(&to_client),
            read: Rc::clone(&to_upstream),
        };
        let ended = {
            let mut joined = pin!(copy_bidirectional(&mut downstream, &mut self.upstream));
            let mut told = false;
            poll_fn(|context| {
                if let Poll::Ready(ended) = joined.as_mut().poll(context) {
                    return Poll::Ready(Some(ended));
                }
                told = told || told_to_end.as_mut().poll(context).is_ready();
                // A frame that has begun ends first.
                if told && to_client.get().is_between() { Poll::Ready(None) } else { Poll::Pending }
            })
            .await
        };
        match ended {
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::debug!(%error, "tunnel ended"),
            None => self.restart(downstream, to_upstream.get()).await,
        }
    }

    /// Tells both sides that the service restarts (1012): the client comes back, and then goes to the subject's new home.
    async fn restart(&mut self, mut downstream: Watched, to_upstream: Frames) {
        let farewell = async {
            downstream.write_all(&CLOSE).await?;
            downstream.shutdown().await?;
            // What the client has said so far has reached the API as far as it could; half a frame can't be ended.
            if to_upstream.is_between() {
                self.upstream.write_all(&MASKED_CLOSE).await?;
            }
            self.upstream.shutdown().await
        };
        if let Ok(Err(error)) = tokio::time::timeout(FAREWELL, farewell).await {
            tracing::debug!(%error, "tunnel cut");
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
            pass(&self.read, &buffer.filled()[before..]);
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
        if let Poll::Ready(Ok(count)) = &polled {
            self.activity.touch();
            pass(&self.written, &bytes[..*count]);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(count)) = &polled {
            self.activity.touch();
            let mut left = *count;
            for slice in slices {
                let taken = left.min(slice.len());
                pass(&self.written, &slice[..taken]);
                left -= taken;
            }
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
