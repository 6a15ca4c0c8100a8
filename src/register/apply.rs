//! `schema apply`: brings one database's schema up to this program's.
//!
//! Each version is one transaction that first takes the advisory lock and then looks again at what is there: of two
//! programs at once the second waits and finds the work done, and one that dies leaves what was there before.
//!
//! No statement waits long for a lock of the application's, because everyone behind it would wait, too: it gives up,
//! lets them pass, and tries again.

use std::time::Duration;

use tokio::time::sleep;
use tokio_postgres::{GenericClient, error::SqlState};

use super::{
    RegisterFault,
    keys::{KINDS, RegisterKeys, kind_name},
    member::{Register, Session},
    migrations::{Applied, Migration, Mismatch, pending},
};
use crate::routing_table::KeyKind;

/// Taken by everyone who changes the schema; the digits spell `residenc`.
const ADVISORY_LOCK: i64 = 0x7265_7369_6465_6e63;

/// How long and how often a change waits for other sessions' locks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) lock_timeout: Duration,
    pub(super) attempts: u32,
    pub(super) pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { lock_timeout: Duration::from_secs(2), attempts: 30, pause: Duration::from_millis(500) }
    }
}

/// What to bring a database to.
pub(super) struct Aim<'a> {
    pub(super) register: &'a Register,
    pub(super) keys: &'a RegisterKeys,
    pub(super) gateway_role: &'a str,
    pub(super) migrations: &'a [Migration],
    pub(super) patience: Patience,
}

