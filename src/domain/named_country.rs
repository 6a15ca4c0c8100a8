//! The country a request names, and with it the jurisdiction whose home it goes to: for sign-ups, which have no token yet.
//!
//! Invariants
//! - It chooses a home and nothing else (R8).
//! - A country that is named twice and differently is unknown: whoever reads the request next might take the other one.
//! - Time and memory are linear in what was read ahead, which `limits.peek_bytes` bounds.
//!
//! Absent by design: reading bodies, and guessing. A body that isn't whole, or isn't what its type says, names nothing.

use std::borrow::Cow;

use super::countries::Country;
use super::decide::{Location, Refusal};
use super::media_type::MediaType;
use super::routes::CountrySource;
use super::topology::Topology;

mod multipart;
mod pointer;

/// A body that was read to its end.
#[derive(Debug, Clone, Copy)]
pub struct WholeBody<'body> {
    /// The value of the only such header line; `None` when there are several.
    pub content_type: Option<&'body [u8]>,
    pub bytes: &'body [u8],
}

impl CountrySource {
    /// The country can't be found without the body.
    pub fn reads_body(&self) -> bool {
        match self {
            Self::Json(_) | Self::Form(_) => true,
            Self::Header(_) => false,
        }
    }
}

/// The jurisdiction of the country the request names. `header` gives the values of all lines of a header, whose name is in lower
/// case; `body` is looked at only if the source [reads it](CountrySource::reads_body).
pub fn locate<'source, 'request, Values>(
    topology: &Topology,
    source: &'source CountrySource,
    body: &WholeBody<'request>,
    header: impl FnOnce(&'source str) -> Values,
) -> Location
where
    Values: IntoIterator<Item = &'request [u8]>,
{
    match source {
        CountrySource::Json(pointer) => match pointer::text_at(body.bytes, pointer) {
            pointer::Pointed::Nothing => Location::Unknown(Refusal::CountryMissing),
            pointer::Pointed::Differently => Location::Unknown(Refusal::CountryUnknown),
            pointer::Pointed::Text(text) => of_values(topology, [text.as_str()]),
        },
        CountrySource::Form(field) => of_form(topology, field, body),
        CountrySource::Header(name) => {
            of_values(topology, header(name).into_iter().map(|value| as_text(value.trim_ascii())))
        }
    }
}

fn of_form(topology: &Topology, field: &str, body: &WholeBody<'_>) -> Location {
    let media_type = body.content_type.and_then(MediaType::parse);
    match media_type {
        Some(media) if media.is("application/x-www-form-urlencoded") => {
            let fields = form_urlencoded::parse(body.bytes).filter(|(name, _)| name == field);
            of_values(topology, fields.map(|(_, value)| value))
        }
        Some(media) if media.is("multipart/form-data") => {
            let boundary = media.parameter("boundary");
            let values = boundary.and_then(|boundary| multipart::values(body.bytes, boundary, field));
            of_values(topology, values.unwrap_or_default().into_iter().map(as_text))
        }
        _ => Location::Unknown(Refusal::CountryMissing),
    }
}

/// All of them have to name the same country.
fn of_values<Text: AsRef<str>>(topology: &Topology, values: impl IntoIterator<Item = Text>) -> Location {
    let mut countries = values.into_iter().map(|text| Country::parse(text.as_ref()));
    let Some(first) = countries.next() else { return Location::Unknown(Refusal::CountryMissing) };
    first
        .filter(|_| countries.all(|other| other == first))
        .and_then(|country| topology.jurisdiction_of_country(country))
        .map_or(Location::Unknown(Refusal::CountryUnknown), Location::Jurisdiction)
}

/// What isn't UTF-8 is no country either.
fn as_text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests;
