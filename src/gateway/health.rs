//! Health as clients see it: a status per depth and jurisdiction, from state refreshed in the background.
//!
//! The format is `application/health+json` (draft-inadarei-api-health-check). `fail` answers 503; `pass` and `warn` 200.
//! What lies in another region is at most a warning: one dead region must not take the others out of a balancer.

use std::fmt::Write as _;

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value, json};

use crate::domain::names::JurisdictionId;

/// Ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Pass,
    Warn,
    Fail,
}

/// How deep a look goes. Each includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// The process answers and isn't draining.
    Basic,
    /// This region's databases: connection and replication lag.
    Db,
    /// Redis, API processes, other regions, external services.
    Full,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// `component:measurement`, as the format has it.
    pub name: String,
    pub depth: Depth,
    /// The only jurisdiction it matters for; `None` matters for all.
    pub jurisdiction: Option<JurisdictionId>,
    pub status: Status,
    /// A figure and its unit.
    pub observed: Option<(Value, &'static str)>,
    /// What is wrong, for operators.
    pub output: Option<String>,
}

/// The latest checks, replaced as a whole. Before the first look there are none, and nothing but the process is well.
#[derive(Default)]
pub struct HealthState(ArcSwapOption<Vec<Check>>);

impl Status {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    pub const fn http(self) -> http::StatusCode {
        match self {
            Self::Pass | Self::Warn => http::StatusCode::OK,
            Self::Fail => http::StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Depth {
    pub fn of_path(path: &str) -> Option<Self> {
        match path {
            "/health/basic" => Some(Self::Basic),
            "/health/db" => Some(Self::Db),
            "/health/full" => Some(Self::Full),
            _ => None,
        }
    }
}

impl HealthState {
    /// The same checks, to be replaced independently.
    pub fn copy(&self) -> Self {
        Self(ArcSwapOption::new(self.0.load_full()))
    }

    pub fn publish(&self, checks: Vec<Check>) {
        self.0.store(Some(std::sync::Arc::new(checks)));
    }

    /// The worst of the checks asked for.
    pub fn status(&self, depth: Depth, jurisdiction: Option<JurisdictionId>) -> Status {
        if depth == Depth::Basic {
            return Status::Pass;
        }
        let Some(checks) = &*self.0.load() else { return Status::Fail };
        asked(checks, depth, jurisdiction).map(|check| check.status).max().unwrap_or(Status::Pass)
    }

    /// The document, with each check when `detail` is wanted.
    pub fn document(
        &self,
        depth: Depth,
        jurisdiction: Option<JurisdictionId>,
        region: &str,
        draining: bool,
        detail: bool,
    ) -> (Status, String) {
        let status = if draining { Status::Fail } else { self.status(depth, jurisdiction) };
        let mut text = String::with_capacity(96);
        let _ = write!(text, r#"{{"status":"{}","serviceId":"residency-gateway""#, status.name());
        if draining {
            text.push_str(r#","output":"draining: this gateway takes no new work""#);
        }
        if detail {
            let mut checks: Map<String, Value> = Map::new();
            for check in self.0.load().iter().flat_map(|checks| asked(checks, depth, jurisdiction)) {
                let entry = checks.entry(check.name.clone()).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(entries) = entry {
                    entries.push(check.json());
                }
            }
            let _ = write!(
                text,
                r#","description":{},"checks":{}"#,
                json!(format!("region {region}")),
                Value::Object(checks)
            );
        }
        text.push('}');
        (status, text)
    }
}

fn asked(
    checks: &[Check],
    depth: Depth,
    jurisdiction: Option<JurisdictionId>,
) -> impl Iterator<Item = &Check> {
    checks.iter().filter(move |check| {
        check.depth <= depth
            && (jurisdiction.is_none() || check.jurisdiction.is_none() || check.jurisdiction == jurisdiction)
    })
}

impl Check {
    pub fn new(name: impl Into<String>, depth: Depth, status: Status) -> Self {
        Self { name: name.into(), depth, jurisdiction: None, status, observed: None, output: None }
    }

    #[must_use]
    pub fn of(mut self, jurisdiction: JurisdictionId) -> Self {
        self.jurisdiction = Some(jurisdiction);
        self
    }

    #[must_use]
    pub fn observed(mut self, value: impl Into<Value>, unit: &'static str) -> Self {
        self.observed = Some((value.into(), unit));
        self
    }

    #[must_use]
    pub fn output(mut self, output: impl Into<String>) -> Self {
        self.output = Some(output.into());
        self
    }

    fn json(&self) -> Value {
        let mut entry = json!({ "status": self.status.name() });
        if let Some((value, unit)) = &self.observed {
            entry["observedValue"] = value.clone();
            entry["observedUnit"] = json!(unit);
        }
        if let Some(output) = &self.output {
            entry["output"] = json!(output);
        }
        entry
    }
}
