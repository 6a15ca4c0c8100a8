//! `[regions]` and `[jurisdictions]`: where we run, and whose data may be where.
//!
//! Both are read first and put together afterwards, because each names the other.

use crate::domain::countries::{CountrySet, GROUP_NAMES};
use crate::domain::names::JurisdictionId;
use crate::domain::topology::{Durability, JurisdictionSpec, Mode, RegionSpec, Topology};
use crate::domain::upstream_groups::{UpstreamGroup, UpstreamGroups};

use super::key_path::KeyPath;
use super::reader::{Reader, Text};
use super::register::SourceKeys;
use super::section::Section;
use super::suggest::one_of;
use super::topology_faults::Blame;
use super::written::Written;

/// The words for a mode.
pub(super) const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("observe", Mode::Observe)];
const DURABILITIES: [(&str, Durability); 2] = [("async", Durability::Async), ("remote", Durability::Remote)];
/// What a DNS label may have: names stand in certificates, headers, metrics and file names.
const NAME_BYTES: usize = 63;

/// All of both, before and after they fit together: what is wrong with one must not hide what is wrong with others.
pub(super) struct Places<'a> {
    pub(super) regions: Vec<RegionKeys<'a>>,
    pub(super) jurisdictions: Vec<JurisdictionKeys<'a>>,
}

/// One `[regions.NAME]`. What only its own gateway needs is not looked at yet.
pub(super) struct RegionKeys<'a> {
    pub(super) name: String,
    pub(super) path: KeyPath,
    pub(super) gateway: Option<Written<'a>>,
    /// By group, in the order of the file.
    pub(super) upstreams: Vec<(String, Written<'a>)>,
    pub(super) databases: Vec<(String, Written<'a>)>,
    pub(super) redis: Option<Written<'a>>,
    pub(super) nearest: Vec<Text>,
}

/// One `[jurisdictions.NAME]`.
pub(super) struct JurisdictionKeys<'a> {
    pub(super) name: String,
    pub(super) path: KeyPath,
    pub(super) home: Option<Text>,
    pub(super) replicas: Vec<Text>,
    /// Its own name when `None`.
    pub(super) claim_values: Option<Vec<Text>>,
    pub(super) countries: CountrySet,
    pub(super) mode: Option<Mode>,
    pub(super) durability: Durability,
    pub(super) register: SourceKeys<'a>,
}

impl Places<'_> {
    pub(super) fn region_names(&self) -> impl Iterator<Item = &str> {
        self.regions.iter().map(|region| region.name.as_str())
    }

    /// The region a key names, checked.
    pub(super) fn region(&self, text: &Text, reader: &Reader<'_>) -> Option<&RegionKeys<'_>> {
        let found = self.regions.iter().find(|region| region.name == text.value);
        if found.is_none() {
            let what = format!("{} is no region of this file", text.shown());
            reader.error(&text.path, what, one_of(&text.value, self.region_names()));
        }
        found
    }

    /// The jurisdiction a key names, checked. Its number it has only in a topology.
    pub(super) fn jurisdiction(
        &self,
        text: &Text,
        topology: Option<&Topology>,
        reader: &Reader<'_>,
    ) -> Option<JurisdictionId> {
        if !self.jurisdictions.iter().any(|jurisdiction| jurisdiction.name == text.value) {
            let names = self.jurisdictions.iter().map(|jurisdiction| jurisdiction.name.as_str());
            let what = format!("{} is no jurisdiction of this file", text.shown());
            reader.error(&text.path, what, one_of(&text.value, names));
        }
        topology.and_then(|topology| topology.jurisdiction(&text.value))
    }

    /// Every upstream group that any region has.
    pub(super) fn upstream_groups(&self, reader: &Reader<'_>) -> UpstreamGroups {
        let names = self.regions.iter().flat_map(|region| &region.upstreams).map(|(name, _)| name.as_str());
        UpstreamGroups::new(names).unwrap_or_else(|fault| {
            let remedy = "give processes that serve the same requests one group";
            reader.error(&KeyPath::of(["regions"]), fault.to_string(), remedy);
            UpstreamGroups::default()
        })
    }

    /// The group a route names, checked: there is one, and the own region has processes for it.
    pub(super) fn upstream_group(
        &self,
        text: &Text,
        groups: &UpstreamGroups,
        own: Option<&str>,
        reader: &Reader<'_>,
    ) -> UpstreamGroup {
        let Some(group) = groups.find(&text.value) else {
            let what = format!("{} is no upstream group of this file", text.shown());
            let names = groups.iter().map(|group| groups.name(group));
            reader.error(&text.path, what, one_of(&text.value, names));
            return UpstreamGroup::default();
        };
        let own = own.and_then(|own| self.regions.iter().find(|region| region.name == own));
        if let Some(own) = own
            && !own.upstreams.iter().any(|(name, _)| *name == text.value)
        {
            let (name, region) = (&text.value, &own.name);
            let what = format!("region `{region}`, this gateway's own, has no upstream group `{name}`");
            let remedy =
                format!("write regions.{region}.upstreams.{name} = [\"host:port\"], its processes there");
            reader.error(&text.path, what, remedy);
        }
        group
    }

    /// Puts both together. Faults are noted under the keys that caused them.
    pub(super) fn topology(&self, mode: Mode, reader: &Reader<'_>) -> Option<Topology> {
        let values = |texts: &[Text]| texts.iter().map(|text| text.value.clone()).collect::<Vec<_>>();
        let region =
            |keys: &RegionKeys<'_>| RegionSpec { name: keys.name.clone(), nearest: values(&keys.nearest) };
        let jurisdiction = |keys: &JurisdictionKeys<'_>| {
            let own_name = || vec![keys.name.clone()];
            JurisdictionSpec {
                name: keys.name.clone(),
                home: keys.home.as_ref().map(|home| home.value.clone()).unwrap_or_default(),
                replicas: values(&keys.replicas),
                claim_values: keys.claim_values.as_deref().map_or_else(own_name, values),
                countries: keys.countries.clone(),
                mode: keys.mode.unwrap_or(mode),
                durability: keys.durability,
            }
        };
        for keys in &self.jurisdictions {
            let home = keys.home.as_ref().map(|home| home.value.as_str());
            for replica in keys.replicas.iter().filter(|replica| home == Some(replica.value.as_str())) {
                let what = format!("{} is the home itself", replica.shown());
                reader.error(&replica.path, what, "leave it out: the home always holds the data");
            }
        }
        let regions = self.regions.iter().map(region).collect();
        let jurisdictions: Vec<_> = self.jurisdictions.iter().map(jurisdiction).collect();
        let blame = Blame { places: self, reader };
        Topology::new(regions, &jurisdictions, mode)
            .map_err(|faults| faults.into_iter().for_each(|fault| blame.note(fault)))
            .ok()
    }
}

