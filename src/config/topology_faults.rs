//! Whose fault it is: from what is wrong with a topology to the key that made it so.

use crate::domain::topology::TopologyFault;

use super::key_path::KeyPath;
use super::places::{JurisdictionKeys, Places};
use super::reader::{Reader, Text};

/// Finds the key behind a topology's fault.
pub(super) struct Blame<'a> {
    pub(super) places: &'a Places<'a>,
    pub(super) reader: &'a Reader<'a>,
}

impl Blame<'_> {
    /// Notes the fault under that key.
    pub(super) fn note(&self, fault: TopologyFault) {
        let top = |key| KeyPath::of([key]);
        match fault {
            TopologyFault::NoRegion => {
                let remedy = "write [regions.NAME] for each, or upstream = \"host:port\" for a single one";
                self.reader.error(&top("regions"), "there is no region", remedy);
            }
            TopologyFault::NoJurisdiction => {
                let remedy =
                    "write [jurisdictions.NAME] for each, or serves = [\"NAME\"] for a single region";
                self.reader.error(&top("jurisdictions"), "there is no jurisdiction", remedy);
            }
            TopologyFault::TooMany(_) => {
                let key = if self.places.regions.len() > self.places.jurisdictions.len() {
                    "regions"
                } else {
                    "jurisdictions"
                };
                self.reader.error(&top(key), fault.to_string(), "split the configuration into several");
            }
            TopologyFault::DuplicateRegion(region) => {
                let path = top("regions").key(&region);
                self.reader.error(&path, "is there twice", "keep one of the two");
            }
            TopologyFault::UnknownHome { jurisdiction, home } => {
                let written = self.of(&jurisdiction).and_then(|keys| keys.home.as_ref());
                self.unknown_region(written.filter(|text| text.value == home));
            }
            TopologyFault::UnknownReplica { jurisdiction, replica } => {
                let mut written = self.of(&jurisdiction).into_iter().flat_map(|keys| &keys.replicas);
                self.unknown_region(written.find(|text| text.value == replica));
            }
            TopologyFault::UnknownNearest { region, nearest } => {
                let keys = self.places.regions.iter().find(|keys| keys.name == region);
                let text = keys.and_then(|keys| keys.nearest.iter().find(|text| text.value == nearest));
                match text {
                    Some(text) if nearest == region => {
                        let what = "is the region itself, which is always the nearest";
                        self.reader.error(&text.path, what, "leave it out");
                    }
                    text => self.unknown_region(text),
                }
            }
            TopologyFault::SharedClaimValue { value, first, second } => {
                let keys = self.of(&second);
                let texts = keys.and_then(|keys| keys.claim_values.as_ref());
                let text = texts.and_then(|texts| texts.iter().find(|text| text.value == value));
                let path = text.map_or_else(|| self.path_of(&second), |text| text.path.clone());
                let what = format!("a token that says this could mean `{first}` or `{second}`");
                self.reader.error(&path, what, "give each value to one jurisdiction");
            }
            TopologyFault::SharedCountry { country, first, second } => {
                let what = format!("{country} belongs to `{first}` too");
                let remedy = "give each country to one jurisdiction";
                self.reader.error(&self.path_of(&second).key("countries"), what, remedy);
            }
            TopologyFault::TwoCatchAlls { first, second } => {
                let what = format!("`{first}` takes all other countries (`*`) already");
                let remedy = "write `*` in one jurisdiction only";
                self.reader.error(&self.path_of(&second).key("countries"), what, remedy);
            }
        }
    }

    fn of(&self, jurisdiction: &str) -> Option<&JurisdictionKeys<'_>> {
        self.places.jurisdictions.iter().find(|keys| keys.name == jurisdiction)
    }

    fn path_of(&self, jurisdiction: &str) -> KeyPath {
        self.of(jurisdiction).map(|keys| keys.path.clone()).unwrap_or_default()
    }

    /// Nothing to add when it wasn't written at all: that was noted.
    fn unknown_region(&self, text: Option<&Text>) {
        if let Some(text) = text {
            self.places.region(text, self.reader);
        }
    }
}
