//! The oracle's scenario; see the library's `oracle`.
use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use residency_loadtest::oracle::{self, Options};

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
    let subjects = arguments.subjects.unwrap_or((arguments.requests / 10).clamp(100, 2_000) as usize);
    ensure!(
        arguments.requests > 0 && arguments.clients > 0 && arguments.rate > 0 && subjects > 0,
        "requests, clients, rate and subjects start at 1"
    );
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
        requests: arguments.requests,
        seed: arguments.seed.unwrap_or_else(|| rand::random::<u32>().into()),
        bound: arguments.seconds.map(Duration::from_secs),
        clients: arguments.clients,
        rate: arguments.rate,
        subjects,
    };
    let began = Instant::now();
    let report = oracle::run(&options, move |line| {
        // Progress that nobody can read is no reason to stop.
        let _ = writeln!(stderr(), "[{:6.1} s] {line}", began.elapsed().as_secs_f64());
    })
    .await?;
    let path = target.join("oracle/report.json");
    report.write(&path)?;
    let mut out = stdout().lock();
    writeln!(out, "{}\nWritten to {}", report.text(), path.display())?;
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