impl JurisdictionKeys<'_> {
    /// The region may have this jurisdiction's data.
    pub(super) fn may_be_in(&self, region: &str) -> bool {
        self.home.iter().chain(&self.replicas).any(|text| text.value == region)
    }
}

pub(super) fn regions<'a>(root: &Section<'a>) -> Vec<RegionKeys<'a>> {
    let region = |(name, section): (String, Section<'a>)| {
        check_name(&section, &name);
        RegionKeys {
            gateway: section.written("gateway", "`host:port`"),
            upstreams: upstreams(&section),
            databases: section.written_by_name("databases", "a postgres URL, by jurisdiction"),
            redis: section.written("redis", "a redis URL"),
            nearest: section.texts("nearest", "a list of regions", None).unwrap_or_default(),
            path: section.here().clone(),
            name,
        }
    };
    root.children("regions").into_iter().map(region).collect()
}

pub(super) fn jurisdictions<'a>(root: &Section<'a>) -> Vec<JurisdictionKeys<'a>> {
    let jurisdiction = |(name, section): (String, Section<'a>)| {
        check_name(&section, &name);
        let home = section.text("home", "a region");
        if !section.has("home") {
            section.missing("home", "write the region its data is written in");
        }
        let replicas = section.texts("replicas", "a list of regions", Some("[]")).unwrap_or_default();
        JurisdictionKeys {
            claim_values: section.texts("claim_values", "a list of strings", None),
            countries: countries(&section),
            mode: section.choice("mode", None, &MODES),
            durability: durability(&section, &replicas),
            register: SourceKeys::read(&section),
            path: section.here().clone(),
            home,
            replicas,
            name,
        }
    };
    root.children("jurisdictions").into_iter().map(jurisdiction).collect()
}

/// Groups of processes. Their endpoints are looked at when it is known whose region they are in.
fn upstreams<'a>(section: &Section<'a>) -> Vec<(String, Written<'a>)> {
    let upstreams = section.written_by_name("upstreams", "a list of endpoints, by group");
    for (name, written) in upstreams.iter().filter(|(name, _)| !is_name(name)) {
        let what = format!("`{}` isn't a name: {NAME_FORM}", name.escape_debug());
        section.reader.error(&written.path, what, "change the name of the group");
    }
    upstreams
}

const NAME_FORM: &str = "lower-case letters, digits and `-` in between, at most 63 of them";

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = name.len() <= NAME_BYTES && !name.is_empty() && name.bytes().all(allowed);
    fits && !name.starts_with('-') && !name.ends_with('-')
}

fn check_name(section: &Section<'_>, name: &str) {
    if section.reader.probing || is_name(name) {
        if name == "refuse" {
            let what = "is a name that `on_missing` takes for something else";
            section.reader.error(section.here(), what, "choose another name");
        }
        return;
    }
    let what = format!("isn't a name: {NAME_FORM}");
    let remedy = "change the name; what tokens say is set with claim_values";
    section.reader.error(section.here(), what, remedy);
}

fn countries(section: &Section<'_>) -> CountrySet {
    let mut countries = CountrySet::default();
    let takes = "a list of ISO 3166-1 alpha-2 codes, @eu27, @eea, * (all others)";
    for text in section.texts("countries", takes, Some("[]")).unwrap_or_default() {
        if countries.add(&text.value).is_err() {
            let what = format!("{} is neither a country's code nor a group of countries", text.shown());
            let remedy = if text.value.starts_with('@') {
                one_of(&text.value, GROUP_NAMES.iter().copied())
            } else {
                format!("write {takes}")
            };
            section.reader.error(&text.path, what, remedy);
        }
    }
    countries
}

fn durability(section: &Section<'_>, replicas: &[Text]) -> Durability {
    let durability = section.choice("durability", Some("async"), &DURABILITIES).unwrap_or_default();
    if durability == Durability::Remote && replicas.is_empty() {
        let what = "`remote` waits for a standby to have flushed, and there is no replica";
        section.reader.error(
            &section.path("durability"),
            what,
            "add a region to replicas, or write \"async\"",
        );
    }
    durability
}
