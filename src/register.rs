//! `residency-migrate schema`, `gateways` and `table`: registers, as their operators see them.
//!
//! A jurisdiction's register is schema `residency` in its own database. This program makes it, shows it, fills it from the
//! rows that an app already has, and compares the two. The gateway never changes the schema. docs/REGISTER.md is the manual.
//!
//! Invariants
//! - What holds of a register holds because the database sees to it, not this program: see the migrations.
//! - Every job may be broken off at any point and run again.
//! - No subject and no identifier is printed in clear unless that was asked for, and no key is ever printed.
//!
//! Absent by design: moving subjects, and changing a jurisdiction's home.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use crate::config::{Config, Environment};
use crate::domain::topology::Topology;

mod app_rows;
mod apply;
mod check;
mod fault;
mod gateways;
mod import;
mod keys;
mod member;
mod migrations;
mod prune;
mod status;

#[cfg(test)]
pub(crate) mod tests;

pub use fault::RegisterFault;

use apply::{Aim, Patience};
use check::Check;
use import::Import;
use keys::RegisterKeys;
use member::Register;

/// Jobs on registers.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// The registers' tables and functions in the jurisdictions' databases
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// The gateways that registers wait for
    #[command(subcommand)]
    Gateways(GatewaysCommand),
    /// The registers' rows, against the app's own
    #[command(subcommand)]
    Table(TableCommand),
}

