//! `residency`: requests and rows stay where law or contract says they must.
//!
//! Two programs share this library: `residency-gateway`, the proxy in the path of every request, and
//! `residency-migrate`, the companion for one-off jobs. Dependencies point down only:
//! `bin` → applications (`gateway`, `pki`, `promotion`, `register`) → edges (`config`, `auth`, `upstream`, `http1`, `postgres`, `tls`,
//! `telemetry`, `routing_table`) → `domain`.
pub mod auth;
pub mod clock;
pub mod config;
pub mod domain;
pub mod gateway;
pub mod http1;
pub mod pki;
pub mod postgres;
pub mod promotion;
pub mod register;
pub mod routing_table;
pub mod telemetry;
pub mod tls;
pub mod upstream;
