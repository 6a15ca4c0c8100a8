//! A contender on the stage: configured afresh, started, and in the end stopped, with its log counted.
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::contender::{Contender, Load, Program, Upstream};
use super::cpu::{Cores, Placement};
use super::drain::Drain;
use super::gateway::{self, COLD_ENTRIES, WARM_ENTRIES};
use super::haproxy::{self, LogPath, LogTarget, Tokens};
use super::process::{Launch, Proxy};
use super::scene::Scene;
use super::{Options, nginx, programs};
use crate::generator::OriginCount;

/// Connections that peers are given room for when few are open.
const ROOM: usize = 4096;
/// Beside many: for their connections to the upstream, and for checks.
const ROOM_BESIDE: usize = 512;

/// A contender that runs.
pub(super) struct Stage {
    contender: Contender,
    proxy: Proxy,
    drain: Option<Drain>,
    admin: Option<SocketAddr>,
    log: Option<PathBuf>,
    directory: PathBuf,
    before: OriginCount,
}

/// What is known when it is over.
pub(super) struct Curtain {
    /// What reached the upstream during the turn.
    pub(super) reached: OriginCount,
    /// Log lines a request that reached the upstream; none without a log.
    pub(super) log_lines_per_request: Option<f64>,
}

impl Stage {
    /// Configures and starts the contender, with the load and the upstream ready for it.
    pub(super) fn raise(
        contender: &Contender,
        scene: &mut Scene,
        cores: &Cores,
        options: &Options,
    ) -> Result<Self> {
        scene.assume(contender.load);
        let directory = fresh_directory(options, &contender.label())?;
        let log = contender.access_log.then(|| directory.join("access.log"));
        let Prepared { launch, drain, admin } =
            prepare(contender, scene, options, &directory, log.as_deref())?;
        let before = scene.rig.origin_count();
        let placement = match contender.load {
            Load::OneWorker => Placement::OneCore,
            Load::TwoWorkers => Placement::BothCores,
            _ => Placement::Apart,
        };
        let proxy = Proxy::start(launch, &directory, cores, placement, &mut scene.rig)?;
        Ok(Self { contender: *contender, proxy, drain, admin, log, directory, before })
    }

    pub(super) fn listen(&self) -> SocketAddr {
        self.proxy.listen()
    }

    /// Where its metrics are.
    pub(super) fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The process ids of the contender and its workers.
    pub(super) fn pids(&self) -> Result<Vec<u32>> {
        self.proxy.pids()
    }

    /// Its own files.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds what the contender wrote to standard error to what went wrong.
    pub(super) fn explain<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| error.context(format!("its last words: {}", self.proxy.last_words())))
    }

    /// Stops it. Fails when it does not stop, or did not use the upstream that it was given.
    pub(super) fn lower(self, scene: &mut Scene) -> Result<Curtain> {
        scene.rig.disconnect();
        ensure!(self.proxy.stop()?, "{} did not stop when asked to", self.contender.name());
        if let Some(drain) = self.drain {
            drain.finish()?;
        }
        scene.rig.serve(Duration::from_millis(20))?;
        let reached = scene.rig.origin_count().since(self.before);
        let expected = match self.contender.upstream {
            Upstream::Tcp => 0,
            Upstream::Unix => reached.requests,
        };
        ensure!(
            reached.over_unix == expected,
            "{} of {} requests reached the upstream over its Unix socket",
            reached.over_unix,
            reached.requests
        );
        let mut log_lines_per_request = None;
        if let Some(log) = &self.log {
            log_lines_per_request = Some(lines(log)? as f64 / reached.requests.max(1) as f64);
            // Hundreds of megabytes a turn; one sample of it stays.
            keep_sample(log)?;
        }
        Ok(Curtain { reached, log_lines_per_request })
    }
}

/// A contender that is ready to start, with what receives its log and where its metrics are.
struct Prepared {
    launch: Launch,
    drain: Option<Drain>,
    admin: Option<SocketAddr>,
}

fn prepare(
    contender: &Contender,
    scene: &Scene,
    options: &Options,
    directory: &Path,
    log: Option<&Path>,
) -> Result<Prepared> {
    let origin = scene.origin(contender.upstream);
    let program = programs::locate(contender.program, options)?;
    let certificate = contender.load.is_secure().then_some(&scene.certificate);
    let clients = if contender.load == Load::Idle {
        options.idle_connections + options.connections + ROOM_BESIDE
    } else {
        ROOM
    };
    match contender.program {
        Program::Nginx => {
            let plan = nginx::Plan {
                program: &program,
                origin: &origin,
                access_log: log,
                certificate,
                connections: clients,
            };
            Ok(Prepared { launch: nginx::launch(directory, &plan)?, drain: None, admin: None })
        }
        Program::Haproxy | Program::HaproxyJwt | Program::HaproxySignature => {
            let tokens = match contender.program {
                Program::HaproxyJwt => Tokens::Whole(scene.issuer.write_pem(directory)?),
                Program::HaproxySignature => Tokens::SignatureOnly(scene.issuer.write_pem(directory)?),
                _ => Tokens::Ignored,
            };
            let (target, drain) = match (log, options.haproxy_log) {
                (None, _) => (LogTarget::Off, None),
                (Some(_), LogPath::File) => (LogTarget::Stdout, None),
                (Some(file), LogPath::Ring) => {
                    let (drain, receiver) = Drain::tcp(file)?;
                    (LogTarget::Ring(receiver), Some(drain))
                }
                (Some(file), LogPath::Datagram) => {
                    let (drain, socket) = Drain::datagram(file)?;
                    (LogTarget::Datagram(socket), Some(drain))
                }
            };
            let stdout = if matches!(target, LogTarget::Stdout) { log.map(Path::to_path_buf) } else { None };
            let plan = haproxy::Plan {
                program: &program,
                origin: &origin,
                log: target,
                tokens,
                connections: clients,
            };
            let mut launch = haproxy::launch(directory, &plan)?;
            launch.stdout = stdout;
            Ok(Prepared { launch, drain, admin: None })
        }
        Program::Gateway | Program::GatewayCold => {
            let jwks = scene.issuer.write_jwks(directory)?;
            let cold = contender.program == Program::GatewayCold;
            let plan = gateway::Plan {
                program: &program,
                origin: &origin,
                jwks: &jwks,
                access_log: log,
                certificate,
                cache_entries: if cold { COLD_ENTRIES } else { WARM_ENTRIES },
                workers: contender.load.workers(),
            };
            let (launch, admin) = gateway::launch(directory, &plan)?;
            Ok(Prepared { launch, drain: None, admin: Some(admin) })
        }
    }
}

fn fresh_directory(options: &Options, name: &str) -> Result<PathBuf> {
    let directory = options.directory.join("peers").join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory).with_context(|| format!("clearing {}", directory.display()))?;
    }
    fs::create_dir_all(&directory)?;
    Ok(fs::canonicalize(directory)?)
}

fn lines(path: &Path) -> Result<usize> {
    let mut file = BufReader::new(File::open(path).with_context(|| format!("{}", path.display()))?);
    let mut chunk = vec![0; 256 * 1024];
    let mut lines = 0;
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(lines),
            n => lines += memchr::memchr_iter(b'\n', &chunk[..n]).count(),
        }
    }
}

/// Cuts the log to its first lines, for people who want to see what was compared.
fn keep_sample(path: &Path) -> Result<()> {
    Ok(File::options().write(true).open(path)?.set_len(4096)?)
}
