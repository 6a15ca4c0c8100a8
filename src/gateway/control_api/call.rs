//! What a call says, or all that is wrong with it at once.
//!
//! Invariants
//! - A name given twice makes the body unreadable: readers differ in which one they take.
//! - A fault names its place and what to do, and never what was written there.

use serde_json::{Map, Value};

use crate::auth::{JsonFault, parse_object};
use crate::domain::countries::Country;
use crate::domain::named::identifier::{MOST_BYTES, is_identifier};
use crate::domain::names::JurisdictionId;
use crate::domain::topology::Topology;

/// Of one subject at a time; the register takes as many.
const MOST_IDENTIFIERS: usize = 32;
/// Of a subject, and of a reason.
const MOST_TEXT_BYTES: usize = 1024;

/// Something wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// RFC 6901; empty for the whole.
    pub(super) pointer: String,
    pub(super) detail: String,
    /// When it has a code of its own.
    pub(super) code: Option<&'static str>,
}

/// `POST /v1/assign`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AssignCall {
    pub(super) subject: String,
    /// Of its country.
    pub(super) jurisdiction: JurisdictionId,
    pub(super) identifiers: Vec<String>,
}

/// `PUT /v1/jurisdictions/{name}/read-only`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadOnlyCall {
    pub(super) read_only: bool,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into(), code: None }
    }
}

impl AssignCall {
    pub(super) fn parse(topology: &Topology, body: &[u8]) -> Result<Self, Vec<Fault>> {
        let mut members = Members::read(body)?;
        let subject = members.text("subject", "what the token's subject claim will say");
        let country = members.text("country", "an ISO 3166 code of two letters, the billing country");
        let jurisdiction = country.and_then(|text| {
            let found = Country::parse(&text).and_then(|country| topology.jurisdiction_of_country(country));
            if found.is_none() {
                let detail = match Country::parse(&text) {
                    None => "is no ISO 3166 code of two letters".to_owned(),
                    Some(_) => format!(
                        "belongs to no jurisdiction; add it to the countries of one: {}",
                        names(topology)
                    ),
                };
                let code = Some("country-unknown");
                members.faults.push(Fault { code, ..Fault::at("/country", detail) });
            }
            found
        });
        let identifiers = members.identifiers();
        members.end()?;
        let complete = subject.zip(jurisdiction);
        let (subject, jurisdiction) = complete.expect("what is missing is a fault, and there was none");
        Ok(Self { subject, jurisdiction, identifiers })
    }
}

impl ReadOnlyCall {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Vec<Fault>> {
        let mut members = Members::read(body)?;
        let read_only = match members.object.remove("read_only") {
            Some(Value::Bool(read_only)) => Some(read_only),
            Some(_) => members.fault("/read_only", "is neither true nor false"),
            None => members.fault("/read_only", "is missing: true or false"),
        };
        let reason = members.text("reason", "why, for the record");
        members.end()?;
        let complete = read_only.zip(reason);
        let (read_only, reason) = complete.expect("what is missing is a fault, and there was none");
        Ok(Self { read_only, reason })
    }
}

/// The members of a body that nobody has asked for yet.
struct Members {
    object: Map<String, Value>,
    faults: Vec<Fault>,
}

impl Members {
    fn read(body: &[u8]) -> Result<Self, Vec<Fault>> {
        let object = parse_object(body).map_err(|fault| {
            let detail = match fault {
                JsonFault::Malformed => "is no JSON",
                JsonFault::NotAnObject => "is no JSON object",
                JsonFault::DuplicateName => "has a name twice; readers differ in which one they take",
            };
            vec![Fault::at("", detail)]
        })?;
        Ok(Self { object, faults: Vec::new() })
    }

    fn fault<T>(&mut self, pointer: &str, detail: impl Into<String>) -> Option<T> {
        self.faults.push(Fault::at(pointer, detail));
        None
    }

    fn text(&mut self, name: &str, meaning: &str) -> Option<String> {
        let pointer = format!("/{name}");
        match self.object.remove(name) {
            Some(Value::String(text)) if text.trim().is_empty() || text.contains(char::is_control) => {
                self.fault(&pointer, format!("is empty or has control characters: {meaning}"))
            }
            Some(Value::String(text)) if text.len() > MOST_TEXT_BYTES => {
                self.fault(&pointer, format!("has more than {MOST_TEXT_BYTES} bytes"))
            }
            Some(Value::String(text)) => Some(text),
            Some(_) => self.fault(&pointer, format!("is no string: {meaning}")),
            None => self.fault(&pointer, format!("is missing: {meaning}")),
        }
    }

    fn identifiers(&mut self) -> Vec<String> {
        let list = match self.object.remove("identifiers") {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(_) => {
                let detail =
                    "is no array of strings: e-mail addresses, keys, whatever else points to the subject";
                return self.fault("/identifiers", detail).unwrap_or_default();
            }
        };
        if list.len() > MOST_IDENTIFIERS {
            let detail = format!("has more than {MOST_IDENTIFIERS}: assign the rest in another call");
            return self.fault("/identifiers", detail).unwrap_or_default();
        }
        let mut identifiers = Vec::new();
        for (index, one) in list.into_iter().enumerate() {
            let pointer = format!("/identifiers/{index}");
            match one {
                Value::String(text) if is_identifier(text.trim()) => identifiers.push(text),
                Value::String(_) => {
                    let detail = format!("is empty, has control characters, or more than {MOST_BYTES} bytes");
                    self.faults.push(Fault::at(pointer, detail));
                }
                _ => self.faults.push(Fault::at(pointer, "is no string")),
            }
        }
        identifiers
    }

    /// What nobody has asked for is unknown.
    fn end(mut self) -> Result<(), Vec<Fault>> {
        for name in std::mem::take(&mut self.object).keys() {
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            self.faults.push(Fault::at(pointer, "is unknown; leave it out"));
        }
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults) }
    }
}

fn names(topology: &Topology) -> String {
    topology.jurisdictions().map(|known| topology.jurisdiction_name(known)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
