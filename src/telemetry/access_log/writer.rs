//! The thread that writes.
//!
//! Invariants
//! - Buffers go out in the order they came, each with one write(2) if the file takes it whole.
//! - A failed write costs the lines of one buffer, counted, and never glues two lines together: after a torn one the
//!   next buffer starts on a new line.
//! - Failures are reported once when they begin and once when they end, not once a buffer.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use super::{Destination, Message, Shared};

/// An open destination.
pub(super) struct Sink {
    file: File,
    /// Where to open it again.
    path: Option<PathBuf>,
}

impl Sink {
    pub(super) fn open(destination: &Destination) -> io::Result<Self> {
        match destination {
            // The descriptor itself: no lock, and no buffer that looks for line feeds.
            Destination::Stdout => Ok(Self::of(File::from(io::stdout().as_fd().try_clone_to_owned()?))),
            Destination::File(path) => Ok(Self { file: append_to(path)?, path: Some(path.clone()) }),
        }
    }

    pub(super) fn of(file: File) -> Self {
        Self { file, path: None }
    }
}

pub(super) struct Writer {
    sink: Sink,
    messages: Receiver<Message>,
    shared: Arc<Shared>,
    failing: bool,
    /// The last write ended within a line.
    torn: bool,
}

impl Writer {
    pub(super) fn new(sink: Sink, messages: Receiver<Message>, shared: Arc<Shared>) -> Self {
        Self { sink, messages, shared, failing: false, torn: false }
    }

    /// Writes until the log is closed and its queue is empty, or nobody is left to send.
    pub(super) fn run(mut self) {
        while let Some(message) = self.next() {
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            if let Message::Lines { mut bytes, lines, give_back } = message {
                self.write(&bytes, lines);
                bytes.clear();
                // No room, or its worker is gone: then the buffer is not needed any more.
                let _ = give_back.try_send(bytes);
            }
        }
    }

    fn next(&self) -> Option<Message> {
        if self.shared.closing.load(Ordering::Acquire) {
            self.messages.try_recv().ok()
        } else {
            self.messages.recv().ok()
        }
    }

    fn write(&mut self, bytes: &[u8], lines: u64) {
        let outcome = self.try_write(bytes);
        let counts = &self.shared.lines;
        match outcome {
            Ok(()) => {
                counts.written.fetch_add(lines, Ordering::Relaxed);
                if self.failing {
                    tracing::info!(failed = counts.failed(), "the access log can be written again");
                }
                self.failing = false;
            }
            Err(error) => {
                counts.failed.fetch_add(lines, Ordering::Relaxed);
                if !self.failing {
                    tracing::error!(%error, "the access log can't be written: its lines are lost until it can");
                }
                self.failing = true;
            }
        }
    }

    fn try_write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.sink.file.write_all(b"\n")?;
            self.torn = false;
        }
        while !bytes.is_empty() {
            match self.sink.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.torn = bytes[count - 1] != b'\n';
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        let Some(path) = &self.sink.path else { return };
        match append_to(path) {
            Ok(file) => {
                self.sink.file = file;
                self.torn = false;
            }
            Err(error) => {
                tracing::error!(%error, path = %path.display(), "the access log can't be opened again: the old file stays in use");
            }
        }
    }
}

/// Readable by owner and group alone: keyed hashes and networks are still personal data.
fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}
