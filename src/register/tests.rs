//! Registers in real databases: what their triggers and functions hold, and the jobs on them as an operator runs them.

use std::{fs, process::ExitCode, time::Duration};

use clap::Parser;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use super::{
    apply::{Aim, Patience},
    keys::RegisterKeys,
    member::{Register, Session},
    migrations::MIGRATIONS,
    *,
};
use crate::{
    config::KeyPair,
    domain::{hexadecimal::hexadecimal, secret::Secret},
    postgres::tests::cluster::Server,
    routing_table::KeyKind,
};

mod entries;
mod jobs;
mod schema;
mod versions;

/// Enough for a busy machine; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// All versions, for who needs no more of a register than that it is one.
pub(crate) fn schema() -> String {
    let parts = MIGRATIONS.iter().flat_map(|migration| migration.parts);
    std::iter::once(&"CREATE SCHEMA residency;").chain(parts).copied().collect::<Vec<_>>().join("\n")
}

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// One server with the databases of `us` and `eu`, each owned by a role that is no superuser.
struct Databases {
    server: Server,
    directory: TempDir,
}

impl Databases {
    async fn start() -> Self {
        let server = Server::primary("max_prepared_transactions = 4").await;
        server
            .sql(&[
                "CREATE ROLE app LOGIN",
                "CREATE ROLE gateway LOGIN",
                "CREATE DATABASE us OWNER app",
                "CREATE DATABASE eu OWNER app",
            ])
            .await;
        let directory = TempDir::new().expect("a temporary directory");
        Self { server, directory }
    }

    /// The same, with the schema in both.
    async fn with_schema() -> Self {
        let databases = Self::start().await;
        let (code, told) = databases.job(&["schema", "apply"]).await;
        assert_eq!(code, ExitCode::SUCCESS, "{told}");
        databases
    }

    fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.server.port())
    }

    async fn client(&self, user: &str, database: &str) -> Client {
        let (client, connection) =
            tokio_postgres::connect(&self.url(user, database), NoTls).await.expect("it answers");
        tokio::spawn(connection);
        client
    }

    /// Runs a job with both registers and these keys.
    async fn job_with(&self, keys: &str, words: &[&str]) -> (ExitCode, String) {
        let (us, eu) = (self.url("app", "us"), self.url("app", "eu"));
        let registers =
            [("us", format!("{{ us-east = \"{us}\" }}")), ("eu", format!("{{ eu-frankfurt = \"{eu}\" }}"))];
        self.job_at(&registers, keys, words).await
    }

    async fn job(&self, words: &[&str]) -> (ExitCode, String) {
        self.job_with(KEYS, words).await
    }

    /// What it wrote, or its fault, with what differs from run to run made equal.
    async fn job_at(&self, registers: &[(&str, String)], keys: &str, words: &[&str]) -> (ExitCode, String) {
        let register = |name: &str| {
            let found = registers.iter().find(|(jurisdiction, _)| *jurisdiction == name);
            found.map(|(_, members)| format!("register = {members}")).unwrap_or_default()
        };
        let text = format!(
            "{}\n[register]\n{keys}",
            PLACES.replace("US_REGISTER", &register("us")).replace("EU_REGISTER", &register("eu"))
        );
        let file = self.directory.path().join("residency.toml");
        fs::write(&file, text).expect("writable");
        let mut line = vec!["residency-migrate"];
        line.extend(words);
        line.extend(["--config", file.to_str().expect("UTF-8")]);
        let command = Line::try_parse_from(line).expect("a valid line").command;
        let mut out = Vec::new();
        let outcome = perform(command, &Environment::default(), &mut out).await;
        let mut told = String::from_utf8(out).expect("UTF-8");
        let code = outcome.unwrap_or_else(|fault| {
            told = format!("{told}FAULT {fault}\n");
            ExitCode::FAILURE
        });
        (code, self.made_equal(&told))
    }

    fn made_equal(&self, told: &str) -> String {
        let told = told.replace(&self.server.port().to_string(), "PORT");
        let line = |line: &str| match line.split_once(", applied ") {
            Some((before, _)) => format!("{before}, applied WHEN"),
            None => match line.split_once("heard ") {
                Some((before, after)) => {
                    let state = after.split_once(" s ago").expect("an age").1;
                    format!("{before}heard N s ago{state}")
                }
                None => line.to_owned(),
            },
        };
        told.lines().map(|one| line(one) + "\n").collect()
    }
}

const KEYS: &str = r#"
subject_key = "a subject key that is long enough to be one"
identifier_key = "an identifier key that is long enough too"
"#;

const PLACES: &str = r#"
region = "us-east"
internal_tls = "dir:/etc/residency/pki"
[token]
issuer = "https://auth.example.com"
jwks = "https://auth.example.com/jwks.json"
[jurisdictions.us]
home = "us-east"
countries = ["*"]
US_REGISTER
[jurisdictions.eu]
home = "eu-frankfurt"
replicas = ["eu-nuremberg"]
durability = "remote"
countries = ["@eea"]
EU_REGISTER
[regions.us-east]
gateway = "10.1.0.2:7443"
upstreams = { api = ["10.1.0.11:3000"] }
[regions.eu-frankfurt]
gateway = "10.2.0.2:7443"
[regions.eu-nuremberg]
gateway = "10.3.0.2:7443"
"#;

/// The same keys, without a configuration.
fn keys() -> RegisterKeys {
    let key = |text: &str| KeyPair { current: Secret::new(text.as_bytes()), previous: None };
    RegisterKeys::new(&crate::config::RegisterSettings {
        subject_key: key("a subject key that is long enough to be one"),
        identifier_key: key("an identifier key that is long enough too"),
        snapshot: None,
        poll: Duration::from_secs(1),
        stale_after: Duration::from_secs(10),
        sources: Vec::new(),
    })
}

fn us(url: &str) -> Register {
    Register {
        jurisdiction: "us".to_owned(),
        home: "us-east".to_owned(),
        durability: "async",
        synchronous: Vec::new(),
        members: vec![("us-east".to_owned(), url.parse().expect("a URL"))],
    }
}

async fn session(url: &str) -> Session {
    Session::open(&url.parse().expect("a URL")).await.expect("it answers")
}

/// A hash that is as good as any.
fn hash(number: u128) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// The SQLSTATE of a refusal.
fn code<T: std::fmt::Debug>(outcome: Result<T, tokio_postgres::Error>) -> String {
    outcome.expect_err("it is refused").code().map_or_else(String::new, |code| code.code().to_owned())
}

async fn text(client: &Client, sql: &str) -> String {
    let row = client.query_one(&format!("SELECT ({sql})::text"), &[]).await.expect(sql);
    row.get::<_, Option<String>>(0).unwrap_or_default()
}

/// Until the question is answered with true.
async fn until(client: &Client, sql: &str) {
    let asking = async {
        while text(client, sql).await != "true" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect(sql);
}