/// What every job needs to know.
#[derive(Debug, clap::Args)]
pub struct Scope {
    /// The configuration file; its URLs of registers are an owner's here, not a gateway's
    #[arg(long, value_name = "FILE", default_value = "/etc/residency/residency.toml")]
    config: PathBuf,
    /// Only this one's register (default: all)
    #[arg(long, value_name = "NAME")]
    jurisdiction: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
pub enum SchemaCommand {
    /// Bring the schema up to this program's version; once it is there, again without effect
    Apply {
        #[command(flatten)]
        scope: Scope,
        /// The role under which gateways ask; it gets to read, and to call functions
        #[arg(long, value_name = "ROLE", default_value = "gateway")]
        gateway_role: String,
    },
    /// Show versions, keys and counts, and what is wrong; exit code 1 if anything is
    Status {
        #[command(flatten)]
        scope: Scope,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Subcommand)]
pub enum GatewaysCommand {
    /// Show who is registered where, how long ago it was heard, and what it reported
    List {
        #[command(flatten)]
        scope: Scope,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Stop waiting for a gateway that is gone for good, and refuse its certificate
    Forget {
        /// The gateway, as `list` names it
        name: String,
        #[command(flatten)]
        scope: Scope,
        /// Who answers for it; recorded (default: the database's role)
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
}

#[derive(Debug, clap::Subcommand)]
pub enum TableCommand {
    /// Write the subjects and identifiers that the app already has into one register; again without effect
    Import {
        #[command(flatten)]
        query: Query,
        /// Whose database and register
        #[arg(long, value_name = "NAME")]
        jurisdiction: String,
    },
    /// Compare registers with what the databases hold; exit code 1 if anything is wrong
    Check {
        #[command(flatten)]
        query: Query,
        /// Only this one's database, against all registers (default: all)
        #[arg(long, value_name = "NAME")]
        jurisdiction: Option<String>,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Drop the rows under a key that is no longer configured
    Prune {
        #[command(flatten)]
        scope: Scope,
        /// The key, as `schema status` names it
        #[arg(long, value_name = "ID")]
        key: String,
    },
}

#[derive(Debug, clap::Args)]
pub struct Query {
    /// Gives subject and, if there are, identifier or identifiers (text[]), country or jurisdiction
    #[arg(long, value_name = "QUERY")]
    sql: String,
    /// The configuration file; its URLs of registers are an owner's here, not a gateway's
    #[arg(long, value_name = "FILE", default_value = "/etc/residency/residency.toml")]
    config: PathBuf,
    /// Show subjects in clear, not as their hashes
    #[arg(long)]
    show_subjects: bool,
}

/// Does it, and writes for the operator to `out`. Failure (exit code 1) without a fault means that something was found
/// to be wrong; 2 that the configuration is.
pub fn run(command: Command, out: &mut dyn Write) -> Result<ExitCode, RegisterFault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(perform(command, &Environment::from_process(), out))
}

async fn perform(
    command: Command,
    environment: &Environment,
    out: &mut dyn Write,
) -> Result<ExitCode, RegisterFault> {
    match command {
        Command::Schema(SchemaCommand::Apply { scope, gateway_role }) => {
            let loaded = scope.load(environment)?;
            for register in &loaded.registers {
                let mut session = register.primary().await?;
                writeln!(out, "{}: {}", register.jurisdiction, session.address)?;
                let aim = Aim {
                    register,
                    keys: &loaded.keys,
                    gateway_role: &gateway_role,
                    migrations: migrations::MIGRATIONS,
                    patience: Patience::default(),
                };
                aim.reach(&mut session, &mut |line| writeln!(out, "{line}")).await?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Schema(SchemaCommand::Status { scope, json }) => {
            let loaded = scope.load(environment)?;
            let report = status::inspect(&loaded.registers, &loaded.keys).await;
            if json {
                write_json(&report, out)?;
            } else {
                report.write_text(out)?;
            }
            Ok(verdict(report.has_problems()))
        }
        Command::Gateways(GatewaysCommand::List { scope, json }) => {
            let loaded = scope.load(environment)?;
            let listing = gateways::list(&loaded.registers, loaded.stale_after).await;
            if json {
                write_json(&listing, out)?;
            } else {
                listing.write_text(out)?;
            }
            Ok(verdict(listing.has_problems()))
        }
        Command::Gateways(GatewaysCommand::Forget { name, scope, by }) => {
            let loaded = scope.load(environment)?;
            Ok(verdict(gateways::forget(&loaded.registers, &name, by.as_deref(), out).await?))
        }
        Command::Table(TableCommand::Import { query, jurisdiction }) => {
            let loaded = Loaded::read(&query.config, Some(&jurisdiction), environment)?;
            let here =
                loaded.topology.jurisdiction(&jurisdiction).expect("its register is in the configuration");
            let import = Import {
                register: &loaded.registers[0],
                here,
                topology: &loaded.topology,
                keys: &loaded.keys,
                show_subjects: query.show_subjects,
            };
            let account = import.run(&query.sql, out).await?;
            account.write_text(out)?;
            Ok(verdict(account.has_problems()))
        }
        Command::Table(TableCommand::Check { query, jurisdiction, json }) => {
            let loaded = Loaded::read(&query.config, None, environment)?;
            if let Some(only) = &jurisdiction {
                member::only(loaded.registers.clone(), only)?;
            }
            let check = Check {
                registers: &loaded.registers,
                only: jurisdiction.as_deref(),
                topology: &loaded.topology,
                keys: &loaded.keys,
                show_subjects: query.show_subjects,
            };
            let report = check.run(&query.sql).await;
            if json {
                write_json(&report, out)?;
            } else {
                report.write_text(out)?;
            }
            Ok(verdict(report.has_problems()))
        }
        Command::Table(TableCommand::Prune { scope, key }) => {
            let loaded = scope.load(environment)?;
            let mut known = false;
            for register in &loaded.registers {
                known |= prune::prune(register, &loaded.keys, &key, out).await?;
            }
            Ok(verdict(!known))
        }
    }
}

/// A configuration, for what these jobs need of it.
struct Loaded {
    topology: Topology,
    keys: RegisterKeys,
    stale_after: Duration,
    /// One or all.
    registers: Vec<Register>,
}

impl Loaded {
    fn read(path: &Path, only: Option<&str>, environment: &Environment) -> Result<Self, RegisterFault> {
        let config = Config::load(path, environment)?.config;
        let Some(settings) = &config.register else { return Err(RegisterFault::NoRegister) };
        let registers = member::registers(&config.topology, settings)?;
        Ok(Self {
            keys: RegisterKeys::new(settings),
            stale_after: settings.stale_after,
            registers: match only {
                Some(only) => member::only(registers, only)?,
                None => registers,
            },
            topology: config.topology,
        })
    }
}

impl Scope {
    fn load(&self, environment: &Environment) -> Result<Loaded, RegisterFault> {
        Loaded::read(&self.config, self.jurisdiction.as_deref(), environment)
    }
}

fn verdict(has_problems: bool) -> ExitCode {
    if has_problems { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn write_json(report: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}
