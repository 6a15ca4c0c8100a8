//! A command that runs while a contender is measured: a profiler, most likely.
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Options;
use super::stage::Stage;

/// How long it may take to write down what it found.
const FINISH_WITHIN: Duration = Duration::from_mins(1);

/// Runs from [`Beside::start`] to [`Beside::finish`]; on the load's core, and charged to nobody.
pub(super) struct Beside(Option<Child>);

impl Beside {
    /// Starts the command of `--beside`, if there is one. It finds the contender's processes in `$PIDS`, with commas in
    /// between, the contender's name in `$CONTENDER`, and a directory for what it writes in `$DIRECTORY`.
    pub(super) fn start(options: &Options, label: &str, stage: &Stage) -> Result<Self> {
        let Some(command) = &options.beside else { return Ok(Self(None)) };
        let pids: Vec<_> = stage.pids()?.iter().map(u32::to_string).collect();
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("exec {command}"))
            .env("PIDS", pids.join(","))
            .env("CONTENDER", label)
            .env("DIRECTORY", stage.directory())
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        Ok(Self(Some(child)))
    }

    /// Interrupts it, as a terminal would, and waits until it has ended.
    pub(super) fn finish(mut self) -> Result<()> {
        let Some(child) = &mut self.0 else { return Ok(()) };
        if child.try_wait()?.is_none() {
            // It may end by itself in this moment.
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT);
        }
        let deadline = Instant::now() + FINISH_WITHIN;
        while child.try_wait()?.is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // Gone already, as a rule.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
