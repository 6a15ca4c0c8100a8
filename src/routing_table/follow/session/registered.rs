//! What a register knows of this gateway: that it is there, by which certificate, and what it has done for moves.
//!
//! Invariants
//! - A register that has lost sight of this gateway, or knows it by another certificate, is told everything again.
//! - A certificate that the register lists as forgotten ends the session.

use tokio_postgres::types::{ToSql, Type};

use super::{DEADLINE, End, Session};
use crate::{
    clock,
    postgres::DatabaseFault,
    routing_table::{
        follow::{
            handle::{Report, Stage},
            statements::{HEARTBEAT, LEAVE, REGISTER, REPORT},
        },
        row::uuid_text,
    },
};

/// The SQLSTATE by which a register refuses the bearer of a certificate that it lists as forgotten.
const FORGOTTEN_CERTIFICATE: &str = "RS005";

impl Session<'_> {
    pub(super) async fn register(&mut self) -> Result<(), End> {
        let it = &self.follower.settings.gateway;
        let shown = it.certificate.load().as_deref().copied();
        let certificate = shown.map(|shown| shown.to_string());
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&it.name, Type::TEXT),
            (&it.region, Type::TEXT),
            (&it.version, Type::TEXT),
            (&certificate, Type::TEXT),
        ];
        match self.database.ask(REGISTER, &parameters, DEADLINE).await {
            Err(DatabaseFault::Refused { sqlstate, .. }) if sqlstate == FORGOTTEN_CERTIFICATE => {
                Err(End::Forgotten)
            }
            Err(fault) => Err(fault.into()),
            Ok(_) => {
                self.shown = shown;
                Ok(())
            }
        }
    }

    /// Says that this gateway is there; one that isn't known any more, or has another certificate, registers again.
    pub(super) async fn heartbeat(&mut self) -> Result<(), End> {
        self.heard_at = clock::now();
        let serving = self.follower.settings.gateway.serving.load(std::sync::atomic::Ordering::Relaxed);
        let name = &self.follower.settings.gateway.name;
        let answer =
            self.database.ask(HEARTBEAT, &[(name, Type::TEXT), (&serving, Type::BOOL)], DEADLINE).await?;
        let is_known = answer.first().is_some_and(|row| row.try_get(0).unwrap_or(true));
        if is_known && self.shown == self.follower.settings.gateway.certificate.load().as_deref().copied() {
            return Ok(());
        }
        self.register().await?;
        for report in self.follower.reported.clone() {
            self.report(report).await?;
        }
        Ok(())
    }

    pub(super) async fn report(&mut self, report: Report) -> Result<(), End> {
        let name = &self.follower.settings.gateway.name;
        let attempt = i32::try_from(report.attempt).unwrap_or(i32::MAX);
        let (held, drained) = (true, report.stage == Stage::Drained);
        let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
            (name, Type::TEXT),
            (&uuid_text(report.move_id), Type::TEXT),
            (&attempt, Type::INT4),
            (&held, Type::BOOL),
            (&drained, Type::BOOL),
        ];
        self.database.ask(REPORT, &parameters, DEADLINE).await?;
        Ok(())
    }

    /// Moves need not wait for this gateway any more. What can't be told is found out after `stale_after`.
    pub(super) async fn leave(&mut self) {
        let name = &self.follower.settings.gateway.name;
        if let Err(fault) = self.database.ask(LEAVE, &[(name, Type::TEXT)], DEADLINE).await {
            let jurisdiction = &*self.follower.name;
            tracing::warn!(jurisdiction, reason = %fault, "a register was not told that this gateway leaves");
        }
    }
}
