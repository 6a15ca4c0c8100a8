//! `[register]`, `[hold]`, `[position]`, and each jurisdiction's own `register`: where subjects' homes are written down, and what
//! a gateway does while one changes.

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::names::{JurisdictionId, RegionId};
use crate::domain::secret::Secret;
use crate::domain::topology::Topology;
use crate::postgres::DatabaseUrl;

use super::places::{JurisdictionKeys, Places};
use super::reader::{Reader, Text};
use super::region_view::database;
use super::section::Section;
use super::suggest::one_of;
use super::written::{Bounds, Written};

/// An HMAC's key has at least the bytes of the hash (RFC 2104 §3).
const LEAST_KEY_BYTES: usize = 32;
/// A minute, in ms.
const MINUTE: u64 = 60_000;

/// Where registers are and how they are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterSettings {
    /// Hash subjects.
    pub subject_key: KeyPair,
    /// Hash login names, API keys and whatever else points to a subject.
    pub identifier_key: KeyPair,
    /// Directory of the snapshots on disk; `None` keeps none.
    pub snapshot: Option<PathBuf>,
    /// Between two looks behind the notifications.
    pub poll: Duration,
    /// Without news for this long a gateway counts as gone, and knows it.
    pub stale_after: Duration,
    /// By [`JurisdictionId::index`].
    pub sources: Vec<RegisterSource>,
}

/// A secret and the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    pub current: Secret,
    pub previous: Option<Secret>,
}

/// Where a jurisdiction's register is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterSource {
    /// There is none: claims alone answer.
    None,
    /// In the database of whichever of these is the primary.
    Members(Vec<(RegionId, DatabaseUrl)>),
    /// In a file.
    File(PathBuf),
}

/// Bounds on the writes that wait while their subject moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldSettings {
    /// The longest that one waits.
    pub longest: Duration,
    /// Of one subject, in each worker.
    pub per_subject: usize,
    /// Of all subjects, in each worker.
    pub per_worker: usize,
}

/// How clients read their own writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionSettings {
    /// Signs what clients are given, the same at all gateways; `None` gives them nothing.
    pub key: Option<Secret>,
    /// The longest that a read waits for a replica.
    pub wait: Duration,
    /// For how long a gateway knows a subject's last write without being told.
    pub remember: Duration,
    /// The cookie's name; `None` sets none.
    pub cookie: Option<String>,
    pub cookie_domain: Option<String>,
}

/// `[register]`, not yet checked against the jurisdictions.
pub(super) struct RegisterKeys {
    is_written: bool,
    subject_key: Option<Secret>,
    subject_key_previous: Option<Secret>,
    identifier_key: Option<Secret>,
    identifier_key_previous: Option<Secret>,
    snapshot: Option<PathBuf>,
    poll: Duration,
    stale_after: Duration,
}

impl RegisterKeys {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let key = |name| section.secret(name, LEAST_KEY_BYTES);
        let settings = Self {
            is_written: section.is_written(),
            subject_key: key("subject_key"),
            subject_key_previous: key("subject_key_previous"),
            identifier_key: key("identifier_key"),
            identifier_key_previous: key("identifier_key_previous"),
            snapshot: snapshot(section),
            poll: section.milliseconds("poll_ms", 1_000, 50, MINUTE),
            stale_after: section.milliseconds("stale_after_ms", 10_000, 500, 10 * MINUTE),
        };
        if settings.is_written {
            for name in ["subject_key", "identifier_key"].into_iter().filter(|name| !section.has(name)) {
                section
                    .missing(name, format!("write {name} = \"env:NAME\", the same secret at all gateways"));
            }
        }
        if settings.stale_after <= settings.poll {
            let what = "is not more than poll_ms: every gateway would count as gone";
            section.reader.error(&section.path("stale_after_ms"), what, "write several times poll_ms");
        }
        settings
    }

    /// With each jurisdiction's source. `None` without `[register]`.
    pub(super) fn assemble(
        self,
        places: &Places<'_>,
        topology: Option<&Topology>,
        reader: &Reader<'_>,
    ) -> Option<RegisterSettings> {
        let sources: Vec<RegisterSource> = places
            .jurisdictions
            .iter()
            .map(|keys| keys.register.source(&keys.name, places, topology, reader))
            .collect();
        let used = sources.iter().any(|source| *source != RegisterSource::None);
        let table = super::key_path::KeyPath::of(["register"]);
        match (self.is_written, used) {
            (false, true) => {
                let remedy = "write [register] with subject_key and identifier_key, by way of env:NAME";
                reader.error(&table, "is missing, and a jurisdiction has a register", remedy);
            }
            (true, false) => {
                let remedy =
                    "write jurisdictions.NAME.register = { REGION = \"env:NAME\" }, or leave [register] out";
                reader.warning(&table, "is without effect: no jurisdiction has a register", remedy);
            }
            _ => {}
        }
        Some(RegisterSettings {
            subject_key: KeyPair { current: self.subject_key?, previous: self.subject_key_previous },
            identifier_key: KeyPair { current: self.identifier_key?, previous: self.identifier_key_previous },
            snapshot: self.snapshot,
            poll: self.poll,
            stale_after: self.stale_after,
            sources,
        })
    }
}

