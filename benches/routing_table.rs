//! What ten million entries cost: memory, a look-up, a start from the snapshot, and a change while others read.
//!
//! Prints one table, each figure beside its goal. Keys are random, as keyed hashes are. The snapshot is read from the page cache.
//! Look-ups are the fastest of five rounds: on a machine with neighbours the time of a cache miss varies by half.
#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::{
    fs,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use arc_swap::{ArcSwap, Cache};
use residency::{
    clock,
    domain::{
        names::JurisdictionId,
        register::{EntryState, Generation, RegisterEntry, SubjectKey},
        secret::Secret,
        topology::{JurisdictionSpec, Mode, RegionSpec, Topology},
    },
    routing_table::{Change, Progress, RegisterKeys, RegisterLoad, SnapshotFile, Table, TableWriter},
};

const ENTRIES: usize = 10_000_000;
const LOOKUPS: usize = 2_000_000;
const CHANGES: usize = 300_000;
/// Of a time that others on the machine can only make longer, the least of so many counts.
const ROUNDS: usize = 5;
const MIB: f64 = 1024.0 * 1024.0;

fn main() {
    // `cargo test --benches` runs this, too; a tenth of a percent of it shows that it works.
    let entries =
        if std::env::args().any(|argument| argument == "--bench") { ENTRIES } else { ENTRIES / 1000 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let topology = topology();
    let us = topology.jurisdiction("us").expect("there");
    println!("routing table of {entries} entries");

    let before = resident();
    let writer = Arc::new(TableWriter::new());
    runtime.block_on(writer.reload(load(us, entries), Vec::new()));
    let table = writer.table();
    let goal = 256.0 * MIB * entries as f64 / ENTRIES as f64;
    let held = resident().saturating_sub(before).max(table.bytes()) as f64;
    row("resident", held / MIB, "MiB", Some(goal / MIB));
    row("  an entry", held / entries as f64, "bytes", None);
    drop(table);

    row("look-up, there", lookups(&writer, |n| key(n % entries as u64)), "ns", Some(200.0));
    row("look-up, not there", lookups(&writer, |n| key(n + entries as u64)), "ns", Some(200.0));

    let directory = tempfile::TempDir::new().expect("a directory");
    let file = SnapshotFile::within(directory.path());
    let keys = keys();
    let progress = vec![Progress::default(); topology.jurisdictions().len()];
    let start = clock::now();
    file.save(&topology, &keys, &writer.table(), &progress).expect("writable");
    row("snapshot written", start.elapsed().as_secs_f64(), "s", None);
    let start = clock::now();
    let (read, _) = file.load(&topology, &keys, &[false]).expect("a good snapshot");
    row("start from snapshot", start.elapsed().as_secs_f64(), "s", Some(2.0));
    assert_eq!(read.table().len(), writer.table().len());
    drop(read);

    // A reader alone, then one beside a writer; on few cores the difference is the scheduler's as much as the table's.
    let quiet = Reading::start(&writer.published(), entries);
    thread::sleep(Duration::from_secs(2));
    quiet.stop("no changes");
    let busy = Reading::start(&writer.published(), entries);
    let mut latencies = runtime.block_on(change(&writer, us, entries));
    busy.stop("changes and a new base");
    latencies.sort_unstable();
    let quantile = |of: f64| latencies[(latencies.len() as f64 * of) as usize].as_secs_f64() * 1e6;
    row("change applied, p50", quantile(0.5), "µs", None);
    row("change applied, p99", quantile(0.99), "µs", Some(1000.0));
    row("look-up with changes", lookups(&writer, |n| key(n % entries as u64)), "ns", Some(200.0));
}

/// One at a time, until a base was packed under way.
async fn change(writer: &Arc<TableWriter>, us: JurisdictionId, entries: usize) -> Vec<Duration> {
    let packing = writer.run();
    let mut packing = std::pin::pin!(packing);
    let mut latencies = Vec::with_capacity(CHANGES);
    for number in 0..CHANGES.min(entries) as u64 {
        let change =
            Change { register: us, key: key(number * 33 % entries as u64), entry: Some(entry(us, 2)) };
        let start = clock::now();
        writer.apply([change]);
        latencies.push(start.elapsed());
        if number % 64 == 0 {
            tokio::select! {
                biased;
                () = &mut packing => {}
                () = tokio::task::yield_now() => {}
            }
        }
    }
    // The rest of the packing, and the freeing of what it replaced.
    let _ = tokio::time::timeout(Duration::from_secs(3), packing).await;
    latencies
}

/// A thread that looks up again and again and notes its longest pause.
struct Reading {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Vec<Duration>>,
}

impl Reading {
    fn start(table: &Arc<ArcSwap<Table>>, entries: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, table) = (Arc::clone(&stop), Arc::clone(table));
        let thread = thread::spawn(move || {
            let mut table = Cache::new(table);
            let mut pauses = Vec::with_capacity(1 << 24);
            let mut last = clock::now();
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) || pauses.len() == pauses.capacity() {
                    break;
                }
                black_box(table.load().get(&key(number % entries as u64)));
                let now = clock::now();
                pauses.push(now - last);
                last = now;
            }
            pauses
        });
        Self { stop, thread }
    }

    fn stop(self, during: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let mut pauses = self.thread.join().expect("it reads");
        pauses.sort_unstable();
        let at = |of: f64| pauses[((pauses.len() - 1) as f64 * of) as usize].as_secs_f64() * 1e6;
        println!(
            "  a reader beside {during}: p50 {:.2} µs, p99.99 {:.1} µs, longest {:.0} µs",
            at(0.5),
            at(0.9999),
            at(1.0)
        );
    }
}

