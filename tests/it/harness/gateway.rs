//! A gateway process, and what must be true when a test is through with it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::time::Instant;

use super::{Answer, Ask, Metrics, PATIENCE, Setup, Wire, eventually, holds};

/// A running `residency-gateway`.
///
/// Its drop lets it end and asserts that it did so well: no client connection and no upstream connection was left
/// behind, SIGTERM ended it with exit code 0, it never panicked, everything it logged is JSON, and its doors are free.
pub struct Gateway {
    pub setup: Setup,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    ended: Option<ExitStatus>,
}

impl Gateway {
    pub async fn start(setup: Setup) -> Self {
        let gateway = Self::spawn(setup);
        let mut gateway = gateway;
        eventually("the gateway serves", async || {
            if let Ok(Some(status)) = gateway.child.try_wait() {
                panic!("the gateway ended with {status}:\n{}", gateway.stderr());
            }
            holds(gateway.stderr().contains("\"serving\""), || gateway.stderr())
        })
        .await;
        gateway
    }

    fn spawn(setup: Setup) -> Self {
        let config = setup.save();
        let file = |name| File::create(setup.path(name)).expect("the directory takes files");
        // The kernel ends it with the thread that started it, should the test die without a word.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_residency-gateway"), "--config"])
            .arg(config)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(setup.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file("stdout.log"))
            .stderr(file("stderr.log"))
            .spawn()
            .expect("setpriv (util-linux) starts the gateway");
        let http = setup.door("http").or_else(|| setup.door("https")).expect("a door for clients");
        let admin = setup.door("admin").expect("every setup has an admin listener");
        Self { setup, http, admin, child, ended: None }
    }

    /// A connection to its plain listener.
    pub async fn connect(&self) -> Wire {
        Wire::connect(self.http).await
    }

    /// One request on a connection of its own.
    pub async fn send(&self, ask: &Ask) -> Answer {
        self.connect().await.exchange(ask).await
    }

    /// `GET` of a path of the admin listener.
    pub async fn ask_admin(&self, path: &str) -> Answer {
        Wire::connect(self.admin).await.exchange(&Ask::new(&format!("GET {path}"))).await
    }

    pub async fn metrics(&self) -> Metrics {
        let answer = self.ask_admin("/metrics").await;
        Metrics::parse(&String::from_utf8(answer.body).expect("metrics are UTF-8"))
    }

    /// Waits until a metric has this value.
    pub async fn metric_becomes(&self, name: &str, labels: &[(&str, &str)], wanted: f64) {
        eventually(name, async || {
            let value = self.metrics().await.value(name, labels);
            holds((value - wanted).abs() < 1e-9, || format!("{name}{labels:?} is {value}, not {wanted}"))
        })
        .await;
    }

    /// What it said on stderr so far.
    pub fn stderr(&self) -> String {
        self.read("stderr.log")
    }

    /// Waits until it has logged something that holds this text.
    pub async fn logged(&self, text: &str) {
        eventually(text, async || holds(self.stderr().contains(text), || self.stderr())).await;
    }

    /// The access log so far, one value a whole line.
    pub fn access_log(&self) -> Vec<Value> {
        let text = self.read("access.log");
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let line =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        whole.lines().map(line).collect()
    }

    /// Waits for that many lines in the access log.
    pub async fn access_lines(&self, count: usize) -> Vec<Value> {
        eventually("the access log", async || {
            let lines = self.access_log();
            if lines.len() >= count { Ok(lines) } else { Err(format!("{lines:?}")) }
        })
        .await
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.setup.path(name)
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory, KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).expect("it runs");
    }

    /// SIGHUP with the configuration as `setup` has it now; waits until it was taken.
    pub async fn reload(&mut self) {
        self.setup.save();
        let before = self.metrics().await.value("residency_config_generation", &[]);
        self.signal(Signal::SIGHUP);
        self.metric_becomes("residency_config_generation", &[], before + 1.0).await;
    }

    /// Waits until it has ended.
    pub async fn end(&mut self) -> ExitStatus {
        let status = eventually("the gateway ends", async || {
            self.child.try_wait().expect("it is our child").ok_or_else(|| "it runs".to_owned())
        })
        .await;
        self.ended = Some(status);
        status
    }

    /// Starts it where it was, once it has ended.
    pub async fn again(mut self) -> Self {
        assert!(self.ended.is_some(), "it runs");
        let setup = std::mem::replace(&mut self.setup, Setup::bare());
        drop(self);
        Self::start(setup).await
    }

    /// What must be true at the end. Blocks, since a drop can't wait otherwise.
    fn finish(&mut self) {
        if self.ended.is_none() {
            let own = self.setup.region();
            // Gateways of other regions look in all the time, and are looked in on.
            let has_peers = self.setup.door("internal").is_some();
            let open = || {
                let metrics = self.scrape();
                let clients = metrics.value("residency_downstream_connections_active", &[]);
                let apis = metrics.value("residency_upstream_connections_open", &[("region", &own)]);
                (if has_peers { 0.0 } else { clients }, apis)
            };
            self.wait("connections to end", || {
                let open = open();
                holds(open == (0.0, 0.0), || format!("(clients, APIs) open: {open:?}"))
            });
            self.signal(Signal::SIGTERM);
            let deadline = Instant::now() + PATIENCE;
            let status = loop {
                match self.child.try_wait().expect("it is our child") {
                    Some(status) => break status,
                    None => assert!(Instant::now() < deadline, "SIGTERM did not end it"),
                }
                std::thread::sleep(super::POLL);
            };
            self.ended = Some(status);
            assert!(status.success(), "it ended with {status}");
        }
        for line in self.stderr().lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
            assert!(
                line["fields"]["message"] != "panic" && line["message"] != "panic",
                "it panicked: {line}"
            );
        }
        self.access_log();
        for door in ["http", "https", "internal", "admin"].iter().filter_map(|door| self.setup.door(door)) {
            TcpListener::bind(door).unwrap_or_else(|error| panic!("{door} is still taken: {error}"));
        }
    }

    fn wait(&self, what: &str, mut attempt: impl FnMut() -> Result<(), String>) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(complaint) = attempt() {
            assert!(Instant::now() < deadline, "waited in vain for {what}: {complaint}\n{}", self.stderr());
            std::thread::sleep(super::POLL);
        }
    }

    fn scrape(&self) -> Metrics {
        let scrape = || {
            let mut stream = TcpStream::connect(self.admin)?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            std::io::Result::Ok(text)
        };
        let text = scrape().expect("the admin listener answers");
        Metrics::parse(text.split_once("\r\n\r\n").expect("an answer has a body").1)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.stderr();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the gateway's last words:");
            tail.into_iter().rev().for_each(|line| eprintln!("  {line}"));
        } else {
            let finished = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.finish()));
            if finished.is_err() {
                // Said already; the process must go before the test fails.
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("the gateway did not end well");
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
