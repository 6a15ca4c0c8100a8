//! What all sections share while a file is read: the environment, the notes of what is wrong, the keys that were asked for.
//!
//! Invariants
//! - A fault is noted under the key that caused it and reading goes on: all faults come out at once.
//! - What the parser asks for is what is known. [`Reader::known`] is filled by reading, there is no second list.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::document::{Node, Origin};
use super::environment::{Environment, NotUnicode};
use super::fault::{Place, Problem};
use super::key_path::{KeyPath, Step};
use super::known_keys::KnownKey;
use super::section::Section;
use super::suggest::{nearest, one_of};

/// How a reference to the environment is taken.
pub(super) const REFERENCE: &str = "env:";

/// One reading of one file.
pub(super) struct Reader<'a> {
    root: &'a Node,
    environment: &'a Environment,
    /// Where relative paths start.
    directory: &'a Path,
    /// Nothing is read; each table that may have any name has one named `*`, so that every key is asked for.
    pub(super) probing: bool,
    errors: RefCell<Vec<Note>>,
    warnings: RefCell<Vec<Note>>,
    unknown: RefCell<Vec<(KeyPath, Vec<&'static str>)>>,
    known: RefCell<Vec<KnownKey>>,
}

#[derive(PartialEq)]
struct Note {
    path: KeyPath,
    what: String,
    remedy: String,
}

/// A string with `env:` resolved.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) path: KeyPath,
    pub(super) value: String,
    variable: Option<String>,
}

/// What an unset variable means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A fault.
    Now,
    /// Nothing: the value is another region's.
    IfSet,
}

impl<'a> Reader<'a> {
    pub(super) fn new(root: &'a Node, environment: &'a Environment, directory: &'a Path) -> Self {
        Self {
            root,
            environment,
            directory,
            probing: false,
            errors: RefCell::default(),
            warnings: RefCell::default(),
            unknown: RefCell::default(),
            known: RefCell::default(),
        }
    }

