//! Certificates of gateways that were forgotten, as each register lists them: their bearers are let in nowhere.
//!
//! Invariants
//! - A look takes no lock, waits for nobody, and sees the union of all registers.
//! - What a register lists is changed by that register only; while it is away, the last that it listed counts.
//! - With a directory for the table's snapshot the lists are kept in it, so that a start without any database knows them. A file
//!   that is torn or altered is refused as a whole.
//!
//! Absent by design: whose they are, and what is done with a bearer (the gateway).

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use tokio::sync::Notify;

use crate::domain::{
    fingerprint::Fingerprint, hexadecimal::hexadecimal, names::JurisdictionId, topology::Topology,
};

const NAME: &str = "forgotten-certificates";
const OPENING: &str = "residency forgotten certificates 1";
const CHECKSUM: &str = "sha256 ";

/// What all registers list.
#[derive(Debug)]
pub struct Forgotten {
    /// Of the jurisdictions.
    names: Vec<String>,
    /// By jurisdiction.
    lists: ArcSwap<Vec<BTreeSet<Fingerprint>>>,
    all: ArcSwap<BTreeSet<Fingerprint>>,
    /// One change at a time.
    changing: Mutex<()>,
    changed: Notify,
    /// Whose bearers have come, so that each is told of once.
    seen: Mutex<BTreeSet<Fingerprint>>,
}

/// Where they are kept.
#[derive(Debug, Clone)]
pub(super) struct ForgottenFile {
    path: PathBuf,
}

/// Why a file says nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForgottenFault {
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it is torn or was altered")]
    Altered,
}

impl Forgotten {
    /// None known yet.
    pub fn new(topology: &Topology) -> Self {
        let names: Vec<_> =
            topology.jurisdictions().map(|id| topology.jurisdiction_name(id).to_owned()).collect();
        Self {
            lists: ArcSwap::from_pointee(vec![BTreeSet::new(); names.len()]),
            names,
            all: ArcSwap::default(),
            changing: Mutex::new(()),
            changed: Notify::new(),
            seen: Mutex::default(),
        }
    }

    /// What others know of registers that this speaks of, too.
    pub fn take_over(&self, other: &Self) {
        for (name, list) in other.names.iter().zip(&**other.lists.load()) {
            self.take_in(name, list.clone());
        }
    }

    /// Of all registers. Another pointer means that something has changed.
    pub fn all(&self) -> Arc<BTreeSet<Fingerprint>> {
        self.all.load_full()
    }

    /// Whether some register lists it.
    pub fn contains(&self, certificate: &Fingerprint) -> bool {
        self.all.load().contains(certificate)
    }

    /// Whether the bearer of this one has not come before. Only ask of those that are listed: they are few.
    pub fn is_first(&self, certificate: &Fingerprint) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(*certificate)
    }

    /// Whether this jurisdiction's register lists it.
    pub fn is_listed_by(&self, register: JurisdictionId, certificate: &Fingerprint) -> bool {
        self.lists.load().get(register.index()).is_some_and(|list| list.contains(certificate))
    }

    /// What a register lists now.
    pub(super) fn set(&self, register: JurisdictionId, list: BTreeSet<Fingerprint>) {
        self.put(register.index(), list);
    }

    /// Until something has changed since this was last called; of one caller.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A jurisdiction that was given up has no gateways to refuse.
    fn take_in(&self, name: &str, list: BTreeSet<Fingerprint>) {
        if let Some(place) = self.names.iter().position(|known| known == name) {
            self.put(place, list);
        }
    }

    fn put(&self, place: usize, list: BTreeSet<Fingerprint>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.lists.load();
        if known.get(place).is_none_or(|known| *known == list) {
            return;
        }
        let mut lists = Vec::clone(&known);
        lists[place] = list;
        self.all.store(Arc::new(lists.iter().flatten().copied().collect()));
        self.lists.store(Arc::new(lists));
        self.changed.notify_one();
    }
}

impl ForgottenFile {
    /// In a directory that only this gateway uses.
    pub(super) fn within(directory: &Path) -> Self {
        Self { path: directory.join(NAME) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces it as a whole: written beside, flushed, renamed, and the directory flushed.
    pub(super) fn save(&self, forgotten: &Forgotten) -> io::Result<()> {
        let mut text = format!("{OPENING}\n");
        for (name, list) in forgotten.names.iter().zip(&**forgotten.lists.load()) {
            for certificate in list {
                text.extend([&certificate.to_string(), " ", name, "\n"]);
            }
        }
        let sum = hexadecimal(digest(&SHA256, text.as_bytes()).as_ref());
        let beside = self.path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(format!("{text}{CHECKSUM}{sum}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }

    /// Reads it into `forgotten`. Without a file nothing is known.
    pub(super) fn load(&self, forgotten: &Forgotten) -> Result<(), ForgottenFault> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(ForgottenFault::Altered),
            read => read?,
        };
        let lists = parse(&text).ok_or(ForgottenFault::Altered)?;
        for name in &forgotten.names {
            let own = lists.iter().filter(|(_, of)| of == name);
            forgotten.take_in(name, own.map(|(certificate, _)| *certificate).collect());
        }
        Ok(())
    }
}

/// Certificates, each with the register that lists it.
fn parse(text: &str) -> Option<Vec<(Fingerprint, &str)>> {
    let body = text.strip_suffix('\n')?;
    let (body, last) = body.split_at(body.rfind('\n')? + 1);
    if last.strip_prefix(CHECKSUM)? != hexadecimal(digest(&SHA256, body.as_bytes()).as_ref()) {
        return None;
    }
    let mut lines = body.lines();
    if lines.next()? != OPENING {
        return None;
    }
    lines
        .map(|line| {
            let (certificate, name) = line.split_once(' ')?;
            Some((certificate.parse().ok()?, name))
        })
        .collect()
}

#[cfg(test)]
mod tests;
