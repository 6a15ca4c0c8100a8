//! What a proxy keeps for a client that is connected and rests, in bytes of memory.
//!
//! First as many connections as will ever be busy at a time do requests until every token has been seen: buffers,
//! pools and caches that belong to work are there, and stay. Then some thousand connections are opened, a few at a
//! time; each does one request and rests. The growth of the processes' memory over their number is the figure.
//! In the end each of them does one more request: all were there to the last.
//!
//! Memory is the proportional set size that the kernel counts (`smaps_rollup`), so pages that processes share count
//! once. The kernel's own memory for sockets is the same for all and not in it. nginx sets aside its connection
//! table (a few hundred bytes each) when it starts; only what comes on top is counted for it.
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Options;
use super::contender::Contender;
use super::cpu::Cores;
use super::prove::prove;
use super::scene::Scene;
use super::stage::Stage;
use super::turn::{add, warm_up};
use crate::generator::{Manner, Rig};

/// Between two looks at memory, and how many there are at most until it stands still.
const LOOK: Duration = Duration::from_millis(250);
const LOOKS: usize = 16;
/// Memory stands still when it changes by less than this share between two looks.
const STILL: f64 = 0.002;

/// Files beside the connections: the upstream's ends, logs, epoll.
const OTHER_FILES: u64 = 1024;

/// The figures of one turn.
#[derive(Debug, Clone, Default)]
pub(super) struct Resting {
    pub(super) bytes: f64,
    pub(super) connections: usize,
    pub(super) faults: BTreeMap<&'static str, u64>,
}

impl Resting {
    pub(super) fn take(
        contender: &Contender,
        scene: &mut Scene,
        cores: &Cores,
        options: &Options,
    ) -> Result<Self> {
        let stage = Stage::raise(contender, scene, cores, options)?;
        let outcome = run(contender, scene, options, &stage);
        let resting = stage.explain(outcome)?;
        stage.lower(scene)?;
        Ok(resting)
    }

    /// The turn in one line, for whoever waits.
    pub(super) fn line(&self, name: &str) -> String {
        let faults: u64 = self.faults.values().sum();
        format!("{name:<26} {:>7.0} bytes/connection of {}  {faults} faults", self.bytes, self.connections)
    }
}

fn run(contender: &Contender, scene: &mut Scene, options: &Options, stage: &Stage) -> Result<Resting> {
    prove(contender, scene, stage.listen()).context("it does not do its part")?;
    let rig = &mut scene.rig;
    let busy = options.connections;
    let mut resting = Resting { connections: options.idle_connections, ..Resting::default() };
    rig.connect(stage.listen(), busy, Manner::Plain)?;
    warm_up(rig, options)?;
    add(&mut resting.faults, &rig.rest()?);
    let before = settled(rig, stage, &mut resting)?;
    add(&mut resting.faults, &rig.open_resting(options.idle_connections, busy)?);
    let after = settled(rig, stage, &mut resting)?;
    add(&mut resting.faults, &rig.wake(busy)?);
    resting.bytes = (after - before) / options.idle_connections as f64;
    Ok(resting)
}

/// Bytes of the contender's processes once they no longer change; what the connections do meanwhile is noted.
fn settled(rig: &mut Rig, stage: &Stage, resting: &mut Resting) -> Result<f64> {
    let pids = stage.pids()?;
    let mut last = resident(&pids)?;
    for _ in 0..LOOKS {
        add(&mut resting.faults, &rig.serve(LOOK)?);
        let now = resident(&pids)?;
        if (now - last).abs() <= last * STILL {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

fn resident(pids: &[u32]) -> Result<f64> {
    let mut bytes = 0.0;
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .with_context(|| format!("memory of process {pid}"))?;
        bytes += proportional(&text).context("smaps_rollup in a form that is not known")? as f64;
    }
    Ok(bytes)
}

/// The `Pss:` line, in bytes.
fn proportional(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Lets this process, and those it starts, have the connections open.
pub(super) fn make_room(connections: usize) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit on open files")?;
    let needed = connections as u64 + OTHER_FILES;
    ensure!(
        hard >= 2 * needed,
        "{connections} resting connections need {} open files and the limit is {hard}: raise it (ulimit -Hn), or \
         give fewer with --idle-connections",
        2 * needed
    );
    if soft < 2 * needed {
        setrlimit(Resource::RLIMIT_NOFILE, 2 * needed, hard).context("raising the limit on open files")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_as_the_kernel_writes_it() {
        let text = "55d0-7ffe ---p 00000000 00:00 0   [rollup]\nRss:    1240 kB\nPss:     311 kB\nPss_Dirty: 99 kB\n";
        assert_eq!(proportional(text), Some(311 * 1024));
        assert_eq!(proportional("Rss: 12 kB\n"), None);
        assert!(resident(&[std::process::id()]).expect("this process's memory") > 100_000.0);
    }
}
