//! What a register and this gateway know of each other: its keys, whom it has forgotten, that this gateway is there, and what it
//! has done for moves.

use std::collections::BTreeSet;

use tokio_postgres::types::Type;

use super::super::{
    handle::{Report, Stage},
    statements::{FORGOTTEN, HEARTBEAT, KEYS, LEAVE, REGISTER, REPORT},
};
use super::{DEADLINE, End, Session};
use crate::{
    clock,
    domain::fingerprint::Fingerprint,
    postgres::DatabaseFault,
    routing_table::{keys::KeyKind, row::uuid_text},
};

/// The SQLSTATE by which a register refuses the bearer of a certificate that it lists as forgotten.
const FORGOTTEN_CERTIFICATE: &str = "RS005";

impl Session<'_> {
    pub(super) async fn know_keys(&self) -> Result<(), End> {
        for answer in self
            .database
            .ask(KEYS, &[], DEADLINE)
            .await?
            .chunk_by(|a, b| a.get::<_, i16>(0) == b.get::<_, i16>(0))
        {
            let Some(kind) = answer.first().and_then(|first| KeyKind::numbered(first.get(0))) else {
                continue;
            };
            let ours = self.follower.keys.of(kind);
            if !answer.iter().any(|row| ours.ids().any(|id| id.as_str() == row.get::<_, &str>(1))) {
                return Err(End::Keys);
            }
        }
        Ok(())
    }

    /// Whose certificates the register lists as forgotten.
    pub(super) async fn know_forgotten(&self) -> Result<(), End> {
        let mut list = BTreeSet::new();
        for row in self.database.ask(FORGOTTEN, &[], DEADLINE).await? {
            let text: &str = row.try_get(0).map_err(|error| self.unread(&error))?;
            // Another spelling is no gateway's: they are registered in this one.
            list.extend(text.parse::<Fingerprint>());
        }
        self.follower.forgotten.set(self.follower.settings.jurisdiction, list);
        Ok(())
    }

    pub(super) async fn register(&mut self) -> Result<(), End> {
        let it = &self.follower.settings.gateway;
        let shown = it.certificate.load().as_deref().copied();
        let certificate = shown.map(|shown| shown.to_string());
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] = [
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
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 5] = [
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