impl Aim<'_> {
    /// Applies what is missing, and tells line by line what it does.
    pub(super) async fn reach(
        &self,
        session: &mut Session,
        tell: &mut dyn FnMut(String) -> std::io::Result<()>,
    ) -> Result<(), RegisterFault> {
        if session.is_in_recovery().await? {
            return Err(RegisterFault::InRecovery { address: session.address.clone() });
        }
        self.check_role(session).await?;
        loop {
            match self.persist(session, tell).await? {
                Done::Applied(version, name) => tell(format!("  version {version} ({name}) applied"))?,
                Done::Settled(version, lines) => {
                    tell(format!("  version {version} is there"))?;
                    lines.into_iter().try_for_each(|line| tell(format!("  {line}")))?;
                    return Ok(());
                }
            }
        }
    }

    async fn check_role(&self, session: &Session) -> Result<(), RegisterFault> {
        let asked = "SELECT FROM pg_roles WHERE rolname = $1";
        let role = session.client.query_opt(asked, &[&self.gateway_role]).await;
        match role.map_err(|error| session.fault(&error))? {
            Some(_) => Ok(()),
            None => Err(RegisterFault::NoGatewayRole {
                address: session.address.clone(),
                role: self.gateway_role.to_owned(),
            }),
        }
    }

    /// One transaction, again for as long as only a lock is in its way.
    async fn persist(
        &self,
        session: &mut Session,
        tell: &mut dyn FnMut(String) -> std::io::Result<()>,
    ) -> Result<Done, RegisterFault> {
        let mut attempt = 1;
        loop {
            let reason = match self.transaction(session).await {
                Ok(done) => return Ok(done),
                Err(Failure::Fault(fault)) => return Err(fault),
                Err(Failure::Locked(reason)) => reason,
            };
            if attempt == self.patience.attempts {
                return Err(RegisterFault::Locked {
                    address: session.address.clone(),
                    attempts: attempt,
                    each: self.patience.lock_timeout,
                    reason,
                });
            }
            attempt += 1;
            tell(format!("  another session holds a lock; attempt {attempt} of {}", self.patience.attempts))?;
            sleep(self.patience.pause).await;
        }
    }

    async fn transaction(&self, session: &mut Session) -> Result<Done, Failure> {
        let address = session.address.clone();
        let failure = |error: tokio_postgres::Error| Failure::of(&address, &error);
        let transaction = session.client.transaction().await.map_err(failure)?;
        // The other program may take its time; the application's locks may not be waited for as long.
        let prelude = format!(
            "SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({ADVISORY_LOCK}); \
             SET LOCAL lock_timeout = {}; SET LOCAL client_min_messages = warning",
            self.patience.lock_timeout.as_millis()
        );
        transaction.batch_execute(&prelude).await.map_err(failure)?;
        let applied = applied(&*transaction, &address).await?;
        let missing = pending(&applied, self.migrations).map_err(|mismatch| mismatch.at(&address))?;
        match applied.last() {
            Some(_) => self.check_name(&*transaction, &address).await?,
            None => check_foreign(&*transaction, &address).await?,
        }
        let done = if let Some(migration) = missing.first() {
            transaction.batch_execute("CREATE SCHEMA IF NOT EXISTS residency").await.map_err(failure)?;
            for part in migration.parts {
                transaction.batch_execute(part).await.map_err(failure)?;
            }
            let note = "INSERT INTO residency.schema_version (version, name, checksum) VALUES ($1, $2, $3)";
            let checksum = migration.checksum();
            let noted = transaction.execute(note, &[&migration.version, &migration.name, &checksum]).await;
            noted.map_err(failure)?;
            Done::Applied(migration.version, migration.name)
        } else {
            let version = applied.last().map_or(0, |last| last.version);
            Done::Settled(version, self.settle(&*transaction, &address).await?)
        };
        transaction.commit().await.map_err(failure)?;
        Ok(done)
    }

    /// A database of another jurisdiction must not be touched.
    async fn check_name(&self, client: &impl GenericClient, address: &str) -> Result<(), Failure> {
        let row = client.query_opt("SELECT name FROM residency.jurisdiction", &[]).await;
        let found: Option<String> = row.map_err(|error| Failure::of(address, &error))?.map(|row| row.get(0));
        match found {
            Some(found) if found != self.register.jurisdiction => {
                Err(Failure::Fault(RegisterFault::WrongJurisdiction {
                    address: address.to_owned(),
                    found,
                    wanted: self.register.jurisdiction.clone(),
                }))
            }
            _ => Ok(()),
        }
    }

    /// The rows that the configuration gives, and what gateways may do.
    async fn settle(&self, client: &impl GenericClient, address: &str) -> Result<Vec<String>, Failure> {
        let failure = |error: tokio_postgres::Error| Failure::of(address, &error);
        let mut lines = Vec::new();
        let first = "INSERT INTO residency.jurisdiction (name, home, generation, durability, synchronous) \
             VALUES ($1, $2, 1, $3, $4) ON CONFLICT ((true)) DO NOTHING";
        let Register { jurisdiction, home, durability, synchronous, .. } = self.register;
        let made =
            client.execute(first, &[jurisdiction, home, durability, synchronous]).await.map_err(failure)?;
        if made == 1 {
            lines.push(format!("{jurisdiction} is at home in {home}, generation 1, durability {durability}"));
        }
        for kind in KINDS {
            self.settle_keys(client, address, kind, &mut lines).await?;
        }
        grant(client, self.gateway_role).await.map_err(failure)?;
        lines.push(format!("role {} may read, and call what gateways call", self.gateway_role));
        Ok(lines)
    }

    async fn settle_keys(
        &self,
        client: &impl GenericClient,
        address: &str,
        kind: KeyKind,
        lines: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let failure = |error: tokio_postgres::Error| Failure::of(address, &error);
        let rows = client
            .query(
                "SELECT key_id, current FROM residency.register_key WHERE kind = $1 ORDER BY key_id",
                &[&kind.number()],
            )
            .await
            .map_err(failure)?;
        let known: Vec<(String, bool)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let configured = self.keys.ids(kind);
        if !known.is_empty() && !known.iter().any(|(id, _)| configured.contains(&id.as_str())) {
            return Err(Failure::Fault(RegisterFault::UnknownKey {
                address: address.to_owned(),
                kind: kind_name(kind),
                known: known.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(", "),
            }));
        }
        let current = configured[0];
        if !known.iter().any(|(id, is_current)| id == current && *is_current) {
            let retire = "UPDATE residency.register_key SET current = false WHERE kind = $1 AND current";
            client.execute(retire, &[&kind.number()]).await.map_err(failure)?;
            lines.push(format!("{} key {current} is the current one", kind_name(kind)));
        }
        let note = "INSERT INTO residency.register_key (kind, key_id, current) VALUES ($1, $2, $3) \
             ON CONFLICT (kind, key_id) DO UPDATE SET current = excluded.current \
             WHERE register_key.current <> excluded.current";
        for id in &configured {
            client.execute(note, &[&kind.number(), id, &(*id == current)]).await.map_err(failure)?;
        }
        Ok(())
    }
}

