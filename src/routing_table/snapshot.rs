//! The table on disk, so that a gateway that starts knows at once what it knew when it stopped.
//!
//! One file: a short opening, a head in JSON (names of jurisdictions, ids of keys, how far each register had been read, sizes),
//! then words, stories, slots and changes as in memory, then SHA-256 over all of it.
//!
//! Invariants
//! - Either all of a file is believed or none. What is torn, altered, of another version, other keys, other jurisdictions or
//!   another view of them is refused with its reason; the registers are then loaded as if there had been none.
//! - A file is replaced as a whole: written beside, flushed, renamed, and the directory flushed.
//! - What the head says of lengths is compared with the file's length before anything is allocated for it.
//!
//! Absent by design: whether the cluster that a register was read from is still the same. Who connects to it finds out.

use std::{
    fs::{File, OpenOptions, rename},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use serde::{Deserialize, Serialize};

use super::{
    cursor::{Cursor, Height},
    keys::{KeyId, RegisterKeys},
    overlay::Overlay,
    record::{self, Names, Reader},
    run::{Run, Slot},
    table::Table,
    writer::TableWriter,
};
use crate::domain::topology::Topology;

const MAGIC: &[u8; 16] = b"residency table\n";
const VERSION: u32 = 1;
/// Magic, version, length of the head.
const OPENING: usize = MAGIC.len() + 4 + 4;
/// Names, ids and cursors of at most 64 jurisdictions.
const LONGEST_HEAD: usize = 4 << 20;
const NAME: &str = "routing-table.snapshot";
/// Read and hashed at a time.
const CHUNK: usize = (1 << 20) / SLOT_BYTES * SLOT_BYTES;
const SLOT_BYTES: usize = size_of::<Slot>();

/// Where the snapshot is, and what it must be of.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    path: PathBuf,
}

/// What a snapshot says of one register beside its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// `None`: it has to be loaded whole.
    pub cursor: Option<Cursor>,
    pub height: Option<Height>,
    /// Whether rows that only say what the claim says were left out, as outside the jurisdiction's lawful regions (R7).
    pub outside: bool,
}

/// Why there is nothing to start from.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFault {
    #[error("there is none yet")]
    Missing,
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it is no snapshot of a routing table")]
    NoSnapshot,
    #[error("it is of format {0}, this program reads {VERSION}")]
    Version(u32),
    #[error("it is torn: {0}")]
    Torn(&'static str),
    #[error("its checksum does not match")]
    Checksum,
    #[error("it was made under other register keys")]
    Keys,
    #[error("it is of other jurisdictions")]
    Jurisdictions,
    #[error("it was made in a region with another view of `{0}`")]
    View(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    jurisdictions: Vec<Jurisdiction>,
    subject_keys: Vec<String>,
    identifier_keys: Vec<String>,
    words: u64,
    stories: u64,
    slots: u64,
    changes: u64,
    /// Of words, stories and changes.
    bytes: [u64; 3],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jurisdiction {
    name: String,
    outside: bool,
    cursor: Option<Cursor>,
    height: Option<Height>,
}

impl SnapshotFile {
    /// In a directory that only this gateway uses.
    pub fn within(directory: &Path) -> Self {
        Self { path: directory.join(NAME) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a version of the table. `progress` is by jurisdiction, and not newer than the table: rows that are read once
    /// more change nothing, rows that are never read would be missed.
    pub fn save(
        &self,
        topology: &Topology,
        keys: &RegisterKeys,
        table: &Table,
        progress: &[Progress],
    ) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let mut output =
            Hashed { inner: BufWriter::with_capacity(CHUNK, file), digest: Context::new(&SHA256) };
        write(&mut output, topology, keys, table, progress)?;
        let digest = output.digest.finish();
        output.inner.write_all(digest.as_ref())?;
        let file = output.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        rename(&beside, &self.path)?;
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }

    /// Reads it back: a writer that begins with its table, and the progress by jurisdiction. `outside` is this region's view.
    pub fn load(
        &self,
        topology: &Topology,
        keys: &RegisterKeys,
        outside: &[bool],
    ) -> Result<(TableWriter, Vec<Progress>), SnapshotFault> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SnapshotFault::Missing),
            opened => opened?,
        };
        let length = file.metadata()?.len();
        let mut input = Hashed { inner: file, digest: Context::new(&SHA256) };
        let read = read(&mut input, length, topology, keys, outside);
        match read {
            Err(SnapshotFault::Unreadable(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(SnapshotFault::Torn("it ends early"))
            }
            read => read,
        }
    }
}

impl SnapshotFault {
    /// A metric's label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreadable(_) => "unreadable",
            Self::NoSnapshot => "no_snapshot",
            Self::Version(_) => "version",
            Self::Torn(_) => "torn",
            Self::Checksum => "checksum",
            Self::Keys => "keys",
            Self::Jurisdictions => "jurisdictions",
            Self::View(_) => "view",
        }
    }
}

