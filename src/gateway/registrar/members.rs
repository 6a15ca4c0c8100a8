//! The databases that hold registers, and which of a jurisdiction's is the one to write to.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Client;
use futures_util::future::join_all;
use tokio_postgres::error::SqlState;

use super::rows::{self, Row};
use super::{Done, LEFT_ALONE, PATIENCE, RegistrarFault, Silent, Task};
use crate::clock;
use crate::config::{RegisterSettings, RegisterSource};
use crate::domain::names::{JurisdictionId, RegionId};
use crate::gateway::Settings;
use crate::postgres::{Database, Limits};

/// Sessions with each member at most; a gateway's sign-ups share them.
const LIMITS: Limits = Limits {
    connections: 8,
    connect_timeout: Duration::from_secs(3),
    // A commit may wait for a standby in another region.
    statement_timeout: Duration::from_secs(3),
};

/// All registers of a configuration.
pub(super) struct Members {
    settings: Option<RegisterSettings>,
    /// By [`JurisdictionId::index`].
    databases: Vec<Vec<(RegionId, Database)>>,
    silent: RefCell<Silent>,
}

/// Why one member did not do it.
pub(super) enum Failed {
    /// It could not be reached, or is no primary: another may do it.
    Elsewhere(String),
    Fault(RegistrarFault),
    /// The register's own refusal, for the caller to understand: SQLSTATE and detail.
    Refusal(String, Option<String>),
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(answer) = error.as_db_error() else { return Self::Elsewhere(error.to_string()) };
        match answer.code().code() {
            // read_only_sql_transaction: a standby.
            code if code == SqlState::READ_ONLY_SQL_TRANSACTION.code() => {
                Self::Elsewhere("it takes no writes".to_owned())
            }
            "RS003" => Self::Fault(RegistrarFault::ReadOnly),
            "RS004" => Self::Fault(RegistrarFault::UnknownKey),
            code if code.starts_with("RS") => {
                Self::Refusal(code.to_owned(), answer.detail().map(str::to_owned))
            }
            // The detail may quote a row; message and code don't.
            code => Self::Fault(RegistrarFault::Refused(format!("{code}: {}", answer.message()))),
        }
    }
}

impl Members {
    /// Connects to nothing yet.
    pub(super) fn open(settings: Option<&RegisterSettings>) -> Self {
        let open = |source: &RegisterSource| match source {
            RegisterSource::Members(members) => members
                .iter()
                .filter_map(|(region, url)| match Database::open(url, LIMITS) {
                    Ok(database) => Some((*region, database)),
                    Err(error) => {
                        tracing::error!(%error, "a register can't be used");
                        None
                    }
                })
                .collect(),
            RegisterSource::None | RegisterSource::File(_) => Vec::new(),
        };
        let databases = settings.iter().flat_map(|settings| &settings.sources).map(open).collect();
        Self { settings: settings.cloned(), databases, silent: RefCell::default() }
    }

    pub(super) fn are_of(&self, settings: Option<&RegisterSettings>) -> bool {
        self.settings.as_ref() == settings
    }

    pub(super) fn jurisdictions(&self, settings: &Settings) -> impl Iterator<Item = JurisdictionId> + use<> {
        let any: Vec<bool> = self.databases.iter().map(|members| !members.is_empty()).collect();
        settings
            .config
            .topology
            .jurisdictions()
            .filter(move |found| any.get(found.index()) == Some(&true))
            .collect::<Vec<_>>()
            .into_iter()
    }

