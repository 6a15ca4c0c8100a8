//! A contender as a child process on the proxy's core, from start to the last of its processes gone.
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cpu::{Cores, Placement, family};
use crate::generator::Rig;

const START_WITHIN: Duration = Duration::from_secs(15);
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How to run a contender and where it will be found.
pub(super) struct Launch {
    pub(super) command: Command,
    pub(super) listen: SocketAddr,
    /// Standard output goes here; to nowhere without.
    pub(super) stdout: Option<PathBuf>,
}

/// A running contender. Dropping it kills what is left of it.
pub(super) struct Proxy {
    child: Child,
    listen: SocketAddr,
    errors: PathBuf,
}

impl Proxy {
    /// Starts where it is to run and waits until it accepts connections; the upstream answers meanwhile.
    pub(super) fn start(
        launch: Launch,
        directory: &Path,
        cores: &Cores,
        placement: Placement,
        rig: &mut Rig,
    ) -> Result<Self> {
        let Launch { mut command, listen, stdout } = launch;
        let errors = directory.join("stderr.log");
        command.stdin(Stdio::null()).stderr(File::create(&errors)?).stdout(match stdout {
            Some(path) => Stdio::from(File::options().create(true).append(true).open(path)?),
            None => Stdio::null(),
        });
        let program = command.get_program().to_string_lossy().into_owned();
        let child =
            cores.place(placement, || command.spawn()).with_context(|| format!("starting {program}"))?;
        let mut proxy = Self { child, listen, errors };
        let deadline = Instant::now() + START_WITHIN;
        loop {
            rig.serve(Duration::from_millis(20))?;
            if let Some(status) = proxy.child.try_wait()? {
                bail!("{program} ended with {status}: {}", proxy.last_words());
            }
            if TcpStream::connect_timeout(&listen, Duration::from_millis(200)).is_ok() {
                return Ok(proxy);
            }
            if Instant::now() > deadline {
                bail!("{program} does not listen on {listen}: {}", proxy.last_words());
            }
        }
    }

    pub(super) fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// The process ids of the child and its workers.
    pub(super) fn pids(&self) -> Result<Vec<u32>> {
        family(self.child.id())
    }

    /// The end of what it wrote to standard error.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let from = lines.len().saturating_sub(10);
        lines.get(from..).unwrap_or_default().join("\n")
    }

    /// Asks it to end and waits. Says whether it did by itself; what did not is killed.
    pub(super) fn stop(mut self) -> Result<bool> {
        let pids = self.pids()?;
        signal(self.child.id(), Signal::SIGTERM);
        let deadline = Instant::now() + STOP_WITHIN;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                // A master that is gone may leave a worker for a moment; none may stay.
                pids.into_iter().skip(1).for_each(|pid| signal(pid, Signal::SIGKILL));
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(false)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        for pid in self.pids().unwrap_or_else(|_| vec![self.child.id()]) {
            signal(pid, Signal::SIGKILL);
        }
        // Reaps the child; an error means that it is gone already.
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: Signal) {
    let Ok(pid) = i32::try_from(pid) else { return };
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => eprintln!("could not send {signal} to process {pid}: {error}"),
    }
}

/// Addresses of 127.0.0.1 that were free a moment ago, all different.
pub(super) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut held = Vec::with_capacity(N);
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for address in &mut addresses {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::Workload;

    fn shell(script: &str, listen: SocketAddr) -> Launch {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        Launch { command, listen, stdout: None }
    }

    #[test]
    fn what_does_not_start_says_why_and_what_runs_ends_with_its_children() {
        let directory = tempfile::tempdir().expect("a directory");
        let workload = Workload::new(vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()], "HTTP/1.1 200 OK\r\n", b"");
        let mut rig = Rig::new(workload).expect("a rig");
        // The upstream stands in for what listens; one core is enough where nothing is measured.
        let listen = rig.origin_address();
        let cores = Cores { proxy: 0, load: 0 };

        let start = |script: &str, listen, rig: &mut Rig| {
            Proxy::start(shell(script, listen), directory.path(), &cores, Placement::Apart, rig)
        };
        let [nobody] = free_addresses().expect("a port");
        let fault = start("echo no such luck >&2; exit 3", nobody, &mut rig).err().expect("a fault");
        assert!(fault.to_string().contains("no such luck"), "{fault}");

        for asked in [true, false] {
            let proxy = start("sleep 100 & wait", listen, &mut rig).expect("a shell");
            let deadline = Instant::now() + Duration::from_secs(10);
            let mut pids = proxy.pids().expect("its processes");
            while pids.len() < 2 {
                assert!(Instant::now() < deadline, "the shell has no child: {pids:?}");
                pids = proxy.pids().expect("its processes");
            }
            if asked {
                assert!(proxy.stop().expect("an end"));
            } else {
                drop(proxy);
            }
            for pid in pids {
                let gone = || match fs::read_to_string(format!("/proc/{pid}/stat")) {
                    Err(_) => true,
                    // Killed, and waiting for its new parent to notice.
                    Ok(line) => line.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
                };
                while !gone() {
                    assert!(Instant::now() < deadline, "process {pid} lives on");
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }
}
