//! One turn of one contender: start, prove, warm up, measure, stop, count its log.
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::contender::{Contender, Program};
use super::cpu::{CoreTicks, Cores, Usage};
use super::drain::Drain;
use super::gateway::{self, COLD_ENTRIES, Plan, WARM_ENTRIES};
use super::haproxy::{self, LogPath, LogTarget, Tokens};
use super::process::{Launch, Proxy};
use super::scene::Scene;
use super::{Options, nginx, programs};
use crate::generator::{Fault, Rig, Tally};

const EXCHANGE_WITHIN: Duration = Duration::from_secs(5);
/// A warm-up may be extended this often until every token has been seen.
const WARM_UPS: usize = 10;

/// The figures of one turn.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) cpu_us_per_request: f64,
    pub(super) rps: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) requests: u64,
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// Of the proxy's pool, over the whole turn.
    pub(super) upstream_reuse: f64,
    pub(super) upstream_connections: u64,
    /// CPU time of the load and upstream thread a second.
    pub(super) generator_cpu_share: f64,
    pub(super) load_core_idle_share: f64,
    /// CPU time of the contender a second: near 1 when it fills its core.
    pub(super) proxy_cpu_share: f64,
    pub(super) proxy_core_idle_share: f64,
    /// Time a second in which the contender could have run and something else did: the machine's unrest.
    pub(super) proxy_wait_share: f64,
    /// Log lines a request that reached the upstream; none without a log.
    pub(super) log_lines_per_request: Option<f64>,
    /// Token cache misses a request, where the contender counts them.
    pub(super) token_misses_per_request: Option<f64>,
}

/// Load straight to the upstream: the most that the load's core can do.
pub(super) fn direct(scene: &mut Scene, cores: &Cores, options: &Options) -> Result<Turn> {
    let target = scene.rig.origin_address();
    scene.rig.connect(target, options.connections)?;
    scene.rig.drive(options.warm_up.min(Duration::from_millis(300)))?;
    let turn = measure(&mut scene.rig, &[], cores, options.span.min(Duration::from_secs(2)))?;
    scene.rig.disconnect();
    scene.rig.serve(Duration::from_millis(50))?;
    Ok(turn)
}

impl Turn {
    /// Runs the contender's turn. Fails when it does not start, or does not do what its role demands.
    pub(super) fn take(
        contender: &Contender,
        scene: &mut Scene,
        cores: &Cores,
        options: &Options,
    ) -> Result<Self> {
        let directory = fresh_directory(options, contender.name())?;
        let log = contender.access_log.then(|| directory.join("access.log"));
        let Staged { launch, drain, admin } = stage(contender, scene, options, &directory, log.as_deref())?;
        let before = scene.rig.origin_count();
        let proxy = Proxy::start(launch, &directory, cores, &mut scene.rig)?;
        let outcome = run(contender, scene, cores, options, &proxy, admin);
        let mut turn = match outcome {
            Ok(turn) => turn,
            Err(error) => return Err(error.context(format!("its last words: {}", proxy.last_words()))),
        };
        ensure!(proxy.stop()?, "{} did not stop when asked to", contender.name());
        if let Some(drain) = drain {
            drain.finish()?;
        }
        scene.rig.serve(Duration::from_millis(20))?;
        let reached = scene.rig.origin_count().since(before);
        turn.upstream_reuse = reached.reuse();
        turn.upstream_connections = reached.connections;
        if let Some(log) = &log {
            turn.log_lines_per_request = Some(lines(log)? as f64 / reached.requests.max(1) as f64);
            // Hundreds of megabytes a turn; one sample of it stays.
            keep_sample(log)?;
        }
        Ok(turn)
    }

    /// The turn in one line, for whoever waits.
    pub(super) fn line(&self, name: &str) -> String {
        let faults: u64 = self.faults.values().sum();
        format!(
            "{name:<26} {:>6.2} µs/request {:>7.0}/s  p99 {:>6.0} µs  load core {:>3.0} % idle  {faults} faults",
            self.cpu_us_per_request,
            self.rps,
            self.p99_us,
            self.load_core_idle_share * 100.0
        )
    }
}

/// A contender that is ready to start, with what receives its log and where its metrics are.
struct Staged {
    launch: Launch,
    drain: Option<Drain>,
    admin: Option<SocketAddr>,
}

fn stage(
    contender: &Contender,
    scene: &Scene,
    options: &Options,
    directory: &Path,
    log: Option<&Path>,
) -> Result<Staged> {
    let origin = scene.rig.origin_address();
    let program = programs::locate(contender.program, options)?;
    match contender.program {
        Program::Nginx => {
            Ok(Staged { launch: nginx::launch(&program, directory, origin, log)?, drain: None, admin: None })
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
            let mut launch = haproxy::launch(&program, directory, origin, &target, &tokens)?;
            if matches!(target, LogTarget::Stdout) {
                launch.stdout = log.map(Path::to_path_buf);
            }
            Ok(Staged { launch, drain, admin: None })
        }
        Program::Gateway | Program::GatewayCold => {
            let jwks = scene.issuer.write_jwks(directory)?;
            let cache_entries =
                if contender.program == Program::GatewayCold { COLD_ENTRIES } else { WARM_ENTRIES };
            let plan = Plan { program: &program, origin, jwks: &jwks, access_log: log, cache_entries };
            let (launch, admin) = gateway::launch(directory, &plan)?;
            Ok(Staged { launch, drain: None, admin: Some(admin) })
        }
    }
}

