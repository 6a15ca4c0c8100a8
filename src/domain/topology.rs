//! Which regions there are, which jurisdictions, and where each jurisdiction's data may be.
//!
//! Invariants
//! - Every jurisdiction has exactly one home, and its lawful regions are that home and its replicas, no others.
//! - A claim value, and a named country, belongs to at most one jurisdiction.
//! - Each region's `nearest` order starts with itself and names every region once.

use std::collections::HashMap;

use super::countries::{Country, CountrySet};
use super::names::{JurisdictionId, MOST_REGIONS, RegionId, RegionSet};

/// Whether a jurisdiction's rules are applied or only reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Unlawful requests are refused (R1).
    #[default]
    Enforce,
    /// Requests go where they always went; what would have happened is counted and logged.
    Observe,
}

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Once the primary flushed it: a tail may be lost with the primary.
    #[default]
    Async,
    /// Once a promotable standby flushed it too.
    Remote,
}

/// One region as configured.
#[derive(Debug, Clone, Default)]
pub struct RegionSpec {
    pub name: String,
    /// Names of other regions, nearest first. Regions left out follow in the order of the file.
    pub nearest: Vec<String>,
}

/// One jurisdiction as configured.
#[derive(Debug, Clone, Default)]
pub struct JurisdictionSpec {
    pub name: String,
    pub home: String,
    pub replicas: Vec<String>,
    /// Values of the token's jurisdiction claim that mean this jurisdiction.
    pub claim_values: Vec<String>,
    pub countries: CountrySet,
    pub mode: Mode,
    pub durability: Durability,
}

/// What is wrong with a topology. The names are the configured ones, so that a caller can say where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyFault {
    #[error("there is no region; at least one is needed")]
    NoRegion,
    #[error("there is no jurisdiction; at least one is needed")]
    NoJurisdiction,
    #[error("{0} regions or jurisdictions; the most is {MOST_REGIONS}")]
    TooMany(usize),
    #[error("region `{0}` is named twice")]
    DuplicateRegion(String),
    #[error("jurisdiction `{jurisdiction}` has its home in `{home}`, which is no region")]
    UnknownHome { jurisdiction: String, home: String },
    #[error("jurisdiction `{jurisdiction}` has a replica in `{replica}`, which is no region")]
    UnknownReplica { jurisdiction: String, replica: String },
    #[error("region `{region}` has `{nearest}` in its nearest order, which is no other region")]
    UnknownNearest { region: String, nearest: String },
    #[error("claim value `{value}` means both `{first}` and `{second}`")]
    SharedClaimValue { value: String, first: String, second: String },
    #[error("country {country} belongs to both `{first}` and `{second}`")]
    SharedCountry { country: String, first: String, second: String },
    #[error("both `{first}` and `{second}` take all other countries (`*`)")]
    TwoCatchAlls { first: String, second: String },
}

/// The validated whole.
#[derive(Debug, Clone)]
pub struct Topology {
    regions: Box<[Region]>,
    jurisdictions: Box<[Jurisdiction]>,
    by_claim: HashMap<Box<str>, JurisdictionId>,
    unlocated: Mode,
}

#[derive(Debug, Clone)]
struct Region {
    name: Box<str>,
    nearest: Box<[RegionId]>,
}

#[derive(Debug, Clone)]
struct Jurisdiction {
    name: Box<str>,
    home: RegionId,
    lawful: RegionSet,
    countries: CountrySet,
    mode: Mode,
    durability: Durability,
}

impl Topology {
    /// `unlocated` is the mode for requests whose jurisdiction can't be found. Returns every fault, not just the first.
    pub fn new(
        regions: Vec<RegionSpec>,
        jurisdictions: &[JurisdictionSpec],
        unlocated: Mode,
    ) -> Result<Self, Vec<TopologyFault>> {
        let mut faults = Vec::new();
        if regions.is_empty() {
            faults.push(TopologyFault::NoRegion);
        }
        if jurisdictions.is_empty() {
            faults.push(TopologyFault::NoJurisdiction);
        }
        let most = regions.len().max(jurisdictions.len());
        if most > MOST_REGIONS {
            return Err(vec![TopologyFault::TooMany(most)]);
        }
        let mut by_name = HashMap::new();
        for (index, region) in regions.iter().enumerate() {
            if by_name.insert(region.name.clone(), RegionId::new(index)).is_some() {
                faults.push(TopologyFault::DuplicateRegion(region.name.clone()));
            }
        }
        let mut by_claim = HashMap::new();
        let mut built: Vec<Jurisdiction> = Vec::with_capacity(jurisdictions.len());
        for (index, spec) in jurisdictions.iter().enumerate() {
            let home = by_name.get(&spec.home).copied();
            if home.is_none() {
                faults.push(TopologyFault::UnknownHome {
                    jurisdiction: spec.name.clone(),
                    home: spec.home.clone(),
                });
            }
            let mut lawful: RegionSet = home.into_iter().collect();
            for replica in &spec.replicas {
                match by_name.get(replica) {
                    Some(&region) => lawful = lawful.with(region),
                    None => faults.push(TopologyFault::UnknownReplica {
                        jurisdiction: spec.name.clone(),
                        replica: replica.clone(),
                    }),
                }
            }
            for value in &spec.claim_values {
                if let Some(first) = by_claim.insert(value.as_str().into(), JurisdictionId::new(index))
                    && first.index() != index
                {
                    faults.push(TopologyFault::SharedClaimValue {
                        value: value.clone(),
                        first: jurisdictions[first.index()].name.clone(),
                        second: spec.name.clone(),
                    });
                }
            }
            built.push(Jurisdiction {
                name: spec.name.as_str().into(),
                home: home.unwrap_or(RegionId::new(0)),
                lawful,
                countries: spec.countries.clone(),
                mode: spec.mode,
                durability: spec.durability,
            });
        }
        country_faults(&built, &mut faults);
        let regions = order_regions(regions, &by_name, &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self { regions, jurisdictions: built.into_boxed_slice(), by_claim, unlocated })
    }

