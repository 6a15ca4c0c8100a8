//! One table of the file, read key by key.
//!
//! Invariants
//! - Asking for a key makes it known; a key nobody asked for is a fault when the section is dropped.
//! - A value of the wrong type or out of range is a fault, and counts as not written.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::secret::Secret;

use super::document::{Node, Origin, Value};
use super::key_path::{KeyPath, Step};
use super::known_keys::KnownKey;
use super::reader::{Need, Reader, Text};
use super::suggest::one_of;
use super::written::{Bounds, FLAG, Written};

/// A table, or what stands for one that isn't there.
pub(super) struct Section<'a> {
    pub(super) reader: &'a Reader<'a>,
    node: Option<&'a Node>,
    path: KeyPath,
    pattern: String,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub(super) fn root(reader: &'a Reader<'a>, node: &'a Node) -> Self {
        Self {
            reader,
            node: Some(node),
            path: KeyPath::default(),
            pattern: String::new(),
            asked: RefCell::default(),
        }
    }

    /// This table's own place.
    pub(super) fn here(&self) -> &KeyPath {
        &self.path
    }

    pub(super) fn path(&self, key: &str) -> KeyPath {
        self.path.key(key)
    }

    /// The table is in the file.
    pub(super) const fn is_written(&self) -> bool {
        self.node.is_some()
    }

    /// The key is written, rightly or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.node.is_some_and(|node| node.get(key).is_some())
    }

    /// A table with a name of its own.
    pub(super) fn child(&self, key: &'static str) -> Self {
        let node = self.ask(key);
        self.under(node, self.path(key), self.pattern_of(key))
    }

    /// The tables in a table whose names are the operator's, in the order of the file.
    pub(super) fn children(&self, key: &'static str) -> Vec<(String, Self)> {
        let pattern = format!("{}.*", self.pattern_of(key));
        let node = self.ask(key);
        if self.reader.probing {
            return vec![("*".to_owned(), self.under(None, self.path(key).key("*"), pattern))];
        }
        let section = |(name, node): &'a (String, Node)| {
            let path = self.path(key).key(name);
            let section = self.under(Some(node), path, pattern.clone());
            section.is_written().then(|| (name.clone(), section))
        };
        self.entries(node, key).filter_map(section).collect()
    }

    /// A list of tables.
    pub(super) fn list(&self, key: &'static str) -> Vec<Self> {
        let pattern = format!("{}[]", self.pattern_of(key));
        let node = self.ask(key);
        if self.reader.probing {
            return vec![self.under(None, self.path(key).index(0), pattern)];
        }
        match node.map(|node| (node, &node.value)) {
            None => Vec::new(),
            Some((_, Value::List(items))) => {
                let section = |(index, item)| {
                    let section = self.under(Some(item), self.path(key).index(index), pattern.clone());
                    section.is_written().then_some(section)
                };
                items.iter().enumerate().filter_map(section).collect()
            }
            Some((node, _)) => {
                let remedy = format!("write [[{}]] above each", self.path(key));
                self.reader.wrong_type(&self.path(key), node, "a list of tables", remedy);
                Vec::new()
            }
        }
    }

    /// Strings in a table whose names are the operator's.
    pub(super) fn written_by_name(&self, key: &'static str, takes: &str) -> Vec<(String, Written<'a>)> {
        self.note(format!("{}.*", self.pattern_of(key)), takes, None);
        let node = self.ask(key);
        self.entries(node, key)
            .map(|(name, node)| (name.clone(), Written::new(self.path(key).key(name), node)))
            .collect()
    }

    /// A string that may never be needed.
    pub(super) fn written(&self, key: &'static str, takes: &str) -> Option<Written<'a>> {
        self.note(self.pattern_of(key), takes, None);
        self.written_at(key)
    }

    pub(super) fn text(&self, key: &'static str, takes: &str) -> Option<Text> {
        self.written(key, takes)?.text(self.reader, Need::Now)
    }

    /// A string for which something else stands when it isn't written; the caller puts it there.
    pub(super) fn text_else(&self, key: &'static str, takes: &str, default: Option<&str>) -> Option<Text> {
        self.note(self.pattern_of(key), takes, default.map(quoted));
        self.written_at(key)?.text(self.reader, Need::Now)
    }

    /// A string of a few, which stand for values. `default` is one of the words.
    pub(super) fn choice<T: Clone>(
        &self,
        key: &'static str,
        default: Option<&str>,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let names = || words.iter().map(|(name, _)| *name);
        let takes = format!("one of {}", names().collect::<Vec<_>>().join(", "));
        self.note(self.pattern_of(key), &takes, default.map(quoted));
        let value_of =
            |word: &str| words.iter().find(|(name, _)| *name == word).map(|(_, value)| value.clone());
        let Some(written) = self.written_at(key) else { return default.and_then(value_of) };
        let text = written.text(self.reader, Need::Now)?;
        let value = value_of(&text.value);
        if value.is_none() {
            let what = format!("{} is none of its values", text.shown());
            self.reader.error(&text.path, what, one_of(&text.value, names()));
        }
        value
    }

    /// A list of strings, or one string. `default` is TOML.
    pub(super) fn texts(&self, key: &'static str, takes: &str, default: Option<&str>) -> Option<Vec<Text>> {
        self.note(self.pattern_of(key), takes, default.map(str::to_owned));
        Some(self.written_at(key)?.texts(self.reader, Need::Now))
    }

    pub(super) fn number(&self, key: &'static str, default: u64, bounds: Bounds) -> u64 {
        self.note(self.pattern_of(key), &bounds.takes(), Some(default.to_string()));
        self.written_at(key).and_then(|written| written.number(self.reader, bounds)).unwrap_or(default)
    }

    /// A number for which something else stands when it isn't written; the caller puts it there.
    pub(super) fn number_else(&self, key: &'static str, default: Option<u64>, bounds: Bounds) -> Option<u64> {
        self.note(self.pattern_of(key), &bounds.takes(), default.map(|number| number.to_string()));
        self.written_at(key)?.number(self.reader, bounds)
    }

    /// Yes or no.
    pub(super) fn flag(&self, key: &'static str, default: bool) -> bool {
        self.note(self.pattern_of(key), FLAG, Some(default.to_string()));
        self.written_at(key).and_then(|written| written.flag(self.reader)).unwrap_or(default)
    }

    /// Yes or no, for which something else stands when it isn't written; the caller puts it there.
    pub(super) fn flag_else(&self, key: &'static str, default: Option<bool>) -> Option<bool> {
        self.note(self.pattern_of(key), FLAG, default.map(|flag| flag.to_string()));
        self.written_at(key)?.flag(self.reader)
    }

    pub(super) fn milliseconds(&self, key: &'static str, default: u64, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.number(key, default, Bounds { least, most, unit: "ms" }))
    }

    /// A size or a count.
    pub(super) fn size(&self, key: &'static str, default: u64, bounds: Bounds) -> usize {
        usize::try_from(self.number(key, default, bounds)).expect("bounds are far below 32 bits")
    }

    /// Bytes nobody may see. Standing in the file itself they are seen by too many, which is worth a warning.
    pub(super) fn secret(&self, key: &'static str, least_bytes: usize) -> Option<Secret> {
        let text = self.text(key, &format!("a secret of at least {least_bytes} bytes"))?;
        if text.is_literal() && matches!(self.reader.origin_of(&text.path), Origin::Line(_)) {
            let remedy = "write \"env:NAME\" and set NAME where the gateway runs";
            self.reader.warning(&text.path, "is a secret and stands in the file", remedy);
        }
        if text.value.len() < least_bytes {
            let what = format!("has {} bytes; at least {least_bytes} are needed", text.value.len());
            self.reader.error(&text.path, what, "make one with `openssl rand -base64 32`");
            return None;
        }
        Some(Secret::new(text.value))
    }

    /// A path behind `file:` or `dir:`.
    pub(super) fn path_after(&self, key: &'static str, prefix: &str) -> Option<PathBuf> {
        let text = self.text(key, &format!("`{prefix}` and a path"))?;
        self.reader.path_after(prefix, &text)
    }

    /// What isn't there and must be.
    pub(super) fn missing(&self, key: &str, remedy: impl Into<String>) {
        self.reader.error(&self.path(key), "is missing", remedy);
    }

    fn written_at(&self, key: &'static str) -> Option<Written<'a>> {
        self.ask(key).map(|node| Written::new(self.path(key), node))
    }

    fn ask(&self, key: &'static str) -> Option<&'a Node> {
        self.asked.borrow_mut().push(key);
        self.node?.get(key)
    }

    fn under(&self, node: Option<&'a Node>, path: KeyPath, pattern: String) -> Self {
        let table = node.filter(|node| matches!(node.value, Value::Table(_)));
        if let (Some(node), None) = (node, table) {
            let remedy = match path.steps().last() {
                Some(Step::Index(_)) => "write { … = …, … = … }".to_owned(),
                _ => format!("write [{path}] and its keys below it"),
            };
            self.reader.wrong_type(&path, node, "a table", remedy);
        }
        Self { reader: self.reader, node: table, path, pattern, asked: RefCell::default() }
    }

    /// The entries of a table whose names are the operator's.
    fn entries(&self, node: Option<&'a Node>, key: &str) -> std::slice::Iter<'a, (String, Node)> {
        match node.map(|node| (node, &node.value)) {
            Some((_, Value::Table(entries))) => entries.iter(),
            Some((node, _)) => {
                let path = self.path(key);
                self.reader.wrong_type(
                    &path,
                    node,
                    "a table",
                    format!("write [{path}] and its keys below it"),
                );
                [].iter()
            }
            None => [].iter(),
        }
    }

    fn pattern_of(&self, key: &str) -> String {
        if self.pattern.is_empty() { key.to_owned() } else { format!("{}.{key}", self.pattern) }
    }

    fn note(&self, pattern: String, takes: &str, default: Option<String>) {
        self.reader.note_known(KnownKey { pattern, takes: takes.to_owned(), default });
    }
}

impl Drop for Section<'_> {
    /// What is left over is unknown.
    fn drop(&mut self) {
        let asked = self.asked.take();
        for key in self.node.into_iter().flat_map(Node::keys) {
            if !asked.contains(&key) {
                self.reader.unknown_key(self.path.key(key), &asked);
            }
        }
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}