    pub(super) async fn perform(&self, settings: &Settings, task: Task) -> Result<Done, RegistrarFault> {
        match task {
            Task::Assign(assignment) => self.assign(settings, &assignment).await.map(Done::Assigned),
            Task::Look(hashes) => {
                let looks = settings.config.topology.jurisdictions().map(|jurisdiction| {
                    let hashes = &hashes;
                    async move { self.ask(settings, jurisdiction, hashes).await.ok() }
                });
                Ok(Done::Seen(join_all(looks).await))
            }
            Task::ReadOnly { jurisdiction, read_only, by } => {
                let sql = "SELECT residency.set_read_only($1, $2)";
                let changed = self
                    .at_primary(settings, jurisdiction, async |client| {
                        let statement = client.prepare_cached(sql).await?;
                        Ok(client.query_one(&statement, &[&read_only, &by]).await?.get(0))
                    })
                    .await
                    .map_err(Failed::plain)?;
                Ok(Done::ReadOnly { changed })
            }
        }
    }

    /// Opens a connection to each register.
    pub(super) async fn warm_up(self: Rc<Self>, settings: Arc<Settings>) {
        let every = self.jurisdictions(&settings).map(|found| self.look(&settings, found, &[]));
        for error in join_all(every).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "a register can't be asked yet");
        }
    }

    /// What another jurisdiction's register says of these hashes, unless it is silent.
    pub(super) async fn ask(
        &self,
        settings: &Settings,
        jurisdiction: JurisdictionId,
        hashes: &[[u8; 16]],
    ) -> Result<Vec<Row>, RegistrarFault> {
        let now = clock::now();
        if self.silent.borrow().get(&jurisdiction).is_some_and(|until| now < *until) {
            return Err(RegistrarFault::Unreachable("it was silent a moment ago".to_owned()));
        }
        let looking =
            self.at_primary(settings, jurisdiction, async |client| rows::read(&client, hashes).await);
        let seen = match tokio::time::timeout(PATIENCE, looking).await {
            Ok(seen) => seen.map_err(Failed::plain),
            Err(_) => Err(RegistrarFault::Unreachable("it is silent".to_owned())),
        };
        if matches!(seen, Err(RegistrarFault::Unreachable(_))) {
            self.silent.borrow_mut().insert(jurisdiction, clock::now() + LEFT_ALONE);
        }
        seen
    }

    /// What the register says of these hashes, as its primary has it.
    pub(super) async fn look(
        &self,
        settings: &Settings,
        jurisdiction: JurisdictionId,
        hashes: &[[u8; 16]],
    ) -> Result<Vec<Row>, RegistrarFault> {
        let looked =
            self.at_primary(settings, jurisdiction, async |client| rows::read(&client, hashes).await);
        looked.await.map_err(Failed::plain)
    }

    /// Has it done at the member in the home, and at another one only if that says that it is no primary.
    pub(super) async fn at_primary<T>(
        &self,
        settings: &Settings,
        jurisdiction: JurisdictionId,
        work: impl AsyncFn(Client) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let members = self.databases.get(jurisdiction.index()).map_or(&[][..], Vec::as_slice);
        if members.is_empty() {
            return Err(Failed::Fault(RegistrarFault::NoRegister));
        }
        let home = settings.liveness.load().of(jurisdiction).home;
        let (first, others): (Vec<_>, Vec<_>) = members.iter().partition(|(region, _)| *region == home);
        let mut said = String::new();
        for (region, database) in first.into_iter().chain(others) {
            let done = match database.client().await {
                Ok(client) => work(client).await,
                Err(error) => Err(Failed::Elsewhere(error.to_string())),
            };
            match done {
                Err(Failed::Elsewhere(why)) => {
                    let region = settings.config.topology.region_name(*region);
                    said = format!("{said}{}{region}: {why}", if said.is_empty() { "" } else { "; " });
                }
                done => return done,
            }
        }
        Err(Failed::Fault(RegistrarFault::Unreachable(said)))
    }
}

impl Failed {
    /// For what understands none of the register's own refusals.
    pub(super) fn plain(self) -> RegistrarFault {
        match self {
            Self::Elsewhere(why) => RegistrarFault::Unreachable(why),
            Self::Fault(fault) => fault,
            Self::Refusal(code, _) => RegistrarFault::Refused(code),
        }
    }
}
