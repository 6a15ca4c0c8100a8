//! The files a gateway reads, and when what they hold has changed for good.
//!
//! Invariants
//! - A change is reported once two looks in a row have seen the same: what is half written is left alone.
//! - It is reported once, whatever becomes of it; the same content is not read again until it has been another.
//! - What counts as seen was looked at before it was read for use. So a change in between is found at the next look.
//!
//! Absent by design: reading files for use, and time. Who looks, and how often, is the caller's business.

use std::path::{Path, PathBuf};

use super::sight::Sight;
use crate::auth::KeySource;
use crate::config::Config;
use crate::tls::InternalTls;

/// Files that are read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Configuration,
    /// What a configuration named that was refused. A certificate may come later than the configuration that wants it.
    Wanted,
    /// The certificates that clients see.
    Public,
    /// The certificates among gateways.
    Internal,
    /// The keys of the issuer with this index.
    Jwks(usize),
}

/// All groups of one configuration.
#[derive(Debug)]
pub struct WatchedFiles {
    groups: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    group: Group,
    paths: Vec<PathBuf>,
    /// What was read for use last, or was found to be of no use.
    seen: Vec<Sight>,
    /// What the last look found, when it was something else.
    found: Option<Vec<Sight>>,
}

/// A group that has changed, with the files in which.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    pub group: Group,
    pub files: Vec<PathBuf>,
}

impl WatchedFiles {
    /// Looks at all files that `config` names. `path` is its own, and `before` what was seen there before it was read.
    pub fn of(path: &Path, before: Sight, config: &Config) -> Self {
        let configuration = Watched {
            group: Group::Configuration,
            paths: vec![path.to_owned()],
            seen: vec![before],
            found: None,
        };
        let mut groups = vec![configuration];
        groups.extend(certificates(config).into_iter().map(|(group, paths)| Watched::look(group, paths)));
        let issuers = config.token.issuers.iter().enumerate();
        groups.extend(issuers.filter_map(|(index, issuer)| match &issuer.keys {
            KeySource::File(path) => Some(Watched::look(Group::Jwks(index), vec![path.clone()])),
            KeySource::Url(_) | KeySource::Secret(_) => None,
        }));
        Self { groups }
    }

    /// The paths to look at, in the order in which [`Self::changes`] takes what was seen there.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.groups.iter().flat_map(|group| group.paths.iter().cloned()).collect()
    }

    /// Takes one look at every path; what has changed and stayed the same since the look before.
    pub fn changes(&mut self, sights: &[Sight]) -> Vec<Change> {
        let mut rest = sights;
        let mut changes = Vec::new();
        for group in &mut self.groups {
            let (own, after) = rest.split_at(group.paths.len().min(rest.len()));
            rest = after;
            changes.extend(group.change(own));
        }
        changes.sort_by_key(|change| change.group);
        changes
    }

    /// The configuration's file was read when it looked like this, and is of no use.
    pub fn refused(&mut self, before: Sight) {
        self.groups.retain(|group| group.group != Group::Wanted);
        self.groups[0].seen = vec![before];
        self.groups[0].found = None;
    }

    /// Looks at what a configuration wants that may be refused, so that it is tried again once that has changed.
    pub fn want(&mut self, config: &Config) {
        let paths = certificates(config).into_iter().flat_map(|(_, paths)| paths).collect();
        self.groups.push(Watched::look(Group::Wanted, paths));
    }
}

impl Watched {
    fn look(group: Group, paths: Vec<PathBuf>) -> Self {
        let seen = paths.iter().map(|path| Sight::of(path)).collect();
        Self { group, paths, seen, found: None }
    }

    fn change(&mut self, now: &[Sight]) -> Option<Change> {
        if now == self.seen {
            self.found = None;
            return None;
        }
        if self.found.as_deref() != Some(now) {
            self.found = Some(now.to_vec());
            return None;
        }
        let differs = |((path, old), new): ((&PathBuf, &Sight), &Sight)| (old != new).then(|| path.clone());
        let files = self.paths.iter().zip(&self.seen).zip(now).filter_map(differs).collect();
        self.seen = self.found.take().unwrap_or_default();
        Some(Change { group: self.group, files })
    }
}

fn certificates(config: &Config) -> Vec<(Group, Vec<PathBuf>)> {
    let mut groups = Vec::new();
    if let Some(tls) = &config.tls {
        let files = std::iter::once(&tls.default).chain(tls.others.iter().map(|other| &other.files));
        let paths = files.flat_map(|files| [files.certificate.clone(), files.key.clone()]).collect();
        groups.push((Group::Public, paths));
    }
    if let Some(directory) = &config.internal_tls {
        let region = config.topology.region_name(config.region);
        groups.push((Group::Internal, InternalTls::files(directory, region).into()));
    }
    groups
}

#[cfg(test)]
mod tests;
