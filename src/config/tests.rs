//! Whole files in, configurations or reports out.

use std::path::Path;

use super::{Config, ConfigErrors, Environment, Loaded};

mod environment;
mod examples;
mod meaning;
mod mutations;
mod reload;
mod reports;

/// Two regions, enough for every section.
const TWO_REGIONS: &str = include_str!("tests/two-regions.toml");

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().copied().collect()
}

/// What the examples and [`TWO_REGIONS`] refer to.
fn complete_environment() -> Environment {
    environment(&[
        ("PG_US", "postgres://api:secret-pg@10.1.0.3/app"),
        ("PG_EU", "postgres://api:secret-pg@10.2.0.3/app"),
        ("REDIS_URL", "redis://:secret-redis@10.1.0.4/"),
        ("JWT_SECRET", "secret-secret-secret-secret-secret-secret"),
        ("API_SIGNING_SECRET", "secret-secret-secret-secret-secret-secret"),
        ("SUBJECT_KEY", "secret-secret-secret-secret-secret-secret"),
        ("REGISTER_EU", "postgres://residency:secret-pg@10.2.0.3/app"),
        ("REGISTER_SUBJECT_KEY", "secret-secret-secret-secret-secret-secret"),
        ("REGISTER_IDENTIFIER_KEY", "secret-secret-secret-secret-secret-identifier"),
        ("POSITION_KEY", "secret-secret-secret-secret-secret-secret"),
    ])
}

fn parse(text: &str, environment: &Environment) -> Result<Loaded, ConfigErrors> {
    Config::parse(text, Path::new("residency.toml"), environment)
}

/// The report of a text that must not pass.
fn report(text: &str, environment: &Environment) -> String {
    parse(text, environment).expect_err("it has errors").to_string()
}

fn config(text: &str, environment: &Environment) -> Config {
    parse(text, environment).unwrap_or_else(|errors| panic!("{errors}")).config
}
