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
    path::PathBuf,
    process::ExitCode,
};

use crate::config::{Config, Environment};

mod apply;
mod fault;
mod keys;
mod member;
mod migrations;
mod status;

pub use fault::RegisterFault;

use apply::{Aim, Patience};
use keys::RegisterKeys;

/// Jobs on registers.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// The registers' tables and functions in the jurisdictions' databases
    #[command(subcommand)]
    Schema(SchemaCommand),
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
            let (config, registers) = scope.load(environment)?;
            let keys = config.keys()?;
            for register in &registers {
                let mut session = register.primary().await?;
                writeln!(out, "{}: {}", register.jurisdiction, session.address)?;
                let aim = Aim {
                    register,
                    keys: &keys,
                    gateway_role: &gateway_role,
                    migrations: migrations::MIGRATIONS,
                    patience: Patience::default(),
                };
                aim.reach(&mut session, &mut |line| writeln!(out, "{line}")).await?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Schema(SchemaCommand::Status { scope, json }) => {
            let (config, registers) = scope.load(environment)?;
            let report = status::inspect(&registers, &config.keys()?).await;
            if json { write_json(&report, out)? } else { report.write_text(out)? }
            Ok(verdict(report.has_problems()))
        }
    }
}

/// A configuration, for what these jobs need of it.
struct Loaded(Config);

impl Loaded {
    fn keys(&self) -> Result<RegisterKeys, RegisterFault> {
        self.0.register.as_ref().map(RegisterKeys::new).ok_or(RegisterFault::NoRegister)
    }
}

impl Scope {
    fn load(&self, environment: &Environment) -> Result<(Loaded, Vec<member::Register>), RegisterFault> {
        let config = Config::load(&self.config, environment)?.config;
        let registers = member::registers(&config, self.jurisdiction.as_deref())?;
        Ok((Loaded(config), registers))
    }
}

fn verdict(has_problems: bool) -> ExitCode {
    if has_problems { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn write_json(report: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    writeln!(out)
}
