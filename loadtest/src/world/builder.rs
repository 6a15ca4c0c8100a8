//! How a world is ordered, and how it comes up.
use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    HOST, World,
    api::{self, Api, Apis},
    gateway::{self, Gateways},
    identity::Identity,
    keys::Keys,
    links::Links,
    postgres::{Clusters, free_shared_memory},
    process::Processes,
    redis,
    region::{Jurisdiction, Region},
    slot::{API_PROCESSES, Slot},
};
use crate::certificate::Certificate;

type Progress = Arc<dyn Fn(&str) + Send + Sync>;
type Edit = Arc<dyn Fn(String) -> String + Send + Sync>;

/// What a world shall have. Everything that is not said is as the reference topology has it.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "switches that have nothing to do with each other")]
pub struct WorldBuilder {
    gateway: Option<PathBuf>,
    migrate: Option<PathBuf>,
    api: Api,
    express: PathBuf,
    worlds: PathBuf,
    slot: Option<u8>,
    api_processes: Option<u8>,
    postgres: bool,
    redis: bool,
    fsync: bool,
    keep: bool,
    workers: usize,
    api_env: Vec<(String, String)>,
    gateway_env: Vec<(String, String)>,
    edit: Option<Edit>,
    progress: Progress,
    ready: &'static str,
    https: bool,
}

impl Default for WorldBuilder {
    fn default() -> Self {
        let express = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("express-api");
        Self {
            gateway: None,
            migrate: None,
            api: Api::Express(express.clone()),
            express,
            worlds: PathBuf::from("target/worlds"),
            slot: None,
            api_processes: None,
            postgres: true,
            redis: true,
            fsync: true,
            keep: false,
            workers: 2,
            api_env: Vec::new(),
            gateway_env: Vec::new(),
            edit: None,
            progress: Arc::new(|_| ()),
            ready: "/health/full",
            https: false,
        }
    }
}

impl WorldBuilder {
    /// The `residency-gateway` to run in every region; without it the world has no gateways.
    #[must_use]
    pub fn gateway_bin(mut self, path: impl Into<PathBuf>) -> Self {
        self.gateway = Some(path.into());
        self
    }

    /// The `residency-migrate` that makes the internal certificates, needed with gateways; starts databases through its
    /// `primary check`, and makes the registers.
    #[must_use]
    pub fn migrate_bin(mut self, path: impl Into<PathBuf>) -> Self {
        self.migrate = Some(path.into());
        self
    }

    /// What answers behind the gateways; default the Express API.
    #[must_use]
    pub fn api(mut self, api: Api) -> Self {
        if let Api::Express(directory) = &api {
            self.express.clone_from(directory);
        }
        self.api = api;
        self
    }

    /// The directory in which worlds have theirs, one per slot; default `target/worlds`. What a world leaves there
    /// (killed, or kept) is removed by the next one of its slot.
    #[must_use]
    pub fn root(mut self, worlds: impl Into<PathBuf>) -> Self {
        self.worlds = worlds.into();
        self
    }

    /// A certain slot instead of the first free one.
    #[must_use]
    pub fn slot(mut self, slot: u8) -> Self {
        self.slot = Some(slot);
        self
    }

    /// API processes in every region; default 2, and 1 in eu-nuremberg.
    #[must_use]
    pub fn api_processes(mut self, count: u8) -> Self {
        self.api_processes = Some(count);
        self
    }

    /// Without Postgres clusters, when false: faster, for what needs none.
    #[must_use]
    pub fn postgres(mut self, postgres: bool) -> Self {
        self.postgres = postgres;
        self
    }

    /// Without Redis, when false.
    #[must_use]
    pub fn redis(mut self, redis: bool) -> Self {
        self.redis = redis;
        self
    }

    /// `fsync = off` in Postgres, when false: faster on slow disks. Commits still wait for the standby.
    #[must_use]
    pub fn fsync(mut self, fsync: bool) -> Self {
        self.fsync = fsync;
        self
    }

