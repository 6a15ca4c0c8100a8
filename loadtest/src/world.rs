//! The world: the four regions on one machine, for the demo, the integration tests and the load scenarios.
//!
//! Real programs only: the gateways, the Express API, Redis, and Postgres clusters with streaming replication, each
//! region on a loopback address of its own. Every byte between regions travels through a link that delays it, and that
//! fails on command.
//!
//! Invariants
//! - Everything of a region lies below [`World::directory`] of it: data, logs, certificates. So a byte scan of that
//!   directory says what the region has stored.
//! - A world leaves no process, port or shared memory behind, however its owner ends; files stay below its root and go
//!   with [`World::stop`] or its drop.
//! - Worlds in different slots share nothing.
//!
//! Absent by design: the library under test. What runs here are its programs, as users run them.
mod alarm;
mod api;
mod builder;
mod client;
mod control;
mod gateway;
mod identity;
mod keys;
mod links;
mod postgres;
mod process;
mod redis;
mod region;
mod relay;
mod scan;
mod slot;
mod sql;
#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    time::Duration,
};

use ::redis::aio::MultiplexedConnection;
use anyhow::{Context, Result, bail, ensure};
use http::Method;
use nix::sys::signal::Signal;

pub use self::{
    api::{AUDIENCE, Api, ISSUER},
    builder::WorldBuilder,
    client::{Answer, Call},
    keys::{Keys, Signer},
    links::{Fault, Link, Links},
    postgres::Role,
    process::Service,
    region::{Jurisdiction, Port, Region, round_trip},
    scan::{Hit, Scan, scan},
    sql::Sql,
};
use self::{postgres::Clusters, process::Processes, slot::Slot};
use crate::certificate::Certificate;

/// What the gateways' certificate is for, in a world that has one.
pub const HOST: &str = "api.residency.test";
/// How long a port may stay taken after its process ended.
const VACATE: Duration = Duration::from_secs(5);

/// A running world. Ends with its drop; [`World::stop`] also says whether it ended well.
pub struct World {
    processes: Processes,
    links: Links,
    keys: Keys,
    config: Option<PathBuf>,
    express: PathBuf,
    api_processes: Vec<(Region, u8)>,
    gateway_ready: &'static str,
    certificate: Option<Certificate>,
    clusters: Option<Clusters>,
    root: PathBuf,
    keep: bool,
    gateway_bin: Option<PathBuf>,
    gateway_environments: Vec<(Region, Vec<(String, OsString)>)>,
    // Last, so that the slot is free only when all else is gone.
    slot: Slot,
}

/// Where things are.
impl World {
    pub fn builder() -> WorldBuilder {
        WorldBuilder::default()
    }

    pub fn slot(&self) -> u8 {
        self.slot.number
    }

    /// The world's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Everything of one region.
    pub fn directory(&self, region: Region) -> PathBuf {
        self.root.join(region.name())
    }

    /// An address inside its region: whoever uses it is there.
    pub fn address(&self, region: Region, port: Port) -> SocketAddr {
        port.at(region, self.slot.number)
    }

    /// `http://` and the address of a region's gateway.
    pub fn gateway_url(&self, region: Region) -> String {
        format!("http://{}", self.address(region, Port::GatewayHttp))
    }

    /// What clients trust; none in a world without TLS for clients.
    pub(crate) fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// The API processes: region and number from 1.
    pub fn api_processes(&self) -> &[(Region, u8)] {
        &self.api_processes
    }

