//! What the kernel says about this process, under the names that stock dashboards expect.
//!
//! Linux only (`/proc`); elsewhere, or where `/proc` is hidden, these samples are left out.

use std::fs;

use super::catalog;
use super::catalog::Family;

/// Clock ticks in `/proc/self/stat` are 1/100 s on every Linux that Rust runs on (`USER_HZ`, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor seconds, resident bytes, threads, descriptors: those that could be read.
pub(super) fn sample() -> Vec<(&'static Family, f64)> {
    let mut samples = Vec::new();
    if let Some(ticks) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_ticks) {
        samples.push((&catalog::PROCESS_CPU, ticks as f64 / TICKS_PER_SECOND));
    }
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        let kibibytes =
            field(&status, "VmRSS:").map(|kibibytes| (&catalog::PROCESS_RESIDENT, kibibytes as f64 * 1024.0));
        let threads = field(&status, "Threads:").map(|threads| (&catalog::PROCESS_THREADS, threads as f64));
        samples.extend(kibibytes.into_iter().chain(threads));
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        // One of them is the listing itself.
        samples.push((&catalog::PROCESS_FDS, descriptors.count().saturating_sub(1) as f64));
    }
    samples
}

/// `utime` and `stime`, fields 14 and 15. The second field is the program's name in parentheses and may contain
/// anything, so counting starts after the last one.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_program_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("42 (cut"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn everything_is_read_here() {
        let samples = sample();
        assert_eq!(samples.len(), 4);
        for (family, value) in samples {
            assert!(value > 0.0 || family.name == "process_cpu_seconds_total", "{} is {value}", family.name);
        }
    }
}
