//! The world on one machine, the scenarios that run in it, and the comparison with the peers.
pub mod demo;
pub mod generator;
pub mod oracle;
pub mod peers;
pub mod positions;
pub mod world;
