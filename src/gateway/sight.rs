//! What is to be seen at a path at one moment: its content's hash, or why there is none.
//!
//! Content and not times or inode numbers: it is the same question for a write in place, a rename, a symbolic link that
//! points elsewhere and a network file system, and a file that was only touched has not changed. A hash and not the
//! content, since private keys are among the files. Opening a file anew also makes NFS ask its server.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};

/// Far beyond any configuration or certificate.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// A path at one look. Equal sights have equal content, or are missing for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    Content([u8; 32]),
    /// Not a regular file. It is not read: a pipe gives its content once, and to whoever is meant to have it.
    NoFile,
    TooLarge,
    Unreadable(io::ErrorKind),
}

impl Sight {
    /// Looks, following symbolic links. Blocks for as long as the file system does.
    pub fn of(path: &Path) -> Self {
        match Self::read(path) {
            Ok(sight) => sight,
            Err(error) => Self::Unreadable(error.kind()),
        }
    }

    fn read(path: &Path) -> io::Result<Self> {
        if !fs::metadata(path)?.is_file() {
            return Ok(Self::NoFile);
        }
        let mut file = File::open(path)?.take(MOST_BYTES + 1);
        let mut hash = Context::new(&SHA256);
        let mut bytes = [0; 16 * 1024];
        let mut total = 0;
        loop {
            match file.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => {
                    hash.update(&bytes[..count]);
                    total += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if total > MOST_BYTES {
            return Ok(Self::TooLarge);
        }
        let digest = hash.finish();
        Ok(Self::Content(digest.as_ref().try_into().expect("SHA-256 has 32 bytes")))
    }
}
