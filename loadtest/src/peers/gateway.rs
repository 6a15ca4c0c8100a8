//! Our gateway with its full policy: RS256 tokens, two jurisdictions in two regions, metrics, JSON access log.
//!
//! All users belong to `us`, whose home this region is: what is measured is the request that most requests are.
//! The other region has an address but no gateway behind it; nothing is sent there.
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::identity::{AUDIENCE, ISSUER};
use super::origin::Origin;
use super::process::{Launch, free_addresses};
use super::programs;
use crate::certificate::Certificate;

/// The region that the gateway serves.
pub(super) const REGION: &str = "us-east";
const OTHER_REGION: &str = "eu-frankfurt";

/// Room for all users' tokens, as the gateway has by default.
pub(super) const WARM_ENTRIES: usize = 65_536;
/// Room for so few tokens that none is still there when its user's turn comes again.
pub(super) const COLD_ENTRIES: usize = 16;

pub(super) struct Plan<'a> {
    pub(super) program: &'a Path,
    pub(super) origin: &'a Origin,
    pub(super) jwks: &'a Path,
    pub(super) access_log: Option<&'a Path>,
    pub(super) certificate: Option<&'a Certificate>,
    pub(super) cache_entries: usize,
    pub(super) workers: usize,
}

/// Writes configuration and internal certificates. The second address is that of the admin listener.
pub(super) fn launch(directory: &Path, plan: &Plan<'_>) -> Result<(Launch, SocketAddr)> {
    let addresses = Addresses::free()?;
    let pki = directory.join("pki");
    make_certificates(plan.program, &pki)?;
    let path = directory.join("gateway.toml");
    fs::write(&path, config(plan, &addresses, &pki))?;
    let mut command = Command::new(plan.program);
    command.arg("--config").arg(&path);
    // Nothing of the caller's environment may override the file.
    for (name, _) in env::vars_os().filter(|(name, _)| is_ours(name)) {
        command.env_remove(name);
    }
    let listen = if plan.certificate.is_some() { addresses.secure } else { addresses.listen };
    Ok((Launch { command, listen, stdout: None }, addresses.admin))
}

/// Of this gateway's listeners, and where the other region is said to be.
struct Addresses {
    listen: SocketAddr,
    secure: SocketAddr,
    internal: SocketAddr,
    admin: SocketAddr,
    elsewhere: SocketAddr,
}

impl Addresses {
    fn free() -> Result<Self> {
        let [listen, secure, internal, admin, elsewhere] = free_addresses()?;
        Ok(Self { listen, secure, internal, admin, elsewhere })
    }
}

fn config(plan: &Plan<'_>, addresses: &Addresses, pki: &Path) -> String {
    let access = match plan.access_log {
        Some(path) => format!("file:{}", path.display()),
        None => "off".to_owned(),
    };
    let Addresses { listen, secure, internal, admin, elsewhere } = addresses;
    let api = match plan.origin {
        Origin::Tcp(address) => address.to_string(),
        Origin::Unix(path) => format!("unix:{}", path.display()),
    };
    let (https, tls) = match plan.certificate {
        Some(files) => (
            format!("https = \"{secure}\""),
            format!(
                "[tls]\ncertificate = \"file:{}\"\nkey = \"file:{}\"",
                files.chain.display(),
                files.key.display()
            ),
        ),
        None => (String::new(), String::new()),
    };
    format!(
        r#"region = "{REGION}"
internal_tls = "dir:{pki}"

[listen]
http = "{listen}"
{https}
internal = "{internal}"
admin = "{admin}"
workers = {workers}

{tls}

[token]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
jwks = "file:{jwks}"
algorithms = ["RS256"]
cache_entries = {entries}

[jurisdictions.us]
home = "{REGION}"
replicas = ["{OTHER_REGION}"]
countries = ["*"]

[jurisdictions.eu]
home = "{OTHER_REGION}"
countries = ["@eu27"]

[regions.{REGION}]
gateway = "{internal}"
upstreams = {{ api = ["{api}"] }}

[regions.{OTHER_REGION}]
gateway = "{elsewhere}"

[log]
level = "warn"
access = "{access}"
"#,
        pki = pki.display(),
        jwks = plan.jwks.display(),
        entries = plan.cache_entries,
        workers = plan.workers,
    )
}

fn is_ours(variable: &OsStr) -> bool {
    variable.to_str().is_some_and(|name| name.starts_with("RESIDENCY_"))
}

/// Two regions need certificates between them; `residency-migrate`, built beside the gateway, makes them.
fn make_certificates(gateway: &Path, directory: &Path) -> Result<()> {
    let program = programs::migrate(gateway);
    let output = Command::new(&program)
        .args(["pki", "init", "--region", REGION, "--region", OTHER_REGION, "--dir"])
        .arg(directory)
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    if !output.status.success() {
        bail!("{} pki init: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml_with_the_policy_in_it() {
        let origin = Origin::Unix("/nowhere/api.sock".into());
        let certificate = Certificate::for_test();
        let plan = Plan {
            program: Path::new("/nowhere/residency-gateway"),
            origin: &origin,
            jwks: Path::new("/nowhere/jwks.json"),
            access_log: Some(Path::new("/nowhere/access.log")),
            certificate: Some(&certificate),
            cache_entries: COLD_ENTRIES,
            workers: 2,
        };
        let addresses = Addresses::free().expect("five ports");
        let config: toml::Table =
            config(&plan, &addresses, Path::new("/nowhere/pki")).parse().expect("a TOML file");
        assert_eq!(config["listen"]["workers"].as_integer(), Some(2));
        assert_eq!(config["listen"]["https"].as_str(), Some(addresses.secure.to_string().as_str()));
        assert_eq!(config["tls"]["key"].as_str(), Some("file:/nowhere/tls.key"));
        assert_eq!(config["token"]["cache_entries"].as_integer(), Some(16));
        assert_eq!(config["jurisdictions"]["us"]["home"].as_str(), Some(REGION));
        assert_eq!(config["regions"][REGION]["upstreams"]["api"][0].as_str(), Some("unix:/nowhere/api.sock"));
        assert_eq!(config["log"]["access"].as_str(), Some("file:/nowhere/access.log"));
    }
}
