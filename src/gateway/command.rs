//! `residency-gateway` as a command: run, check, explain.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio_util::sync::CancellationToken;

use super::control::Control;
use super::listener::{self, Door};
use super::settings::Settings;
use super::sight::Sight;
use super::watched_files::WatchedFiles;
use super::worker::Worker;
use super::{Gateway, explain, moves};
use crate::clock;
use crate::config::{AccessLogTarget, Config, Environment, Loaded};
use crate::telemetry::{self, AccessLog, AccessLogHandle, Destination, Metrics};

/// Sends each request where its subject's data may lawfully go.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    file: FileArgument,
}

#[derive(Debug, Args)]
struct FileArgument {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/residency/residency.toml")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reports every error of the configuration at once, and exits.
    Check(FileArgument),
    /// Prints what would be decided about a request, and why.
    Explain(explain::Arguments),
}

impl Arguments {
    pub fn parse_command_line() -> Self {
        Self::parse()
    }

    /// Runs the command to its end. 0: well; 1: not; 2: the configuration is at fault.
    pub fn run(self) -> ExitCode {
        let environment = Environment::from_process();
        let path = match &self.command {
            None => &self.file.config,
            Some(Command::Check(file)) => &file.config,
            Some(Command::Explain(arguments)) => &arguments.config,
        };
        // Before it is read: what is written in between is then found to have changed.
        let before = Sight::of(path);
        let loaded = match Config::load(path, &environment) {
            Ok(loaded) => loaded,
            Err(errors) => {
                eprintln!("{errors}");
                return ExitCode::from(2);
            }
        };
        let outcome = match &self.command {
            None => run(loaded, path, before, environment),
            Some(Command::Check(_)) => check(loaded),
            Some(Command::Explain(arguments)) => explain::run(&loaded.config, arguments),
        };
        match outcome {
            Ok(code) => code,
            Err(error) => {
                eprintln!("residency-gateway: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

fn check(loaded: Loaded) -> anyhow::Result<ExitCode> {
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    let settings = Settings::new(loaded.config, None, None)?;
    let topology = &settings.config.topology;
    eprintln!(
        "ok: region {}, {} regions, {} jurisdictions, {} routes",
        settings.region_name(),
        topology.regions().len(),
        topology.jurisdictions().len(),
        settings.config.routes.rules().len(),
    );
    Ok(ExitCode::SUCCESS)
}

fn run(loaded: Loaded, path: &Path, before: Sight, environment: Environment) -> anyhow::Result<ExitCode> {
    let level = loaded.config.log.level.parse()?;
    telemetry::log::init(level)?;
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration");
    }
    let listen = loaded.config.listen.clone();
    let drain = loaded.config.timeouts.drain;
    let access_log = open_access_log(&loaded.config)?;
    let files = WatchedFiles::of(path, before, &loaded.config);
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), clock::wall()));
    let settings = Settings::new(loaded.config, None, Some(&metrics))?;
    if let Some(log) = &access_log {
        metrics.access_log(log.lines());
    }
    let gateway = Gateway::new(settings, metrics);

    let doors = [
        ("http", listen.http, Door::Plain),
        ("https", listen.https, Door::Tls),
        ("internal", listen.internal, Door::Internal),
    ];
    let bind = |key, address| {
        listener::bind(address).map_err(|error| anyhow!(listener::explain_bind(address, key, &error)))
    };
    // All sockets before any thread, so that a taken port is found before a request is.
    let mut sockets: Vec<Vec<(std::net::TcpListener, Door)>> =
        (0..listen.workers).map(|_| Vec::new()).collect();
    for (key, address, door) in doors {
        for own in &mut sockets {
            if let Some(address) = address {
                own.push((bind(key, address)?, door));
            }
        }
    }
    let admin = listen.admin.map(|address| bind("admin", address)).transpose()?;

    local_runtime()?.block_on(async {
        let handles: Vec<_> = sockets.iter().map(|_| access_log.as_ref().map(AccessLog::handle)).collect();
        let control =
            Control::start(Arc::clone(&gateway), path.to_owned(), files, environment, access_log).await?;
        let stop = CancellationToken::new();
        let workers: Vec<_> = sockets
            .into_iter()
            .enumerate()
            .zip(handles)
            .map(|((index, sockets), log)| start_worker(index, &gateway, log, sockets, stop.clone(), drain))
            .collect::<anyhow::Result<_>>()?;
        tracing::info!(region = gateway.settings().region_name(), workers = workers.len(), "serving");
        let access_log = control.run(admin).await?;
        stop.cancel();
        let drained = tokio::task::spawn_blocking(move || {
            // Each is waited for, whatever became of the ones before.
            let ended: Vec<bool> = workers.into_iter().map(|worker| worker.join().unwrap_or(false)).collect();
            ended.into_iter().all(|one| one)
        })
        .await?;
        if let Some(registers) = &gateway.settings().registers {
            registers.leave().await;
        }
        if let Some(log) = access_log {
            log.finish(Duration::from_secs(5));
        }
        tracing::info!(drained, "ended");
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A worker's thread. Its result says whether every connection ended before the deadline.
fn start_worker(
    index: usize,
    gateway: &Arc<Gateway>,
    log: Option<AccessLogHandle>,
    sockets: Vec<(std::net::TcpListener, Door)>,
    stop: CancellationToken,
    drain: Duration,
) -> anyhow::Result<std::thread::JoinHandle<bool>> {
    let gateway = Arc::clone(gateway);
    std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let runtime = match local_runtime() {
                Ok(runtime) => runtime,
                Err(error) => {
                    tracing::error!(%error, "worker has no runtime");
                    return false;
                }
            };
            runtime.block_on(async move {
                let worker = Worker::new(index, gateway, log);
                tokio::task::spawn_local(std::rc::Rc::clone(&worker).tick_forever());
                tokio::task::spawn_local(moves::attend(std::rc::Rc::clone(&worker)));
                let accepting: Vec<_> = sockets
                    .into_iter()
                    .map(|(socket, door)| {
                        let worker = std::rc::Rc::clone(&worker);
                        tokio::task::spawn_local(async move {
                            if let Err(error) = listener::accept_forever(worker, socket, door).await {
                                tracing::error!(%error, "listener failed");
                            }
                        })
                    })
                    .collect();
                stop.cancelled().await;
                accepting.iter().for_each(tokio::task::JoinHandle::abort);
                tokio::time::timeout(drain, worker.drain()).await.is_ok()
            })
        })
        .context("no thread for a worker")
}

fn open_access_log(config: &Config) -> anyhow::Result<Option<AccessLog>> {
    let destination = match &config.log.access {
        AccessLogTarget::Off => return Ok(None),
        AccessLogTarget::Stdout => Destination::Stdout,
        AccessLogTarget::File(path) => Destination::File(path.clone()),
    };
    let region = config.topology.region_name(config.region);
    AccessLog::start(&destination, region).map(Some).context("log.access can't be opened")
}

fn local_runtime() -> std::io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}
