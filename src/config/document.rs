//! The file as a tree in which every value knows where it was written.
//!
//! Invariants
//! - Tables keep the order of the file: it is the default order of regions and jurisdictions.
//! - Text that isn't TOML gives line and column of each fault, never the line's content: a secret may stand in it.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::key_path::{KeyPath, Step};

/// A value and its origin.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What TOML can say, as far as the configuration uses it.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// What an environment variable says. What it means depends on what the key wants.
    Variable(String),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
    /// Something no key takes, in words.
    Other(&'static str),
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Of the file, from 1.
    Line(usize),
    /// The override's name.
    Variable(String),
    /// The file as a whole.
    File,
}

/// Why a text isn't TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxFault {
    /// From 1.
    pub(super) line: usize,
    /// From 1, in characters.
    pub(super) column: usize,
    pub(super) what: String,
}

/// Reads a file's text: its root table, or every place where it isn't TOML.
pub(super) fn parse(text: &str) -> Result<Node, Vec<SyntaxFault>> {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node { value: Value::Table(lines.table(table.get_ref())), origin: Origin::File });
    }
    let fault = |error: &toml::de::Error| {
        let (line, column) = lines.place(error.span().map_or(0, |span| span.start));
        SyntaxFault { line, column, what: error.message().to_owned() }
    };
    Err(errors.iter().map(fault).collect())
}

/// Reads a single TOML value, as a variable may hold one.
pub(super) fn parse_value(text: &str) -> Option<Node> {
    let value = DeValue::parse(text.trim()).ok()?;
    Some(Node { origin: Origin::File, ..Lines::of(text).node(&value, 0) })
}

impl Node {
    /// A table's entry.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Table(entries) = &self.value else { return None };
        entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// A table's keys in the order of the file; none for anything else.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let entries = if let Value::Table(entries) = &self.value { entries.as_slice() } else { &[] };
        entries.iter().map(|(name, _)| name.as_str())
    }

    /// The value of a key, if it was written.
    pub(super) fn at(&self, path: &KeyPath) -> Option<&Self> {
        path.steps().iter().try_fold(self, Self::step)
    }

    /// Where the key was written, or, if it wasn't, the nearest table around it that was.
    pub(super) fn origin_of(&self, path: &KeyPath) -> &Origin {
        let mut node = self;
        for step in path.steps() {
            let Some(next) = node.step(step) else { break };
            node = next;
        }
        &node.origin
    }

    fn step(&self, step: &Step) -> Option<&Self> {
        match (step, &self.value) {
            (Step::Key(key), _) => self.get(key),
            (Step::Index(index), Value::List(items)) => items.get(*index),
            (Step::Index(_), _) => None,
        }
    }

    /// What the value is, in words; never the value itself.
    pub(super) fn described(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a string",
            Value::Integer(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Variable(_) => "a variable's text",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(what) => what,
        }
    }
}

/// The text's line starts.
struct Lines<'text> {
    text: &'text str,
    starts: Vec<usize>,
}

impl<'text> Lines<'text> {
    fn of(text: &'text str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    /// Line and column, both from 1, of a byte offset.
    fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let before = self.text.get(self.starts[line - 1]..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    fn table(&self, table: &DeTable<'_>) -> Vec<(String, Node)> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entry = |(key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
            (key.get_ref().to_string(), self.node(value, key.span().start))
        };
        entries.into_iter().map(entry).collect()
    }

    fn node(&self, value: &Spanned<DeValue<'_>>, offset: usize) -> Node {
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("a number with too many digits"), Value::Integer),
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| self.node(item, item.span().start)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(_) => Value::Other("a date"),
        };
        Node { value, origin: Origin::Line(self.place(offset).0) }
    }
}
