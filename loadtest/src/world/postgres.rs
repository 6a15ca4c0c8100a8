//! The Postgres clusters: one per jurisdiction, with real streaming replication through the links.
//!
//! A cluster is made once, in single-user mode, with its roles and its empty database; its standbys begin as
//! copies of that cleanly shut down directory. So all servers start together, and no initial copy has to travel
//! through a link.
//!
//! Invariants
//! - `synchronous_commit` is always on; where the jurisdiction names synchronous standbys, a commit waits for them.
//! - Everything a server writes lies in its region's directory, shared memory files included.
//! - Where `residency-migrate` is at hand a server starts through its `primary check`, as a unit would start it: a former
//!   primary comes back as a standby.
use std::{
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::{
    identity::Identity,
    links::Links,
    process::{Processes, Service, Spec},
    region::{Jurisdiction, Port, Region},
    sql::Sql,
};

const INITDB: Duration = Duration::from_mins(1);
const READY: Duration = Duration::from_secs(90);

/// A login of every cluster. The names are the passwords' owners too, one password per world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Superuser.
    Postgres,
    /// Owns the API's database.
    App,
    /// What gateways use: reads the server's statistics.
    Gateway,
}

impl Role {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::App => "app",
            Self::Gateway => "gateway",
        }
    }
}

/// What is the same for all servers of a world.
#[derive(Clone, Debug)]
pub(crate) struct Clusters {
    /// Where `initdb` and `postgres` are.
    pub programs: PathBuf,
    pub identity: Identity,
    pub password: String,
    pub slot: u8,
    pub fsync: bool,
    /// The world's directory.
    pub root: PathBuf,
    /// `residency-migrate`.
    pub migrate: Option<PathBuf>,
}

/// What a server's unit runs: the check, which must not outlive the shell, and then the server in the shell's place.
const UNIT: &str = r#"setpriv --pdeathsig KILL -- "$0" primary check --jurisdiction "$1" --region "$2" \
    --data-dir data --pg-bin "$3" --config "$4" --wait-s 60 && exec "$3/postgres" -D data"#;

impl Clusters {
    /// The newest server's programs, from Debian's directories or the path.
    pub(crate) fn find_programs() -> Result<PathBuf> {
        let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .filter(|(_, programs)| programs.join("initdb").exists() && programs.join("postgres").exists())
            .collect();
        versions.sort();
        if let Some((_, programs)) = versions.pop() {
            return Ok(programs);
        }
        let asked = Command::new("pg_config").arg("--bindir").output();
        if let Ok(output) = asked
            && let Ok(text) = String::from_utf8(output.stdout)
        {
            let programs = PathBuf::from(text.trim());
            if programs.join("initdb").exists() {
                return Ok(programs);
            }
        }
        bail!("no Postgres server is installed; run `loadtest/scripts/install.sh world`")
    }

    pub(crate) fn url(&self, region: Region, jurisdiction: Jurisdiction, role: Role) -> String {
        let address = Port::Postgres(jurisdiction).at(region, self.slot);
        format!("postgres://{role}:{}@{address}/app", self.password, role = role.name())
    }

    /// Makes a jurisdiction's cluster and its standbys' copies; nothing runs afterwards.
    pub(crate) async fn create(
        &self,
        jurisdiction: Jurisdiction,
        processes: &Processes,
        links: &Links,
    ) -> Result<()> {
        let home = jurisdiction.home();
        let directory = self.directory(home, jurisdiction);
        self.make_directory(&directory)?;
        let password_file = directory.join("password");
        self.write(&password_file, &self.password)?;
        let initdb = self
            .command("initdb", &directory, "initdb.log")
            .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            .args(["--data-checksums", "--wal-segsize=1", "--no-sync", "--no-instructions"])
            .args([format!("--pwfile={}", password_file.display()), "--pgdata=data".into()]);
        processes.run(&initdb, INITDB).await?;
        fs::remove_file(&password_file)?;
        self.configure(home, jurisdiction, links)?;

        let script = directory.join("roles.sql");
        self.write(&script, &self.roles())?;
        // There is no standby yet whom a commit could wait for.
        let settings = ["exit_on_error=on", "synchronous_standby_names="];
        let mut single = self.command("postgres", &directory, "initdb.log").args(["--single", "-D", "data"]);
        single = single.args(settings.iter().flat_map(|setting| ["-c", setting])).args(["postgres"]);
        single.stdin = Some(script.clone());
        processes.run(&single, INITDB).await?;
        fs::remove_file(&script)?;

        for &replica in jurisdiction.replicas() {
            let copy = self.directory(replica, jurisdiction);
            self.make_directory(&copy)?;
            let cp = self
                .command("cp", &copy, "initdb.log")
                .args(["-a", "--reflink=auto"])
                .args([directory.join("data"), copy.join("data")]);
            let cp = Spec { program: "cp".into(), ..cp };
            processes.run(&cp, INITDB).await?;
            self.configure(replica, jurisdiction, links)?;
            self.write(&copy.join("data/standby.signal"), "")?;
        }
        Ok(())
    }

