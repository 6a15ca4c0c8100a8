//! Why a database could not be asked, for operators: where, what, and the server's own code if it gave one.

use std::{error::Error as _, time::Duration};

use deadpool_postgres::PoolError;

use crate::tls::TlsFault;

/// A database that can't be used now, or at all. `address` is host, port and database name.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseFault {
    #[error("{address}: certificates for TLS: {source}")]
    Certificates { address: String, source: Box<TlsFault> },
    #[error("{address}: no certificate authorities on this system for sslmode=verify-full; set sslrootcert")]
    NoSystemRoots { address: String },
    #[error("{address}: cannot connect: {reason}")]
    Connect { address: String, reason: String },
    #[error("{address}: no answer within {after:?}")]
    Silent { address: String, after: Duration },
    #[error("{address}: {reason}")]
    Query { address: String, reason: String },
    /// A register's own refusal, by its SQLSTATE (docs/REGISTER.md).
    #[error("{address}: {reason}")]
    Refused { address: String, sqlstate: String, reason: String },
    #[error("{address}: unexpected answer to the sampling query: {reason}")]
    Answer { address: String, reason: String },
}

impl DatabaseFault {
    /// What a database answered to a statement, without what may quote rows.
    pub fn query(address: &str, error: &tokio_postgres::Error) -> Self {
        let (address, reason) = (address.to_owned(), describe(error));
        match error.code().map(tokio_postgres::error::SqlState::code) {
            Some(code) if code.starts_with("RS") => {
                Self::Refused { address, sqlstate: code.to_owned(), reason }
            }
            _ => Self::Query { address, reason },
        }
    }

    pub(super) fn pool(address: &str, after: Duration, error: PoolError) -> Self {
        let address = address.to_owned();
        match error {
            PoolError::Timeout(_) => Self::Silent { address, after },
            PoolError::Backend(error) => Self::Connect { address, reason: describe(&error) },
            other => Self::Connect { address, reason: other.to_string() },
        }
    }
}

/// The driver's error with its causes. The driver puts no parameters of the connection into errors; of the server's
/// answer only severity, SQLSTATE and message are taken, never detail, which may quote rows.
pub fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(answer) = error.as_db_error() {
        return format!("{} {}: {}", answer.severity(), answer.code().code(), answer.message());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
