//! `make bench-positions`; see the library's `positions`.
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use residency_loadtest::checks::write_json;
use residency_loadtest::positions::{self, Options};
use residency_loadtest::programs::Places;
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
    #[command(flatten)]
    places: Places,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let Arguments { pairs, users, rate, seconds, .. } = arguments;
    ensure!(pairs > 0 && users > 0 && rate > 0 && seconds > 0, "pairs, users, rate and seconds start at 1");
    let programs = arguments.places.find()?;
    let target = programs.target.clone();
    let options = Options { programs, pairs, users, rate, seconds };
    let began = Instant::now();
    let run = positions::run(&options, move |line| {
        // Progress that nobody can read is no reason to stop.
        let _ = writeln!(stderr(), "[{:6.1} s] {line}", began.elapsed().as_secs_f64());
    });
    let report = Box::pin(LocalSet::new().run_until(run)).await?;
    let path = target.join("bench/positions.json");
    write_json(&path, &report)?;
    let mut out = stdout().lock();
    writeln!(out, "{}Written to {}", report.checks.text(), path.display())?;
    Ok(if report.checks.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
