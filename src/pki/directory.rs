//! The directory of certificates, changed as a whole.
//!
//! A change is written to `.pending`, made durable, and renamed to `.commit`: from then on it has happened, and what
//! is left, moving each file to its place, is finished by whichever command comes next. Before then it has not, and
//! `.pending` is thrown away. One command at a time: the directory itself is locked.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::{PkiFault, holder::Holder};
use crate::tls::is_region_label;

const PENDING: &str = ".pending";
pub(super) const COMMIT: &str = ".commit";

/// An open directory, locked until dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: File,
}

/// Files to be put in place together.
#[derive(Debug, Default)]
pub(super) struct Change(Vec<(String, Vec<u8>, Secrecy)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Public,
    Secret,
}

impl Change {
    pub(super) fn certificate(&mut self, name: impl Into<String>, pem: String) {
        self.0.push((name.into(), pem.into_bytes(), Secrecy::Public));
    }

    pub(super) fn key(&mut self, name: impl Into<String>, pem: String) {
        self.0.push((name.into(), pem.into_bytes(), Secrecy::Secret));
    }
}

impl Directory {
    /// Opens `path` for changes, made with mode 0700 if it is missing, and settles what a crash left.
    pub(super) fn open_or_create(path: &Path) -> Result<Self, PkiFault> {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
        created.map_err(at(path))?;
        Self::open(path)
    }

    /// Opens `path` for changes and settles what a crash left.
    pub(super) fn open(path: &Path) -> Result<Self, PkiFault> {
        let lock = File::open(path).and_then(|file| file.lock().map(|()| file)).map_err(at(path))?;
        let directory = Self { path: path.to_owned(), lock };
        directory.remove_tree(PENDING)?;
        directory.finish()?;
        Ok(directory)
    }

    /// Opens `path` to look at it.
    pub(super) fn open_for_reading(path: &Path) -> Result<Self, PkiFault> {
        let lock = File::open(path).and_then(|file| file.lock_shared().map(|()| file)).map_err(at(path))?;
        Ok(Self { path: path.to_owned(), lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A file's text; `None` if there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, PkiFault> {
        match fs::read_to_string(self.file(name)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&self.file(name))(error)),
        }
    }

    /// Those who have a file with this suffix, sorted: gateways first.
    pub(super) fn holders(&self, suffix: &str) -> Result<Vec<Holder>, PkiFault> {
        let mut holders = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(at(&self.path))? {
            let name = entry.map_err(at(&self.path))?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(suffix));
            holders.extend(stem.and_then(Holder::of_stem));
        }
        holders.sort_unstable();
        Ok(holders)
    }

    /// Puts all of `change` in place, or none of it.
    pub(super) fn commit(&self, change: Change) -> Result<(), PkiFault> {
        let pending = self.file(PENDING);
        DirBuilder::new().mode(0o700).create(&pending).map_err(at(&pending))?;
        for (name, content, secrecy) in change.0 {
            let path = pending.join(&name);
            stage(&path, &self.file(&name), &content, secrecy).map_err(at(&path))?;
        }
        File::open(&pending).and_then(|directory| directory.sync_all()).map_err(at(&pending))?;
        fs::rename(&pending, self.file(COMMIT)).map_err(at(&pending))?;
        self.lock.sync_all().map_err(at(&self.path))?;
        self.finish()
    }

    /// Removes one file, if it is there.
    pub(super) fn remove(&self, name: &str) -> Result<(), PkiFault> {
        match fs::remove_file(self.file(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&self.file(name))(error)),
            _ => Ok(()),
        }
    }

    /// Moves the files of a committed change to their places.
    fn finish(&self) -> Result<(), PkiFault> {
        let commit = self.file(COMMIT);
        let entries = match fs::read_dir(&commit) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(at(&commit))?,
        };
        for entry in entries {
            let entry = entry.map_err(at(&commit))?;
            fs::rename(entry.path(), self.path.join(entry.file_name())).map_err(at(&entry.path()))?;
        }
        self.lock.sync_all().map_err(at(&self.path))?;
        fs::remove_dir(&commit).map_err(at(&commit))
    }

    fn remove_tree(&self, name: &str) -> Result<(), PkiFault> {
        match fs::remove_dir_all(self.file(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&self.file(name))(error)),
            _ => Ok(()),
        }
    }
}

/// Whether `<name>.crt` belongs to a region: `ca.crt` does not.
pub(super) fn is_region_file_stem(name: &str) -> bool {
    is_region_label(name) && name != "ca"
}

/// Writes a file with the owner of the one it will replace, so that a gateway run as another user still reads
/// its key. A group's right to read a key is kept; any wider one is not.
fn stage(path: &Path, replaces: &Path, content: &[u8], secrecy: Secrecy) -> io::Result<()> {
    let mode = if secrecy == Secrecy::Secret { 0o600 } else { 0o644 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    if let Ok(former) = fs::metadata(replaces) {
        let own = file.metadata()?;
        if (former.uid(), former.gid()) != (own.uid(), own.gid()) {
            chown(path, Some(former.uid()), Some(former.gid()))?;
        }
        if secrecy == Secrecy::Secret {
            file.set_permissions(fs::Permissions::from_mode(mode | former.mode() & 0o040))?;
        }
    }
    file.sync_all()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PkiFault {
    let path = path.to_owned();
    move |source| PkiFault::File { path, source }
}
