//! The string a JSON pointer (RFC 6901) points to, without building the document around it.
//!
//! Parsers differ in which of two members with the same name they take (RFC 8259 §4). Only members on the pointer's way matter;
//! where the pointer would find something else by way of the other, it points to nothing that can be used.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pointed {
    Text(String),
    /// Nothing, or no string; or the bytes aren't JSON.
    Nothing,
    /// Something else by way of each of two members.
    Differently,
}

pub(super) fn text_at(json: &[u8], pointer: &str) -> Pointed {
    let unescape = |step: &str| step.replace("~1", "/").replace("~0", "~");
    let steps: Vec<String> = pointer.split('/').skip(1).map(unescape).collect();
    let mut source = serde_json::Deserializer::from_slice(json);
    let found = Way(&steps).deserialize(&mut source).and_then(|found| source.end().map(|()| found));
    found.unwrap_or(Pointed::Nothing)
}

/// What is left of the pointer at a value.
#[derive(Clone, Copy)]
struct Way<'steps>(&'steps [String]);

impl<'de> DeserializeSeed<'de> for Way<'_> {
    type Value = Pointed;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Pointed, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Way<'_> {
    type Value = Pointed;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pointed, A::Error> {
        let mut found: Option<Pointed> = None;
        while let Some(name) = map.next_key::<String>()? {
            match self.0.split_first() {
                Some((step, rest)) if *step == name => {
                    let here = map.next_value_seed(Way(rest))?;
                    found = Some(match found {
                        Some(before) if before != here => Pointed::Differently,
                        _ => here,
                    });
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found.unwrap_or(Pointed::Nothing))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pointed, A::Error> {
        let mut found = Pointed::Nothing;
        let wanted = self.0.split_first().and_then(|(step, rest)| Some((index(step)?, rest)));
        for position in 0.. {
            match wanted {
                Some((index, rest)) if index == position => match list.next_element_seed(Way(rest))? {
                    Some(here) => found = here,
                    None => break,
                },
                _ if list.next_element::<IgnoredAny>()?.is_none() => break,
                _ => {}
            }
        }
        Ok(found)
    }

    fn visit_str<E>(self, text: &str) -> Result<Pointed, E> {
        Ok(if self.0.is_empty() { Pointed::Text(text.to_owned()) } else { Pointed::Nothing })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Pointed, E> {
        Ok(Pointed::Nothing)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Pointed, E> {
        Ok(Pointed::Nothing)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Pointed, E> {
        Ok(Pointed::Nothing)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Pointed, E> {
        Ok(Pointed::Nothing)
    }

    fn visit_unit<E>(self) -> Result<Pointed, E> {
        Ok(Pointed::Nothing)
    }
}

/// RFC 6901 §4: digits, and no zero before others.
fn index(step: &str) -> Option<usize> {
    let digits = step.bytes().all(|byte| byte.is_ascii_digit());
    (digits && (step == "0" || !step.starts_with('0'))).then(|| step.parse().ok()).flatten()
}
