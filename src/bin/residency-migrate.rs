//! `residency-migrate`: one-off jobs beside the gateway. Arguments → run → exit code.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use residency::pki;

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
}

fn main() -> ExitCode {
    let Job::Pki(command) = Arguments::parse().job;
    match pki::run(command, &mut io::stdout().lock()) {
        Ok(code) => code,
        Err(fault) => {
            // If not even stderr can be written to, the exit code still says it.
            let _ = writeln!(io::stderr(), "residency-migrate: {fault}");
            ExitCode::FAILURE
        }
    }
}