/// A jurisdiction's own keys about its register.
#[derive(Default)]
pub(super) struct SourceKeys<'a> {
    members: Vec<(String, Written<'a>)>,
    file: Option<(Text, PathBuf)>,
}

impl<'a> SourceKeys<'a> {
    pub(super) fn read(section: &Section<'a>) -> Self {
        let file = section.text("register_file", "`file:` and a path");
        let file = file.and_then(|text| Some((text.clone(), section.reader.path_after("file:", &text)?)));
        Self { members: section.written_by_name("register", "a postgres URL, by region"), file }
    }

    fn source(
        &self,
        jurisdiction: &str,
        places: &Places<'_>,
        topology: Option<&Topology>,
        reader: &Reader<'_>,
    ) -> RegisterSource {
        if let Some((text, path)) = &self.file {
            if !self.members.is_empty() {
                let remedy = format!("keep one of register and register_file of `{jurisdiction}`");
                reader.error(&text.path, "stands beside register", remedy);
            }
            return RegisterSource::File(path.clone());
        }
        if self.members.is_empty() {
            return RegisterSource::None;
        }
        let members = self.checked(jurisdiction, places, reader);
        let known = |(region, url)| Some((topology?.region(region)?, url));
        RegisterSource::Members(members.filter_map(known).collect())
    }

    fn checked(
        &self,
        jurisdiction: &str,
        places: &Places<'_>,
        reader: &Reader<'_>,
    ) -> impl Iterator<Item = (&str, DatabaseUrl)> {
        self.members.iter().filter_map(move |(region, written)| {
            check(jurisdiction, region, written, places, reader);
            Some((region.as_str(), database(reader, written)?))
        })
    }
}

/// The members of one jurisdiction's cluster.
pub(super) fn members(
    keys: &JurisdictionKeys<'_>,
    places: &Places<'_>,
    reader: &Reader<'_>,
) -> Vec<(String, DatabaseUrl)> {
    let checked = keys.register.checked(&keys.name, places, reader);
    checked.map(|(region, url)| (region.to_owned(), url)).collect()
}

impl RegisterSettings {
    pub fn source(&self, jurisdiction: JurisdictionId) -> &RegisterSource {
        &self.sources[jurisdiction.index()]
    }
}

/// A register holds keyed hashes of its subjects: it may be where they may be, and nowhere else.
fn check(jurisdiction: &str, region: &str, written: &Written<'_>, places: &Places<'_>, reader: &Reader<'_>) {
    let keys = places.jurisdictions.iter().find(|keys| keys.name == jurisdiction);
    if !places.region_names().any(|name| name == region) {
        let what = format!("`{}` is no region of this file", region.escape_debug());
        reader.error(&written.path, what, one_of(region, places.region_names()));
    } else if keys.is_some_and(|keys| !keys.may_be_in(region)) {
        let what = format!(
            "`{region}` is neither home nor replica of `{jurisdiction}`: its register may not be there"
        );
        let remedy = format!("remove it, or add the region to jurisdictions.{jurisdiction}.replicas");
        reader.error(&written.path, what, remedy);
    }
}

fn snapshot(section: &Section<'_>) -> Option<PathBuf> {
    let text = section.text_else("snapshot", "`off`, or `dir:` and a path", Some("off"))?;
    if text.value == "off" { None } else { section.reader.path_after("dir:", &text) }
}

pub(super) fn hold(section: &Section<'_>) -> HoldSettings {
    let count = |key, default, most| section.size(key, default, Bounds { least: 0, most, unit: "requests" });
    HoldSettings {
        longest: section.milliseconds("max_ms", 5_000, 1, MINUTE),
        per_subject: count("per_subject", 64, 65_536),
        per_worker: count("per_worker", 4_096, 1_048_576),
    }
}

pub(super) fn position(section: &Section<'_>) -> PositionSettings {
    let cookie = section.text_else("cookie", "`off`, or a cookie's name", Some("residency_position"));
    let cookie = cookie.map_or_else(
        || Some("residency_position".to_owned()),
        |text| {
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if text.value.is_empty() || !text.value.bytes().all(token) {
                let what = format!("{} is no cookie's name", text.shown());
                section.reader.error(
                    &text.path,
                    what,
                    "write letters, digits, `-` and `_`; \"off\" for none",
                );
            }
            (text.value != "off").then_some(text.value)
        },
    );
    let domain = section.text("cookie_domain", "a host's name").map(|text| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        if text.value.is_empty() || !text.value.bytes().all(allowed) {
            let what = format!("{} is no host's name", text.shown());
            section.reader.error(&text.path, what, "write a domain such as \"example.com\"");
        }
        text.value
    });
    let seconds = Bounds { least: 1, most: 3_600, unit: "s" };
    PositionSettings {
        key: section.secret("key", LEAST_KEY_BYTES),
        wait: section.milliseconds("wait_ms", 50, 0, MINUTE),
        remember: Duration::from_secs(section.number("remember_s", 60, seconds)),
        cookie,
        cookie_domain: domain,
    }
}
