//! Rows of a register, as its primary has them at the moment.

use deadpool_postgres::Client;

use super::members::Failed;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub hash: [u8; 16],
    pub state: String,
    pub generation: i64,
    /// The name of the jurisdiction it is to go to.
    pub toward: Option<String>,
    /// Of an identifier: whose it is.
    pub subject: Option<Vec<u8>>,
    pub claim_answers: bool,
}

/// A standby says so; its rows may be old.
const READ: &str = "SELECT pg_is_in_recovery(), r.hash, r.state, r.generation, r.toward, r.subject, r.claim_answers \
     FROM (SELECT 1) AS always LEFT JOIN residency.register r ON r.hash = ANY($1) AND NOT r.deleted";

pub(super) async fn read(client: &Client, hashes: &[[u8; 16]]) -> Result<Vec<Row>, Failed> {
    let hashes: Vec<&[u8]> = hashes.iter().map(|hash| &hash[..]).collect();
    let statement = client.prepare_cached(READ).await?;
    let found = client.query(&statement, &[&hashes]).await?;
    if found.first().is_some_and(|row| row.get(0)) {
        return Err(Failed::Elsewhere("it is a standby".to_owned()));
    }
    let row = |row: &tokio_postgres::Row| {
        let hash: Option<&[u8]> = row.get(1);
        Some(Row {
            hash: hash?.try_into().ok()?,
            state: row.get(2),
            generation: row.get(3),
            toward: row.get(4),
            subject: row.get(5),
            claim_answers: row.get(6),
        })
    };
    Ok(found.iter().filter_map(row).collect())
}
