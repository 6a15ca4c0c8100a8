//! A region's databases: pools, TLS toward them, and what each one is and how far it has come.
//!
//! A [`Monitor`] keeps one session open to each database and asks one question again and again: primary or replica,
//! which timeline, which position, and what it says of its jurisdiction's home. What it learns is published as a [`DatabaseState`]; lag is worked out from these
//! by `domain::replication_lag`.
//!
//! Invariants
//! - A position is published only while the session that read it is open. After a crash a replica may come back with
//!   less than it had.
//! - Nothing waits without a deadline: a database that accepts connections and then says nothing is unreachable.
//! - No fault and no log line carries a password.
//!
//! Absent by design: clusters and jurisdictions (the caller knows which database plays which part), failover, and
//! connections through a pooler: positions come straight from the server that has them.

mod commit_horizon;
mod database;
mod fault;
mod libpq;
mod monitor;
mod position;
mod sample;
mod subscription;
mod tls;
mod url;

pub use database::{Database, Limits};
pub use fault::{DatabaseFault, describe};
pub use monitor::{Cadence, DatabaseState, Monitor};
pub use position::{PositionKeeper, PositionSource, Questioned};
pub use sample::{JurisdictionRow, Role, Sample};
pub use subscription::{Subscription, Told};
pub use url::{DatabaseUrl, UrlFault};

#[cfg(test)]
pub(crate) mod tests;
