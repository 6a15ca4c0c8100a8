//! `[routes]`: what is different about a method and a path.

use std::sync::Arc;

use http::HeaderName;

use crate::auth::CookieName;
use crate::domain::cors::Cors;
use crate::domain::countries::CountrySet;
use crate::domain::decide::{Access, Reads};
use crate::domain::graphql::GraphQlRule;
use crate::domain::named::NameSource;
use crate::domain::names::JurisdictionId;
use crate::domain::routes::{AccessRule, RouteFault, RouteRule, RouteTable};
use crate::domain::topology::Topology;
use crate::domain::upstream_groups::{API, UpstreamGroup, UpstreamGroups};

use super::cors::CorsKeys;
use super::key_path::KeyPath;
use super::places::Places;
use super::reader::{Reader, Text};
use super::section::Section;

const ACCESS: [(&str, Access); 2] = [("read", Access::Read), ("write", Access::Write)];
const RULES: [(&str, AccessRule); 3] = [
    ("read", AccessRule::Always(Access::Read)),
    ("write", AccessRule::Always(Access::Write)),
    ("graphql", AccessRule::GraphQl(GraphQlRule { subscriptions: Access::Write })),
];
const READS: [(&str, Reads); 2] = [("nearest", Reads::Nearest), ("home", Reads::Home)];

/// One rule, its jurisdiction and its upstream group still names.
pub(super) struct RouteKeys {
    path: KeyPath,
    rule: RouteRule,
    jurisdiction: Option<Text>,
    upstream: Option<Text>,
}

/// What rules refer to, and where faults are noted.
pub(super) struct Surroundings<'a> {
    pub(super) places: &'a Places<'a>,
    pub(super) topology: Option<&'a Topology>,
    pub(super) groups: &'a UpstreamGroups,
    /// `token.on_missing`: the jurisdiction of tokens without a claim, and of identifiers that nobody has.
    pub(super) on_missing: Option<JurisdictionId>,
    /// It is written; of no use, it is a fault of its own.
    pub(super) has_on_missing: bool,
    /// The region of this gateway, when it is known.
    pub(super) own: Option<&'a str>,
    pub(super) reader: &'a Reader<'a>,
}

/// `cors` is `[cors]`, from which routes take what they leave out.
pub(super) fn read(root: &Section<'_>, cors: Option<&CorsKeys>) -> Vec<RouteKeys> {
    let route = |(pattern, section): (String, Section<'_>)| {
        // Behind an identifier each of them has its turn.
        if section.has("country") && section.has("jurisdiction") && !section.has("identifier") {
            let what = "a fixed jurisdiction leaves a country nothing to decide";
            section.reader.error(&section.path("country"), what, "keep one of country and jurisdiction");
        }
        let access = access(&section);
        let reads = section.choice("reads", Some("nearest"), &READS).unwrap_or_default();
        if access == Some(AccessRule::Always(Access::Write)) && section.has("reads") {
            let what = "says where reads go, and every request of this route is a write";
            section.reader.warning(&section.path("reads"), what, "leave it out: writes go to the home");
        }
        RouteKeys {
            path: section.here().clone(),
            rule: RouteRule {
                pattern,
                access,
                reads,
                upstream: UpstreamGroup::default(),
                identifier: IDENTIFIER.read(&section),
                country: COUNTRY.read(&section),
                jurisdiction: None,
                subject: subject(&section),
                cors: CorsKeys::of_route(&section.child("cors"), cors),
            },
            jurisdiction: section.text("jurisdiction", "a jurisdiction"),
            upstream: section.text_else("upstream", "an upstream group of the regions", Some(API)),
        }
    };
    root.children("routes").into_iter().map(route).collect()
}

/// Looking for a country is in vain when no jurisdiction has any.
fn check_countries(routes: &[RouteKeys], places: &Places<'_>, reader: &Reader<'_>) {
    if places.jurisdictions.iter().any(|jurisdiction| jurisdiction.countries != CountrySet::default()) {
        return;
    }
    for route in routes.iter().filter(|route| route.rule.country.is_some()) {
        let what = "no jurisdiction has countries: every request without a token is refused here";
        let remedy = "write countries = [\"@eea\"] or the like in a jurisdiction";
        reader.warning(&route.path.key("country"), what, remedy);
    }
}

/// A write whose identifier nobody has would be refused, and so be told from one whose identifier somebody has.
fn check_identifier(path: &KeyPath, rule: &RouteRule, reader: &Reader<'_>) {
    let reads = matches!(rule.pattern.split_once(' '), Some(("GET" | "HEAD", _)));
    let reads = rule.access.map_or(reads, |access| access == AccessRule::Always(Access::Read));
    if !reads {
        let what = "leaves a request whose identifier nobody has without a place";
        let remedy = "write the jurisdiction that is to answer it beside it: jurisdiction = \"us\", or token.on_missing";
        reader.error(&path.key("identifier"), what, remedy);
    }
}