fn run(
    contender: &Contender,
    scene: &mut Scene,
    cores: &Cores,
    options: &Options,
    proxy: &Proxy,
    admin: Option<SocketAddr>,
) -> Result<Turn> {
    prove(contender.program, scene, proxy.listen()).context("it does not do its part")?;
    let rig = &mut scene.rig;
    rig.connect(proxy.listen(), options.connections)?;
    let mut warmed = 0;
    for _ in 0..WARM_UPS {
        warmed += rig.drive(options.warm_up)?.requests();
        if warmed >= options.users as u64 {
            break;
        }
    }
    let misses_before = admin.and_then(|admin| token_misses(rig, admin));
    let mut turn = measure(rig, &proxy.pids()?, cores, options.span)?;
    let misses_after = admin.and_then(|admin| token_misses(rig, admin));
    if let (Some(before), Some(after)) = (misses_before, misses_after) {
        turn.token_misses_per_request = Some((after - before) / turn.requests.max(1) as f64);
    }
    rig.disconnect();
    Ok(turn)
}

/// Whether the contender does what it is charged for, and what it is compared for.
fn prove(program: Program, scene: &mut Scene, listen: SocketAddr) -> Result<()> {
    let good = scene.rig.exchange(listen, &scene.good, EXCHANGE_WITHIN).context("a good token")?;
    ensure!(good.answer.status == 200, "a good token got {}", good.answer.status);
    ensure!(good.answer.body == scene.body, "a good token got another body than the upstream's");
    let seen = good.upstream_saw.context("a good token's request did not reach the upstream")?;
    if matches!(program, Program::Gateway | Program::GatewayCold) {
        for expected in [
            format!("residency-served-by: {}", gateway::REGION),
            "residency-access: read".to_owned(),
            "residency-jurisdiction: us".to_owned(),
            "residency-subject: usr_".to_owned(),
            "x-forwarded-for: 127.0.0.1".to_owned(),
        ] {
            ensure!(
                seen.to_ascii_lowercase().contains(&expected),
                "the upstream saw no {expected:?} in {seen:?}"
            );
        }
        ensure!(
            good.answer.header("residency-served-by") == Some(gateway::REGION),
            "the answer does not say who served it: {:?}",
            good.answer.head
        );
    }
    let forged = scene.rig.exchange(listen, &scene.forged, EXCHANGE_WITHIN).context("a stranger's token")?;
    let expected = if program.verifies() { 401 } else { 200 };
    ensure!(
        forged.answer.status == expected && forged.upstream_saw.is_none() == program.verifies(),
        "a stranger's token got {} instead of {expected}",
        forged.answer.status
    );
    Ok(())
}

fn measure(rig: &mut Rig, pids: &[u32], cores: &Cores, span: Duration) -> Result<Turn> {
    let ticks = || Ok::<_, anyhow::Error>((CoreTicks::of(cores.proxy)?, CoreTicks::of(cores.load)?));
    let ticks_before = ticks()?;
    let own_before = Usage::of_this_thread()?;
    let before = Usage::of_processes(pids)?;
    let tally = rig.drive(span)?;
    let used = Usage::of_processes(pids)?.since(before);
    let own = Usage::of_this_thread()?.since(own_before);
    let ticks_after = ticks()?;
    let window_ns = tally.span().as_nanos() as f64;
    // Without a proxy, what costs is the load itself.
    let charged = if pids.is_empty() { own } else { used };
    Ok(Turn {
        cpu_us_per_request: charged.run_ns as f64 / 1_000.0 / tally.requests().max(1) as f64,
        rps: tally.rate(),
        p50_us: tally.latency_us(0.50),
        p99_us: tally.latency_us(0.99),
        requests: tally.requests(),
        faults: faults(&tally),
        upstream_reuse: 0.0,
        upstream_connections: 0,
        generator_cpu_share: own.run_ns as f64 / window_ns,
        load_core_idle_share: ticks_after.1.idle_since(ticks_before.1),
        proxy_cpu_share: used.run_ns as f64 / window_ns,
        proxy_core_idle_share: ticks_after.0.idle_since(ticks_before.0),
        proxy_wait_share: used.wait_ns as f64 / window_ns,
        log_lines_per_request: None,
        token_misses_per_request: None,
    })
}

fn faults(tally: &Tally) -> BTreeMap<&'static str, u64> {
    Fault::ALL
        .into_iter()
        .map(|fault| (fault.name(), tally.faults_of(fault)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// The gateway's own count of token cache misses.
fn token_misses(rig: &mut Rig, admin: SocketAddr) -> Option<f64> {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    let answer = rig.exchange(admin, request.as_bytes(), EXCHANGE_WITHIN).ok()?.answer;
    let text = String::from_utf8(answer.body).ok()?;
    let name = "residency_token_cache_lookups_total{result=\"miss\"}";
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
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