fn write(
    output: &mut impl Write,
    topology: &Topology,
    keys: &RegisterKeys,
    table: &Table,
    progress: &[Progress],
) -> io::Result<()> {
    let (slots, words, stories) = table.base.parts();
    let mut changed = table.frozen.clone();
    table.overlay.iter().for_each(|(key, rows)| changed.insert(*key, rows.clone()));

    let (mut word_bytes, mut story_bytes, mut change_bytes) = (Vec::new(), Vec::new(), Vec::new());
    for word in words {
        record::put_row(&mut word_bytes, &word.entry());
    }
    for rows in stories {
        record::put_rows(&mut story_bytes, rows);
    }
    for (key, rows) in changed.iter() {
        change_bytes.extend_from_slice(&key.0);
        record::put_rows(&mut change_bytes, rows);
    }

    let jurisdictions = topology.jurisdictions().map(|jurisdiction| {
        let progress = progress.get(jurisdiction.index()).cloned().unwrap_or_default();
        Jurisdiction {
            name: topology.jurisdiction_name(jurisdiction).to_owned(),
            outside: progress.outside,
            cursor: progress.cursor,
            height: progress.height,
        }
    });
    let [subject_keys, identifier_keys] = key_ids(keys);
    let head = Head {
        jurisdictions: jurisdictions.collect(),
        subject_keys,
        identifier_keys,
        words: words.len() as u64,
        stories: stories.len() as u64,
        slots: slots.len() as u64,
        changes: changed.len() as u64,
        bytes: [&word_bytes, &story_bytes, &change_bytes].map(|bytes| bytes.len() as u64),
    };
    let head = serde_json::to_vec(&head)?;
    output.write_all(MAGIC)?;
    output.write_all(&VERSION.to_le_bytes())?;
    output.write_all(&u32::try_from(head.len()).map_err(io::Error::other)?.to_le_bytes())?;
    output.write_all(&head)?;
    output.write_all(&word_bytes)?;
    output.write_all(&story_bytes)?;
    let mut chunk = Vec::with_capacity(CHUNK);
    for slots in slots.chunks(CHUNK / SLOT_BYTES) {
        chunk.clear();
        slots.iter().flatten().for_each(|word| chunk.extend_from_slice(&word.to_le_bytes()));
        output.write_all(&chunk)?;
    }
    output.write_all(&change_bytes)
}

fn read(
    input: &mut Hashed<File>,
    length: u64,
    topology: &Topology,
    keys: &RegisterKeys,
    outside: &[bool],
) -> Result<(TableWriter, Vec<Progress>), SnapshotFault> {
    let mut opening = [0; OPENING];
    input.read_exact(&mut opening)?;
    let (magic, rest) = opening.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(SnapshotFault::NoSnapshot);
    }
    let [version, head_length] =
        [0, 4].map(|at| u32::from_le_bytes(rest[at..at + 4].try_into().expect("four bytes")));
    if version != VERSION {
        return Err(SnapshotFault::Version(version));
    }
    if head_length as usize > LONGEST_HEAD {
        return Err(SnapshotFault::Torn("its head is too long"));
    }
    let mut head = vec![0; head_length as usize];
    input.read_exact(&mut head)?;
    let head: Head =
        serde_json::from_slice(&head).map_err(|_| SnapshotFault::Torn("its head can't be understood"))?;
    let sizes = [OPENING as u64, head_length.into(), SHA256_OUTPUT_LEN as u64];
    let slot_bytes = head.slots.checked_mul(SLOT_BYTES as u64);
    let parts = sizes.into_iter().chain(head.bytes).map(Some).chain([slot_bytes]);
    let told = parts.reduce(|a, b| a?.checked_add(b?)).flatten();
    if told != Some(length) {
        return Err(SnapshotFault::Torn("its length is not what its head says"));
    }

    let [words, stories] = [head.bytes[0], head.bytes[1]].map(|bytes| vec![0; bytes as usize]);
    let (mut words, mut stories) = (words, stories);
    input.read_exact(&mut words)?;
    input.read_exact(&mut stories)?;
    let slots = read_slots(input, head.slots as usize)?;
    let mut changes = vec![0; head.bytes[2] as usize];
    input.read_exact(&mut changes)?;
    let mut expected = [0; SHA256_OUTPUT_LEN];
    input.inner.read_exact(&mut expected)?;
    if input.digest.clone().finish().as_ref() != expected {
        return Err(SnapshotFault::Checksum);
    }

    let names = belongs_here(&head, topology, keys, outside)?;
    let run = unpack(&head, slots, &words, &stories, &names);
    let run = run.ok_or(SnapshotFault::Torn("its base does not fit together"))?;
    let changes = unpack_changes(&head, &changes, &names);
    let changes = changes.ok_or(SnapshotFault::Torn("its changes do not fit together"))?;
    let mut progress = vec![Progress::default(); head.jurisdictions.len()];
    for (jurisdiction, id) in head.jurisdictions.into_iter().zip(names.ids()) {
        let Jurisdiction { cursor, height, outside, .. } = jurisdiction;
        progress[id.index()] = Progress { cursor, height, outside };
    }
    Ok((TableWriter::of(run, changes), progress))
}

