//! A server's data directory, read and marked while its server does not run.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use super::PromotionFault;
use crate::domain::{
    promotion::Own,
    replication_lag::{Lsn, Timeline},
};

/// Named acts that happened while no database could take them; the next command that writes takes them over.
pub(super) const ACTS: &str = "residency_acts.jsonl";
const STANDBY: &str = "standby.signal";

/// The directory, and the programs that know its format.
pub(super) struct DataDirectory {
    pub(super) path: PathBuf,
    programs: Option<PathBuf>,
    pub(super) config_file: Option<PathBuf>,
}

/// What its control file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ControlFile {
    pub(super) timeline: Timeline,
    /// Up to where it has certainly replayed, as a standby; its last checkpoint, as a primary.
    pub(super) reached: Lsn,
}

impl DataDirectory {
    pub(super) fn new(path: &Path, programs: Option<&Path>, config_file: Option<&Path>) -> Self {
        let programs = programs.map(Path::to_owned).or_else(newest_installed);
        Self { path: path.to_owned(), programs, config_file: config_file.map(Path::to_owned) }
    }

    pub(super) fn control_file(&self) -> Result<ControlFile, PromotionFault> {
        let output = Self::run(self.program("pg_controldata").arg("-D").arg(&self.path))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ControlFile::parse(&text).ok_or_else(|| {
            self.fault(
                "pg_controldata tells neither timeline nor checkpoint of it",
                "look at it by hand, or make a new standby with pg_basebackup (docs/RUNBOOK.md)",
            )
        })
    }

    pub(super) fn own(&self, control: ControlFile) -> Own {
        Own { standby: self.is_standby(), timeline: control.timeline }
    }

    pub(super) fn is_standby(&self) -> bool {
        self.path.join(STANDBY).exists()
    }

    /// Marks it as a standby, for good on disk before the server starts.
    pub(super) fn make_standby(&self) -> Result<(), PromotionFault> {
        let path = self.path.join(STANDBY);
        let made = File::create(&path).and_then(|file| file.sync_all()).and_then(|()| sync(&self.path));
        made.map_err(|source| PromotionFault::File { path, source })
    }

    /// Takes the mark away for as long as `pg_rewind` needs the server to recover alone.
    pub(super) fn unmark_standby(&self) -> Result<(), PromotionFault> {
        let path = self.path.join(STANDBY);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(PromotionFault::File { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Adds an act for the next command that writes to the register.
    pub(super) fn record(&self, act: &serde_json::Value) -> Result<(), PromotionFault> {
        let path = self.path.join(ACTS);
        let written = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| writeln!(file, "{act}").and_then(|()| file.sync_all()));
        written.map_err(|source| PromotionFault::File { path, source })
    }

    /// A setting as the server would have it.
    pub(super) fn setting(&self, name: &str) -> Result<String, PromotionFault> {
        let mut command = self.program("postgres");
        command.arg("-D").arg(&self.path).args(["-C", name]);
        if let Some(file) = &self.config_file {
            command.arg("-c").arg(format!("config_file={}", file.display()));
        }
        let output = Self::run(&mut command)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Removes what a promotion has left on a former primary, or, cut off, on a standby: read-only sessions, no primary.
    pub(super) fn forget_promotion(&self) -> Result<(), PromotionFault> {
        self.edit(
            |line| {
                let left = ["primary_conninfo = ''", "default_transaction_read_only = 'on'"];
                !left.contains(&line.trim())
            },
            None,
        )
    }

    /// Sets `primary_conninfo` as `ALTER SYSTEM` would.
    pub(super) fn set_conninfo(&self, conninfo: &str) -> Result<(), PromotionFault> {
        let line = format!("primary_conninfo = '{}'", conninfo.replace('\\', "\\\\").replace('\'', "''"));
        self.edit(|line| !line.trim_start().starts_with("primary_conninfo"), Some(&line))
    }

    /// Keeps some lines of what `ALTER SYSTEM` has written, and adds one.
    fn edit(&self, keep: impl Fn(&str) -> bool, add: Option<&str>) -> Result<(), PromotionFault> {
        let path = self.path.join("postgresql.auto.conf");
        let fault = |source| PromotionFault::File { path: path.clone(), source };
        let text = fs::read_to_string(&path).map_err(fault)?;
        let lines = text.lines().filter(|line| keep(line)).chain(add);
        let edited: String = lines.flat_map(|line| [line, "\n"]).collect();
        if edited != text {
            let new = path.with_extension("conf.residency");
            fs::write(&new, edited).and_then(|()| fs::rename(&new, &path)).map_err(fault)?;
        }
        Ok(())
    }

    pub(super) fn program(&self, name: &str) -> Command {
        let mut command = match &self.programs {
            Some(directory) => Command::new(directory.join(name)),
            None => Command::new(name),
        };
        // Their output is read.
        command.env("LC_ALL", "C").stdin(std::process::Stdio::null());
        command
    }

    /// Runs a program to its end.
    pub(super) fn run(command: &mut Command) -> Result<Output, PromotionFault> {
        let program = Path::new(command.get_program()).display().to_string();
        let output = command.output().map_err(|error| PromotionFault::Program {
            program: program.clone(),
            reason: format!("{error}; say where Postgres' programs are with --pg-bin"),
        })?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<_> = said.lines().rev().take(4).collect();
        let reason = last.into_iter().rev().collect::<Vec<_>>().join(" | ");
        Err(PromotionFault::Program { program, reason })
    }

    pub(super) fn fault(&self, what: impl Into<String>, remedy: impl Into<String>) -> PromotionFault {
        PromotionFault::DataDirectory { path: self.path.clone(), what: what.into(), remedy: remedy.into() }
    }
}

impl ControlFile {
    /// From `pg_controldata`'s lines. Just after a promotion the new timeline is only where recovery's end is noted.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let number = |name: &str| field(name).and_then(|text| text.parse::<u32>().ok());
        let position = |name: &str| field(name).and_then(|text| text.parse::<Lsn>().ok());
        let recovered = number("Min recovery ending loc's timeline").unwrap_or_default();
        let checkpoint = position("Latest checkpoint location")?;
        Some(Self {
            timeline: Timeline(number("Latest checkpoint's TimeLineID")?.max(recovered)),
            reached: position("Minimum recovery ending location").unwrap_or(checkpoint).max(checkpoint),
        })
    }
}

/// Makes a directory's entries durable.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Debian's directories; elsewhere the programs are in PATH.
fn newest_installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut found: Vec<_> = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, programs)| programs.join("pg_controldata").exists())
        .collect();
    found.sort();
    found.pop().map(|(_, programs)| programs)
}
