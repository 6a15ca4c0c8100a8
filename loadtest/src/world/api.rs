//! The API processes: the Express API, or what a scenario puts in its place.
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;

use super::{
    client::Call,
    gateway::control_files,
    keys::Keys,
    postgres::{Clusters, Role},
    process::{Processes, Service, Spec, tail},
    region::{Jurisdiction, Port, Region},
};

const READY: Duration = Duration::from_secs(30);
const SCHEMA: Duration = Duration::from_secs(30);

/// What answers behind the gateways.
#[derive(Clone, Debug)]
pub enum Api {
    /// The Express API of this directory (`loadtest/express-api`, with its modules installed).
    Express(PathBuf),
    /// A program with the environment of the Express API: `HOST`, `PORT`, `REGION` and the rest.
    Program { program: PathBuf, args: Vec<OsString> },
    /// Nothing: the caller listens on [`super::World::address`] of each [`Port::Api`] itself.
    Caller,
}

/// Token issuer and audience of every world.
pub const ISSUER: &str = "https://auth.residency.test";
pub const AUDIENCE: &str = "api";

pub(crate) struct Apis<'a> {
    pub api: &'a Api,
    pub keys: &'a Keys,
    pub clusters: Option<&'a Clusters>,
    pub root: &'a Path,
    pub slot: u8,
    pub redis: bool,
    /// Users are registered, by way of the region's gateway.
    pub control: bool,
    /// Added to every process's environment.
    pub env: &'a [(String, String)],
}

impl Api {
    /// Fails with the remedy when it cannot run here.
    pub(crate) fn check(&self) -> Result<()> {
        if let Self::Express(directory) = self {
            ensure!(
                directory.join("server.js").exists() && directory.join("node_modules").exists(),
                "{} has no server.js or no node_modules; run `loadtest/scripts/install.sh world`",
                directory.display()
            );
        }
        Ok(())
    }
}

impl Apis<'_> {
    /// Applies the API's schema to a jurisdiction's primary.
    pub(crate) async fn schema(&self, jurisdiction: Jurisdiction, processes: &Processes) -> Result<()> {
        let (Api::Express(directory), Some(clusters)) = (self.api, self.clusters) else { return Ok(()) };
        let home = jurisdiction.home();
        let log = self.root.join(home.name()).join("schema.log");
        let schema = Spec::new("node", directory, log)
            .args(["schema.js".to_owned(), clusters.url(home, jurisdiction, Role::App)]);
        processes.run(&schema, SCHEMA).await.with_context(|| format!("the schema of {jurisdiction}"))
    }

    pub(crate) fn start(&self, region: Region, process: u8, processes: &Processes) -> Result<()> {
        let directory = self.root.join(region.name()).join(format!("api-{process}"));
        fs::create_dir_all(&directory)?;
        let log = directory.join("stdout.log");
        let spec = match self.api {
            // Its own directory is outside the world; it writes nothing there.
            Api::Express(source) => Spec::new("node", source, log).args(["server.js"]),
            Api::Program { program, args } => Spec::new(program, &directory, log).args(args.iter()),
            Api::Caller => return Ok(()),
        };
        let address = Port::Api(process).at(region, self.slot);
        let databases: serde_json::Map<_, _> = region
            .databases()
            .iter()
            .filter_map(|&jurisdiction| {
                let url = self.clusters?.url(region, jurisdiction, Role::App);
                Some((jurisdiction.name().to_owned(), json!(url)))
            })
            .collect();
        let mut spec = spec
            .env("HOST", address.ip().to_string())
            .env("PORT", address.port().to_string())
            .env("REGION", region.name())
            .env("JWT_KEYS_FILE", self.keys.file())
            .env("ISSUER", ISSUER)
            .env("AUDIENCE", AUDIENCE)
            .env("DATABASES", serde_json::Value::from(databases).to_string());
        if self.redis {
            spec = spec.env("REDIS_URL", format!("redis://{}/", Port::Redis.at(region, self.slot)));
        }
        if self.control {
            let file = |end: &str| control_files(self.root, region).join(end);
            spec = spec
                .env("CONTROL_URL", format!("https://{}", Port::GatewayInternal.at(region, self.slot)))
                .env("CONTROL_CA", file("ca.crt"))
                .env("CONTROL_CERT", file(&format!("{region}.control.api.crt")))
                .env("CONTROL_KEY", file(&format!("{region}.control.api.key")));
        }
        for (name, value) in self.env {
            spec = spec.env(name, value);
        }
        processes.start(Service::Api(region, process), spec)
    }
}

/// Waits until an API process answers.
pub(crate) async fn ready(region: Region, process: u8, slot: u8, processes: &Processes) -> Result<()> {
    let service = Service::Api(region, process);
    processes
        .ready(service, READY, async || {
            let answer = Call::new(Port::Api(process).at(region, slot), Method::GET, "/livez").send().await?;
            ensure!(answer.status.is_success(), "/livez answers {}", answer.status);
            Ok(())
        })
        .await
}

/// Runs `node keys.js` of the Express API: `init`, `rotate`, `withdraw KID`.
pub(crate) async fn keys_command(
    express: &Path,
    words: &[&str],
    log: PathBuf,
    processes: &Processes,
) -> Result<()> {
    let spec = Spec::new("node", express, log.clone()).args(["keys.js"]).args(words.iter().copied());
    processes.run(&spec, SCHEMA).await.with_context(|| format!("keys.js {words:?}\n{}", tail(&log)))
}
