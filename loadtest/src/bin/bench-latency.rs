//! `make bench-latency`; see the library's `latency`.
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use residency_loadtest::checks::{write_json, write_text};
use residency_loadtest::latency::{self, Options};
use residency_loadtest::programs::Places;

/// What users wait for with everything in us-east and with the regions; writes target/bench/latency.json and .svg.
#[derive(Parser)]
struct Arguments {
    /// Seconds in which sessions begin.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Sessions that begin in a second, in each place and setup.
    #[arg(long, default_value_t = 1.5)]
    rate: f64,
    /// Milliseconds there and back from a user to the nearest region.
    #[arg(long, default_value_t = 5.0)]
    access_ms: f64,
    /// Users in each place and setup.
    #[arg(long, default_value_t = 50)]
    users: usize,
    /// Rounds in which what the gateway adds is measured; 0 leaves that out.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    #[command(flatten)]
    places: Places,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.seconds > 0 && arguments.rate > 0.0 && arguments.users > 0,
        "seconds, rate and users are more than 0"
    );
    let programs = arguments.places.find()?;
    let directory = programs.target.join("bench");
    let options = Options {
        programs,
        span: Duration::from_secs(arguments.seconds),
        rate: arguments.rate,
        access: Duration::try_from_secs_f64(arguments.access_ms / 1e3).context("--access-ms")?,
        users: arguments.users,
        rounds: arguments.rounds,
    };
    let began = Instant::now();
    let report = Box::pin(latency::run(&options, move |line| {
        // Progress that nobody can read is no reason to stop.
        let _ = writeln!(stderr(), "[{:6.1} s] {line}", began.elapsed().as_secs_f64());
    }))
    .await?;
    let (json, svg) = (directory.join("latency.json"), directory.join("latency.svg"));
    write_json(&json, &report)?;
    write_text(&svg, &report.svg())?;
    let mut out = stdout().lock();
    writeln!(out, "{}\nWritten to {} and {}", report.text(), json.display(), svg.display())?;
    Ok(if report.checks.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
