//! A gateway's configuration in the making, and its directory.

use std::net::SocketAddr;
use std::path::PathBuf;

use tempfile::TempDir;
use toml::{Table, Value};

use super::{AUDIENCE, Gateway, ISSUER, Key, jwks, vacant};

/// One region `here`, home of `us` and `eu`, before one upstream; every test says what it wants otherwise.
pub struct Setup {
    pub directory: TempDir,
    pub config: Table,
    pub environment: Vec<(String, String)>,
}

impl Setup {
    /// With nothing but its doors and logs.
    pub fn bare() -> Self {
        let directory =
            tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory below the build's");
        let mut setup = Self { directory, config: Table::new(), environment: Vec::new() };
        let access = setup.path("access.log");
        // Only tests of watching want a reload that they haven't asked for.
        setup = setup.with(&format!(
            "reload = 'signal'\n[listen]\nhttp = '{}'\nadmin = '{}'\nworkers = 1\n[log]\naccess = 'file:{}'\n",
            vacant(),
            vacant(),
            access.display()
        ));
        setup
    }

    /// The usual one, with these API endpoints.
    pub fn before(endpoints: &[SocketAddr]) -> Self {
        let endpoints: Vec<String> = endpoints.iter().map(|endpoint| format!("'{endpoint}'")).collect();
        let setup = Self::bare();
        setup.write("jwks.json", &jwks([Key::usual()]).to_string());
        // Idle connections go soon, so that a test's end needn't wait for them.
        setup.with(&format!(
            "region = 'here'\n\
             [token]\nissuer = '{ISSUER}'\naudience = '{AUDIENCE}'\njwks = 'file:jwks.json'\n\
             [jurisdictions.us]\nhome = 'here'\ncountries = ['*']\n\
             [jurisdictions.eu]\nhome = 'here'\ncountries = ['@eea']\n\
             [regions.here]\nupstreams = {{ api = [{}] }}\n\
             [timeouts]\nupstream_idle_ms = 200\ndrain_ms = 10000\n",
            endpoints.join(", ")
        ))
    }

    /// Lays a piece of configuration over what is there; tables are merged, everything else is replaced.
    #[must_use]
    pub fn with(mut self, piece: &str) -> Self {
        self.lay(piece);
        self
    }

    /// The same, for a gateway that runs already and will reload.
    pub fn lay(&mut self, piece: &str) {
        let piece: Table = toml::from_str(piece).unwrap_or_else(|error| panic!("{error} in\n{piece}"));
        merge(&mut self.config, piece);
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file in the gateway's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the directory takes files");
    }

    /// Writes the configuration; where it is.
    pub fn save(&self) -> PathBuf {
        self.write("residency.toml", &self.config.to_string());
        self.path("residency.toml")
    }

    /// One of the doors.
    pub fn door(&self, name: &str) -> Option<SocketAddr> {
        self.config.get("listen")?.get(name)?.as_str()?.parse().ok()
    }

    /// The gateway's own region.
    pub fn region(&self) -> String {
        let overridden = self.environment.iter().find(|(name, _)| name == "RESIDENCY_REGION");
        match overridden {
            Some((_, region)) => region.clone(),
            None => self.config["region"].as_str().expect("a name").to_owned(),
        }
    }

    /// Starts a gateway with it.
    pub async fn start(self) -> Gateway {
        Gateway::start(self).await
    }
}

fn merge(into: &mut Table, piece: Table) {
    for (key, value) in piece {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(piece)) => merge(into, piece),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
