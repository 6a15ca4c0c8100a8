//! `make demo`; see the library's `demo`.
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use residency_loadtest::{
    demo::{self, Options},
    programs::Places,
};

/// The main job on one machine: EU writes in Frankfurt, reads at the nearest lawful replica.
#[derive(Parser)]
struct Arguments {
    /// End by itself after the last step; exit code 0 if every check passed. `ONCE=1` in the environment does the same.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    places: Places,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let report = demo::run(&Options {
        programs: arguments.places.find()?,
        once: arguments.once || std::env::var("ONCE").is_ok_and(|once| once == "1"),
    })
    .await?;
    Ok(if report.checks.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
