//! Cores and CPU time as Linux accounts them, from `/proc`.
//!
//! `schedstat` counts in nanoseconds and includes the softirq work that a thread's own system calls set off, which on
//! loopback is the receiving half of every send. `/proc/stat` counts a core in ticks of 10 ms; it is used for how
//! full a core was, not for costs.
use std::collections::BTreeMap;
use std::fs;
use std::io;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// One core for the proxy, another for load and upstream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cores {
    pub(super) proxy: usize,
    pub(super) load: usize,
}

/// Where a contender runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// On the proxy's core, and the load on its own.
    Apart,
    /// On the load's core, together with the load.
    OneCore,
    /// On both cores, and so does the load, wherever the kernel puts them.
    BothCores,
}

impl Cores {
    /// Pins this thread to the load's core.
    pub(super) fn claim(proxy: usize, load: usize) -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).context("this process's cores")?;
        for core in [proxy, load] {
            if !allowed.is_set(core).unwrap_or(false) {
                bail!("core {core} is not there or not allowed; the comparison needs two cores of its own");
            }
        }
        if proxy == load {
            bail!("proxy and load need different cores, and both were given core {proxy}");
        }
        pin(&[load])?;
        Ok(Self { proxy, load })
    }

    /// Runs `spawn` with this thread placed as the child is to be, since children stay where they start.
    pub(super) fn place<T>(self, placement: Placement, spawn: impl FnOnce() -> io::Result<T>) -> Result<T> {
        match placement {
            Placement::Apart => {
                pin(&[self.proxy])?;
                let spawned = spawn();
                pin(&[self.load])?;
                Ok(spawned?)
            }
            Placement::OneCore => Ok(spawn()?),
            Placement::BothCores => {
                pin(&[self.proxy, self.load])?;
                Ok(spawn()?)
            }
        }
    }

    /// Puts this thread back on the load's core.
    pub(super) fn reclaim(self) -> Result<()> {
        pin(&[self.load])
    }
}

fn pin(cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core).with_context(|| format!("core {core}"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pinning to cores {cores:?}"))
}

/// CPU time that was used, and time spent runnable while something else had the core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) run_ns: u64,
    pub(super) wait_ns: u64,
}

impl Usage {
    /// What this thread has used.
    pub(super) fn of_this_thread() -> Result<Self> {
        parse_schedstat(&fs::read_to_string("/proc/thread-self/schedstat")?)
    }

    /// What all threads of the given processes have used. Threads that have ended are not counted, so processes
    /// must keep theirs over a window.
    pub(super) fn of_processes(pids: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"))
                .with_context(|| format!("process {pid} has ended"))?;
            for task in tasks {
                let usage = parse_schedstat(&fs::read_to_string(task?.path().join("schedstat"))?)?;
                sum.run_ns += usage.run_ns;
                sum.wait_ns += usage.wait_ns;
            }
        }
        Ok(sum)
    }

    /// What each thread with such a name has used, by thread id.
    pub(super) fn of_threads(pids: &[u32], name: &str) -> Result<BTreeMap<String, Self>> {
        let mut threads = BTreeMap::new();
        for pid in pids {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let task = task?;
                if fs::read_to_string(task.path().join("comm"))?.starts_with(name) {
                    let usage = parse_schedstat(&fs::read_to_string(task.path().join("schedstat"))?)?;
                    threads.insert(task.file_name().to_string_lossy().into_owned(), usage);
                }
            }
        }
        Ok(threads)
    }

    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            run_ns: self.run_ns.saturating_sub(earlier.run_ns),
            wait_ns: self.wait_ns.saturating_sub(earlier.wait_ns),
        }
    }
}

/// "run wait slices", the first two in nanoseconds (Linux, Documentation/scheduler/sched-stats).
fn parse_schedstat(text: &str) -> Result<Usage> {
    let mut fields = text.split_whitespace().map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(run_ns)), Some(Ok(wait_ns))) => Ok(Usage { run_ns, wait_ns }),
        _ => bail!("schedstat in a form that is not known: {text:?}"),
    }
}

/// A process and all its descendants that live now.
pub(super) fn family(pid: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Processes come and go while the directory is read.
        let Ok(stat) = fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
        if let Some(parent) = parent_of(&stat) {
            parents.push((child, parent));
        }
    }
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&member) = family.get(next) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == member).map(|(child, _)| *child));
        next += 1;
    }
    Ok(family)
}

/// The fourth field of `/proc/<pid>/stat`; the second is a name that may hold spaces and parentheses.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Ticks of one core since boot.
#[derive(Debug, Clone, Copy)]
pub(super) struct CoreTicks {
    idle: u64,
    all: u64,
}

impl CoreTicks {
    pub(super) fn of(core: usize) -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let label = format!("cpu{core} ");
        let line =
            stat.lines().find(|line| line.starts_with(&label)).context("the core's line in /proc/stat")?;
        parse_core(line).with_context(|| format!("/proc/stat in a form that is not known: {line:?}"))
    }

    /// The share of time since `earlier` in which the core had nothing to do, 0 to 1.
    pub(super) fn idle_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all);
        if all == 0 { 0.0 } else { self.idle.saturating_sub(earlier.idle) as f64 / all as f64 }
    }
}

/// user nice system idle iowait irq softirq steal; the guest columns after them are part of user and nice.
fn parse_core(line: &str) -> Option<CoreTicks> {
    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).map_while(|t| t.parse().ok()).collect();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(CoreTicks { idle, all: ticks.iter().sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_formats() {
        let usage = parse_schedstat("21556140 22312997 70\n").expect("schedstat");
        assert_eq!(usage, Usage { run_ns: 21_556_140, wait_ns: 22_312_997 });
        assert!(parse_schedstat("").is_err());
        assert_eq!(parent_of("12 (a b) c) S 7 12 12 0 -1"), Some(7));
        let before = parse_core("cpu0 10 0 10 80 0 0 0 0 5 5").expect("a core");
        let after = parse_core("cpu0 60 0 20 110 10 0 0 0 5 5").expect("a core");
        assert!((after.idle_since(before) - 0.4).abs() < 1e-9);
    }

    #[test]
    fn this_process_is_its_own_family_and_uses_time() {
        let me = std::process::id();
        assert_eq!(family(me).expect("a family")[0], me);
        let mut spins = 0_u64;
        let before = Usage::of_processes(&[me]).expect("usage");
        while Usage::of_processes(&[me]).expect("usage").since(before).run_ns == 0 {
            spins += 1;
            assert!(spins < 1_000_000, "schedstat stands still");
        }
    }

    #[test]
    fn threads_are_found_by_the_beginning_of_their_names() {
        let (ready, started) = std::sync::mpsc::sync_channel(0);
        let (over, wait) = std::sync::mpsc::sync_channel::<()>(0);
        // A thread names itself before it runs this.
        let body = move || {
            ready.send(()).expect("the test waits");
            wait.recv()
        };
        let thread = std::thread::Builder::new().name("counted-7".to_owned()).spawn(body).expect("a thread");
        started.recv().expect("it starts");
        let me = [std::process::id()];
        let found = Usage::of_threads(&me, "counted-").expect("usage");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(Usage::of_threads(&me, "counted-8").expect("usage").is_empty());
        over.send(()).expect("it waits");
        thread.join().expect("no panic").expect("a message");
    }
}