    /// Starts a jurisdiction's server in `region`.
    pub(crate) fn start(
        &self,
        region: Region,
        jurisdiction: Jurisdiction,
        processes: &Processes,
        links: &Links,
    ) -> Result<()> {
        let directory = self.directory(region, jurisdiction);
        let mut spec = self.command("postgres", &directory, "server.log");
        spec.end = Signal::SIGQUIT;
        if let Some(migrate) = &self.migrate {
            spec.program = "sh".into();
            spec = spec.args(["-c", UNIT]).args([migrate]).args([jurisdiction.name(), region.name()]);
            spec = spec.args([self.programs.clone(), self.settings_file()]);
            spec.env = self.environment(region, links);
        } else {
            spec = spec.args(["-D", "data"]);
        }
        processes.start(Service::Postgres(region, jurisdiction), spec)
    }

    /// Of the programs that look after databases: where the members are, as their own environment has it.
    pub(crate) fn settings_file(&self) -> PathBuf {
        self.root.join("shared/clusters.toml")
    }

    /// Writes it.
    pub(crate) fn write_settings(&self) -> Result<()> {
        // A whole configuration, as `schema apply` reads it; nothing but the registers matters.
        let mut text = String::from(
            "region = \"us-east\"\ninternal_tls = \"dir:/nonexistent\"\n[listen]\nhttp = \"127.0.0.1:2\"\ninternal = \"off\"\n\
             [token]\nissuer = \"none\"\naudience = \"none\"\nhs256_secret = \"env:REGISTER_SUBJECT_KEY\"\n\
             [register]\nsubject_key = \"env:REGISTER_SUBJECT_KEY\"\n\
             identifier_key = \"env:REGISTER_IDENTIFIER_KEY\"\n",
        );
        for region in Region::ALL {
            let _ = writeln!(
                text,
                "[regions.{region}]\ngateway = \"{}\"\nupstreams = {{ api = [\"{}\"] }}",
                Port::GatewayInternal.at(region, self.slot),
                Port::Api(1).at(region, self.slot),
            );
        }
        for jurisdiction in Jurisdiction::ALL {
            let quoted: Vec<_> =
                jurisdiction.replicas().iter().map(|replica| format!("\"{replica}\"")).collect();
            let members: Vec<_> = jurisdiction
                .members()
                .map(|region| format!("{region} = \"env:{}\"", register_variable(jurisdiction, region)))
                .collect();
            let durability = if jurisdiction.synchronous().is_empty() { "async" } else { "remote" };
            let _ = writeln!(
                text,
                "[jurisdictions.{jurisdiction}]\nhome = \"{}\"\nreplicas = [{}]\ndurability = \"{durability}\"\n\
                 register = {{ {} }}",
                jurisdiction.home(),
                quoted.join(", "),
                members.join(", "),
            );
        }
        self.write(&self.settings_file(), &text)
    }

    /// An administrator's in `region`: every member's URL as reached from there.
    pub(crate) fn environment(&self, region: Region, links: &Links) -> Vec<(String, OsString)> {
        let mut env: Vec<(String, OsString)> = ["SUBJECT", "IDENTIFIER"]
            .map(|kind| (format!("REGISTER_{kind}_KEY"), format!("{kind}-{}", self.password).into()))
            .into();
        for jurisdiction in Jurisdiction::ALL {
            for member in jurisdiction.members() {
                let address = links.address(region, member, Port::Postgres(jurisdiction));
                let url = format!("postgres://postgres:{}@{address}/app", self.password);
                env.push((register_variable(jurisdiction, member), url.into()));
            }
        }
        env
    }

    /// Makes the registers.
    pub(crate) async fn registers(&self, links: &Links, processes: &Processes) -> Result<()> {
        let Some(migrate) = &self.migrate else { return Ok(()) };
        let shared = self.root.join("shared");
        let mut spec =
            Spec::new(migrate, &shared, shared.join("registers.log")).args(["schema", "apply", "--config"]);
        spec = spec.args([self.settings_file()]);
        spec.env = self.environment(Region::UsEast, links);
        processes.run(&spec, READY).await
    }

    /// Waits until a server takes queries.
    pub(crate) async fn accepting(
        &self,
        region: Region,
        jurisdiction: Jurisdiction,
        processes: &Processes,
    ) -> Result<()> {
        let url = self.url(region, jurisdiction, Role::Postgres);
        processes
            .ready(Service::Postgres(region, jurisdiction), READY, async || {
                Sql::connect(&url).await?.simple_query("SELECT 1").await?;
                Ok(())
            })
            .await
    }