enum Done {
    Applied(i32, &'static str),
    /// All versions are there, up to this one; what was done besides.
    Settled(i32, Vec<String>),
}

enum Failure {
    /// Somebody else's lock; another attempt may do.
    Locked(String),
    Fault(RegisterFault),
}

impl Failure {
    fn of(address: &str, error: &tokio_postgres::Error) -> Self {
        let locked = [
            &SqlState::LOCK_NOT_AVAILABLE,
            &SqlState::T_R_DEADLOCK_DETECTED,
            // Two that made the same thing at the same moment.
            &SqlState::UNIQUE_VIOLATION,
            &SqlState::DUPLICATE_TABLE,
            &SqlState::DUPLICATE_SCHEMA,
        ];
        let fault = RegisterFault::answer(address, error);
        match error.code() {
            Some(code) if locked.contains(&code) => Self::Locked(fault.to_string()),
            _ => Self::Fault(fault),
        }
    }
}

impl Mismatch {
    pub(super) fn at(self, address: &str) -> RegisterFault {
        let address = address.to_owned();
        match self {
            Self::Newer { found, known } => RegisterFault::Newer { address, found, known },
            Self::Changed { version, name } => RegisterFault::Changed { address, version, name },
            Self::Gap { missing, found } => RegisterFault::Gap { address, missing, found },
        }
    }
}

impl From<RegisterFault> for Failure {
    fn from(fault: RegisterFault) -> Self {
        Self::Fault(fault)
    }
}

/// What a database has of the schema, in ascending order.
pub(super) async fn applied(
    client: &impl GenericClient,
    address: &str,
) -> Result<Vec<Applied>, RegisterFault> {
    let fault = |error: tokio_postgres::Error| RegisterFault::answer(address, &error);
    let there = client.query_one("SELECT to_regclass('residency.schema_version') IS NOT NULL", &[]).await;
    if !there.map_err(fault)?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let versions = "SELECT version, name, checksum, to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') \
         FROM residency.schema_version ORDER BY version";
    let rows = client.query(versions, &[]).await.map_err(fault)?;
    let applied = rows.iter().map(|row| Applied {
        version: row.get(0),
        name: row.get(1),
        checksum: row.get(2),
        at: row.get(3),
    });
    Ok(applied.collect())
}

/// An empty schema may have been prepared for us; one with something in it is somebody else's.
async fn check_foreign(client: &impl GenericClient, address: &str) -> Result<(), Failure> {
    let something = "SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('residency')) \
         OR EXISTS (SELECT FROM pg_proc WHERE pronamespace = to_regnamespace('residency'))";
    let row = client.query_one(something, &[]).await.map_err(|error| Failure::of(address, &error))?;
    if row.get(0) {
        return Err(Failure::Fault(RegisterFault::ForeignSchema { address: address.to_owned() }));
    }
    Ok(())
}

/// Reading what a gateway reads, calling what it calls, and no writing of tables.
async fn grant(client: &impl GenericClient, role: &str) -> Result<(), tokio_postgres::Error> {
    let row = client.query_one("SELECT quote_ident($1)", &[&role]).await?;
    let role: String = row.get(0);
    let statements = [
        format!("GRANT USAGE ON SCHEMA residency TO {role}"),
        format!("GRANT SELECT ON ALL TABLES IN SCHEMA residency TO {role}"),
        format!(
            "GRANT EXECUTE ON FUNCTION residency.assign, residency.release, residency.mark_pending, \
             residency.changes_since, residency.cursor, residency.set_read_only, residency.gateway_register, \
             residency.gateway_heartbeat, residency.gateway_leave, residency.gateway_report TO {role}"
        ),
    ];
    client.batch_execute(&statements.join("; ")).await
}
