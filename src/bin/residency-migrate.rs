//! `residency-migrate`: one-off jobs beside the gateway. Arguments → run → exit code.

use std::{fmt::Display, io, process::ExitCode};

use clap::{Parser, Subcommand};
use residency::{pki, promotion, register};

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
    #[command(flatten)]
    Register(register::Command),
    #[command(flatten)]
    Promotion(promotion::Command),
}

fn main() -> ExitCode {
    let out = &mut io::stdout().lock();
    match Arguments::parse().job {
        Job::Pki(command) => exit(pki::run(command, out)),
        Job::Register(command) => exit(register::run(command, out)),
        Job::Promotion(command) => exit(promotion::run(&command, out)),
    }
}

fn exit(outcome: Result<ExitCode, impl Display>) -> ExitCode {
    outcome.unwrap_or_else(|fault| {
        eprintln!("residency-migrate: {fault}");
        ExitCode::FAILURE
    })
}
