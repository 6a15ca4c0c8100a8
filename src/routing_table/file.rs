//! A register without Postgres: a file, read again whenever it has changed.
//!
//! One JSON object a line, or one array of them (docs/REGISTER.md). A line names a subject or an identifier as it is, or
//! by its hash, so the file need not hold anybody's name.
//!
//! Invariants
//! - A file counts as a whole or not at all: with one line that can't be read the rows before stay in force.
//! - A line of a jurisdiction that the configuration doesn't know refuses its subject, and nothing else.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};

use super::{
    follow::{Asks, RegisterHandle, RegisterView, Report, Shared, WAITING_REPORTS},
    keys::RegisterKeys,
    row::{self, Reading, Row, RowFault},
    writer::RegisterLoad,
};
use crate::{
    clock,
    domain::{
        hexadecimal::hexadecimal,
        names::JurisdictionId,
        register::{RegisterEntry, SubjectKey},
        topology::Topology,
    },
};

/// A larger register belongs in a database.
const LARGEST: u64 = 256 << 20;

/// Why a file is no register.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it has {0} bytes; at most {LARGEST} are read: use a database")]
    TooLarge(u64),
    #[error("entry {entry}: {reason}")]
    Entry { entry: usize, reason: String },
    #[error(
        "entry {0}: exactly one of subject, identifier and hash is needed; a hash has 32 hexadecimal digits"
    )]
    Whose(usize),
    #[error("entry {0} is of the same subject or identifier as one before")]
    Twice(usize),
    #[error("it changed while it was read")]
    Unsteady,
    #[error("it is empty, as a file is while it is written anew; one that shall name nobody says []")]
    Empty,
}

/// One line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    subject: Option<String>,
    identifier: Option<String>,
    hash: Option<String>,
    /// Whose register it is from; without it, the one that the file is for.
    jurisdiction: Option<String>,
    #[serde(default = "home")]
    state: String,
    #[serde(default = "first")]
    generation: u64,
    toward: Option<String>,
    move_id: Option<String>,
    #[serde(default)]
    attempt: u32,
    floor: Option<(u32, String)>,
}

fn home() -> String {
    "home".to_owned()
}

const fn first() -> u64 {
    1
}

/// Follows one file; see [`FileFollower::run`].
pub struct FileFollower {
    jurisdiction: JurisdictionId,
    path: PathBuf,
    poll: Duration,
    shared: Shared,
    asks: Arc<Asks>,
    view: watch::Sender<RegisterView>,
    reports: mpsc::Receiver<Report>,
}

impl FileFollower {
    /// A follower to be run, and what others have of it. Reports go nowhere: nothing moves under a file's eyes.
    pub fn new(
        jurisdiction: JurisdictionId,
        path: PathBuf,
        poll: Duration,
        stale_after: Duration,
        shared: Shared,
    ) -> (Self, RegisterHandle) {
        let asks = Arc::new(Asks::new());
        let (view, watched) = watch::channel(RegisterView::default());
        let (sender, reports) = mpsc::channel(WAITING_REPORTS);
        let handle = RegisterHandle { asks: Arc::clone(&asks), view: watched, reports: sender, stale_after };
        (Self { jurisdiction, path, poll, shared, asks, view, reports }, handle)
    }

    /// Looks at the file until told to stop.
    pub async fn run(mut self) {
        let mut ticks = interval(self.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.shared.stop.clone();
        let mut known: Option<Stamp> = None;
        let mut complained: Option<String> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.asks.bell.notified() => {}
                Some(_) = self.reports.recv() => continue,
                _ = ticks.tick() => {}
            }
            let (asked_at, begun) = (clock::now(), self.asks.begun());
            match self.look(&mut known).await {
                Ok(()) => {
                    complained = None;
                    self.view.send_modify(|view| {
                        view.current_at = Some(asked_at);
                        view.fault = None;
                        view.alarm = None;
                    });
                    self.asks.answered(begun);
                }
                Err(fault) => self.complain(&fault, &mut complained),
            }
        }
    }

    /// Reads the file if it is another than before, and puts it in place of what was known.
    async fn look(&self, known: &mut Option<Stamp>) -> Result<(), FileFault> {
        let (path, topology) = (self.path.clone(), Arc::clone(&self.shared.topology));
        let (keys, jurisdiction, before) = (Arc::clone(&self.shared.keys), self.jurisdiction, *known);
        let reading = tokio::task::spawn_blocking(move || {
            let stamp = Stamp::of(&path)?;
            if before == Some(stamp) {
                return Ok(None);
            }
            let rows = read(&path, &topology, &keys, jurisdiction)?;
            if Stamp::of(&path)? == stamp { Ok(Some((stamp, rows))) } else { Err(FileFault::Unsteady) }
        });
        let Some((stamp, (rows, faults))) = reading.await.expect("reading does not panic")? else {
            return Ok(());
        };
        let name = self.shared.topology.jurisdiction_name(self.jurisdiction);
        for fault in faults {
            self.shared.metrics.control().register_row_refused(name, fault.label());
            tracing::error!(jurisdiction = name, reason = %fault, "a row of a register is refused");
        }
        let mut load = RegisterLoad::new(self.jurisdiction, rows.len());
        for (key, entry) in rows {
            load.push(key, entry);
        }
        self.shared.writer.reload(load, Vec::new()).await;
        self.shared.metrics.control().register_reloaded(name, "file");
        *known = Some(stamp);
        Ok(())
    }

    fn complain(&self, fault: &FileFault, complained: &mut Option<String>) {
        let reason = fault.to_string();
        if complained.as_ref() != Some(&reason) {
            let name = self.shared.topology.jurisdiction_name(self.jurisdiction);
            self.shared.metrics.control().register_alarm(name, "file");
            tracing::error!(jurisdiction = name, file = %self.path.display(), reason, "a register's file is refused");
            self.view.send_modify(|view| {
                view.fault = Some(reason.as_str().into());
                view.alarm = Some("file");
            });
            *complained = Some(reason);
        }
    }
}