    /// The gateways' configuration file; changes apply after SIGHUP or a restart.
    pub fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    pub fn links(&self) -> &Links {
        &self.links
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// libpq URL of the jurisdiction's server in that region.
    ///
    /// # Panics
    /// In a world without Postgres.
    pub fn database_url(&self, region: Region, jurisdiction: Jurisdiction, role: Role) -> String {
        self.clusters.as_ref().expect("this world has Postgres").url(region, jurisdiction, role)
    }

    /// A service's log so far.
    pub fn log(&self, service: Service) -> Result<String> {
        let path = self.processes.spec(service)?.log;
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The process id of a service that runs.
    pub fn pid(&self, service: Service) -> Option<i32> {
        self.processes.pid(service).map(nix::unistd::Pid::as_raw)
    }
}

/// Talking to what runs.
impl World {
    /// A request of a user in `region` to the gateway there.
    pub fn call(&self, region: Region, method: Method, path: &str) -> Call {
        Call::new(self.address(region, Port::GatewayHttp), method, path)
    }

    /// A superuser's session with a server's database.
    pub async fn sql(&self, region: Region, jurisdiction: Jurisdiction) -> Result<Sql> {
        Sql::connect(&self.database_url(region, jurisdiction, Role::Postgres))
            .await
            .with_context(|| format!("Postgres {jurisdiction} in {region}"))
    }

    pub async fn redis(&self, region: Region) -> Result<MultiplexedConnection> {
        redis::connect(region, self.slot.number).await
    }

    /// A new signing key; the old ones stay valid. Answers its id.
    pub async fn rotate_keys(&self) -> Result<String> {
        self.keys_command(&["rotate", &self.keys.file().display().to_string()]).await?;
        self.keys.active()
    }

    /// Withdraws a signing key: the API publishes it no more.
    pub async fn withdraw_key(&self, kid: &str) -> Result<()> {
        self.keys_command(&["withdraw", &self.keys.file().display().to_string(), kid]).await
    }

    /// The gateway program with a region's environment, for `check` and `explain`. It names no configuration yet.
    ///
    /// # Panics
    /// In a world without gateways.
    pub fn gateway_command(&self, region: Region) -> Command {
        let mut command = Command::new(self.gateway_bin.as_ref().expect("this world has gateways"));
        let environment = self.gateway_environments.iter().find(|(of, _)| *of == region);
        command.env_clear().envs(environment.into_iter().flat_map(|(_, env)| env.iter().cloned()));
        command
    }

    /// Makes databases and Redis write to disk what they hold in memory, so that a scan sees it.
    pub async fn flush_to_disk(&self) -> Result<()> {
        if self.clusters.is_some() {
            for (region, jurisdiction) in builder::databases() {
                let sql = self.sql(region, jurisdiction).await?;
                // On a standby it makes a restart point.
                sql.batch_execute("CHECKPOINT").await?;
            }
        }
        for service in self.processes.services() {
            if let Service::Redis(region) = service {
                let mut redis = self.redis(region).await?;
                ::redis::cmd("SAVE")
                    .exec_async(&mut redis)
                    .await
                    .with_context(|| format!("SAVE in {region}"))?;
            }
        }
        Ok(())
    }

    /// Waits until every standby has replayed what its primary has written by now. Links must be open.
    pub async fn caught_up(&self, jurisdiction: Jurisdiction) -> Result<()> {
        let home = self.primary(jurisdiction).await?;
        let position: String = self
            .sql(home, jurisdiction)
            .await?
            .query_one("SELECT pg_current_wal_lsn()::text", &[])
            .await?
            .get(0);
        for replica in jurisdiction.members().filter(|member| *member != home) {
            self.processes
                .ready(Service::Postgres(replica, jurisdiction), Duration::from_secs(30), async || {
                    let sql = self.sql(replica, jurisdiction).await?;
                    let row = sql
                        .query_one(
                            "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)",
                            &[&position],
                        )
                        .await?;
                    ensure!(row.get::<_, bool>(0), "has not replayed {position} yet");
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    async fn keys_command(&self, words: &[&str]) -> Result<()> {
        let log = self.root.join("shared/keys.log");
        api::keys_command(&self.express, words, log, &self.processes).await
    }
}

/// The clusters' primaries.
impl World {
    /// Where the jurisdiction's primary runs now: of the servers that take writes the one of the latest timeline.
    pub async fn primary(&self, jurisdiction: Jurisdiction) -> Result<Region> {
        let mut found = None;
        for region in jurisdiction.members() {
            let Ok(sql) = self.sql(region, jurisdiction).await else { continue };
            let timeline = "SELECT pg_walfile_name(pg_current_wal_lsn()) WHERE NOT pg_is_in_recovery()";
            if let Ok(Some(row)) = sql.query_opt(timeline, &[]).await {
                let timeline: String = row.get(0);
                found = found.max(Some((timeline[..8].to_owned(), region)));
            }
        }
        found.map(|(_, region)| region).with_context(|| format!("no database of {jurisdiction} takes writes"))
    }

    /// `residency-migrate` as an administrator in `region` would run it: with every database's URL as reached from there.
    ///
    /// # Panics
    /// In a world without Postgres or without that program.
    pub fn migrate_command(&self, region: Region) -> Command {
        let clusters = self.clusters.as_ref().expect("this world has Postgres");
        let mut command = Command::new(clusters.migrate.as_ref().expect("this world has residency-migrate"));
        command.env_clear().envs(clusters.environment(region, &self.links));
        command
    }

    /// Runs `residency-migrate` in `region` to its end, with the databases' configuration.
    pub async fn migrate(&self, region: Region, words: &[&str]) -> Result<Output> {
        let mut command = self.migrate_command(region);
        let settings = self.clusters.as_ref().expect("asked for above").settings_file();
        command.args(words).arg("--config").arg(settings);
        Ok(tokio::task::spawn_blocking(move || command.output()).await??)
    }

    /// Makes the database in `region` the jurisdiction's primary; what the program said.
    pub async fn promote(
        &self,
        jurisdiction: Jurisdiction,
        region: Region,
        words: &[&str],
    ) -> Result<String> {
        let promote = ["promote", "--jurisdiction", jurisdiction.name(), "--to", region.name()];
        let output = self.migrate(region, &[&promote, words].concat()).await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }
}

/// Faults.
impl World {
    /// Silences every link of a region.
    pub fn isolate(&self, region: Region) {
        self.links.cut_off(&[region], Fault::Silence);
    }

    /// Opens every link.
    pub fn heal_all(&self) {
        self.links.heal_all();
    }

    /// Sends a signal. HUP to a gateway reloads it, TERM drains it.
    pub fn signal(&self, service: Service, signal: Signal) -> Result<()> {
        self.processes.signal(service, signal)
    }

    /// `kill -9`, and waits for the end.
    pub async fn kill(&self, service: Service) -> Result<()> {
        self.processes.signal(service, Signal::SIGKILL)?;
        self.processes.ended(service, VACATE).await?;
        Ok(())
    }

    /// `kill -9` to every process of a region. What it stored stays.
    pub async fn kill_region(&self, region: Region) -> Result<()> {
        let running = self.services_of(region).into_iter().filter(|service| self.pid(*service).is_some());
        let running: Vec<_> = running.collect();
        // All at once: a region that loses power has no order in which it goes.
        for &service in &running {
            self.processes.signal(service, Signal::SIGKILL)?;
        }
        for &service in &running {
            self.processes.ended(service, VACATE).await?;
        }
        Ok(())
    }

    /// Starts what does not run of a region: databases first, the gateway last, each as it was started before.
    pub async fn revive_region(&self, region: Region) -> Result<()> {
        let mut ended = self.services_of(region);
        ended.retain(|service| self.pid(*service).is_none());
        ended.sort_by_key(|service| match service {
            Service::Postgres(..) => 0,
            Service::Redis(_) => 1,
            Service::Api(..) => 2,
            Service::Gateway(_) => 3,
        });
        for service in ended {
            if let Service::Gateway(region) = service {
                // It serves as soon as it is up; that all it looks at is healthy is for a better day.
                self.processes.start_again(service)?;
                gateway::ready(region, "/health/basic", self.slot.number, &self.processes).await?;
            } else {
                self.restart(service).await?;
            }
        }
        Ok(())
    }

    fn services_of(&self, region: Region) -> Vec<Service> {
        self.processes.services().into_iter().filter(|service| service.region() == region).collect()
    }

    /// Starts a service that ended with more, or other, environment; as before when it is started again after that.
    pub async fn restart_with(&self, service: Service, environment: &[(&str, &str)]) -> Result<()> {
        let usual = self.processes.spec(service)?;
        let mut spec = usual.clone();
        spec.env.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
        self.processes.start(service, spec)?;
        self.processes.remember(service, usual);
        self.started(service).await
    }

    /// Waits until a service has ended by itself or by a signal.
    pub async fn ended(&self, service: Service, patience: Duration) -> Result<ExitStatus> {
        self.processes.ended(service, patience).await
    }

    /// Starts a service that ended, as it was started before, and waits until it is ready.
    pub async fn restart(&self, service: Service) -> Result<()> {
        self.processes.start_again(service)?;
        self.started(service).await
    }

    async fn started(&self, service: Service) -> Result<()> {
        let slot = self.slot.number;
        match service {
            Service::Gateway(region) => {
                gateway::ready(region, self.gateway_ready, slot, &self.processes).await
            }
            Service::Api(region, process) => api::ready(region, process, slot, &self.processes).await,
            Service::Redis(region) => redis::ready(region, slot, &self.processes).await,
            Service::Postgres(region, jurisdiction) => {
                let clusters = self.clusters.as_ref().context("this world has no Postgres")?;
                clusters.accepting(region, jurisdiction, &self.processes).await
            }
        }
    }
}

/// The end.
impl World {
    /// Ends every process, checks that none is left and every port is free, and removes the directory unless it is to
    /// be kept.
    pub fn stop(self) -> Result<()> {
        let died: Vec<_> =
            self.processes.services().into_iter().filter(|service| self.processes.died(*service)).collect();
        let quotes: Vec<_> = died.iter().map(|service| self.processes.log_tail(*service)).collect();
        self.processes.stop_all();
        let left = process::belonging_to(&self.root);
        if let Err(address) = slot::vacated(&slot::services(self.slot.number), VACATE) {
            bail!("something still listens on {address}");
        }
        ensure!(left.is_empty(), "processes of {} are left: {left:?}", self.root.display());
        ensure!(died.is_empty(), "{died:?} ended unasked\n{}", quotes.join("\n"));
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.processes.stop_all();
        postgres::free_shared_memory(&self.root);
        if !self.keep {
            // The next world of this slot removes what could not be removed now.
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}
