//! One jurisdiction's cluster, for the jobs that look after databases.
//!
//! They read the gateways' file, and of it only regions, the jurisdiction, and its register's members: a database's host
//! holds no token keys, and what its environment lacks of the rest is no fault.

use std::path::Path;

use super::environment::Environment;
use super::fault::ConfigErrors;
use super::key_path::KeyPath;
use super::places::{self, Places};
use super::reader::Reader;
use super::suggest::one_of;
use super::{load, register};
use crate::postgres::DatabaseUrl;

/// Where a jurisdiction's databases are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSettings {
    pub jurisdiction: String,
    /// The regions where its data may be, the configured home first.
    pub lawful: Vec<String>,
    /// Its members by region, in the order of the file, as reached from here.
    pub members: Vec<(String, DatabaseUrl)>,
}

impl ClusterSettings {
    /// Reads what concerns `jurisdiction`, and finds everything wrong with that.
    pub fn load(path: &Path, environment: &Environment, jurisdiction: &str) -> Result<Self, ConfigErrors> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigErrors::unreadable(path, &error))?;
        Self::parse(&text, path, environment, jurisdiction)
    }

    pub fn parse(
        text: &str,
        file: &Path,
        environment: &Environment,
        jurisdiction: &str,
    ) -> Result<Self, ConfigErrors> {
        let (root, misplaced) = load::document(text, file, environment)?;
        let directory = file.parent().unwrap_or(Path::new(""));
        let reader = Reader::new(&root, environment, directory);
        let settings = Self::read(&reader, jurisdiction);
        reader.ignore_unknown();
        let (mut errors, warnings) = reader.problems(file);
        errors.extend(misplaced);
        match settings {
            Some(settings) if errors.is_empty() => Ok(settings),
            _ => Err(ConfigErrors { errors, warnings }),
        }
    }

    fn read(reader: &Reader<'_>, jurisdiction: &str) -> Option<Self> {
        let root = reader.root();
        let places = Places { regions: places::regions(&root), jurisdictions: places::jurisdictions(&root) };
        let Some(keys) = places.jurisdictions.iter().find(|keys| keys.name == jurisdiction) else {
            let names = places.jurisdictions.iter().map(|keys| keys.name.as_str());
            let remedy = one_of(jurisdiction, names);
            let what = format!("has no `{}`", jurisdiction.escape_debug());
            reader.error(&KeyPath::of(["jurisdictions"]), what, remedy);
            return None;
        };
        let members = register::members(keys, &places, reader);
        if members.is_empty() {
            let path = KeyPath::of(["jurisdictions", jurisdiction, "register"]);
            let remedy = "write it: by region, the URL of every member of the jurisdiction's cluster";
            reader.error(&path, "names no database", remedy);
        }
        let lawful = keys.home.iter().chain(&keys.replicas).map(|text| text.value.clone()).collect();
        Some(Self { jurisdiction: jurisdiction.to_owned(), lawful, members })
    }
}