    /// Keeps the world's directory when it stops.
    #[must_use]
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// Workers per gateway; default 2.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// A variable for every API process.
    #[must_use]
    pub fn api_env(mut self, name: &str, value: &str) -> Self {
        self.api_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A variable for every gateway: `RESIDENCY_<SECTION>__<KEY>` overrides a key of the file.
    #[must_use]
    pub fn gateway_env(mut self, name: &str, value: &str) -> Self {
        self.gateway_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Changes the gateways' configuration file before it is written.
    #[must_use]
    pub fn edit_config(mut self, edit: impl Fn(String) -> String + Send + Sync + 'static) -> Self {
        self.edit = Some(Arc::new(edit));
        self
    }

    /// The health path that a gateway must pass to count as started; default `/health/full`.
    #[must_use]
    pub fn gateway_ready(mut self, path: &'static str) -> Self {
        self.ready = path;
        self
    }

    /// Gateways also end TLS for clients, with [`World::certificate`] for the host [`HOST`].
    #[must_use]
    pub fn https(mut self) -> Self {
        self.https = true;
        self
    }

    /// Hears what is being started.
    #[must_use]
    pub fn progress(mut self, progress: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.progress = Arc::new(progress);
        self
    }

    /// Starts everything and waits until it is ready.
    pub async fn start(self) -> Result<World> {
        let say = Arc::clone(&self.progress);
        let processes_of =
            |region| self.api_processes.unwrap_or(if region == Region::EuNuremberg { 1 } else { 2 });
        let api_processes: Vec<(Region, u8)> = Region::ALL
            .into_iter()
            .flat_map(|r| (1..=processes_of(r)).map(move |process| (r, process)))
            .collect();
        ensure!(
            (1..=API_PROCESSES).contains(&self.api_processes.unwrap_or(1)),
            "a region has 1 to {API_PROCESSES} API processes"
        );
        self.api.check()?;
        Api::Express(self.express.clone()).check()?;
        let programs = if self.postgres { Some(Clusters::find_programs()?) } else { None };

        let slot = Slot::claim(self.slot)?;
        fs::create_dir_all(&self.worlds).with_context(|| format!("making {}", self.worlds.display()))?;
        let root = self.worlds.canonicalize()?.join(slot.number.to_string());
        remove_leftovers(&root)?;
        for region in Region::ALL {
            fs::create_dir_all(root.join(region.name()))?;
        }
        fs::create_dir_all(root.join("shared"))?;
        let password = format!("{:032x}", rand::random::<u128>());
        let clusters = match programs {
            None => None,
            Some(programs) => Some(Clusters {
                programs,
                identity: Identity::for_files_in(&root)?,
                password,
                slot: slot.number,
                fsync: self.fsync,
                root: root.clone(),
                migrate: self.migrate.clone(),
            }),
        };
        // From here on the world exists, so that whatever fails below ends what was started.
        let mut world = World {
            processes: Processes::new(&root)?,
            links: Links::start(slot.number)?,
            keys: Keys::at(root.join("shared/jwt-keys.json")),
            config: self.gateway.as_ref().map(|_| root.join("shared/residency.toml")),
            express: self.express.clone(),
            api_processes,
            gateway_ready: self.ready,
            certificate: None,
            clusters,
            root,
            slot,
            keep: self.keep,
            gateway_bin: self.gateway.clone(),
            gateway_environments: Vec::new(),
        };
        if self.https {
            world.certificate = Some(Certificate::make(&world.root.join("shared/tls"), HOST)?);
        }
        let number = world.slot.number;
        let processes = &world.processes;
        let shared = world.root.join("shared");

        say("token keys, internal certificates, Postgres clusters");
        let gateways = match &self.gateway {
            None => None,
            Some(gateway) => Some(Gateways {
                gateway,
                migrate: self
                    .migrate
                    .as_deref()
                    .context("gateways need residency-migrate for their certificates")?,
                config: shared.join("residency.toml"),
                root: &world.root,
                slot: number,
                api: &self.api,
                api_processes: &world.api_processes,
                keys: &world.keys,
                clusters: world.clusters.as_ref(),
                redis: self.redis,
                certificate: world.certificate.as_ref(),
                workers: self.workers,
                env: &self.gateway_env,
            }),
        };
        let key_file = world.keys.file().display().to_string();
        let init = ["init", key_file.as_str()];
        let keys = api::keys_command(&self.express, &init, shared.join("keys.log"), processes);
        let pki = async {
            match &gateways {
                None => Ok(()),
                Some(gateways) => gateways.pki(processes).await,
            }
        };
        if let Some(clusters) = &world.clusters {
            clusters.write_settings()?;
        }
        let create = async |jurisdiction| match &world.clusters {
            None => Ok(()),
            Some(clusters) => {
                let created = clusters.create(jurisdiction, processes, &world.links).await;
                created.with_context(|| format!("the {jurisdiction} cluster"))
            }
        };
        tokio::try_join!(keys, pki, create(Jurisdiction::Us), create(Jurisdiction::Eu))?;

        say("Postgres with its standbys, Redis");
        if self.redis {
            for region in Region::ALL {
                redis::start(&world.root, region, number, processes)?;
            }
        }
        if let Some(clusters) = &world.clusters {
            for (region, jurisdiction) in databases() {
                clusters.start(region, jurisdiction, processes, &world.links)?;
            }
            for (region, jurisdiction) in databases() {
                clusters.accepting(region, jurisdiction, processes).await?;
            }
            for jurisdiction in Jurisdiction::ALL {
                clusters.streaming(jurisdiction, processes).await?;
            }
            clusters.registers(&world.links, processes).await?;
        }
        if self.redis {
            for region in Region::ALL {
                redis::ready(region, number, processes).await?;
            }
        }

        say("API processes");
        let apis = Apis {
            api: &self.api,
            keys: &world.keys,
            clusters: world.clusters.as_ref(),
            root: &world.root,
            slot: number,
            redis: self.redis,
            control: self.gateway.is_some() && self.postgres,
            env: &self.api_env,
        };
        tokio::try_join!(apis.schema(Jurisdiction::Us, processes), apis.schema(Jurisdiction::Eu, processes))?;
        for &(region, process) in &world.api_processes {
            apis.start(region, process, processes)?;
        }
        if !matches!(self.api, Api::Caller) {
            for &(region, process) in &world.api_processes {
                api::ready(region, process, number, processes).await?;
            }
        }

        if let Some(gateways) = gateways {
            say("gateways");
            let text = gateways.configuration();
            let text = self.edit.as_ref().map_or(text.clone(), |edit| edit(text));
            fs::write(&gateways.config, &text)?;
            let mut environments = Vec::new();
            for region in Region::ALL {
                environments.push((region, gateways.environment(region, &world.links)?));
                gateways.start(region, &world.links, processes)?;
            }
            for region in Region::ALL {
                gateway::ready(region, self.ready, number, processes).await?;
            }
            world.gateway_environments = environments;
        }
        Ok(world)
    }
}

/// Every Postgres server of a world.
pub(crate) fn databases() -> impl Iterator<Item = (Region, Jurisdiction)> {
    Region::ALL
        .into_iter()
        .flat_map(|region| region.databases().iter().map(move |jurisdiction| (region, *jurisdiction)))
}

/// Removes what a killed or kept world of this slot left behind.
fn remove_leftovers(root: &std::path::Path) -> Result<()> {
    if !root.exists() {
        return Ok(());
    }
    free_shared_memory(root);
    // Servers that died with their world may still be writing their last.
    let mut attempt = fs::remove_dir_all(root);
    for _ in 0..20 {
        if attempt.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        attempt = fs::remove_dir_all(root);
    }
    attempt.with_context(|| format!("removing what an earlier world left in {}", root.display()))
}
