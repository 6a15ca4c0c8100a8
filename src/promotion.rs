//! `residency-migrate promote`, `primary check`, `durability`: who is a jurisdiction's primary, and when it acknowledges.
//!
//! Another member of a cluster becomes the primary only when the old one can't acknowledge writes any more (DESIGN's
//! promotion). What follows from what members say is decided in [`crate::domain::promotion`]; here members are asked, the
//! steps done, and each of them is such that a run cut off between any two is finished, or undone, by the next.
//!
//! Invariants
//! - Nobody else promotes meanwhile: a session lock is held on every member that answers, standbys too, taken in the order
//!   of their names; and the row is written only if its generation is still the one that was read.
//! - Gateways send writes to the new primary only once the row is committed there, and that comes last.
//! - A former primary never opens: `primary check` runs before its server does, and makes a standby of it.
//! - No output carries a password or a row of users.
//!
//! Absent by design: deciding that a primary is dead (an operator does), and promoting unasked.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};

use crate::{
    config::{ClusterSettings, Environment},
    domain::{promotion as verdicts, topology::Durability},
};

mod boot;
mod cluster;
mod data_directory;
mod durability;
mod fault;
mod fence;
mod journal;
mod lock;
mod perform;
mod report;
mod rewind;
mod row;
mod session;
mod standbys;

#[cfg(test)]
mod tests;

pub use fault::PromotionFault;

/// Where the cluster is configured.
#[derive(Debug, Clone, Args)]
struct Which {
    /// The jurisdiction whose cluster is meant
    #[arg(long)]
    jurisdiction: String,
    /// The gateways' configuration file; regions, the jurisdiction and its `register` are read
    #[arg(long, value_name = "FILE", default_value = "/etc/residency/residency.toml")]
    config: PathBuf,
}

/// What is done to a jurisdiction's cluster
#[derive(Debug, Subcommand)]
pub enum Command {
    Promote(Promote),
    #[command(subcommand)]
    Primary(Primary),
    Durability(SetDurability),
}

/// Make another member of a jurisdiction's cluster its primary
#[derive(Debug, Args)]
pub struct Promote {
    #[command(flatten)]
    which: Which,
    /// The region whose database becomes the primary
    #[arg(long, value_name = "REGION")]
    to: String,
    /// Say what would be done and what would be lost; change nothing
    #[arg(long)]
    dry_run: bool,
    /// A risk taken by name: the old primary is dead without proof. If it isn't, there are two
    #[arg(long, conflicts_with = "confirm_off")]
    assume_dead: bool,
    /// A command whose success proves that the old primary's server is off (run by `sh`; `RESIDENCY_REGION` and
    /// `RESIDENCY_JURISDICTION` say which)
    #[arg(long, value_name = "COMMAND")]
    confirm_off: Option<String>,
    /// Leave a member out of account that doesn't answer, or whose additional writes shall go
    #[arg(long, value_name = "REGION")]
    without: Vec<String>,
    /// `async`: from now on commits wait for no standby, by name and on record
    #[arg(long, value_enum)]
    durability: Option<Relaxed>,
    /// Who promotes, for the record; default the database's user
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "promote")]
    reason: String,
    /// The longest wait for a standby to catch up, or to follow, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait_s: u64,
}

/// The only durability that a promotion may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Relaxed {
    Async,
}

/// About a member that is about to start
#[derive(Debug, Subcommand)]
pub enum Primary {
    /// Run before a database's server: whether it may open as the primary; if not, makes it a standby of whoever is
    Check(Check),
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    which: Which,
    /// The region in which this database runs
    #[arg(long)]
    region: String,
    /// Its data directory
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Where `pg_controldata`, `pg_rewind` and `postgres` are; default: found by PATH
    #[arg(long, value_name = "DIR")]
    pg_bin: Option<PathBuf>,
    /// The server's postgresql.conf, where it is outside the data directory
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// How long a former primary waits for members that don't answer, in seconds; then it starts as a standby
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    wait_s: u64,
    /// A risk taken by name: members that don't answer know of no later primary
    #[arg(long)]
    assume_latest: bool,
}

/// Whether commits wait for a standby
#[derive(Debug, Args)]
pub struct SetDurability {
    #[command(flatten)]
    which: Which,
    /// `async`: for nobody. `remote`: until a standby has flushed. `show`: say what holds
    #[arg(value_enum)]
    to: Wanted,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", required_if_eq_any([("to", "async"), ("to", "remote")]))]
    reason: Option<String>,
    /// Who does it, for the record; default the database's user
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    Async,
    Remote,
    Show,
}

/// Does it, and tells the operator on `out`.
pub fn run(command: &Command, out: &mut dyn Write) -> Result<ExitCode, PromotionFault> {
    match command {
        Command::Promote(promote) => promote.run(out),
        Command::Primary(primary) => primary.run(out),
        Command::Durability(durability) => durability.run(out),
    }
}

impl Promote {
    fn run(&self, out: &mut dyn Write) -> Result<ExitCode, PromotionFault> {
        let request = verdicts::Request {
            to: self.to.clone(),
            assume_dead: self.assume_dead,
            confirm_off: self.confirm_off.is_some(),
            without: self.without.clone(),
            relax: self.durability.is_some(),
        };
        let settings = self.which.settings()?;
        runtime()?.block_on(perform::promote(settings, &request, self, out))?;
        Ok(ExitCode::SUCCESS)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.wait_s)
    }
}

impl Primary {
    fn run(&self, out: &mut dyn Write) -> Result<ExitCode, PromotionFault> {
        let Self::Check(check) = self;
        runtime()?.block_on(boot::check(check.which.settings()?, check, out))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl SetDurability {
    fn run(&self, out: &mut dyn Write) -> Result<ExitCode, PromotionFault> {
        let wanted = match self.to {
            Wanted::Show => None,
            Wanted::Async => Some(Durability::Async),
            Wanted::Remote => Some(Durability::Remote),
        };
        runtime()?.block_on(durability::run(self.which.settings()?, wanted, self, out))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Which {
    fn settings(&self) -> Result<ClusterSettings, PromotionFault> {
        let environment = Environment::from_process();
        ClusterSettings::load(&self.config, &environment, &self.jurisdiction).map_err(PromotionFault::Config)
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, PromotionFault> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PromotionFault::Output)
}

/// One line for the operator, at once: a run may take a while.
fn say(out: &mut dyn Write, line: impl AsRef<str>) -> Result<(), PromotionFault> {
    let written: io::Result<()> = writeln!(out, "{}", line.as_ref()).and_then(|()| out.flush());
    written.map_err(PromotionFault::Output)
}
