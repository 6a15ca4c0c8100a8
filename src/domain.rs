//! See ARCHITECTURE.md.
pub mod replication_lag;
