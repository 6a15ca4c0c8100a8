//! Route rules: what the configuration says about a method and a path.
//!
//! Patterns are `METHOD /path` or `/path` for every method; `{name}` stands for one segment, `**` at the end for the rest,
//! including nothing. The most specific pattern wins; a rule for the method beats a rule for every method.
//!
//! A path that other software could read as a different one (a `.` or `..` segment, plain or percent-encoded) can't be
//! classified and is refused before it gets here: see [`is_unambiguous`].

use std::collections::HashMap;
use std::sync::Arc;

use matchit::Router;

use super::cors::Cors;
use super::decide::{Access, Reads};
use super::graphql::GraphQlRule;
use super::named::NameSource;
use super::names::JurisdictionId;
use super::upstream_groups::UpstreamGroup;

/// What one rule says. Everything it leaves out is decided as without a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteRule {
    /// The pattern as configured: what logs and metrics show in place of the path.
    pub pattern: String,
    pub access: Option<AccessRule>,
    /// Where its reads may be answered.
    pub reads: Reads,
    /// Which of a region's processes get its requests.
    pub upstream: UpstreamGroup,
    /// Where a request without a token names its subject by something else than its name: an e-mail address, a key.
    pub identifier: Option<NameSource>,
    /// Where a request without a token names the country it is about.
    pub country: Option<NameSource>,
    /// The jurisdiction of requests without a token. With an identifier: of those whose identifier nobody has.
    pub jurisdiction: Option<JurisdictionId>,
    /// The path parameter that names the subject, in place of the token's.
    pub subject: Option<String>,
    /// Which scripts may read the gateway's own answers.
    pub cors: Option<Arc<Cors>>,
}

/// How a rule tells reads from writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessRule {
    Always(Access),
    /// By the operation that the request names.
    GraphQl(GraphQlRule),
}

/// A pattern that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteFault {
    #[error("`{0}` is not `METHOD /path` or `/path`")]
    Form(String),
    #[error("`**` may only be the last segment of `{0}`")]
    MisplacedRest(String),
    #[error("`{pattern}` can't be told from `{other}`")]
    Conflict { pattern: String, other: String },
    #[error("`{pattern}` has no parameter `{{{parameter}}}`")]
    NoSuchParameter { pattern: String, parameter: String },
}

/// All rules, ready for look-up.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    rules: Vec<RouteRule>,
    by_method: HashMap<Box<str>, Router<usize>>,
    any_method: Router<usize>,
}

/// The rule for a request, with the subject its path names.
#[derive(Debug, Clone, Copy)]
pub struct RouteMatch<'table, 'path> {
    pub index: usize,
    pub rule: &'table RouteRule,
    /// As it stands in the path, still percent-encoded.
    pub subject: Option<&'path str>,
    /// The path's part in naming an identifier, still percent-encoded.
    pub identifier: Option<&'path str>,
}

impl RouteTable {
    /// Builds the table; `rules[i].pattern` is parsed here. Returns each fault with the index of its rule.
    pub fn new(rules: Vec<RouteRule>) -> Result<Self, Vec<(usize, RouteFault)>> {
        let mut table = Self::default();
        let mut faults = Vec::new();
        let mut implied: Vec<(Option<String>, String, usize)> = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            match Pattern::parse(&rule.pattern) {
                Ok(pattern) => {
                    let of_identifier = rule.identifier.as_ref().and_then(NameSource::parameter);
                    for parameter in rule.subject.as_deref().into_iter().chain(of_identifier) {
                        if !pattern.path.contains(&format!("{{{parameter}}}")) {
                            let (pattern, parameter) = (rule.pattern.clone(), parameter.to_owned());
                            faults.push((index, RouteFault::NoSuchParameter { pattern, parameter }));
                        }
                    }
                    if let Err(error) = table.router(pattern.method).insert(&pattern.path, index) {
                        let other = match error {
                            matchit::InsertError::Conflict { with } => with,
                            other => other.to_string(),
                        };
                        faults.push((index, RouteFault::Conflict { pattern: rule.pattern.clone(), other }));
                    }
                    implied.extend(
                        pattern.without_rest.map(|path| (pattern.method.map(str::to_owned), path, index)),
                    );
                }
                Err(fault) => faults.push((index, fault)),
            }
        }
        for (method, path, index) in implied {
            // A rule of its own for the bare path was inserted before and wins.
            let _ = table.router(method.as_deref()).insert(path, index);
        }
        table.rules = rules;
        if faults.is_empty() { Ok(table) } else { Err(faults) }
    }

    fn router(&mut self, method: Option<&str>) -> &mut Router<usize> {
        match method {
            Some(method) => self.by_method.entry(method.into()).or_default(),
            None => &mut self.any_method,
        }
    }

    /// The rule that applies to a request for `path` (without its query).
    pub fn find<'table, 'path>(
        &'table self,
        method: &str,
        path: &'path str,
    ) -> Option<RouteMatch<'table, 'path>> {
        if self.rules.is_empty() {
            return None;
        }
        let found = self
            .by_method
            .get(method)
            .and_then(|router| router.at(path).ok())
            .or_else(|| self.any_method.at(path).ok())?;
        let rule = &self.rules[*found.value];
        let parameter = |named: Option<&str>| named.and_then(|parameter| found.params.get(parameter));
        let subject = parameter(rule.subject.as_deref());
        let identifier = parameter(rule.identifier.as_ref().and_then(NameSource::parameter));
        Some(RouteMatch { index: *found.value, rule, subject, identifier })
    }

    pub fn rules(&self) -> &[RouteRule] {
        &self.rules
    }
}

struct Pattern<'text> {
    method: Option<&'text str>,
    path: String,
    without_rest: Option<String>,
}

impl<'text> Pattern<'text> {
    fn parse(text: &'text str) -> Result<Self, RouteFault> {
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (Some(method), path),
            None => (None, text),
        };
        let token = |method: &str| !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
        if !path.starts_with('/') || path.contains([' ', '?', '#']) || !method.is_none_or(token) {
            return Err(RouteFault::Form(text.to_owned()));
        }
        let (stem, rest) = match path.strip_suffix("/**") {
            Some(stem) => (stem, true),
            None => (path, false),
        };
        if stem.contains('*') {
            return Err(RouteFault::MisplacedRest(text.to_owned()));
        }
        if !rest {
            return Ok(Self { method, path: path.to_owned(), without_rest: None });
        }
        let bare = if stem.is_empty() { "/" } else { stem };
        Ok(Self { method, path: format!("{stem}/{{*rest}}"), without_rest: Some(bare.to_owned()) })
    }
}

/// No segment of the path means "here" or "up" to anyone who reads it, plain or percent-encoded.
pub fn is_unambiguous(path: &str) -> bool {
    if !path.contains("/.") && !path.contains('%') {
        return true;
    }
    path.split('/').all(|segment| {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        plain != "." && plain != ".."
    })
}

#[cfg(test)]
mod tests;