    /// Waits until the primary reports each standby as streaming, and as synchronous where it must be.
    pub(crate) async fn streaming(&self, jurisdiction: Jurisdiction, processes: &Processes) -> Result<()> {
        let home = jurisdiction.home();
        let url = self.url(home, jurisdiction, Role::Postgres);
        for &replica in jurisdiction.replicas() {
            let wanted = if jurisdiction.synchronous().contains(&replica) { "sync" } else { "async" };
            processes
                .ready(Service::Postgres(replica, jurisdiction), READY, async || {
                    let sql = Sql::connect(&url).await?;
                    let row = sql
                        .query_opt(
                            "SELECT state, sync_state FROM pg_stat_replication WHERE application_name = $1",
                            &[&replica.name()],
                        )
                        .await?
                        .context("the primary has no such standby")?;
                    let (state, sync): (String, String) = (row.get(0), row.get(1));
                    ensure!(state == "streaming" && sync == wanted, "the standby is {state}, {sync}");
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    fn directory(&self, region: Region, jurisdiction: Jurisdiction) -> PathBuf {
        self.root.join(region.name()).join(format!("postgres-{jurisdiction}"))
    }

    /// A command of Postgres' own, under the right user, with a log beside the data.
    fn command(&self, program: &str, directory: &Path, log: &str) -> Spec {
        let mut spec = Spec::new(self.programs.join(program), directory, directory.join(log));
        spec.identity = self.identity.clone();
        spec
    }

    fn make_directory(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        self.identity.own(path)
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        self.identity.own(path)
    }

    fn configure(&self, region: Region, jurisdiction: Jurisdiction, links: &Links) -> Result<()> {
        let data = self.directory(region, jurisdiction).join("data");
        self.write(&data.join("postgresql.conf"), &self.settings(region, jurisdiction, links))?;
        self.write(
            &data.join("pg_hba.conf"),
            "host all all 127.0.0.0/8 scram-sha-256\nhost replication replicator 127.0.0.0/8 scram-sha-256\n",
        )
    }

    fn settings(&self, region: Region, jurisdiction: Jurisdiction, links: &Links) -> String {
        let address = Port::Postgres(jurisdiction).at(region, self.slot);
        let mut text = format!(
            "listen_addresses = '{ip}'\nport = {port}\nunix_socket_directories = ''\n\
             max_connections = 120\nshared_buffers = '24MB'\nmax_parallel_workers_per_gather = 0\njit = off\n\
             dynamic_shared_memory_type = mmap\n\
             wal_level = replica\nmax_wal_senders = 10\nwal_keep_size = '256MB'\nmax_wal_size = '256MB'\n\
             min_wal_size = '4MB'\nwal_log_hints = on\nhot_standby = on\nsynchronous_commit = on\nfsync = {fsync}\n\
             wal_sender_timeout = '10s'\nwal_receiver_timeout = '10s'\nwal_receiver_status_interval = '1s'\n\
             wal_retrieve_retry_interval = '500ms'\n\
             timezone = 'UTC'\nlog_timezone = 'UTC'\nlog_line_prefix = '%m [%p] %q%a '\n\
             log_error_verbosity = terse\nlog_checkpoints = off\n",
            ip = address.ip(),
            port = address.port(),
            fsync = if self.fsync { "on" } else { "off" },
        );
        if region == jurisdiction.home() {
            let names: Vec<_> =
                jurisdiction.synchronous().iter().map(|standby| format!("\"{standby}\"")).collect();
            if !names.is_empty() {
                let _ = writeln!(
                    text,
                    "synchronous_standby_names = 'FIRST {} ({})'",
                    names.len(),
                    names.join(", ")
                );
            }
        }
        // Whoever is the primary is found among all others, after a promotion, too.
        let others = jurisdiction.members().filter(|other| *other != region);
        let (hosts, ports): (Vec<_>, Vec<_>) = others
            .map(|other| links.address(region, other, Port::Postgres(jurisdiction)))
            .map(|address| (address.ip().to_string(), address.port().to_string()))
            .unzip();
        let _ = writeln!(
            text,
            "primary_conninfo = 'host={} port={} user=replicator password={} application_name={region} \
             target_session_attrs=read-write connect_timeout=2'\nrecovery_target_timeline = 'latest'",
            hosts.join(","),
            ports.join(","),
            self.password,
        );
        text
    }

    /// One statement a line, as single-user mode reads them.
    fn roles(&self) -> String {
        let password = &self.password;
        format!(
            "CREATE ROLE replicator LOGIN REPLICATION PASSWORD '{password}';\n\
             CREATE ROLE app LOGIN PASSWORD '{password}';\n\
             CREATE ROLE gateway LOGIN PASSWORD '{password}' IN ROLE pg_monitor;\n\
             CREATE DATABASE app OWNER app;\n"
        )
    }
}

pub(crate) fn register_variable(jurisdiction: Jurisdiction, region: Region) -> String {
    format!("REGISTER_{}_AT_{}", jurisdiction.name().to_uppercase(), region.env_name())
}

/// Frees the shared memory that servers left which were killed together with their world.
pub(crate) fn free_shared_memory(root: &Path) {
    for region in Region::ALL {
        for jurisdiction in region.databases() {
            let pid_file =
                root.join(region.name()).join(format!("postgres-{jurisdiction}/data/postmaster.pid"));
            let Ok(text) = fs::read_to_string(pid_file) else { continue };
            // Line 7 is the segment's key and id; `ipcrm` refuses what is not ours, and only marks what is in use.
            if let Some(id) = text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
                let _ = Command::new("ipcrm").args(["--shmem-id", id]).output();
            }
        }
    }
}
