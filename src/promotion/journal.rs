//! Moves that were under way when the primary went.
//!
//! A move's fences and flips are rows of the register, in the same log as the data: whatever the new primary has of the
//! data, it has of them. So nothing has to be made again; what is looked at is that each row which holds writes back still
//! says for which move, so that the move can go on, or be given up, from here.

use deadpool_postgres::Client;
use serde_json::{Value, json};

use super::{PromotionFault, session::Session};

const STATES: &str = "SELECT state, count(*), count(*) FILTER (WHERE move_id IS NULL AND state IN ('closing', 'fenced', 'closed')) \
     FROM residency.register WHERE NOT deleted AND state IN ('closing', 'fenced', 'gone', 'closed') \
     GROUP BY state ORDER BY state";

/// What the register holds of moves.
pub(super) struct Journal {
    /// State and number of entries.
    states: Vec<(String, i64)>,
    /// Entries that hold writes back for no move: nobody would ever let them go.
    pub(super) orphans: i64,
}

/// Reads it on the new primary, before the row lets writes in.
pub(super) async fn read(session: &Session, application: &Client) -> Result<Journal, PromotionFault> {
    let rows = session.told("reading the register's moves", application.query(STATES, &[]).await)?;
    Ok(Journal {
        orphans: rows.iter().map(|row| row.get::<_, i64>(2)).sum(),
        states: rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
    })
}

impl Journal {
    pub(super) fn to_json(&self) -> Value {
        self.states
            .iter()
            .map(|(state, count)| (state.clone(), json!(count)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// For the operator; `None` where nothing moves.
    pub(super) fn line(&self) -> Option<String> {
        if self.states.is_empty() {
            return None;
        }
        let states: Vec<_> = self.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
        Some(format!("moves in the register go on as they stood: {}", states.join(", ")))
    }
}
