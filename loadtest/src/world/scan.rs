//! The byte scan: does any file below a directory contain these bytes?
//!
//! Invariants
//! - Every regular file is read whole, whatever it is called; symbolic links are not followed.
//! - A needle that straddles two reads is found.
//!
//! Absent by design: decoding. What a program stores compressed or encrypted is not found, so the world's
//! programs are set up not to compress.
use std::{
    fs::{self, File},
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use memchr::memmem::Finder;

const BLOCK: usize = 1 << 20;

/// A needle's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub file: PathBuf,
    /// Bytes from the file's start.
    pub offset: u64,
    /// Index of the needle.
    pub needle: usize,
}

/// What a scan saw.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// The first hit of each needle in each file.
    pub hits: Vec<Hit>,
    pub files: usize,
    pub bytes: u64,
}

/// Searches all files below `directory`.
pub fn scan(directory: &Path, needles: &[impl AsRef<[u8]>]) -> Result<Scan> {
    let finders: Vec<_> = needles.iter().map(|needle| Finder::new(needle.as_ref())).collect();
    let mut scan = Scan::default();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound && scan.files > 0 => continue,
            Err(error) => return Err(error).with_context(|| format!("scanning {}", directory.display())),
        };
        for entry in entries {
            let entry = entry?;
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                scan_file(&entry.path(), &finders, &mut scan)?;
            }
        }
    }
    Ok(scan)
}

fn scan_file(path: &Path, finders: &[Finder<'_>], scan: &mut Scan) -> Result<()> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // A running server removes files while we look.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("scanning {}", path.display())),
    };
    let overlap = finders.iter().map(|finder| finder.needle().len()).max().unwrap_or(1).saturating_sub(1);
    let mut missing: Vec<usize> = (0..finders.len()).collect();
    let mut buffer = vec![0; BLOCK + overlap];
    let (mut kept, mut start) = (0, 0u64);
    scan.files += 1;
    loop {
        let read = file.read(&mut buffer[kept..]).with_context(|| format!("scanning {}", path.display()))?;
        if read == 0 {
            return Ok(());
        }
        scan.bytes += read as u64;
        let window = &buffer[..kept + read];
        missing.retain(|&needle| match finders[needle].find(window) {
            None => true,
            Some(at) => {
                scan.hits.push(Hit { file: path.to_owned(), offset: start + at as u64, needle });
                false
            }
        });
        let next = window.len().min(overlap);
        start += (window.len() - next) as u64;
        let end = window.len();
        buffer.copy_within(end - next..end, 0);
        kept = next;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{BLOCK, scan};

    #[test]
    fn finds_needles_at_every_place_and_only_there() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("deep")).unwrap();
        let mut long = vec![b'.'; 2 * BLOCK + 100];
        // Straddles the first two reads.
        long[BLOCK - 2..BLOCK + 3].copy_from_slice(b"cross");
        long[2 * BLOCK + 95..].copy_from_slice(b"at-it");
        fs::write(directory.path().join("deep/long"), &long).unwrap();
        fs::write(directory.path().join("short"), b"\0at-i").unwrap();
        let seen = scan(directory.path(), &["cross", "at-it", "absent"]).unwrap();
        let mut found: Vec<_> = seen.hits.iter().map(|hit| (hit.needle, hit.offset)).collect();
        found.sort_unstable();
        assert_eq!(found, [(0, BLOCK as u64 - 2), (1, 2 * BLOCK as u64 + 95)]);
        assert_eq!((seen.files, seen.bytes), (2, long.len() as u64 + 5));
    }

    #[test]
    fn a_missing_directory_is_an_error_not_an_empty_scan() {
        let directory = tempfile::tempdir().unwrap();
        scan(&directory.path().join("nowhere"), &["x"]).expect_err("nothing was scanned");
    }
}