/// Tells one content of a file from the next, as far as can be told without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    length: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(path)?;
        Ok(Self { modified: metadata.modified()?, length: metadata.len(), inode: metadata.ino() })
    }
}

type Read = (BTreeMap<SubjectKey, RegisterEntry>, Vec<RowFault>);

fn read(
    path: &Path,
    topology: &Topology,
    keys: &RegisterKeys,
    jurisdiction: JurisdictionId,
) -> Result<Read, FileFault> {
    let length = fs::metadata(path)?.len();
    if length > LARGEST {
        return Err(FileFault::TooLarge(length));
    }
    parse(&fs::read_to_string(path)?, topology, keys, jurisdiction)
}

fn parse(
    text: &str,
    topology: &Topology,
    keys: &RegisterKeys,
    jurisdiction: JurisdictionId,
) -> Result<Read, FileFault> {
    if text.trim().is_empty() {
        return Err(FileFault::Empty);
    }
    let mut rows = BTreeMap::new();
    let mut faults = Vec::new();
    let reading = Reading { topology, register: jurisdiction, outside: false };
    for (entry, line) in (1..).zip(lines(text)?) {
        let key = match (&line.subject, &line.identifier, &line.hash) {
            (Some(subject), None, None) => keys.subject(subject)[0],
            (None, Some(identifier), None) => keys.identifier(identifier)[0],
            (None, None, Some(hash)) => row::hash(hash).ok_or(FileFault::Whose(entry))?,
            _ => return Err(FileFault::Whose(entry)),
        };
        let of = line.jurisdiction.as_deref().map(|name| topology.jurisdiction(name).ok_or(name));
        let unknown = match of {
            Some(Ok(other)) if other != jurisdiction => continue,
            Some(Err(name)) => Some(RowFault::UnknownJurisdiction(name.to_owned())),
            _ => None,
        };
        let row = Row {
            hash: hexadecimal(&key.0),
            kind: if line.identifier.is_some() { 2 } else { 1 },
            state: line.state,
            generation: line.generation,
            toward: line.toward,
            move_id: line.move_id,
            attempt: line.attempt,
            claim_answers: false,
            floor: line.floor,
            deleted: false,
        };
        let (change, fault) = reading.change(&row);
        let fault = unknown.or(fault);
        if let Some(fault @ (RowFault::UnknownState(_) | RowFault::Malformed)) = &fault {
            return Err(FileFault::Entry { entry, reason: fault.to_string() });
        }
        let Some(read) = change.and_then(|change| change.entry) else { return Err(FileFault::Whose(entry)) };
        if rows.insert(key, RegisterEntry { unknown: fault.is_some(), ..read }).is_some() {
            return Err(FileFault::Twice(entry));
        }
        faults.extend(fault);
    }
    Ok((rows, faults))
}

fn lines(text: &str) -> Result<Vec<Line>, FileFault> {
    let fault = |entry, error: &serde_json::Error| FileFault::Entry { entry, reason: error.to_string() };
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|error| fault(error.line(), &error));
    }
    let entries = serde_json::Deserializer::from_str(text).into_iter();
    (1..).zip(entries).map(|(entry, line)| line.map_err(|error| fault(entry, &error))).collect()
}

#[cfg(test)]
mod tests;
