//! `[cors]` and `routes.*.cors`: which scripts may read the gateway's own answers.
//!
//! A route takes from `[cors]` what its own table leaves out. `origins = []` turns it off.

use std::sync::Arc;

use http::HeaderName;

use crate::domain::cors::{Cors, CorsFault, CorsSpec, OriginFault, OriginPattern};

use super::reader::Text;
use super::section::Section;
use super::written::Bounds;

const MAX_AGE: Bounds = Bounds { least: 0, most: 86_400, unit: "seconds" };
/// What requests with a token and a JSON body have.
const ALLOW_HEADERS: [&str; 2] = ["authorization", "content-type"];

/// A table as read. What is `None` is taken from elsewhere.
#[derive(Debug, Clone, Default)]
pub(super) struct CorsKeys {
    origins: Option<Vec<OriginPattern>>,
    credentials: Option<bool>,
    expose: Option<Vec<String>>,
    allow_headers: Option<Vec<String>>,
    max_age_s: Option<u32>,
}

impl CorsKeys {
    /// `[cors]` itself: `None` when it isn't there, else also the rule it makes.
    pub(super) fn of_all(section: &Section<'_>) -> Option<(Self, Arc<Cors>)> {
        let keys = Self::read(section, true);
        let rule = keys.rule(section);
        if !section.is_written() {
            return None;
        }
        Some((keys, rule))
    }

    /// A route's own rule; `None` when it has none of its own.
    pub(super) fn of_route(section: &Section<'_>, all: Option<&Self>) -> Option<Arc<Cors>> {
        let own = Self::read(section, false);
        if !section.is_written() {
            return None;
        }
        let all = all.cloned().unwrap_or_default();
        let keys = Self {
            origins: own.origins.or(all.origins),
            credentials: own.credentials.or(all.credentials),
            expose: own.expose.or(all.expose),
            allow_headers: own.allow_headers.or(all.allow_headers),
            max_age_s: own.max_age_s.or(all.max_age_s),
        };
        Some(keys.rule(section))
    }

    /// `is_all`: what stands when nothing is written is known here and not elsewhere.
    fn read(section: &Section<'_>, is_all: bool) -> Self {
        let default = |text: &'static str| is_all.then_some(text);
        let origins =
            section.texts("origins", "a list of origins, `https://*.…` for all hosts below, or `*`", None);
        let max_age = section.number_else("max_age_s", is_all.then_some(0), MAX_AGE);
        Self {
            origins: origins.map(|texts| texts.iter().filter_map(|text| origin(section, text)).collect()),
            credentials: section.flag_else("credentials", is_all.then_some(false)),
            expose: names(section, "expose", default("[]")),
            allow_headers: names(section, "allow_headers", default("[\"authorization\", \"content-type\"]")),
            max_age_s: max_age.map(|seconds| u32::try_from(seconds).expect("at most a day")),
        }
    }

    fn rule(&self, section: &Section<'_>) -> Arc<Cors> {
        if section.is_written() && self.origins.is_none() {
            let remedy = "write origins = [\"https://app.example.com\"], or [] for none";
            section.missing("origins", remedy);
        }
        let usual = || ALLOW_HEADERS.map(str::to_owned).to_vec();
        let spec = CorsSpec {
            origins: self.origins.clone().unwrap_or_default(),
            credentials: self.credentials.unwrap_or_default(),
            expose: self.expose.clone().unwrap_or_default(),
            allow_headers: self.allow_headers.clone().unwrap_or_else(usual),
            max_age_s: self.max_age_s.unwrap_or_default(),
        };
        Arc::new(Cors::new(spec).unwrap_or_else(|faults| {
            for fault in faults {
                let (key, remedy) = match fault {
                    CorsFault::AnyoneWithCredentials => {
                        ("origins", "list the origins (`https://*.example.com` for all hosts below), or write credentials = false")
                    }
                    CorsFault::AnyHeaderExposed => ("expose", "list the headers, or write credentials = false"),
                    CorsFault::AnyHeaderAllowed => ("allow_headers", "list the headers, or write credentials = false"),
                };
                section.reader.error(&section.path(key), fault.to_string(), remedy);
            }
            Cors::new(CorsSpec::default()).expect("nothing is wanted")
        }))
    }
}

fn origin(section: &Section<'_>, text: &Text) -> Option<OriginPattern> {
    let parsed = OriginPattern::parse(&text.value).map_err(|fault| {
        let remedy = match fault {
            OriginFault::Form => {
                "write scheme, host and port as browsers do: `https://app.example.com`, without a path"
            }
            OriginFault::DefaultPort => "leave the port out",
            OriginFault::TooWide => "write `https://*.example.com`",
        };
        section.reader.error(&text.path, format!("{} {fault}", text.shown()), remedy);
    });
    parsed.ok()
}

/// Header names in lower case, or `*`.
fn names(section: &Section<'_>, key: &'static str, default: Option<&str>) -> Option<Vec<String>> {
    let texts = section.texts(key, "a list of headers, or `*`", default)?;
    let name = |text: &Text| match HeaderName::from_bytes(text.value.as_bytes()) {
        Ok(name) => Some(name.as_str().to_owned()),
        Err(_) => {
            let what = format!("{} is no header's name", text.shown());
            section.reader.error(&text.path, what, "write a name such as `x-request-id`, or `*`");
            None
        }
    };
    Some(texts.iter().filter_map(name).collect())
}
