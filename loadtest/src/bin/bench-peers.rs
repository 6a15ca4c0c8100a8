//! `make bench-peers`: the gateway against nginx and `HAProxy` on this machine. See [`residency_loadtest::peers`].
use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use residency_loadtest::peers::{LogPath, Options, Scenario, compare};

/// Compares what the gateway, nginx and `HAProxy` cost in CPU time and memory; writes target/bench/peers.json.
///
/// Needs nginx and haproxy in PATH and two cores with little else to do.
#[derive(Parser)]
struct Arguments {
    /// Interleaved rounds; medians need five or more.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that are measured of each contender's turn.
    #[arg(long, visible_alias = "span", default_value_t = 2.0)]
    seconds: f64,
    /// Seconds before that: caches and pools fill.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// What to compare; may be repeated. All by default.
    #[arg(long, value_enum)]
    scenario: Vec<Scenario>,
    /// Contenders to run, for profiling; may be repeated. All by default.
    #[arg(long)]
    only: Vec<String>,
    /// Shell command to run while each contender is measured, with `$PIDS`, `$CONTENDER` and `$DIRECTORY` set; it is
    /// interrupted at the end. For profilers: --beside 'perf record -g -p $PIDS -o $DIRECTORY/perf.data'.
    #[arg(long, value_name = "COMMAND")]
    beside: Option<String>,
    /// Connections that rest in the scenario idle.
    #[arg(long, default_value_t = 4_000)]
    idle_connections: usize,
    /// The gateway to run; by default the one built beside this program.
    #[arg(long, value_name = "PATH")]
    gateway_bin: Option<PathBuf>,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Users, with a token each.
    #[arg(long, default_value_t = 2_000)]
    users: usize,
    #[arg(long, default_value_t = 0)]
    proxy_core: usize,
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// How `HAProxy`'s log lines leave it.
    #[arg(long, value_enum, default_value_t)]
    haproxy_log: LogPath,
    /// Where results and the contenders' files go.
    #[arg(long, default_value = "target/bench")]
    directory: PathBuf,
}

fn main() -> ExitCode {
    run(Arguments::parse()).unwrap_or_else(|error| {
        let _ = writeln!(stderr(), "error: {error:#}");
        ExitCode::from(2)
    })
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let options = arguments.options()?;
    let report = compare(&options, &mut |line| {
        // Progress that nobody can read is no reason to stop.
        let _ = writeln!(stderr(), "{line}");
    })?;
    let mut out = stdout().lock();
    writeln!(out, "{}", report.text())?;
    writeln!(out, "Written to {}", options.directory.join("peers.json").display())?;
    if report.errors() > 0 {
        writeln!(out, "{} requests went wrong", report.errors())?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn options(self) -> Result<Options> {
        ensure!(
            self.rounds > 0 && self.users > 0 && self.connections > 0 && self.idle_connections > 0,
            "rounds, users and connections start at 1"
        );
        let gateway = match self.gateway_bin {
            Some(path) => path,
            None => {
                std::env::current_exe().context("this program's place")?.with_file_name("residency-gateway")
            }
        };
        Ok(Options {
            rounds: self.rounds,
            span: Duration::try_from_secs_f64(self.seconds).context("--seconds")?,
            warm_up: Duration::try_from_secs_f64(self.warm_up).context("--warm-up")?,
            connections: self.connections,
            users: self.users,
            scenarios: self.scenario,
            only: self.only,
            beside: self.beside,
            idle_connections: self.idle_connections,
            gateway,
            proxy_core: self.proxy_core,
            load_core: self.load_core,
            haproxy_log: self.haproxy_log,
            directory: self.directory,
        })
    }
}
