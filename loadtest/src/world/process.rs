//! The world's processes: started, watched, killed, restarted, and never left behind.
//!
//! Invariants
//! - A child dies with us, however we die: the kernel sends it a signal when the thread that started it ends
//!   (`PR_SET_PDEATHSIG`, set by `setpriv` since `pre_exec` is unsafe). That thread is ours and lives as long as
//!   [`Processes`]; a test's own thread may end earlier.
//! - Each child has a process group of its own, so Ctrl-C in a terminal reaches us first; a log file, which errors
//!   quote; and an environment made from nothing, tagged with [`TAG`].
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

use super::{
    identity::Identity,
    region::{Jurisdiction, Region},
};

/// Environment variable with the world's directory, in every child and what it starts.
pub(crate) const TAG: &str = "WORLD_DIRECTORY";
const POLL: Duration = Duration::from_millis(20);
/// How much of a log an error quotes.
const TAIL_LINES: usize = 15;
/// How long a child may take to end before it is killed.
const LAST_WORDS: Duration = Duration::from_secs(8);

/// One of the world's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    Gateway(Region),
    /// API process 1, 2, … of a region.
    Api(Region, u8),
    Redis(Region),
    /// A jurisdiction's Postgres in a region: primary or standby.
    Postgres(Region, Jurisdiction),
}

impl Service {
    pub fn region(self) -> Region {
        let (Self::Gateway(region) | Self::Api(region, _) | Self::Redis(region) | Self::Postgres(region, _)) =
            self;
        region
    }
}

/// How to start a process.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(String, OsString)>,
    pub directory: PathBuf,
    pub log: PathBuf,
    pub stdin: Option<PathBuf>,
    pub identity: Identity,
    /// Sent when we die, and to stop it. Postgres takes QUIT, so that it frees its shared memory.
    pub end: Signal,
}

impl Spec {
    pub(crate) fn new(program: impl Into<PathBuf>, directory: &Path, log: PathBuf) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            directory: directory.to_owned(),
            log,
            stdin: None,
            identity: Identity::Ourselves,
            end: Signal::SIGKILL,
        }
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    fn command(&self, world: &Path) -> Result<Command> {
        // Becoming another user clears the death signal, so it is set after that. Between the fork and that
        // moment we may have died already: the shell looks whether its parent is still us.
        const IF_PARENT_LIVES: &str = r#"test "$PPID" = "$0" || exit 125; exec "$@""#;
        let mut words: Vec<OsString> = self.identity.prefix().into_iter().map(Into::into).collect();
        words.extend(["setpriv", "--pdeathsig"].map(OsString::from));
        words.push(self.end.as_str().trim_start_matches("SIG").into());
        words.extend(["--", "sh", "-c", IF_PARENT_LIVES].map(OsString::from));
        words.push(std::process::id().to_string().into());
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("opening the log {}", self.log.display()))?;
        let stdin = match &self.stdin {
            None => Stdio::null(),
            Some(path) => File::open(path).with_context(|| format!("opening {}", path.display()))?.into(),
        };
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg(&self.program)
            .args(&self.args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
            .envs([("LANG", "C.UTF-8"), ("TZ", "UTC")])
            .env(TAG, world)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(stdin)
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        Ok(command)
    }
}

/// All processes of a world. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Processes {
    world: PathBuf,
    spawner: Spawner,
    entries: Mutex<BTreeMap<Service, Entry>>,
}

#[derive(Debug)]
struct Entry {
    spec: Spec,
    child: Option<Child>,
}

impl Processes {
    pub(crate) fn new(world: &Path) -> Result<Self> {
        Ok(Self { world: world.to_owned(), spawner: Spawner::start()?, entries: Mutex::default() })
    }

    /// Starts `service`, from now on by `spec`.
    pub(crate) fn start(&self, service: Service, spec: Spec) -> Result<()> {
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(&service)
            && entry.running()
        {
            bail!("{service:?} runs already");
        }
        let child = self.spawn(&spec)?;
        entries.insert(service, Entry { spec, child: Some(child) });
        Ok(())
    }

    /// Starts `service` by `spec` from the next time on.
    pub(crate) fn remember(&self, service: Service, spec: Spec) {
        if let Some(entry) = self.entries().get_mut(&service) {
            entry.spec = spec;
        }
    }

    /// Starts a service that ended, the way it was started before.
    pub(crate) fn start_again(&self, service: Service) -> Result<()> {
        let spec = self.spec(service)?;
        self.start(service, spec)
    }

