//! The country a request names, and with it the jurisdiction whose home it goes to: for sign-ups, which have no token yet.
//!
//! Every value has to name the same country, however it is spelled.

use super::Named;
use crate::domain::countries::Country;
use crate::domain::decide::{Location, Refusal};
use crate::domain::topology::Topology;

/// The jurisdiction of the country that was named.
pub fn locate(topology: &Topology, named: &Named<'_>) -> Location {
    let texts = match named {
        Named::Nothing => return Location::Unknown(Refusal::CountryMissing),
        Named::Differently => return Location::Unknown(Refusal::CountryUnknown),
        Named::Texts(texts) => texts,
    };
    let mut countries = texts.iter().map(|text| Country::parse(text));
    countries
        .next()
        .and_then(|first| first.filter(|_| countries.all(|other| other == first)))
        .and_then(|country| topology.jurisdiction_of_country(country))
        .map_or(Location::Unknown(Refusal::CountryUnknown), Location::Jurisdiction)
}

#[cfg(test)]
mod tests;
