//! `make gameday`; see the library's `gameday`.
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use residency_loadtest::checks::write_json;
use residency_loadtest::gameday::{self, Options, Phase};
use residency_loadtest::programs::Places;

/// Regions fall silent, die, are replaced and come back under load; writes target/gameday/report.json.
#[derive(Parser)]
struct Arguments {
    /// End by itself after the day; exit code 0 if every check passed. `ONCE=1` in the environment does the same.
    /// Otherwise another day begins, until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Requests a second, of all users together.
    #[arg(long, default_value_t = 150.0)]
    rate: f64,
    /// Users in each place and jurisdiction.
    #[arg(long, default_value_t = 300)]
    users: usize,
    /// Asks the same requests in the same order as another run. Random by default.
    #[arg(long)]
    seed: Option<u64>,
    /// Phases to go through; may be repeated. All by default. A phase relies on those before it.
    #[arg(long, value_enum)]
    only: Vec<Phase>,
    #[command(flatten)]
    places: Places,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    ensure!(arguments.rate > 0.0 && arguments.users > 0, "rate and users are more than 0");
    let once = arguments.once || std::env::var("ONCE").is_ok_and(|once| once == "1");
    let programs = arguments.places.find()?;
    let path = programs.target.join("gameday/report.json");
    let wanted = |phase: &Phase| arguments.only.is_empty() || arguments.only.contains(phase);
    loop {
        let options = Options {
            programs: programs.clone(),
            rate: arguments.rate,
            seed: arguments.seed.unwrap_or_else(|| rand::random::<u32>().into()),
            users: arguments.users,
            phases: Phase::ALL.into_iter().filter(wanted).collect(),
        };
        let began = Instant::now();
        let report = Box::pin(gameday::run(&options, move |line| {
            // Progress that nobody can read is no reason to stop.
            let _ = writeln!(stderr(), "[{:6.1} s] {line}", began.elapsed().as_secs_f64());
        }))
        .await?;
        write_json(&path, &report)?;
        writeln!(stdout().lock(), "{}\nWritten to {}", report.text(), path.display())?;
        if once {
            return Ok(if report.checks.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
}
