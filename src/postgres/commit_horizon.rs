//! The position up to which a primary's log matters to readers.
//!
//! The end of the log runs ahead of what anyone can see: a transaction that writes and then thinks leaves bytes that
//! nobody flushes, for up to 15 s on a quiet server, and a replica can't have what was not flushed. Measured
//! against that end, every replica of a quiet server would look late whenever someone holds a transaction open.
//!
//! So a position is kept for as long as no transaction has ended: the snapshot's text (xmin, xmax, running ones) is
//! the same exactly then, because xmax follows the latest *ended* transaction and one that ends leaves the list. As
//! the snapshot is taken before the position is read, every commit the snapshot shows lies below the position.

use crate::domain::replication_lag::LogPosition;

/// Of one session to one primary.
#[derive(Debug, Default)]
pub(super) struct CommitHorizon {
    last: Option<(String, LogPosition)>,
}

impl CommitHorizon {
    /// A position that everything visible in `snapshot` lies below: `read` (the end of the log, read after the
    /// snapshot was taken), or the one returned before if nothing has been committed since.
    pub(super) fn settle(&mut self, snapshot: &str, read: LogPosition) -> LogPosition {
        match &self.last {
            Some((known, position)) if known == snapshot && position.timeline == read.timeline => *position,
            _ => {
                self.last = Some((snapshot.to_owned(), read));
                read
            }
        }
    }

    /// Forgets, because the server is no primary any more.
    pub(super) fn clear(&mut self) {
        self.last = None;
    }
}
