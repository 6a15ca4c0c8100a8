//! Where subjects are: the union of all registers in memory, and how it gets there and stays true.
//!
//! Invariants
//! - A look-up takes no lock, waits for nobody, and sees one whole version.
//! - What a register said is changed by that register only; the union decides between registers (`domain::register`).
//! - Only keyed hashes are held, here and on disk (R7).
//!
//! Absent by design: what a request does with an entry (the gateway), and writing registers.

mod cursor;
mod file;
mod follow;
mod forgotten;
pub mod keys;
mod overlay;
mod pack;
mod record;
mod registers;
mod row;
mod rows;
mod run;
mod snapshot;
mod table;
mod writer;

pub use cursor::{Cursor, Height, SourceIdentity, TooLow};
pub use file::{FileFault, FileFollower};
pub use follow::{
    FollowSettings, Follower, Freshness, GatewayIdentity, Member, RegisterHandle, RegisterView, Report,
    Shared, Stage, TooManyReports,
};
pub use forgotten::Forgotten;
pub use keys::{KeyId, KeyKind, RegisterKeys, SubjectKeys, normalise};
pub use registers::{Registers, RegistersSettings, Source};
pub use snapshot::{Progress, SnapshotFault, SnapshotFile};
pub use table::Table;
pub use writer::{Applied, Change, RegisterLoad, TableWriter};

#[cfg(test)]
mod tests;
