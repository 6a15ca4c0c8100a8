//! The gateways: one file for all regions, and what differs between them in their environment.
//!
//! A peer's address differs by who looks, since each region reaches the others through its own ends of the links; so
//! the file says `env:GATEWAY_US_EAST`, and each gateway's environment holds its own view.
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use http::Method;
use nix::sys::signal::Signal;

use super::{
    api::{AUDIENCE, Api, ISSUER},
    client::Call,
    keys::Keys,
    links::Links,
    postgres::{Clusters, Role, register_variable},
    process::{Processes, Service, Spec},
    region::{Jurisdiction, Port, Region, round_trip},
};
use crate::certificate::Certificate;

const READY: Duration = Duration::from_secs(20);
const PKI: Duration = Duration::from_secs(30);

/// What all gateways of a world share.
pub(crate) struct Gateways<'a> {
    pub gateway: &'a Path,
    pub migrate: &'a Path,
    pub config: PathBuf,
    pub root: &'a Path,
    pub slot: u8,
    pub api: &'a Api,
    pub api_processes: &'a [(Region, u8)],
    pub keys: &'a Keys,
    pub clusters: Option<&'a Clusters>,
    pub redis: bool,
    pub certificate: Option<&'a Certificate>,
    pub workers: usize,
    pub env: &'a [(String, String)],
}

