//! `upstream` and `serves`: a sidecar's short forms for one region and the jurisdictions at home in it.
//!
//! They become what the long form would have given; nothing behind this module knows which of the two was written.

use crate::domain::countries::CountrySet;
use crate::domain::topology::Durability;
use crate::domain::upstream_groups::API;

use super::key_path::KeyPath;
use super::places::{JurisdictionKeys, Places, RegionKeys};
use super::reader::Text;
use super::register::SourceKeys;
use super::section::Section;

/// Adds the region that `upstream` stands for and the jurisdictions that `serves` stands for. False: they can't be placed,
/// because no region is written.
pub(super) fn expand<'a>(root: &Section<'a>, region: Option<&Text>, places: &mut Places<'a>) -> bool {
    let upstream = root.written("upstream", "an endpoint of the API, or a list of them");
    let serves = root.texts("serves", "a list of jurisdictions", None);
    for (short, long) in [("upstream", "regions"), ("serves", "jurisdictions"), ("serves", "regions")] {
        if root.has(short) && root.has(long) {
            let what = format!("is a sidecar's short form and can't stand beside [{long}]");
            root.reader.error(&root.path(short), what, format!("keep one of {short} and [{long}]"));
        }
    }
    let Some(region) = region else { return upstream.is_none() && serves.is_none() };
    if root.has("upstream") && !root.has("regions") {
        places.regions.push(RegionKeys {
            name: region.value.clone(),
            path: KeyPath::default(),
            gateway: None,
            upstreams: upstream.map(|written| (API.to_owned(), written)).into_iter().collect(),
            databases: Vec::new(),
            redis: None,
            nearest: Vec::new(),
        });
    }
    if root.has("jurisdictions") || root.has("regions") {
        return true;
    }
    for name in serves.unwrap_or_default() {
        if places.jurisdictions.iter().any(|other| other.name == name.value) {
            root.reader.error(&name.path, format!("{} is there twice", name.shown()), "leave one out");
            continue;
        }
        places.jurisdictions.push(JurisdictionKeys {
            name: name.value,
            path: name.path,
            home: Some(region.clone()),
            replicas: Vec::new(),
            claim_values: None,
            countries: CountrySet::default(),
            mode: None,
            durability: Durability::Async,
            register: SourceKeys::default(),
        });
    }
    true
}
