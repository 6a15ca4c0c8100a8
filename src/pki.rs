//! `residency-migrate pki`: the certificates by which gateways know each other, and the programs that may use their control API.
//!
//! One directory holds the authority (`ca.crt`, `ca.key`), for each region `<region>.crt` and `<region>.key`, and for each
//! program `<region>.control.<name>.crt` and `.key`. A gateway needs `ca.crt` and its own two files, a program `ca.crt` and
//! its own; `ca.key` stays where this command runs, which should not be a gateway.
//!
//! Replacing the authority takes two steps, because files reach gateways one after another:
//! 1. `rotate --ca` makes a new authority and new certificates. `ca.crt` holds both authorities, and each new
//!    certificate carries the new authority's certificate *signed by the old one*, so that a gateway whose files
//!    are still the former ones accepts it too. Files may be distributed in any order.
//! 2. `rotate --retire-old-ca`, once every gateway has loaded the files of step 1, drops the old one.
//!
//! Invariants
//! - Nothing is overwritten by `init`; what `rotate` replaces, it replaces as a whole: a crash at any point leaves
//!   the former files or is completed by the next command (see [`directory`]).
//! - A private key is never readable by others, not even for a moment.
//!
//! Absent by design: revocation lists. A lost key is answered by `rotate --ca` and `--retire-old-ca`.

use std::{io::Write, path::PathBuf, process::ExitCode};

use jiff::Timestamp;

mod authority;
mod directory;
mod facts;
mod fault;
mod holder;
mod init;
mod issue;
mod rotate;
mod status;

pub use fault::PkiFault;

/// What to do with the internal certificates.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make the authority, and a certificate for each region; with an authority there, only what is new
    Init {
        /// Directory for the files; made if it is missing
        #[arg(long)]
        dir: PathBuf,
        /// A region, as the gateways' configuration names it (repeat for several)
        #[arg(long = "region", required = true, value_name = "NAME")]
        regions: Vec<String>,
    },
    /// Make a certificate for a program that uses the control API of one region's gateways
    Issue {
        #[arg(long)]
        dir: PathBuf,
        /// Such a certificate; there is no other kind so far
        #[arg(long, required = true)]
        control: bool,
        /// The region whose gateways it asks
        #[arg(long, value_name = "NAME")]
        region: String,
        /// The program's name, for logs and records
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// Reissue certificates with new keys, or replace the authority in two steps
    Rotate {
        #[arg(long)]
        dir: PathBuf,
        /// Only these regions, with the programs that use their control API (default: all)
        #[arg(long = "region", value_name = "NAME", conflicts_with_all = ["ca", "retire_old_ca"])]
        regions: Vec<String>,
        /// Step one: a new authority beside the old one, and certificates that both sides accept
        #[arg(long, conflicts_with = "retire_old_ca")]
        ca: bool,
        /// Step two, once every gateway has loaded the files of step one: trust the new authority alone
        #[arg(long)]
        retire_old_ca: bool,
    },
    /// Show every certificate and what is wrong; exit code 1 if anything is
    Status {
        #[arg(long)]
        dir: PathBuf,
        /// For programs
        #[arg(long)]
        json: bool,
    },
}

/// Does it, and writes for the operator to `out`. Failure (exit code 1) without a fault means that `status` found
/// problems.
pub fn run(command: Command, out: &mut dyn Write) -> Result<ExitCode, PkiFault> {
    let now = Timestamp::now();
    let account = match command {
        Command::Init { dir, regions } => init::init(&dir, &regions, now),
        Command::Issue { dir, region, name, .. } => issue::issue(&dir, &region, &name, now),
        Command::Rotate { dir, ca: true, .. } => rotate::replace_authority(&dir, now),
        Command::Rotate { dir, retire_old_ca: true, .. } => rotate::retire_old_authority(&dir),
        Command::Rotate { dir, regions, .. } => rotate::reissue(&dir, &regions, now),
        Command::Status { dir, json } => {
            let report = status::inspect(&dir, now)?;
            if json {
                report.write_json(out)?;
            } else {
                report.write_text(out)?;
            }
            return Ok(if report.has_problems() { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
    };
    account?.write_to(out)?;
    Ok(ExitCode::SUCCESS)
}

/// What a command did, line by line, for its operator.
#[derive(Debug, Default)]
struct Account(Vec<String>);

impl Account {
    fn say(&mut self, line: impl Into<String>) {
        self.0.push(line.into());
    }

    fn write_to(&self, out: &mut dyn Write) -> Result<(), PkiFault> {
        self.0.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(PkiFault::Output)
    }
}

#[cfg(test)]
mod tests;