fn lookups(writer: &TableWriter, key: impl Fn(u64) -> SubjectKey) -> f64 {
    let keys: Vec<SubjectKey> = (0..LOOKUPS as u64).map(|number| key(number * 7919)).collect();
    let mut table = Cache::new(writer.published());
    let mut round = || {
        let start = clock::now();
        for key in &keys {
            black_box(table.load().get(black_box(key)));
        }
        start.elapsed().as_secs_f64() * 1e9 / LOOKUPS as f64
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn load(us: JurisdictionId, entries: usize) -> RegisterLoad {
    let mut keys: Vec<SubjectKey> = (0..entries as u64).map(key).collect();
    keys.sort_unstable();
    let mut load = RegisterLoad::new(us, entries);
    assert!(keys.iter().all(|key| load.push(*key, entry(us, 1))), "random keys differ");
    load
}

/// Two rounds of `SplitMix64`: as evenly spread as a keyed hash.
fn key(number: u64) -> SubjectKey {
    let half = |seed: u64| {
        let mut mixed = number.wrapping_add(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u128::from(mixed ^ (mixed >> 31))
    };
    SubjectKey((half(1) << 64 | half(1 << 40)).to_be_bytes())
}

fn entry(us: JurisdictionId, generation: u64) -> RegisterEntry {
    RegisterEntry {
        state: EntryState::Home,
        generation: Generation(generation),
        jurisdiction: us,
        toward: None,
        move_id: None,
        floor: None,
        unknown: false,
    }
}

fn topology() -> Topology {
    let region = RegionSpec { name: "here".to_owned(), nearest: Vec::new() };
    let us =
        JurisdictionSpec { name: "us".to_owned(), home: "here".to_owned(), ..JurisdictionSpec::default() };
    Topology::new(vec![region], &[us], Mode::Enforce).expect("valid")
}

fn keys() -> RegisterKeys {
    let secret = Secret::new(b"a key of the bench's own, long enough".as_slice());
    RegisterKeys::new((&secret, None), (&secret, None))
}

/// Bytes of this process in RAM.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number");
    pages * 4096
}

fn row(what: &str, measured: f64, unit: &str, goal: Option<f64>) {
    let verdict = match goal {
        None => String::new(),
        Some(goal) if measured <= goal => format!("≤ {goal:.0} {unit}: reached"),
        Some(goal) => format!("≤ {goal:.0} {unit}: MISSED"),
    };
    println!("{what:<24}{measured:>10.2} {unit:<6} {verdict}");
}
