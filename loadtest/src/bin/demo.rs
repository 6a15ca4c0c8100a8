//! `make demo`; see the library's `demo`.
use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use residency_loadtest::demo::{self, Options};

/// The main job on one machine: EU writes in Frankfurt, reads at the nearest lawful replica.
#[derive(Parser)]
struct Arguments {
    /// End by itself after the last step; exit code 0 if every check passed. `ONCE=1` in the environment does the same.
    #[arg(long)]
    once: bool,
    /// The directory with residency-gateway and residency-migrate; default: this program's own.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Where the report, the tokens and the world's directory go.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target"))]
    target: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let own = std::env::current_exe().context("this program's own path")?;
    let programs = match arguments.programs {
        Some(programs) => programs,
        None => own.parent().context("a program lies in a directory")?.to_owned(),
    };
    std::fs::create_dir_all(&arguments.target)?;
    // The world's processes run elsewhere, so what they are told must be absolute.
    let (programs, target) = (programs.canonicalize()?, arguments.target.canonicalize()?);
    let report = demo::run(&Options {
        gateway: programs.join("residency-gateway"),
        migrate: programs.join("residency-migrate"),
        worlds: target.join("worlds"),
        directory: target.join("demo"),
        once: arguments.once || std::env::var("ONCE").is_ok_and(|once| once == "1"),
    })
    .await?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