    pub fn regions(&self) -> impl ExactSizeIterator<Item = RegionId> + use<> {
        (0..self.regions.len()).map(RegionId::new)
    }

    pub fn jurisdictions(&self) -> impl ExactSizeIterator<Item = JurisdictionId> + use<> {
        (0..self.jurisdictions.len()).map(JurisdictionId::new)
    }

    pub fn region_name(&self, region: RegionId) -> &str {
        &self.regions[region.index()].name
    }

    pub fn jurisdiction_name(&self, jurisdiction: JurisdictionId) -> &str {
        &self.jurisdictions[jurisdiction.index()].name
    }

    pub fn region(&self, name: &str) -> Option<RegionId> {
        self.regions().find(|&region| self.region_name(region) == name)
    }

    pub fn jurisdiction(&self, name: &str) -> Option<JurisdictionId> {
        self.jurisdictions().find(|&jurisdiction| self.jurisdiction_name(jurisdiction) == name)
    }

    /// What the token's jurisdiction claim names, compared exactly.
    pub fn jurisdiction_of_claim(&self, value: &str) -> Option<JurisdictionId> {
        self.by_claim.get(value).copied()
    }

    /// The jurisdiction that names the country, else the one that takes all others.
    pub fn jurisdiction_of_country(&self, country: Country) -> Option<JurisdictionId> {
        let find = |wanted: &dyn Fn(&CountrySet) -> bool| {
            self.jurisdictions.iter().position(|jurisdiction| wanted(&jurisdiction.countries))
        };
        find(&|countries| countries.names(country))
            .or_else(|| find(&CountrySet::takes_all_others))
            .map(JurisdictionId::new)
    }

    /// Where the jurisdiction's rows are written.
    pub fn home(&self, jurisdiction: JurisdictionId) -> RegionId {
        self.jurisdictions[jurisdiction.index()].home
    }

    /// Home and replicas: the only regions that may see the jurisdiction's requests (R1).
    pub fn lawful_regions(&self, jurisdiction: JurisdictionId) -> RegionSet {
        self.jurisdictions[jurisdiction.index()].lawful
    }

    pub fn mode(&self, jurisdiction: JurisdictionId) -> Mode {
        self.jurisdictions[jurisdiction.index()].mode
    }

    pub fn durability(&self, jurisdiction: JurisdictionId) -> Durability {
        self.jurisdictions[jurisdiction.index()].durability
    }

    /// The mode for requests whose jurisdiction can't be found.
    pub fn mode_of_unlocated(&self) -> Mode {
        self.unlocated
    }

    /// All regions as seen from one, itself first, then nearest first.
    pub fn nearest(&self, from: RegionId) -> &[RegionId] {
        &self.regions[from.index()].nearest
    }
}

fn country_faults(jurisdictions: &[Jurisdiction], faults: &mut Vec<TopologyFault>) {
    for (index, first) in jurisdictions.iter().enumerate() {
        for second in &jurisdictions[index + 1..] {
            let names = (first.name.to_string(), second.name.to_string());
            if let Some(country) = first.countries.overlap(&second.countries) {
                let country = country.to_string();
                faults.push(TopologyFault::SharedCountry {
                    country,
                    first: names.0.clone(),
                    second: names.1.clone(),
                });
            }
            if first.countries.takes_all_others() && second.countries.takes_all_others() {
                faults.push(TopologyFault::TwoCatchAlls { first: names.0, second: names.1 });
            }
        }
    }
}

fn order_regions(
    specs: Vec<RegionSpec>,
    by_name: &HashMap<String, RegionId>,
    faults: &mut Vec<TopologyFault>,
) -> Box<[Region]> {
    let count = specs.len();
    let mut regions = Vec::with_capacity(count);
    for (index, spec) in specs.into_iter().enumerate() {
        let mut nearest = vec![RegionId::new(index)];
        for name in spec.nearest {
            match by_name.get(&name) {
                Some(other) if other.index() != index => {
                    if !nearest.contains(other) {
                        nearest.push(*other);
                    }
                }
                _ => faults.push(TopologyFault::UnknownNearest { region: spec.name.clone(), nearest: name }),
            }
        }
        for other in (0..count).map(RegionId::new) {
            if !nearest.contains(&other) {
                nearest.push(other);
            }
        }
        regions.push(Region { name: spec.name.into(), nearest: nearest.into() });
    }
    regions.into_boxed_slice()
}