/// Whether the snapshot speaks of what this gateway speaks of; the jurisdictions, as it numbers them.
fn belongs_here(
    head: &Head,
    topology: &Topology,
    keys: &RegisterKeys,
    outside: &[bool],
) -> Result<Names, SnapshotFault> {
    if [&head.subject_keys, &head.identifier_keys] != key_ids(keys).each_ref() {
        return Err(SnapshotFault::Keys);
    }
    let ids = head.jurisdictions.iter().map(|jurisdiction| topology.jurisdiction(&jurisdiction.name));
    let ids: Vec<_> = ids.collect::<Option<_>>().ok_or(SnapshotFault::Jurisdictions)?;
    let names = Names::new(ids).ok_or(SnapshotFault::Jurisdictions)?;
    if names.ids().len() != topology.jurisdictions().len() {
        return Err(SnapshotFault::Jurisdictions);
    }
    for (jurisdiction, id) in head.jurisdictions.iter().zip(names.ids()) {
        if outside.get(id.index()) != Some(&jurisdiction.outside) {
            return Err(SnapshotFault::View(jurisdiction.name.clone()));
        }
    }
    Ok(names)
}

fn key_ids(keys: &RegisterKeys) -> [Vec<String>; 2] {
    [&keys.subjects, &keys.identifiers].map(|pair| pair.ids().map(KeyId::to_string).collect())
}

fn read_slots(input: &mut impl Read, count: usize) -> io::Result<Vec<Slot>> {
    let mut slots: Vec<Slot> = Vec::with_capacity(count);
    let mut chunk = vec![0; CHUNK.min(count * SLOT_BYTES)];
    while slots.len() < count {
        let wanted = chunk.len().min((count - slots.len()) * SLOT_BYTES);
        input.read_exact(&mut chunk[..wanted])?;
        let (bytes, _) = chunk[..wanted].as_chunks::<SLOT_BYTES>();
        slots.extend(bytes.iter().map(|bytes| {
            let (words, _) = bytes.as_chunks::<4>();
            std::array::from_fn::<u32, 5, _>(|index| u32::from_le_bytes(words[index]))
        }));
    }
    Ok(slots)
}

fn unpack(head: &Head, slots: Vec<Slot>, words: &[u8], stories: &[u8], names: &Names) -> Option<Run> {
    let mut reader = Reader::new(words, names);
    let words = (0..head.words).map(|_| reader.word()).collect::<Option<Vec<_>>>()?;
    let whole = reader.is_empty();
    let mut reader = Reader::new(stories, names);
    let stories = (0..head.stories).map(|_| reader.rows()).collect::<Option<Vec<_>>>()?;
    if !whole || !reader.is_empty() {
        return None;
    }
    Run::from_parts(slots, words, stories)
}

fn unpack_changes(head: &Head, bytes: &[u8], names: &Names) -> Option<Overlay> {
    let mut changes = Overlay::default();
    let mut reader = Reader::new(bytes, names);
    for _ in 0..head.changes {
        let key = reader.key()?;
        changes.insert(key, reader.rows()?);
    }
    reader.is_empty().then_some(changes)
}

/// Hashes what passes.
struct Hashed<T> {
    inner: T,
    digest: Context,
}

impl<T: Write> Write for Hashed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashed<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
