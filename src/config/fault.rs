//! What is wrong with a configuration, for the person who has to put it right.
//!
//! Invariant: no secret's value, and none that came by an `env:` reference, is in any of the texts.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong, or odd, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The configuration file.
    pub file: PathBuf,
    pub place: Place,
    /// `jurisdictions.eu.home`; empty when the file as a whole is meant.
    pub key: String,
    pub what: String,
    /// What to write or do instead.
    pub remedy: Option<String>,
}

/// Where the problem was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole: what should be there is missing, or the file can't be read.
    File,
    /// Line, from 1, and, where it matters, column, from 1.
    Line(usize, Option<usize>),
    /// An environment variable that overrides a key.
    Variable(String),
}

/// Everything that keeps a configuration from being used, and the warnings that were noticed on the way. `Display` is the
/// report for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// Never empty. In the order of the file.
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl ConfigErrors {
    /// The file couldn't be read.
    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        let problem = Problem {
            file: file.to_owned(),
            place: Place::File,
            key: String::new(),
            what: format!("can't be read: {error}"),
            remedy: Some("give the configuration's path with --config FILE".to_owned()),
        };
        Self { errors: vec![problem], warnings: Vec::new() }
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(formatter, "error: {error}\n")?;
        }
        for warning in &self.warnings {
            writeln!(formatter, "warning: {warning}\n")?;
        }
        write!(formatter, "{}", counted(self.errors.len(), "error"))?;
        if !self.warnings.is_empty() {
            write!(formatter, ", {}", counted(self.warnings.len(), "warning"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.place {
            Place::File => write!(formatter, "{file}")?,
            Place::Line(line, None) => write!(formatter, "{file}:{line}")?,
            Place::Line(line, Some(column)) => write!(formatter, "{file}:{line}:{column}")?,
            Place::Variable(name) => write!(formatter, "environment variable {name}")?,
        }
        if !self.key.is_empty() {
            write!(formatter, ": {}", self.key)?;
        }
        write!(formatter, "\n    {}", self.what)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(formatter, "\n    {remedy}"))
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
