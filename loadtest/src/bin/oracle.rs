//! The oracle's scenario; see the library's `oracle`.
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use residency_loadtest::checks::write_json;
use residency_loadtest::oracle::{self, Options};
use residency_loadtest::programs::Places;

/// Random requests through a failing world, and a count of unlawful deliveries; writes target/oracle/report.json.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 200_000)]
    requests: u64,
    /// Repeats the requests and the storms of another run. Random by default.
    #[arg(long)]
    seed: Option<u64>,
    /// Ends after so many seconds, if not all requests have been made by then.
    #[arg(long)]
    seconds: Option<u64>,
    /// Clients that ask at once.
    #[arg(long, default_value_t = 400)]
    clients: usize,
    /// Most requests that begin in a second.
    #[arg(long, default_value_t = 2_000)]
    rate: u64,
    /// Users of each jurisdiction; default one for every ten requests, 100 to 2,000.
    #[arg(long)]
    subjects: Option<usize>,
    #[command(flatten)]
    places: Places,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let subjects = arguments.subjects.unwrap_or((arguments.requests / 10).clamp(100, 2_000) as usize);
    ensure!(
        arguments.requests > 0 && arguments.clients > 0 && arguments.rate > 0 && subjects > 0,
        "requests, clients, rate and subjects start at 1"
    );
    let programs = arguments.places.find()?;
    let target = programs.target.clone();
    let options = Options {
        programs,
        requests: arguments.requests,
        seed: arguments.seed.unwrap_or_else(|| rand::random::<u32>().into()),
        bound: arguments.seconds.map(Duration::from_secs),
        clients: arguments.clients,
        rate: arguments.rate,
        subjects,
    };
    let began = Instant::now();
    let report = Box::pin(oracle::run(&options, move |line| {
        // Progress that nobody can read is no reason to stop.
        let _ = writeln!(stderr(), "[{:6.1} s] {line}", began.elapsed().as_secs_f64());
    }))
    .await?;
    let path = target.join("oracle/report.json");
    write_json(&path, &report)?;
    let mut out = stdout().lock();
    writeln!(out, "{}\nWritten to {}", report.text(), path.display())?;
    Ok(if report.checks.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
