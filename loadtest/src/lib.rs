//! The world on one machine, the scenarios that run in it, and the comparison with the peers.
mod certificate;
pub mod changes;
pub mod checks;
pub mod demo;
pub mod gameday;
pub mod generator;
pub mod latency;
pub mod oracle;
pub mod peers;
pub mod positions;
pub mod programs;
pub mod world;