impl Gateways<'_> {
    /// The configuration file's text.
    pub(crate) fn configuration(&self) -> String {
        let mut text = format!(
            "mode = \"enforce\"\ninternal_tls = \"env:PKI\"\n\n\
             [listen]\nhttp = \"env:LISTEN_HTTP\"\nhttps = \"{https}\"\ninternal = \"env:LISTEN_INTERNAL\"\n\
             admin = \"env:LISTEN_ADMIN\"\nworkers = {workers}\n\n\
             [token]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks = \"env:JWKS\"\n\
             algorithms = [\"RS256\"]\nfrom = [\"bearer\", \"cookie:access_token\"]\n\
             jurisdiction_claim = \"region\"\njwks_refresh_s = 2\n\n\
             [jurisdictions.us]\nhome = \"us-east\"\nreplicas = [\"eu-frankfurt\", \"ap-singapore\"]\n\
             countries = [\"*\"]\n{us}\n\
             [jurisdictions.eu]\nhome = \"eu-frankfurt\"\nreplicas = [\"eu-nuremberg\"]\n\
             countries = [\"@eea\"]\ndurability = \"remote\"\n{eu}",
            https = if self.certificate.is_some() { "env:LISTEN_HTTPS" } else { "off" },
            workers = self.workers,
            us = self.register_of(Jurisdiction::Us),
            eu = self.register_of(Jurisdiction::Eu),
        );
        if let Some(Certificate { chain, key, .. }) = self.certificate {
            let (chain, key) = (chain.display(), key.display());
            let _ = writeln!(text, "\n[tls]\ncertificate = \"file:{chain}\"\nkey = \"file:{key}\"");
        }
        if self.clusters.is_some() {
            text.push_str(
                "\n[register]\nsubject_key = \"env:REGISTER_SUBJECT_KEY\"\n\
                 identifier_key = \"env:REGISTER_IDENTIFIER_KEY\"\nsnapshot = \"env:REGISTER_SNAPSHOT\"\n",
            );
        }
        for region in Region::ALL {
            let upstreams: Vec<_> = self
                .api_processes
                .iter()
                .filter(|(of, _)| *of == region)
                .map(|(_, process)| format!("\"{}\"", Port::Api(*process).at(region, self.slot)))
                .collect();
            let mut others: Vec<_> = Region::ALL.into_iter().filter(|other| *other != region).collect();
            others.sort_by_key(|other| round_trip(region, *other));
            let nearest: Vec<_> = others.iter().map(|other| format!("\"{other}\"")).collect();
            let _ = write!(
                text,
                "\n[regions.{region}]\ngateway = \"env:GATEWAY_{}\"\nupstreams = {{ api = [{}] }}\n\
                 nearest = [{}]\n",
                region.env_name(),
                upstreams.join(", "),
                nearest.join(", "),
            );
            if self.clusters.is_some() {
                let databases: Vec<_> = region
                    .databases()
                    .iter()
                    .map(|jurisdiction| {
                        format!("{jurisdiction} = \"env:{}\"", database_variable(*jurisdiction))
                    })
                    .collect();
                let _ = writeln!(text, "databases = {{ {} }}", databases.join(", "));
            }
            if self.redis {
                text.push_str("redis = \"env:REDIS_URL\"\n");
            }
        }
        text.push_str(
            "\n[routes]\n\"POST /signup\" = { country = \"json:/billing/country\" }\n\
             \"POST /login\" = { identifier = \"json:/email\", country = \"json:/billing/country\", \
             jurisdiction = \"us\" }\n\
             \"POST /search\" = { access = \"read\" }\n\"GET /live\" = { access = \"write\" }\n\n\
             [position]\nkey = \"env:POSITION_KEY\"\n\n\
             [log]\nlevel = \"info\"\naccess = \"env:ACCESS_LOG\"\n",
        );
        text
    }

    /// The line that says where a jurisdiction's register may be: with every member of its cluster.
    fn register_of(&self, jurisdiction: Jurisdiction) -> String {
        if self.clusters.is_none() {
            return String::new();
        }
        let members: Vec<_> = jurisdiction
            .members()
            .map(|region| format!("{region} = \"env:{}\"", register_variable(jurisdiction, region)))
            .collect();
        format!("register = {{ {} }}\n", members.join(", "))
    }

    /// Makes the internal authority, and gives each region its own certificate and the authority's, no more.
    pub(crate) async fn pki(&self, processes: &Processes) -> Result<()> {
        let shared = self.root.join("shared/pki");
        fs::create_dir_all(&shared)?;
        let mut init = Spec::new(self.migrate, self.root, self.root.join("shared/pki.log"))
            .args(["pki", "init", "--dir"])
            .args([&shared]);
        for region in Region::ALL {
            init = init.args(["--region", region.name()]);
        }
        processes.run(&init, PKI).await?;
        for region in Region::ALL {
            let issue = Spec::new(self.migrate, self.root, self.root.join("shared/pki.log"))
                .args(["pki", "issue", "--control", "--name", "api", "--region", region.name(), "--dir"])
                .args([&shared]);
            processes.run(&issue, PKI).await?;
            let program = control_files(self.root, region);
            fs::create_dir_all(&program)?;
            let own = format!("{region}.control.api");
            for file in ["ca.crt".to_owned(), format!("{own}.crt"), format!("{own}.key")] {
                fs::copy(shared.join(&file), program.join(&file))
                    .with_context(|| format!("`pki issue` made no {file}"))?;
            }
            let own = self.pki_of(region);
            fs::create_dir_all(&own)?;
            for file in ["ca.crt".to_owned(), format!("{region}.crt"), format!("{region}.key")] {
                fs::copy(shared.join(&file), own.join(&file))
                    .with_context(|| format!("`pki init` made no {file}"))?;
            }
        }
        Ok(())
    }

    pub(crate) fn start(&self, region: Region, links: &Links, processes: &Processes) -> Result<()> {
        let directory = self.directory(region);
        fs::create_dir_all(&directory)?;
        let mut spec = Spec::new(self.gateway, &directory, directory.join("stderr.log"))
            .args(["--config".as_ref(), self.config.as_os_str()]);
        spec.env = self.environment(region, links)?;
        // Loses nothing that it has to say: its log is written as it goes.
        spec.end = Signal::SIGKILL;
        processes.start(Service::Gateway(region), spec)
    }

    /// The environment of one region's gateway, for it and for `check` and `explain`.
    pub(crate) fn environment(
        &self,
        region: Region,
        links: &Links,
    ) -> Result<Vec<(String, std::ffi::OsString)>> {
        let at = |port: Port| port.at(region, self.slot).to_string();
        let mut env = vec![
            ("RESIDENCY_REGION".to_owned(), region.name().to_owned()),
            ("PKI".into(), format!("dir:{}", self.pki_of(region).display())),
            ("LISTEN_HTTP".into(), at(Port::GatewayHttp)),
            ("LISTEN_HTTPS".into(), at(Port::GatewayHttps)),
            ("LISTEN_INTERNAL".into(), at(Port::GatewayInternal)),
            ("LISTEN_ADMIN".into(), at(Port::GatewayAdmin)),
            ("ACCESS_LOG".into(), format!("file:{}", self.directory(region).join("access.log").display())),
            ("REDIS_URL".into(), format!("redis://{}/", at(Port::Redis))),
        ];
        env.push(("JWKS".into(), self.jwks(region)?));
        // One key for all, as long as the world is one.
        env.push(("POSITION_KEY".into(), format!("positions of the world in slot {:03}", self.slot)));
        for other in Region::ALL {
            let address = links.address(region, other, Port::GatewayInternal);
            env.push((format!("GATEWAY_{}", other.env_name()), address.to_string()));
        }
        for (jurisdiction, clusters) in
            region.databases().iter().filter_map(|jurisdiction| Some((*jurisdiction, self.clusters?)))
        {
            env.push((database_variable(jurisdiction), clusters.url(region, jurisdiction, Role::Gateway)));
        }
        if let Some(clusters) = self.clusters {
            env.extend(self.registers(clusters, region, links)?);
        }
        env.extend(self.env.iter().cloned());
        Ok(env.into_iter().map(|(name, value)| (name, value.into())).collect())
    }

    /// Keys, the snapshot's directory, and every register as reached from `region`.
    fn registers(&self, clusters: &Clusters, region: Region, links: &Links) -> Result<Vec<(String, String)>> {
        let snapshot = self.directory(region).join("register");
        fs::create_dir_all(&snapshot)?;
        // The same secrets as the programs have that look after databases.
        let mut env: Vec<_> = ["SUBJECT", "IDENTIFIER"]
            .map(|kind| (format!("REGISTER_{kind}_KEY"), format!("{kind}-{}", clusters.password)))
            .into();
        env.push(("REGISTER_SNAPSHOT".to_owned(), format!("dir:{}", snapshot.display())));
        for jurisdiction in Jurisdiction::ALL {
            for member in jurisdiction.members() {
                let address = links.address(region, member, Port::Postgres(jurisdiction));
                let role = Role::Gateway.name();
                let url = format!("postgres://{role}:{}@{address}/app", clusters.password);
                env.push((register_variable(jurisdiction, member), url));
            }
        }
        Ok(env)
    }

    fn directory(&self, region: Region) -> PathBuf {
        self.root.join(region.name()).join("gateway")
    }

    fn pki_of(&self, region: Region) -> PathBuf {
        self.directory(region).join("pki")
    }

    /// Where a region's gateway finds the token keys: its own API, or a file where that is not the Express API.
    fn jwks(&self, region: Region) -> Result<String> {
        if matches!(self.api, Api::Express(_)) {
            return Ok(format!("http://{}/.well-known/jwks.json", Port::Api(1).at(region, self.slot)));
        }
        let file = self.root.join("shared/jwks.json");
        fs::write(&file, self.keys.jwks()?.to_string())?;
        Ok(format!("file:{}", file.display()))
    }
}

/// Waits until a gateway finds everything it needs healthy.
pub(crate) async fn ready(region: Region, path: &str, slot: u8, processes: &Processes) -> Result<()> {
    processes
        .ready(Service::Gateway(region), READY, async || {
            let answer = Call::new(Port::GatewayAdmin.at(region, slot), Method::GET, path).send().await?;
            let body: serde_json::Value = answer.json()?;
            // Before its first look around a gateway knows of no fault; that is not yet health.
            let looked = path == "/health/basic" || body["checks"].as_object().is_some_and(|c| !c.is_empty());
            ensure!(
                looked && answer.status.is_success() && body["status"] == "pass",
                "{path} answers {} with {body}",
                answer.status
            );
            Ok(())
        })
        .await
}

/// Where a region's API has its certificates for the control API.
pub(crate) fn control_files(root: &Path, region: Region) -> PathBuf {
    root.join(region.name()).join("control")
}

/// Every region with a server of the jurisdiction's cluster.
fn database_variable(jurisdiction: Jurisdiction) -> String {
    format!("PG_{}", jurisdiction.name().to_uppercase())
}
