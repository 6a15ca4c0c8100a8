//! The programs as users run them: real gateways against real upstreams, real Postgres, Redis and Express.
//!
//! Two kinds of tests. Those in [`world`] share one world of four regions. All others start a gateway of their own
//! before an upstream that the test writes byte by byte, because that is where faults can be put.
//!
//! Rules
//! - Nothing is waited for by a guess: conditions are polled, and [`harness::PATIENCE`] only ends a test that would hang.
//! - No speed is asserted.
//! - A [`harness::Gateway`] ends with its test, and its end is part of the test: see its drop.

mod access_log;
mod bodies;
mod commands;
mod drain;
mod forwarded;
mod framing;
mod grpc;
mod harness;
mod health;
mod hop;
mod http2;
mod http2_upstream;
mod identity;
mod introspection;
mod key_rotation;
mod limits;
mod moves;
mod observe;
mod positions;
mod promotion;
mod reload;
mod retry;
mod routes;
mod set_aside;
mod sidecar;
mod timeouts;
mod tls;
mod upgrade;
mod world;
