//! The register's row of its own jurisdiction: the commit after which gateways send writes to the new primary.

use std::time::Duration;

use deadpool_postgres::Client;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{PromotionFault, session::Session};
use crate::domain::{
    promotion::{Plan, Row, durability_name},
    register::Generation,
    replication_lag::LogPosition,
};

/// For a standby to follow and to confirm.
const COMMIT: Duration = Duration::from_mins(1);

/// Above what any member shows: the target itself may have lost the latest row with the old primary.
const PROMOTED: &str = "UPDATE residency.jurisdiction SET home = $3, generation = $2 + 1, durability = $4, \
     synchronous = $5, history = history || jsonb_build_array($6::text::jsonb || jsonb_build_object('at', clock_timestamp())) \
     WHERE name = $1 AND generation <= $2 RETURNING generation";
const CHANGED: &str = "UPDATE residency.jurisdiction SET durability = $3, synchronous = $4 \
     WHERE name = $1 AND generation = $2 RETURNING generation";
const ACT: &str = "INSERT INTO residency.act (kind, detail, by) \
     VALUES ($1, $2::text::jsonb, COALESCE($3, session_user::text))";

/// Who does something, and why.
pub(super) struct Account<'a> {
    pub(super) kind: &'static str,
    pub(super) by: Option<&'a str>,
    pub(super) detail: Value,
}

/// Writes the new home in one transaction with the act. Nothing is written if the generation is not the expected one.
pub(super) async fn promoted(
    session: &Session,
    application: &mut Client,
    jurisdiction: &str,
    plan: &Plan,
    switch: LogPosition,
    account: Account<'_>,
) -> Result<Generation, PromotionFault> {
    let generation = stored(plan.generation);
    let history = json!({
        "timeline": switch.timeline.0, "lsn": switch.lsn.to_string(), "generation": plan.generation.0 + 1,
        "from": plan.from.as_deref().unwrap_or(&plan.to), "to": plan.to, "reason": account.detail["reason"],
    });
    let (durability, history) = (durability_name(plan.durability), history.to_string());
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&jurisdiction, &generation, &plan.to, &durability, &plan.synchronous, &history];
    write(session, application, (PROMOTED, &parameters), plan.generation, account).await
}

/// Writes when commits are acknowledged, in one transaction with the act.
pub(super) async fn changed(
    session: &Session,
    application: &mut Client,
    jurisdiction: &str,
    row: &Row,
    account: Account<'_>,
) -> Result<Generation, PromotionFault> {
    let (generation, durability) = (stored(row.generation), durability_name(row.durability));
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&jurisdiction, &generation, &durability, &row.synchronous];
    write(session, application, (CHANGED, &parameters), row.generation, account).await
}

async fn write(
    session: &Session,
    application: &mut Client,
    (update, parameters): (&str, &[&(dyn tokio_postgres::types::ToSql + Sync)]),
    expected: Generation,
    account: Account<'_>,
) -> Result<Generation, PromotionFault> {
    const DOING: &str = "writing the register's row";
    let Account { kind, by, detail } = account;
    let transaction = session.told(DOING, application.transaction().await)?;
    let updated = session.told(DOING, transaction.query_opt(update, parameters).await)?;
    let Some(updated) = updated else {
        let now = session
            .told(DOING, transaction.query_opt("SELECT generation FROM residency.jurisdiction", &[]).await)?;
        let found = now.map_or_else(|| "none".to_owned(), |row| row.get::<_, i64>(0).to_string());
        return Err(PromotionFault::Moved { expected: expected.0, found });
    };
    session.told(DOING, transaction.execute(ACT, &[&kind, &detail.to_string(), &by]).await)?;
    // A server's own limit on statements does not end a commit's wait for standbys.
    let committed = timeout(COMMIT, transaction.commit()).await.map_err(|_| PromotionFault::Late {
        region: session.region.clone(),
        what: "no standby has confirmed the register's row",
        seconds: COMMIT.as_secs(),
        remedy: "bring a standby back, or give the durability up by name, and run the same command again",
    })?;
    session.told(DOING, committed)?;
    Ok(Generation(u64::try_from(updated.get::<_, i64>(0)).unwrap_or_default()))
}

/// Tells listeners of a row that was written without.
pub(super) async fn tell(session: &Session) -> Result<(), PromotionFault> {
    let application = session.application().await?;
    let told = application.batch_execute("UPDATE residency.jurisdiction SET name = name").await;
    session.told("telling gateways", told)
}

/// What hosts have left on record beside their databases (`primary check --assume-latest`), taken into the register.
pub(super) async fn adopt_acts(session: &Session, application: &Client) -> Result<u64, PromotionFault> {
    const DOING: &str = "taking over what its host has recorded";
    let adopted = application
        .execute(
            "INSERT INTO residency.act (kind, detail, by) \
             SELECT line::jsonb ->> 'kind', line::jsonb -> 'detail', line::jsonb ->> 'by' \
             FROM regexp_split_to_table(COALESCE(pg_read_file($1, 0, 1048576, true), ''), '\\n') AS line \
             WHERE line <> '' AND NOT EXISTS (SELECT FROM residency.act \
               WHERE kind = line::jsonb ->> 'kind' AND detail = line::jsonb -> 'detail')",
            &[&super::data_directory::ACTS],
        )
        .await;
    session.told(DOING, adopted)
}

fn stored(generation: Generation) -> i64 {
    i64::try_from(generation.0).unwrap_or(i64::MAX)
}