    pub(super) fn root(&self) -> Section<'_> {
        Section::root(self, self.root)
    }

    /// Notes that the key can't stay as it is.
    pub(super) fn error(&self, path: &KeyPath, what: impl Into<String>, remedy: impl Into<String>) {
        self.errors.borrow_mut().push(Note { path: path.clone(), what: what.into(), remedy: remedy.into() });
    }

    /// Notes that the key is allowed and yet probably not what was meant.
    pub(super) fn warning(&self, path: &KeyPath, what: impl Into<String>, remedy: impl Into<String>) {
        let note = Note { path: path.clone(), what: what.into(), remedy: remedy.into() };
        self.warnings.borrow_mut().push(note);
    }

    /// Notes a key nobody asked for, beside those that were. What it may have been meant for is said when all are known.
    pub(super) fn unknown_key(&self, path: KeyPath, siblings: &[&'static str]) {
        self.unknown.borrow_mut().push((path, siblings.to_vec()));
    }

    /// Takes keys that nobody asked for as no fault: only a part of the file was read.
    pub(super) fn ignore_unknown(&self) {
        self.unknown.take();
    }

    pub(super) fn note_known(&self, key: KnownKey) {
        let mut known = self.known.borrow_mut();
        if !known.iter().any(|other| other.pattern == key.pattern) {
            known.push(key);
        }
    }

    /// The keys that were asked for, in the order of the first time.
    pub(super) fn known(self) -> Vec<KnownKey> {
        self.known.into_inner()
    }

    /// All errors and all warnings, each in the order of the file.
    pub(super) fn problems(self, file: &Path) -> (Vec<Problem>, Vec<Problem>) {
        for (path, siblings) in self.unknown.take() {
            let remedy = self.meant_for(&path, &siblings);
            self.error(&path, "is no known key", remedy);
        }
        let root = self.root;
        let placed = |notes: RefCell<Vec<Note>>| {
            let mut unique: Vec<Note> = Vec::new();
            for note in notes.into_inner() {
                if !unique.contains(&note) {
                    unique.push(note);
                }
            }
            let mut problems: Vec<_> = unique.into_iter().map(|note| note.placed(file, root)).collect();
            problems.sort_by(|left, right| left.place.cmp(&right.place));
            problems
        };
        (placed(self.errors), placed(self.warnings))
    }

    fn meant_for(&self, path: &KeyPath, siblings: &[&'static str]) -> String {
        let Some(Step::Key(key)) = path.steps().last() else { return String::new() };
        if let Some(likely) = nearest(key, siblings.iter().copied()) {
            return format!("did you mean `{likely}`?");
        }
        let known = self.known.borrow();
        match known.iter().find(|known| known.pattern.rsplit('.').next() == Some(key)) {
            Some(elsewhere) => format!("it belongs elsewhere: {}", elsewhere.pattern),
            None => one_of(key, siblings.iter().copied()),
        }
    }

    /// Follows `env:NAME`. A fault is noted and gives `None`.
    pub(super) fn resolve(&self, path: &KeyPath, written: &str, need: Need) -> Option<Text> {
        let Some(name) = written.strip_prefix(REFERENCE) else {
            if written.trim().is_empty() {
                self.error(path, "is empty", "write a value, or leave the key out");
                return None;
            }
            return Some(Text { path: path.clone(), value: written.to_owned(), variable: None });
        };
        match self.environment.get(name) {
            _ if name.is_empty() => self.error(path, "refers to no variable", "write env:NAME"),
            Some(Ok(value)) if !value.trim().is_empty() => {
                let (path, variable) = (path.clone(), Some(name.to_owned()));
                return Some(Text { path, value: value.to_owned(), variable });
            }
            _ if need == Need::IfSet => {}
            Some(Ok(_)) => {
                self.error(path, format!("the environment variable {name} is empty"), format!("set {name}"));
            }
            Some(Err(NotUnicode)) => {
                let what = format!("the environment variable {name} isn't UTF-8");
                self.error(path, what, format!("set {name} to text"));
            }
            None => {
                let what = format!("the environment variable {name} isn't set");
                self.error(path, what, format!("set {name}, or write the value in place of `env:{name}`"));
            }
        }
        None
    }

    /// The path after a prefix such as `file:`; relative ones start beside the configuration file.
    pub(super) fn path_after(&self, prefix: &str, text: &Text) -> Option<PathBuf> {
        match text.value.strip_prefix(prefix) {
            Some(path) if !path.is_empty() => Some(self.directory.join(path)),
            _ => {
                let remedy = format!("write `{prefix}` and a path, such as \"{prefix}/etc/residency/…\"");
                self.error(&text.path, format!("{} doesn't start with `{prefix}`", text.shown()), remedy);
                None
            }
        }
    }

    /// Notes a value of a type the key doesn't take. `wanted` and the remedy are words; the value isn't shown.
    pub(super) fn wrong_type(&self, path: &KeyPath, node: &Node, wanted: &str, remedy: impl Into<String>) {
        self.error(path, format!("is {}, where {wanted} is expected", node.described()), remedy);
    }

    pub(super) fn is_written(&self, path: &KeyPath) -> bool {
        self.root.at(path).is_some()
    }

    /// Where the key was written, or the table around it.
    pub(super) fn origin_of(&self, path: &KeyPath) -> &Origin {
        self.root.origin_of(path)
    }
}

impl Text {
    /// The value as a report may show it.
    pub(super) fn shown(&self) -> String {
        match &self.variable {
            None => format!("`{}`", self.value.escape_debug()),
            Some(name) => format!("what the environment variable {name} holds"),
        }
    }

    /// The value stands in the file itself.
    pub(super) fn is_literal(&self) -> bool {
        self.variable.is_none()
    }

    /// Another string at the same place: one of several in a list written with commas.
    pub(super) fn part(&self, value: &str) -> Self {
        Self { value: value.to_owned(), ..self.clone() }
    }
}

impl Note {
    fn placed(self, file: &Path, root: &Node) -> Problem {
        let place = match root.origin_of(&self.path) {
            Origin::File => Place::File,
            Origin::Line(line) => Place::Line(*line, None),
            Origin::Variable(name) => Place::Variable(name.clone()),
        };
        let remedy = Some(self.remedy);
        Problem { file: file.to_owned(), place, key: self.path.to_string(), what: self.what, remedy }
    }
}
