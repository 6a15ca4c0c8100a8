//! A worker's end of the log.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::clock::Clock;
use super::record::AccessRecord;
use super::{BUFFER, Batch, HAND_OVER_AT, LineCounts, Message, QUEUE, line};
use crate::clock;

/// Formats lines into a buffer of its own. One a worker; its owner calls [`AccessLogHandle::flush`] some ten times a
/// second, so that lines don't wait for traffic. Dropping it flushes.
pub struct AccessLogHandle {
    head: Box<[u8]>,
    clock: Clock,
    buffer: Vec<u8>,
    /// Lines in `buffer`.
    lines: u64,
    queue: SyncSender<Message>,
    emptied: Receiver<Vec<u8>>,
    give_back: SyncSender<Vec<u8>>,
    counts: Arc<LineCounts>,
}

impl AccessLogHandle {
    pub(super) fn new(region: &str, queue: SyncSender<Message>, counts: Arc<LineCounts>) -> Self {
        // Never fuller than the queue and the writer's own hand: the writer need not wait to give a buffer back.
        let (give_back, emptied) = sync_channel(QUEUE + 1);
        Self {
            head: line::head(region),
            clock: Clock::new(clock::now(), clock::wall()),
            buffer: Vec::with_capacity(BUFFER),
            lines: 0,
            queue,
            emptied,
            give_back,
            counts,
        }
    }

    /// Adds a line. Costs a copy; once in about a hundred lines also handing the buffer over, which never waits.
    pub fn write(&mut self, record: &AccessRecord<'_>) {
        line::append(&mut self.buffer, &self.head, &mut self.clock, record);
        self.lines += 1;
        if self.buffer.len() >= HAND_OVER_AT {
            self.hand_over();
            if self.buffer.len() >= HAND_OVER_AT {
                self.give_up();
            }
        }
    }

    /// Hands over what there is, if the queue has room, and reads the wall clock. To be called every 100 ms.
    pub fn flush(&mut self) {
        self.clock.set(clock::now(), clock::wall());
        if self.lines > 0 {
            self.hand_over();
        }
    }

    /// Sends the buffer off and starts another. With the queue full, keeps it.
    fn hand_over(&mut self) {
        let batch = Batch {
            bytes: mem::take(&mut self.buffer),
            lines: mem::take(&mut self.lines),
            give_back: self.give_back.clone(),
            counts: self.counts.clone(),
        };
        match self.queue.try_send(Message::Lines(batch)) {
            Ok(()) => self.buffer = self.emptied.try_recv().unwrap_or_else(|_| Vec::with_capacity(BUFFER)),
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                if let Message::Lines(mut batch) = message {
                    self.buffer = mem::take(&mut batch.bytes);
                    self.lines = mem::take(&mut batch.lines);
                }
            }
        }
    }

    /// Drops the lines in the buffer, counting them.
    fn give_up(&mut self) {
        self.counts.dropped.fetch_add(self.lines, Ordering::Relaxed);
        self.lines = 0;
        self.buffer.clear();
    }
}

impl Drop for AccessLogHandle {
    fn drop(&mut self) {
        self.flush();
        self.give_up();
    }
}

#[cfg(test)]
impl AccessLogHandle {
    pub(super) fn replace_buffer(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
    }

    pub(super) fn buffer_capacity(&self) -> usize {
        self.buffer.capacity()
    }
}
