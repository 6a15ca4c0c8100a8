//! Why a job on registers did nothing, or not all.

use std::{io, time::Duration};

use crate::config::ConfigErrors;
use crate::postgres::DatabaseFault;

/// Each says what to do about it. No variant carries a key, a password, or a subject.
#[derive(Debug, thiserror::Error)]
pub enum RegisterFault {
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    #[error("no jurisdiction has a register in a database: write jurisdictions.NAME.register and [register]")]
    NoRegister,
    #[error("`{name}` is no jurisdiction with a register in a database; there is {known}")]
    NoSuchJurisdiction { name: String, known: String },
    #[error("{0}")]
    Database(#[from] DatabaseFault),
    #[error(
        "{jurisdiction}: no primary can be reached{}",
        members.iter().map(|member| format!("\n  {member}")).collect::<Vec<_>>().concat()
    )]
    NoPrimary { jurisdiction: String, members: Vec<String> },
    #[error(
        "{jurisdiction}: {first} and {second} both take writes. One of them must not: see docs/REGISTER.md before anything else"
    )]
    TwoPrimaries { jurisdiction: String, first: String, second: String },
    #[error("{address} is in recovery: a standby is changed through its primary only")]
    InRecovery { address: String },
    #[error(
        "{address}: schema version {found} is newer than this program, which knows {known}: use the newer residency-migrate"
    )]
    Newer { address: String, found: i32, known: i32 },
    #[error(
        "{address}: version {version} ({name}) was applied from other text than this program has; it was edited, or this is \
         another build. Nothing was changed"
    )]
    Changed { address: String, version: i32, name: String },
    #[error(
        "{address}: version {missing} was never applied, though {found} was: restore residency.schema_version"
    )]
    Gap { address: String, missing: i32, found: i32 },
    #[error("{address}: there is a schema `residency` that this program has not made: rename it")]
    ForeignSchema { address: String },
    #[error(
        "{address} is the database of jurisdiction `{found}`, not of `{wanted}`: a URL stands in the wrong place"
    )]
    WrongJurisdiction { address: String, found: String, wanted: String },
    #[error(
        "{address}: there is no role `{role}` for gateways: CREATE ROLE {role} LOGIN PASSWORD …, or name one with --gateway-role"
    )]
    NoGatewayRole { address: String, role: String },
    #[error(
        "{address}: the configured {kind} key is none of the register's ({known}): hashes under it would meet no row. To replace \
         the key, configure both, the former as {kind}_key_previous"
    )]
    UnknownKey { address: String, kind: &'static str, known: String },
    #[error("{address}: key {key} is configured: only rows under a key that is no longer in use are dropped")]
    KeyInUse { address: String, key: String },
    #[error(
        "{address}: {rows} rows still need key {key}: {by}. `table import` writes an app's subjects under the current key; a move \
         ends by itself"
    )]
    RowsNeeded { address: String, key: String, rows: i64, by: &'static str },
    #[error("{address}: the schema is not there: `residency-migrate schema apply` first")]
    NoSchema { address: String },
    #[error(
        "{address}: gave up after {attempts} attempts of {each:?}: another session holds a lock that the change needs ({reason})"
    )]
    Locked { address: String, attempts: u32, each: Duration, reason: String },
    #[error("{address}: the query can't be used: {reason}")]
    Query { address: String, reason: String },
    #[error("no gateway `{0}` is registered anywhere")]
    NoSuchGateway(String),
    #[error("output: {0}")]
    Output(#[from] io::Error),
}

impl RegisterFault {
    /// What a database answered to a statement.
    pub(super) fn answer(address: &str, error: &tokio_postgres::Error) -> Self {
        Self::Database(DatabaseFault::query(address, error))
    }
}
