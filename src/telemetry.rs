//! What the gateway says about itself: counters, the access log, its own log.
//!
//! Invariants
//! - The request path takes no lock and writes no cache line that another worker writes: each worker counts in its own
//!   [`WorkerMetrics`] and formats log lines into its own [`AccessLogHandle`]; sums are made at scrape, files are
//!   written by a thread of their own.
//! - R7: what leaves here carries keyed hashes of subjects ([`SubjectHash`]), shortened addresses
//!   ([`TruncatedAddress`]) and route patterns. The types of [`AccessRecord`] leave no room for a path, a query, a token
//!   or a body. Label values come from the configuration and from fixed lists, never from a request.
//! - Everything is bounded: label sets by the configuration, log buffers by a queue that drops and counts.
//! - Every metric is in the [`catalog`] and in `docs/METRICS.md`.
//!
//! Absent by design: sampling, pushing, traces. A counter that nobody can explain is worse than none.

pub mod access_log;
mod address;
pub mod catalog;
mod cells;
mod control;
mod histogram;
mod labels;
pub mod log;
mod process;
pub mod redaction;
mod registry;
mod subject;
mod totals;
mod worker;

pub use access_log::{AccessLog, AccessLogHandle, AccessRecord, Destination, Protocol};
pub use address::{TruncatedAddress, truncate_address};
pub use control::{ControlMetrics, DatabaseRole};
pub use labels::{Access, Decision, HoldOutcome, Labels, PositionEvent, UpstreamFailure};
pub use registry::Metrics;
pub use subject::{SubjectHash, SubjectHasher};
pub use worker::{RequestOutcome, WorkerMetrics};