    /// Runs a command to its end; an error quotes its log.
    pub(crate) async fn run(&self, spec: &Spec, patience: Duration) -> Result<()> {
        let mut child = Reaped(self.spawn(spec)?);
        let deadline = Instant::now() + patience;
        let status = loop {
            if let Some(status) = child.0.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                bail!("{} took longer than {patience:?}\n{}", spec.program.display(), tail(&spec.log));
            }
            sleep(POLL / 4).await;
        };
        if !status.success() {
            bail!("{} ended with {status}\n{}", spec.program.display(), tail(&spec.log));
        }
        Ok(())
    }

    /// Sends a signal to a running service.
    pub(crate) fn signal(&self, service: Service, signal: Signal) -> Result<()> {
        let pid = self.pid(service).with_context(|| format!("{service:?} does not run"))?;
        kill(pid, signal).with_context(|| format!("{signal} to {service:?}"))
    }

    /// The process id, if it runs.
    pub(crate) fn pid(&self, service: Service) -> Option<Pid> {
        let mut entries = self.entries();
        let entry = entries.get_mut(&service)?;
        if !entry.running() {
            return None;
        }
        entry.child.as_ref().map(child_pid)
    }

    /// Waits for a service to end, and takes its status.
    pub(crate) async fn ended(&self, service: Service, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(entry) = self.entries().get_mut(&service) {
                let child = entry.child.as_mut().with_context(|| format!("{service:?} does not run"))?;
                if let Some(status) = child.try_wait()? {
                    entry.child = None;
                    return Ok(status);
                }
            } else {
                bail!("no {service:?} in this world");
            }
            if Instant::now() > deadline {
                bail!("{service:?} did not end within {patience:?}\n{}", self.log_tail(service));
            }
            sleep(POLL).await;
        }
    }

    /// Polls `probe` until it succeeds. Gives up when the service ends or the time is over; says why, and quotes
    /// the service's log.
    pub(crate) async fn ready<T, F>(&self, service: Service, patience: Duration, mut probe: F) -> Result<T>
    where
        F: AsyncFnMut() -> Result<T>,
    {
        let deadline = Instant::now() + patience;
        loop {
            let fault = match tokio::time::timeout_at(deadline, probe()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "no answer".to_owned(),
            };
            if self.pid(service).is_none() {
                bail!("{service:?} ended while starting\n{}", self.log_tail(service));
            }
            if Instant::now() >= deadline {
                bail!("{service:?} is not ready after {patience:?}: {fault}\n{}", self.log_tail(service));
            }
            sleep(POLL).await;
        }
    }

    pub(crate) fn spec(&self, service: Service) -> Result<Spec> {
        let entries = self.entries();
        let entry = entries.get(&service).with_context(|| format!("no {service:?} in this world"))?;
        Ok(entry.spec.clone())
    }

    /// All services ever started.
    pub(crate) fn services(&self) -> Vec<Service> {
        self.entries().keys().copied().collect()
    }

    /// Whether it ended without anybody having waited for that.
    pub(crate) fn died(&self, service: Service) -> bool {
        let mut entries = self.entries();
        entries.get_mut(&service).is_some_and(|entry| entry.child.is_some() && !entry.running())
    }

    /// The log's last lines, each indented, under its path.
    pub(crate) fn log_tail(&self, service: Service) -> String {
        self.spec(service).map_or_else(|error| error.to_string(), |spec| tail(&spec.log))
    }

    /// Ends everything, politely for a moment and then not.
    pub(crate) fn stop_all(&self) {
        let mut entries = self.entries();
        for entry in entries.values_mut() {
            let Some(child) = entry.child.as_ref() else { continue };
            // It may have ended by itself; and a stopped process takes no signal but KILL until continued.
            let _ = kill(child_pid(child), entry.spec.end);
            let _ = kill(child_pid(child), Signal::SIGCONT);
        }
        let deadline = std::time::Instant::now() + LAST_WORDS;
        while entries.values_mut().any(Entry::running) {
            if std::time::Instant::now() > deadline {
                for child in entries.values_mut().filter_map(|entry| entry.child.as_mut()) {
                    // Fails only for one that has ended.
                    let _ = child.kill();
                    let _ = child.wait();
                }
                break;
            }
            std::thread::sleep(POLL / 4);
        }
        for entry in entries.values_mut() {
            entry.child = None;
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Service, Entry>> {
        self.entries.lock().expect("no code panics while it holds the processes")
    }

    fn spawn(&self, spec: &Spec) -> Result<Child> {
        let command = spec.command(&self.world)?;
        self.spawner.spawn(command).with_context(|| format!("starting {}", spec.program.display()))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.stop_all();
    }
}

impl Entry {
    fn running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }
}

/// A command's process: killed if its caller gives up waiting.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both fail only for one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The thread that starts children and outlives them.
#[derive(Debug)]
struct Spawner {
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

struct Order {
    command: Command,
    reply: mpsc::Sender<io::Result<Child>>,
}

impl Spawner {
    fn start() -> Result<Self> {
        let (orders, inbox) = mpsc::channel::<Order>();
        let thread = std::thread::Builder::new().name("processes".into()).spawn(move || {
            for Order { mut command, reply } in inbox {
                // The caller waits for it; if it went away, `Child` is dropped and dies with this thread.
                let _ = reply.send(command.spawn());
            }
        })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, child) = mpsc::channel();
        let orders = self.orders.as_ref().expect("it is taken in drop only");
        orders.send(Order { command, reply }).map_err(io::Error::other)?;
        child.recv().map_err(io::Error::other)?
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

/// Processes that carry `world`'s tag or work in its directory: (id, command line). Postgres and Redis overwrite their
/// environment with their title, and work there.
pub(crate) fn belonging_to(world: &Path) -> Vec<(i32, String)> {
    let tag = format!("{TAG}={}\0", world.display()).into_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Unreadable: another user's, so not ours; or gone.
        let works_there = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(world));
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if works_there || memchr::memmem::find(&environment, &tag).is_some() {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push((pid, String::from_utf8_lossy(&command).replace('\0', " ")));
        }
    }
    found
}

fn child_pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("Linux process ids fit in 22 bits"))
}

/// The last lines of the log at `path`.
pub(crate) fn tail(path: &Path) -> String {
    let mut quoted = format!("  {}:", path.display());
    match fs::read(path) {
        Err(error) => {
            let _ = write!(quoted, " {error}");
        }
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<_> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
                let _ = write!(quoted, "\n    {line}");
            }
        }
    }
    quoted
}
