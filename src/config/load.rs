//! From a file, or its text, to a [`Config`].

use std::path::Path;

use super::document::{self, Node};
use super::environment::Environment;
use super::fault::{ConfigErrors, Place, Problem};
use super::known_keys::known_keys;
use super::overrides::{OverrideFault, lay_over};
use super::reader::Reader;
use super::sections::Sections;
use super::{Config, Loaded};

impl Config {
    /// Reads a configuration file. Relative `file:` and `dir:` paths in it start in its own directory.
    pub fn load(path: &Path, environment: &Environment) -> Result<Loaded, ConfigErrors> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigErrors::unreadable(path, &error))?;
        Self::parse(&text, path, environment)
    }

    /// Reads a configuration's text. `file` is shown in reports, and relative paths start in its directory.
    pub fn parse(text: &str, file: &Path, environment: &Environment) -> Result<Loaded, ConfigErrors> {
        let (root, misplaced) = document(text, file, environment)?;
        let directory = file.parent().unwrap_or(Path::new(""));
        let reader = Reader::new(&root, environment, directory);
        let sections = Sections::read(&reader.root());
        let config = sections.assemble(&reader);
        let (mut errors, warnings) = reader.problems(file);
        errors.extend(misplaced);
        match config {
            Some(config) if errors.is_empty() => Ok(Loaded { config, warnings }),
            _ => Err(ConfigErrors { errors, warnings }),
        }
    }
}

/// The document with the environment laid over it, and what of the environment doesn't fit.
pub(super) fn document(
    text: &str,
    file: &Path,
    environment: &Environment,
) -> Result<(Node, Vec<Problem>), ConfigErrors> {
    let mut root = document::parse(text).map_err(|faults| {
        let errors = faults.into_iter().map(|fault| Problem {
            file: file.to_owned(),
            place: Place::Line(fault.line, Some(fault.column)),
            key: String::new(),
            what: format!("isn't TOML: {}", fault.what),
            remedy: None,
        });
        ConfigErrors { errors: errors.collect(), warnings: Vec::new() }
    })?;
    let overrides = lay_over(&mut root, environment, &known_keys());
    Ok((root, overrides.into_iter().map(|fault| misplaced(fault, file)).collect()))
}

fn misplaced(fault: OverrideFault, file: &Path) -> Problem {
    Problem {
        file: file.to_owned(),
        place: Place::Variable(fault.variable),
        key: String::new(),
        what: fault.what,
        remedy: Some(fault.remedy),
    }
}
