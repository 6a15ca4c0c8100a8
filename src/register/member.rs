//! A jurisdiction's register as this job reaches it: the members of its cluster, and which of them takes writes.

use std::time::Duration;

use deadpool_postgres::Client;

use super::RegisterFault;
use crate::config::{RegisterSettings, RegisterSource};
use crate::domain::topology::{Durability, Topology};
use crate::postgres::{Database, DatabaseFault, DatabaseUrl, Limits};

/// A job's statements wait for locks and read much; what hangs longer than this is broken.
const LIMITS: Limits = Limits {
    connections: 1,
    connect_timeout: Duration::from_secs(5),
    statement_timeout: Duration::from_mins(10),
};

/// One jurisdiction's register, as configured.
#[derive(Debug, Clone)]
pub(super) struct Register {
    pub(super) jurisdiction: String,
    pub(super) home: String,
    pub(super) durability: &'static str,
    /// Regions whose standby a commit waits for.
    pub(super) synchronous: Vec<String>,
    /// By region.
    pub(super) members: Vec<(String, DatabaseUrl)>,
}

/// An open session.
pub(super) struct Session {
    pub(super) address: String,
    pub(super) client: Client,
    _database: Database,
}

/// What a member turned out to be.
pub(super) enum Member {
    Primary(Session),
    Standby(Session),
    Unreachable(DatabaseFault),
}

/// The registers in databases; at least one.
pub(super) fn registers(
    topology: &Topology,
    settings: &RegisterSettings,
) -> Result<Vec<Register>, RegisterFault> {
    let mut all = Vec::new();
    for jurisdiction in topology.jurisdictions() {
        let RegisterSource::Members(members) = settings.source(jurisdiction) else { continue };
        let home = topology.home(jurisdiction);
        let remote = topology.durability(jurisdiction) == Durability::Remote;
        let standbys = topology.regions().filter(|&region| {
            remote && region != home && topology.lawful_regions(jurisdiction).contains(region)
        });
        all.push(Register {
            jurisdiction: topology.jurisdiction_name(jurisdiction).to_owned(),
            home: topology.region_name(home).to_owned(),
            durability: if remote { "remote" } else { "async" },
            synchronous: standbys.map(|region| topology.region_name(region).to_owned()).collect(),
            members: members
                .iter()
                .map(|(region, url)| (topology.region_name(*region).to_owned(), url.clone()))
                .collect(),
        });
    }
    if all.is_empty() { Err(RegisterFault::NoRegister) } else { Ok(all) }
}

/// The one of this jurisdiction.
pub(super) fn only(registers: Vec<Register>, name: &str) -> Result<Vec<Register>, RegisterFault> {
    let known: Vec<_> = registers.iter().map(|register| register.jurisdiction.clone()).collect();
    let found: Vec<_> = registers.into_iter().filter(|register| register.jurisdiction == name).collect();
    if found.is_empty() {
        return Err(RegisterFault::NoSuchJurisdiction { name: name.to_owned(), known: known.join(", ") });
    }
    Ok(found)
}

impl Register {
    /// A session with the one member that takes writes.
    pub(super) async fn primary(&self) -> Result<Session, RegisterFault> {
        let mut found: Option<Session> = None;
        let mut others = Vec::new();
        for (region, url) in &self.members {
            match Member::reach(url).await {
                Member::Primary(session) => {
                    if let Some(first) = found {
                        return Err(RegisterFault::TwoPrimaries {
                            jurisdiction: self.jurisdiction.clone(),
                            first: first.address,
                            second: session.address,
                        });
                    }
                    found = Some(session);
                }
                Member::Standby(session) => {
                    others.push(format!("{region}: {} is in recovery", session.address));
                }
                Member::Unreachable(fault) => others.push(format!("{region}: {fault}")),
            }
        }
        found.ok_or_else(|| RegisterFault::NoPrimary {
            jurisdiction: self.jurisdiction.clone(),
            members: others,
        })
    }
}

impl Register {
    /// The same, where `schema apply` has been, for this jurisdiction.
    pub(super) async fn primary_with_schema(&self) -> Result<Session, RegisterFault> {
        let session = self.primary().await?;
        if !session.has_schema().await? {
            return Err(RegisterFault::NoSchema { address: session.address });
        }
        let row = session.client.query_opt("SELECT name FROM residency.jurisdiction", &[]).await;
        let found: Option<String> = row.map_err(|error| session.fault(&error))?.map(|row| row.get(0));
        match found {
            None => Err(RegisterFault::NoSchema { address: session.address }),
            Some(found) if found != self.jurisdiction => Err(RegisterFault::WrongJurisdiction {
                address: session.address,
                found,
                wanted: self.jurisdiction.clone(),
            }),
            Some(_) => Ok(session),
        }
    }
}

impl Member {
    async fn reach(url: &DatabaseUrl) -> Self {
        let session = match Session::open(url).await {
            Ok(session) => session,
            Err(fault) => return Self::Unreachable(fault),
        };
        match session.is_in_recovery().await {
            Ok(true) => Self::Standby(session),
            Ok(false) => Self::Primary(session),
            Err(fault) => Self::Unreachable(fault),
        }
    }
}

impl Session {
    pub(super) async fn open(url: &DatabaseUrl) -> Result<Self, DatabaseFault> {
        let database = Database::open(url, LIMITS)?;
        let client = database.client().await?;
        let address = database.address().to_owned();
        let named = client.batch_execute("SET application_name = 'residency-migrate'").await;
        named.map_err(|error| DatabaseFault::query(&address, &error))?;
        Ok(Self { address, client, _database: database })
    }

    pub(super) async fn is_in_recovery(&self) -> Result<bool, DatabaseFault> {
        let row = self.client.query_one("SELECT pg_is_in_recovery()", &[]).await;
        row.map(|row| row.get(0)).map_err(|error| DatabaseFault::query(&self.address, &error))
    }

    pub(super) fn fault(&self, error: &tokio_postgres::Error) -> RegisterFault {
        RegisterFault::answer(&self.address, error)
    }

    /// Whether `schema apply` has ever been here.
    pub(super) async fn has_schema(&self) -> Result<bool, RegisterFault> {
        let asked =
            self.client.query_one("SELECT to_regclass('residency.schema_version') IS NOT NULL", &[]).await;
        Ok(asked.map_err(|error| self.fault(&error))?.get(0))
    }
}
