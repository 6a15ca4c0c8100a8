//! The pure core: what the words mean and what may go where.
//!
//! Invariants
//! - No async, no clock, no I/O, no logging: callers pass facts in and perform what comes out.
//! - Only [`decide::decide`] makes a [`decide::Permit`], and only a permit lets a request leave the gateway.

pub mod classify;
pub mod cors;
pub mod countries;
pub mod decide;
pub mod ejection;
pub mod fingerprint;
pub mod graphql;
pub mod hexadecimal;
pub mod hold;
pub mod liveness;
mod media_type;
pub mod named;
pub mod names;
pub mod position;
pub mod promotion;
pub mod register;
pub mod replay;
pub mod replication_lag;
pub mod routes;
pub mod secret;
pub mod topology;
pub mod upstream_groups;
