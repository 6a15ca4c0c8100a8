//! The access log: one JSON line a request, off the request path.
//!
//! ```text
//! worker: write(record) → own buffer ── ≥ 32 KiB, or the tick ──▶ bounded queue ──▶ one thread: write(2)
//!                            ▲──────────────── emptied buffers ◀──────────────────────┘
//! ```
//!
//! Invariants
//! - A worker never waits for the disk: a full queue costs lines, which are counted, not time.
//! - Memory is bounded: [`QUEUE`] buffers wait at most, and every buffer is used again.
//! - Every line written to a handle ends up in exactly one of [`LineCounts`]' three numbers.
//! - R7: see [`AccessRecord`].
//!
//! Absent by design: rotation (that is logrotate's: it moves the file and has [`AccessLog::reopen`] called), formats
//! other than JSON lines, and lines for requests that are still going on.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

mod clock;
mod handle;
mod line;
mod record;
mod writer;

pub use handle::AccessLogHandle;
pub use record::{AccessRecord, Protocol};

/// A worker hands over its buffer once it holds this much: one write(2) for about a hundred lines.
const HAND_OVER_AT: usize = 32 * 1024;

/// What a buffer can hold without growing: the rest of a last line, and what the queue refused, fit in.
const BUFFER: usize = HAND_OVER_AT + 16 * 1024;

/// Buffers that may wait for the writer, over all workers: 3 MiB, some 0.1 s of lines at 100,000 requests a second.
const QUEUE: usize = 64;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Stdout,
    /// Appended to; created, readable by owner and group, if it is not there.
    File(PathBuf),
}

/// The log of a process: owns the writing thread. Dropping it writes what was handed over, like [`AccessLog::finish`].
pub struct AccessLog {
    region: Box<str>,
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
    finished: Receiver<()>,
}

/// What became of the lines.
#[derive(Debug, Default)]
pub struct LineCounts {
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// What a worker hands to the writer.
enum Message {
    Lines {
        bytes: Vec<u8>,
        lines: u64,
        give_back: SyncSender<Vec<u8>>,
    },
    /// Look at the flags.
    Wake,
}

/// What workers, the writer and the owner all see. Touched once a buffer, not once a line.
#[derive(Default)]
struct Shared {
    lines: Arc<LineCounts>,
    reopen: AtomicBool,
    closing: AtomicBool,
}

impl AccessLog {
    /// Opens the destination and starts the writer. `region` is this gateway's, in every line.
    pub fn start(destination: &Destination, region: &str) -> io::Result<Self> {
        Self::start_on(writer::Sink::open(destination)?, region)
    }

    /// A worker's own end. Lines written after the log was finished count as dropped.
    pub fn handle(&self) -> AccessLogHandle {
        AccessLogHandle::new(&self.region, self.queue.clone(), self.shared.lines.clone())
    }

    /// Asks the writer to close its file and to open the path again, which someone has moved away. If that fails, the
    /// old file stays in use and the log of errors says so.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.wake();
    }

    /// What became of the lines so far, for [`Metrics::access_log`](super::Metrics::access_log).
    pub fn lines(&self) -> Arc<LineCounts> {
        self.shared.lines.clone()
    }

    /// Writes what handles have handed over, then ends the writer. Handles should be dropped, or flushed, before.
    /// Returns whether all was done within `deadline`; after that the process may exit and leave a stuck disk behind.
    pub fn finish(self, deadline: Duration) -> bool {
        self.close();
        self.finished.recv_timeout(deadline).is_ok()
    }

    fn start_on(sink: writer::Sink, region: &str) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let (done, finished) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let writer = writer::Writer::new(sink, messages, shared.clone());
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            writer.run();
            // Nobody waits for it if the log was dropped and not finished.
            let _ = done.send(());
        })?;
        Ok(Self { region: region.into(), queue, shared, finished })
    }

    fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        self.wake();
    }

    /// If the queue is full the writer is busy and looks at the flags when it gets there.
    fn wake(&self) {
        let _ = self.queue.try_send(Message::Wake);
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl LineCounts {
    /// Label values of the metric, with their counts.
    pub(super) fn by_outcome(&self) -> [(&'static str, u64); 3] {
        [("written", self.written()), ("dropped", self.dropped()), ("failed", self.failed())]
    }

    /// Lines in the file.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Lines for which the queue had no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Lines that the file did not take.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
