//! Every key the parser knows, asked of the parser itself.
//!
//! A key's pattern has `*` where any name may stand and `[]` where a list of tables is: `regions.*.gateway`,
//! `token.issuers[].jwks`. Overrides are matched against this list, and tests hold the reference file and the
//! documentation against it.

use std::path::Path;

use super::document::{Node, Origin, Value};
use super::environment::Environment;
use super::reader::Reader;
use super::sections::Sections;

/// A key that may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownKey {
    pub(super) pattern: String,
    /// What it takes, in words: `a whole number of ms from 10 to 60000`.
    pub(super) takes: String,
    /// What it is when it isn't written, as TOML, unless that depends on other keys or there is nothing.
    pub(super) default: Option<String>,
}

/// All keys, in the order in which they are read.
pub(super) fn known_keys() -> Vec<KnownKey> {
    let (root, environment) = (empty(), Environment::default());
    let mut reader = Reader::new(&root, &environment, Path::new(""));
    reader.probing = true;
    Sections::read(&reader.root());
    reader.known()
}

fn empty() -> Node {
    Node { value: Value::Table(Vec::new()), origin: Origin::File }
}
