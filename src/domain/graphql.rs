//! Read or write, by the operation of a GraphQL request.
//!
//! A query reads, a mutation writes, a subscription does what the route says. What can't be told is a write: it goes to the home,
//! where nothing can go wrong. Among that are persisted documents without their text, form and multipart bodies, a request whose
//! parts could be put together in two ways (a query in the URL and another in the body), and bodies longer than what is read
//! ahead.
//!
//! Requests are read as the GraphQL-over-HTTP specification has them: POST with `application/json`, also as a batch, which
//! writes if any of it does; `application/graphql`; GET with parameters. A GET must not carry out a mutation. It counts as a
//! write here all the same, and the API answers it with 405, as that specification says.
//!
//! No parser from the registry: they build a tree, most of them by recursion, of which one word is needed. The outline of a
//! document is all that is read, in one pass, without allocating, at any depth. Should it ever be read otherwise than the API
//! does, the request still goes to a lawful region, where a replica can't be written to.
//!
//! Absent by design: the schema, and whether the document is valid against it.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::decide::Access;
use super::media_type::MediaType;
use document::{Kind, operations};

mod document;
mod lexer;

/// What a route says of GraphQL beside that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphQlRule {
    pub subscriptions: Access,
}

/// A request, as far as it says which operation it wants.
#[derive(Debug, Clone, Copy)]
pub struct GraphQlRequest<'request> {
    pub method: &'request str,
    /// What follows the target's `?`.
    pub query: Option<&'request str>,
    /// The value of the only such header line; `None` when there are several.
    pub content_type: Option<&'request [u8]>,
    /// The whole body; `None` when it is longer than what is read ahead.
    pub body: Option<&'request [u8]>,
}

impl Default for GraphQlRule {
    fn default() -> Self {
        Self { subscriptions: Access::Write }
    }
}

impl GraphQlRule {
    /// The access can't be told without the body.
    pub fn reads_body(method: &str) -> bool {
        method == "POST"
    }

    pub fn access_of(self, request: &GraphQlRequest<'_>) -> Access {
        let Ok(in_url) = Parameters::of_url(request.query.unwrap_or_default()) else { return Access::Write };
        let reads = match request.method {
            "OPTIONS" => true,
            "GET" | "HEAD" => in_url.read(self, None),
            "POST" => request.body.is_some_and(|body| self.body_reads(request, in_url, body)),
            _ => false,
        };
        if reads { Access::Read } else { Access::Write }
    }

    fn body_reads(self, request: &GraphQlRequest<'_>, in_url: Parameters, body: &[u8]) -> bool {
        match request.content_type.and_then(MediaType::parse).filter(MediaType::is_utf8) {
            // Some servers let the URL's parameters stand over the body's.
            _ if in_url.query.is_some() || in_url.stored.is_some() => false,
            Some(media) if media.is("application/json") => {
                json_reads(&Body { rule: self, name_in_url: in_url.operation_name }, body)
            }
            Some(media) if media.is("application/graphql") => std::str::from_utf8(body)
                .is_ok_and(|text| Parameters { query: Some(text.to_owned()), ..in_url }.read(self, None)),
            _ => false,
        }
    }
}

/// What names an operation.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Parameters {
    query: Option<String>,
    #[serde(rename = "operationName")]
    operation_name: Option<String>,
    /// A stored document, in the words of several servers. It may be another one than `query`.
    #[serde(alias = "doc_id", alias = "id", rename = "documentId")]
    stored: Option<IgnoredAny>,
}

/// Something is said twice.
struct Ambiguous;

impl Parameters {
    fn of_url(query: &str) -> Result<Self, Ambiguous> {
        let mut parameters = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "query" => &mut parameters.query,
                "operationName" => &mut parameters.operation_name,
                "documentId" | "doc_id" | "id" => {
                    parameters.stored = Some(IgnoredAny);
                    continue;
                }
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(Ambiguous);
            }
        }
        Ok(parameters)
    }

    /// The operation that is carried out, if there is exactly one that can be, is a read. The URL may say its name again.
    fn read(&self, rule: GraphQlRule, name_in_url: Option<&str>) -> bool {
        let Self { query: Some(text), operation_name, stored: None } = self else { return false };
        let Ok(operations) = operations(text) else { return false };
        let name = operation_name.as_deref().filter(|name| name_in_url.is_none_or(|also| also == *name));
        let mut wanted = operations
            .iter()
            // The only one is carried out or none is, whatever name is asked for.
            .filter(|operation| operations.len() == 1 || (name.is_some() && operation.name == name));
        let (Some(operation), None) = (wanted.next(), wanted.next()) else { return false };
        match operation.kind {
            Kind::Query => true,
            Kind::Mutation => false,
            Kind::Subscription => rule.subscriptions == Access::Read,
        }
    }
}

/// One object, or a batch of them that isn't empty, each a read. A name that comes twice is an error of the parser's.
fn json_reads(expected: &Body, body: &[u8]) -> bool {
    // The parser doesn't look into the strings it skips.
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let mut source = serde_json::Deserializer::from_str(text);
    let reads = source.deserialize_any(expected);
    reads.unwrap_or_default() && source.end().is_ok()
}

struct Body {
    rule: GraphQlRule,
    name_in_url: Option<String>,
}

impl Body {
    fn reads(&self, parameters: &Parameters) -> bool {
        parameters.read(self.rule, self.name_in_url.as_deref())
    }
}

impl<'de> Visitor<'de> for &Body {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a GraphQL request or a list of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        Ok(self.reads(&Parameters::deserialize(MapAccessDeserializer::new(map))?))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        let mut any = false;
        while let Some(parameters) = list.next_element::<Parameters>()? {
            if !self.reads(&parameters) {
                // Enough is known; what is left is read over so that the parser ends well.
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(false);
            }
            any = true;
        }
        Ok(any)
    }
}

#[cfg(test)]
mod tests;
