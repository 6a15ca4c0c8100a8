//! `residency-migrate`: one-off jobs beside the gateway. Arguments → run → exit code.

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use residency::{pki, promotion};

#[derive(Parser)]
#[command(name = "residency-migrate", version, about = "One-off jobs for residency")]
struct Arguments {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Certificates by which gateways know each other
    #[command(subcommand)]
    Pki(pki::Command),
    Promote(promotion::Promote),
    #[command(subcommand)]
    Primary(promotion::Primary),
    Durability(promotion::SetDurability),
}

fn main() -> ExitCode {
    let out = &mut io::stdout().lock();
    let outcome: Result<ExitCode, Box<dyn Error>> = match Arguments::parse().job {
        Job::Pki(command) => pki::run(command, out).map_err(Into::into),
        Job::Promote(command) => command.run(out).map_err(Into::into),
        Job::Primary(command) => command.run(out).map_err(Into::into),
        Job::Durability(command) => command.run(out).map_err(Into::into),
    };
    outcome.unwrap_or_else(|fault| {
        // If not even stderr can be written to, the exit code still says it.
        let _ = writeln!(io::stderr(), "residency-migrate: {fault}");
        ExitCode::FAILURE
    })
}
