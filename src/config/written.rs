//! One written value, turned into what its key takes.
//!
//! An override is text without a type: it is read as whatever the key wants. A list may be a TOML list or separated by
//! commas, a string may be quoted or not. A string of the file may be `env:NAME` in place of anything.

use super::document::{self, Node, Value};
use super::key_path::KeyPath;
use super::reader::{Need, REFERENCE, Reader, Text};

/// A value and its key, not looked at yet: another region's may never be needed.
pub(super) struct Written<'a> {
    pub(super) path: KeyPath,
    node: &'a Node,
}

/// The numbers a key takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) least: u64,
    pub(super) most: u64,
    /// Plural: `ms`, `bytes`.
    pub(super) unit: &'static str,
}

impl<'a> Written<'a> {
    pub(super) const fn new(path: KeyPath, node: &'a Node) -> Self {
        Self { path, node }
    }

    pub(super) fn text(&self, reader: &Reader<'_>, need: Need) -> Option<Text> {
        match &self.node.value {
            Value::Text(written) => reader.resolve(&self.path, written, need),
            Value::Variable(written) => {
                let node = document::parse_value(written);
                let unquoted = match node.as_ref().map(|node| &node.value) {
                    Some(Value::Text(text)) => text,
                    _ => written,
                };
                reader.resolve(&self.path, unquoted, need)
            }
            _ => {
                reader.wrong_type(&self.path, self.node, "a string", "write it in quotes");
                None
            }
        }
    }

    /// A list, or one string that stands for a list of one.
    pub(super) fn texts(&self, reader: &Reader<'_>, need: Need) -> Vec<Text> {
        match &self.node.value {
            Value::List(items) => {
                let item = |(index, node)| Written::new(self.path.index(index), node).text(reader, need);
                items.iter().enumerate().filter_map(item).collect()
            }
            Value::Variable(written) if written.trim_start().starts_with('[') => {
                let list = document::parse_value(written);
                let Some(list) = list.filter(|node| matches!(node.value, Value::List(_))) else {
                    reader.error(&self.path, "isn't a TOML list", "write [\"a\", \"b\"], or a,b");
                    return Vec::new();
                };
                Written::new(self.path.clone(), &list).texts(reader, need)
            }
            Value::Text(written) if !written.starts_with(REFERENCE) => {
                self.text(reader, need).into_iter().collect()
            }
            Value::Variable(_) | Value::Text(_) => {
                self.text(reader, need).iter().flat_map(separated_by_commas).collect()
            }
            Value::Integer(_) | Value::Boolean(_) | Value::Table(_) | Value::Other(_) => {
                reader.wrong_type(&self.path, self.node, "a list of strings", "write [\"…\", \"…\"]");
                Vec::new()
            }
        }
    }

    pub(super) fn number(&self, reader: &Reader<'_>, bounds: Bounds) -> Option<u64> {
        let from_text = |text: &str| text.trim().replace('_', "").parse::<i64>().ok();
        let number = match &self.node.value {
            Value::Integer(number) => Some(*number),
            Value::Text(written) | Value::Variable(written) if self.is_reference() => {
                from_text(&reader.resolve(&self.path, written, Need::Now)?.value)
            }
            Value::Variable(written) => from_text(written),
            _ => {
                let quotes = if matches!(self.node.value, Value::Text(_)) { ", without quotes" } else { "" };
                let remedy = format!("write {}{quotes}", bounds.takes());
                reader.wrong_type(&self.path, self.node, "a whole number", remedy);
                return None;
            }
        };
        let within = number.and_then(|number| u64::try_from(number).ok());
        let within = within.filter(|number| (bounds.least..=bounds.most).contains(number));
        if within.is_none() {
            let what = match number {
                Some(number) if !self.is_reference() => format!("{number} is out of range"),
                Some(_) => "is out of range".to_owned(),
                None => "isn't a whole number".to_owned(),
            };
            reader.error(&self.path, what, format!("write {}", bounds.takes()));
        }
        within
    }

    pub(super) fn flag(&self, reader: &Reader<'_>) -> Option<bool> {
        let text = match &self.node.value {
            Value::Boolean(value) => return Some(*value),
            Value::Text(written) | Value::Variable(written) if self.is_reference() => {
                reader.resolve(&self.path, written, Need::Now)?.value
            }
            Value::Variable(written) => written.clone(),
            _ => {
                reader.wrong_type(
                    &self.path,
                    self.node,
                    "true or false",
                    "write true or false, without quotes",
                );
                return None;
            }
        };
        let value = text.trim().parse().ok();
        if value.is_none() {
            reader.error(&self.path, "is neither true nor false", "write true or false");
        }
        value
    }

    /// A list with nothing in it.
    pub(super) fn is_empty_list(&self) -> bool {
        matches!(&self.node.value, Value::List(items) if items.is_empty())
    }

    /// The file holds the value itself and not a reference to it.
    pub(super) fn is_literal(&self) -> bool {
        matches!(self.node.value, Value::Text(_)) && !self.is_reference()
    }

    fn is_reference(&self) -> bool {
        matches!(&self.node.value, Value::Text(text) | Value::Variable(text) if text.starts_with(REFERENCE))
    }
}

impl Bounds {
    pub(super) fn takes(self) -> String {
        let Self { least, most, unit } = self;
        format!("a whole number of {unit} from {least} to {most}")
    }
}

fn separated_by_commas(text: &Text) -> Vec<Text> {
    let parts = text.value.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| text.part(part)).collect()
}
