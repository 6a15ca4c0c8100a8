//! `make bench-positions`; see the library's `positions`.
use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use residency_loadtest::positions::{self, Options};
use tokio::task::LocalSet;

/// Write-read pairs while replicas lag, and a count of stale reads; writes target/bench/positions.json.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 200_000)]
    pairs: u64,
    /// Users who write and read at once.
    #[arg(long, default_value_t = 400)]
    users: usize,
    /// Writes per second of the second part.
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// How long it lasts.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// The directory with residency-gateway and residency-migrate; default: this program's own.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Where the report and the world's directory go.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target"))]
    target: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let Arguments { pairs, users, rate, seconds, .. } = arguments;
    ensure!(pairs > 0 && users > 0 && rate > 0 && seconds > 0, "pairs, users, rate and seconds start at 1");
    let own = std::env::current_exe().context("this program's own path")?;
    let programs = match arguments.programs {
        Some(programs) => programs,
        None => own.parent().context("a program lies in a directory")?.to_owned(),
    };
    std::fs::create_dir_all(&arguments.target)?;
    // The world's processes run elsewhere, so what they are told must be absolute.
    let (programs, target) = (programs.canonicalize()?, arguments.target.canonicalize()?);
    let options = Options {
        gateway: programs.join("residency-gateway"),
        migrate: programs.join("residency-migrate"),
        worlds: target.join("worlds"),
        pairs,
        users,
        rate,
        seconds,
    };
    let began = Instant::now();
    let run = positions::run(&options, move |line| {
        // Progress that nobody can read is no reason to stop.
        let _ = writeln!(stderr(), "[{:6.1} s] {line}", began.elapsed().as_secs_f64());
    });
    let report = LocalSet::new().run_until(run).await?;
    let path = target.join("bench/positions.json");
    report.write(&path)?;
    let mut out = stdout().lock();
    writeln!(out, "{}Written to {}", report.text(), path.display())?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
