//! `make bench-changes`; see the library's `changes`.
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use residency_loadtest::changes::{self, Options};
use residency_loadtest::checks::write_json;
use residency_loadtest::programs::Places;

/// How soon a change in a register is in force at every gateway; writes target/bench/changes.json.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 100)]
    changes: usize,
    #[command(flatten)]
    places: Places,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let Arguments { changes, places } = Arguments::parse();
    ensure!(changes > 0, "changes start at 1");
    let programs = places.find()?;
    let path = programs.target.join("bench/changes.json");
    let began = Instant::now();
    let report = Box::pin(changes::run(&Options { programs, changes }, move |line| {
        // Progress that nobody can read is no reason to stop.
        let _ = writeln!(stderr(), "[{:6.1} s] {line}", began.elapsed().as_secs_f64());
    }))
    .await?;
    write_json(&path, &report)?;
    writeln!(stdout().lock(), "{}\nWritten to {}", report.text(), path.display())?;
    Ok(if report.checks.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