/// Builds the table. Without a topology the patterns are checked all the same.
pub(super) fn table(
    routes: Vec<RouteKeys>,
    cors: Option<&Arc<Cors>>,
    surroundings: &Surroundings<'_>,
) -> RouteTable {
    let Surroundings { places, topology, groups, on_missing, has_on_missing, own, reader } = *surroundings;
    check_countries(&routes, places, reader);
    let mut paths = Vec::with_capacity(routes.len());
    let mut rules = Vec::with_capacity(routes.len());
    for RouteKeys { path, mut rule, jurisdiction, upstream } in routes {
        rule.cors = rule.cors.or_else(|| cors.cloned());
        rule.upstream =
            upstream.map(|name| places.upstream_group(&name, groups, own, reader)).unwrap_or_default();
        let is_fixed = jurisdiction.is_some();
        rule.jurisdiction = jurisdiction.and_then(|name| places.jurisdiction(&name, topology, reader));
        if rule.identifier.is_some() && !is_fixed {
            rule.jurisdiction = on_missing;
            if !has_on_missing {
                check_identifier(&path, &rule, reader);
            }
        }
        paths.push(path);
        rules.push(rule);
    }
    RouteTable::new(rules).unwrap_or_else(|faults| {
        for (index, fault) in faults {
            let remedy = match fault {
                RouteFault::Form(_) => "write \"/path\" or \"METHOD /path\", the method in capitals",
                RouteFault::MisplacedRest(_) => "write ** as the last segment; {name} stands for one segment",
                RouteFault::Conflict { .. } => "keep one of the two, or name their parameters alike",
                RouteFault::NoSuchParameter { .. } => "name a {parameter} of the pattern",
            };
            reader.error(&paths[index], fault.to_string(), remedy);
        }
        RouteTable::default()
    })
}

fn access(section: &Section<'_>) -> Option<AccessRule> {
    let access = section.choice("access", None, &RULES);
    let subscriptions = section.choice("subscriptions", Some("write"), &ACCESS);
    match (access, subscriptions) {
        (Some(AccessRule::GraphQl(_)), Some(subscriptions)) => {
            Some(AccessRule::GraphQl(GraphQlRule { subscriptions }))
        }
        _ => {
            if section.has("subscriptions") {
                let what = "says what GraphQL's subscriptions do, and this route is not one of GraphQL";
                let remedy = "write access = \"graphql\", or leave it out";
                section.reader.error(&section.path("subscriptions"), what, remedy);
            }
            access
        }
    }
}

/// What a route may look for in a request.
struct Sought {
    key: &'static str,
    takes: &'static str,
    /// `a country`, say.
    what: &'static str,
    /// By the word before the colon.
    examples: &'static [(&'static str, &'static str)],
    remedy: &'static str,
}

const COUNTRY: Sought = Sought {
    key: "country",
    takes: "`json:` and a JSON pointer (RFC 6901), `form:` or `header:` and a name",
    what: "a country",
    examples: &[
        ("json", "json:/billing/country"),
        ("form", "form:country"),
        ("header", "header:X-Billing-Country"),
    ],
    remedy: "write json:/billing/country, form:country or header:X-Billing-Country",
};

const IDENTIFIER: Sought = Sought {
    key: "identifier",
    takes: "`json:` and a JSON pointer (RFC 6901), `form:`, `header:` or `cookie:` and a name, `path:` and a parameter",
    what: "an identifier",
    examples: &[
        ("json", "json:/email"),
        ("form", "form:email"),
        ("header", "header:X-Api-Key"),
        ("cookie", "cookie:session"),
        ("path", "path:key"),
    ],
    remedy: "write json:/email, form:email, header:X-Api-Key, cookie:session or path:key",
};

impl Sought {
    fn read(&self, section: &Section<'_>) -> Option<NameSource> {
        let text = section.text(self.key, self.takes)?;
        let (kind, name) = text.value.split_once(':').unwrap_or_default();
        let example = self.examples.iter().find(|(known, _)| *known == kind).map(|(_, example)| *example);
        let (what, remedy) = match (kind, example) {
            ("json", Some(_)) if is_pointer(name) => return Some(NameSource::Json(name.to_owned())),
            ("json", Some(example)) => ("has no JSON pointer", format!("write {example} (RFC 6901)")),
            ("form", Some(_)) if is_field(name) => return Some(NameSource::Form(name.to_owned())),
            ("form", Some(example)) => ("has no name of a field", format!("write {example}")),
            ("header", Some(example)) => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) if !name.as_str().starts_with("residency-") => {
                    return Some(NameSource::Header(name.as_str().to_owned()));
                }
                Ok(_) => (
                    "names a header that is taken out of what clients send",
                    "write a header of your own".to_owned(),
                ),
                Err(_) => ("has no name of a header", format!("write {example}")),
            },
            ("cookie", Some(_)) if CookieName::new(name).is_ok() => {
                return Some(NameSource::Cookie(name.to_owned()));
            }
            ("cookie", Some(example)) => ("has no name of a cookie", format!("write {example}")),
            ("path", Some(_)) if !name.is_empty() => return Some(NameSource::Path(name.to_owned())),
            ("path", Some(_)) => {
                ("names no parameter", "write path:key for the {key} of the pattern".to_owned())
            }
            _ => {
                let what = format!("{} is no place for {}", text.shown(), self.what);
                section.reader.error(&text.path, what, self.remedy);
                return None;
            }
        };
        section.reader.error(&text.path, format!("{} {what}", text.shown()), remedy);
        None
    }
}

/// Anything that readers of forms agree about.
fn is_field(text: &str) -> bool {
    !text.is_empty() && !text.contains(|one: char| one.is_control() || matches!(one, '"' | '\\'))
}

/// RFC 6901 §3, and not the whole document.
fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|after| after.starts_with(['0', '1']))
}

fn subject(section: &Section<'_>) -> Option<String> {
    let text = section.text("subject", "`path:` and a parameter of the pattern")?;
    match text.value.strip_prefix("path:") {
        Some(parameter) if !parameter.is_empty() => Some(parameter.to_owned()),
        _ => {
            let what = format!("{} is no place for a subject", text.shown());
            section.reader.error(&text.path, what, "write path:org for the {org} of the pattern");
            None
        }
    }
}
