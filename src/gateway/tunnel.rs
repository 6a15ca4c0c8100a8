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

/// One side, which tells when something moves, and how far the frames have come that were written to it.
struct Watched {
    stream: Prefixed,
    activity: Rc<Activity>,
    written: Rc<Cell<Frames>>,
}

/// A close frame with status 1012, "service restart" (RFC 6455 §5.5.1, IANA's registry of close codes).
const CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xf4];
/// The same as a client has to send it: masked, by a mask of nothing.
const MASKED_CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xf4];
/// How long a frame that has begun may take to end, and then how long the two sides have to take their farewell.
const FRAME_END: Duration = Duration::from_secs(3);
const FAREWELL: Duration = Duration::from_secs(1);

impl Tunnel {
    /// Joins the sides, until one of them ends or the subject moves. Runs under the connection's deadline.
    pub async fn run(self, stream: Prefixed) {
        let Self { upstream, ending } = self;
        let _counted = Counted::new(ending.metrics());
        let told_to_end = ending.record.present.as_ref().and_then(Present::told_to_end);
        let told_to_end = told_to_end.unwrap_or_else(|| Box::pin(std::future::pending()));
        let mut downstream = Watched::new(stream, &ending);
        let mut upstream = Watched::new(upstream, &ending);
        let to_client = Rc::clone(&downstream.written);
        let ended = {
            let mut joined = pin!(copy_bidirectional(&mut downstream, &mut upstream));
            tokio::select! {
                ended = &mut joined => Some(ended),
                () = told_to_end => {
                    // A frame that has begun ends first.
                    let between = poll_fn(|context| match joined.as_mut().poll(context) {
                        _ if to_client.get().is_between() => Poll::Ready(None),
                        Poll::Ready(ended) => Poll::Ready(Some(ended)),
                        Poll::Pending => Poll::Pending,
                    });
                    tokio::time::timeout(FRAME_END, between).await.unwrap_or(None)
                }
            }
        };
        match ended {
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::debug!(%error, "tunnel ended"),
            None => {
                let farewell = async {
                    tokio::join!(downstream.restart(&CLOSE), upstream.restart(&MASKED_CLOSE));
                };
                if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
                    tracing::debug!("tunnel cut");
                }
            }
        }
    }
}

impl Watched {
    fn new(stream: Prefixed, ending: &Ending) -> Self {
        Self { stream, activity: ending.activity(), written: Rc::default() }
    }

    /// Tells that the service restarts (1012): the client comes back, and then goes to the subject's new home. Half a frame
    /// can't be ended: then the end alone has to do.
    async fn restart(&mut self, close: &[u8]) {
        let told = async {
            if self.written.get().takes_more() {
                self.write_all(close).await?;
            }
            self.shutdown().await?;
            // A socket that is closed with bytes unread resets, and takes with it what was said last.
            tokio::io::copy(&mut self.stream, &mut tokio::io::sink()).await
        };
        if let Err(error) = told.await {
            tracing::debug!(%error, "farewell not taken");
        }
    }

    fn passed(&self, bytes: &[u8]) {
        self.activity.touch();
        let mut frames = self.written.get();
        frames.pass(bytes);
        self.written.set(frames);
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
        if let Poll::Ready(Ok(count)) = &polled {
            self.passed(&bytes[..*count]);
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
            let mut left = *count;
            for slice in slices {
                let taken = left.min(slice.len());
                self.passed(&slice[..taken]);
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
