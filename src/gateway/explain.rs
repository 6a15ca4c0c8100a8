//! `residency-gateway explain`: the decision about one request, in words, from the code that decides for real.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use http::Method;
use tokio::runtime::Builder;

use super::forward::{access_name, database_name};
use super::identify::{locate, refusal_for};
use super::problem::Problem;
use crate::auth::{ClaimValue, KeyRefresher, RefreshOptions, TokenFault, VerifiedToken, Verifier};
use crate::clock;
use crate::config::Config;
use crate::domain::classify::{self, Classified, Head, Hint, Identified};
use crate::domain::cors::Cors;
use crate::domain::decide::{
    Access, Basis, Decision, Enforced, Entry, Location, Permit, Question, Reads, decide,
};
use crate::domain::graphql::{GraphQlRequest, GraphQlRule};
use crate::domain::liveness::Liveness;
use crate::domain::named::{self, NameSource, WholeBody};
use crate::domain::names::RegionSet;
use crate::domain::routes::{RouteRule, is_unambiguous};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/residency/residency.toml")]
    pub config: PathBuf,
    /// The request's token; none for a request without one.
    #[arg(long)]
    token: Option<String>,
    #[arg(long, default_value = "GET")]
    method: String,
    #[arg(long, default_value = "/")]
    path: String,
    /// A header line of the request, `Name: value`; may be given several times.
    #[arg(long = "header", value_name = "LINE", value_parser = header_line)]
    headers: Vec<(String, String)>,
    /// The request's body, where it decides: a country, a GraphQL operation. JSON unless a Content-Type says otherwise.
    #[arg(long)]
    body: Option<String>,
    /// The region whose gateway gets the request; the configured one by default.
    #[arg(long, value_name = "REGION")]
    at: Option<String>,
}

fn header_line(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').ok_or("write Name: value")?;
    Ok((name.to_owned(), value.trim().to_owned()))
}

/// Prints the decision. Exit code 0 whatever it is: the question was answered.
pub fn run(config: &Config, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let text = explain(config, arguments)?;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn explain(config: &Config, arguments: &Arguments) -> anyhow::Result<String> {
    let topology = &config.topology;
    let at = match &arguments.at {
        Some(name) => topology.region(name).ok_or_else(|| {
            let known: Vec<&str> = topology.regions().map(|region| topology.region_name(region)).collect();
            anyhow!("--at {name}: no such region; one of {}", known.join(", "))
        })?,
        None => config.region,
    };
    let method = Method::from_bytes(arguments.method.as_bytes()).context("--method is not an HTTP method")?;
    let (path, query) = match arguments.path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (arguments.path.as_str(), None),
    };
    if !path.starts_with('/') {
        return Err(anyhow!("--path begins with a slash"));
    }
    let mut lines = vec![format!("request       {method} {path} at {}", topology.region_name(at))];
    if !is_unambiguous(path) {
        lines.push("decision      refuse: bad-request (the path has a dot segment)".to_owned());
        return Ok(lines.join("\n") + "\n");
    }
    let route = config.routes.find(method.as_str(), path);
    let rule = route.map(|found| found.rule);
    lines.push(format!("route         {}", rule.map_or("no rule", |rule| rule.pattern.as_str())));
    let group = rule.map_or_else(Default::default, |rule| rule.upstream);
    lines.push(format!("upstream      {}", config.upstream_groups.name(group)));
    let content = Content::of(arguments);
    let head = Head { method: method.as_str(), upgrade: false, has_token: arguments.token.is_some() };
    let (access, how) = content.access(head, query, rule);
    lines.push(format!("access        {}{how}", access_name(access)));
    let reads = classify::reads(rule);
    if access == Access::Read && reads == Reads::Home {
        lines.push("reads         at the home, by its primary".to_owned());
    }

    let location = match &arguments.token {
        Some(token) => match verify(config, token)? {
            Ok(verified) => {
                lines.push(format!(
                    "token         verified, subject {}",
                    verified.subject.as_deref().unwrap_or("-")
                ));
                let location = locate(config, &verified.jurisdiction);
                let source = describe_claim(config, &verified);
                lines.push(describe_location(config, location, &source));
                location
            }
            Err((fault, refusal)) => {
                lines.push(format!("token         refused: {fault}"));
                Location::Unknown(refusal)
            }
        },
        None => {
            lines.push("token         none".to_owned());
            match head.hint(rule) {
                Hint::Located(location) => {
                    if location != Location::Anonymous {
                        lines.push(describe_location(config, location, "fixed by the route"));
                    }
                    location
                }
                Hint::Identifier(Identified { identifier, .. }) => {
                    lines.push(format!(
                        "jurisdiction  of the subject with the identifier named {}, by the registers; {}",
                        place_of(identifier),
                        rule.and_then(|rule| rule.jurisdiction).map_or(
                            "read nearest if nobody has it".to_owned(),
                            |otherwise| {
                                format!("{} if nobody has it", topology.jurisdiction_name(otherwise))
                            }
                        ),
                    ));
                    return Ok(lines.join("\n") + "\n");
                }
                Hint::Country(source) if source.reads_body() && arguments.body.is_none() => {
                    lines.push("jurisdiction  of the country named in the body (--body): the home of that jurisdiction decides".to_owned());
                    return Ok(lines.join("\n") + "\n");
                }
                Hint::Country(source) => {
                    let named = source.find(&content.body(), None, |name| content.header(name));
                    let location = named::country::locate(topology, &named);
                    lines.push(describe_location(config, location, "of the country the request names"));
                    location
                }
            }
        }
    };
    let question = Question {
        at,
        entry: Entry::Edge,
        location,
        access,
        reads,
        caught_up: None,
        unreachable: RegionSet::EMPTY,
    };
    let liveness = Liveness::assumed(topology);
    match decide(topology, &liveness, &question) {
        Decision::Forward(permit) => {
            let database = permit.database().map_or("no database", database_name);
            lines.push(format!(
                "decision      forward to {} ({database})",
                topology.region_name(permit.destination())
            ));
            lines.push(format!("because       {}", because(config, &liveness, &question, &permit)));
        }
        Decision::Hold => {
            lines.push(
                "decision      hold: its subject is being moved; decided anew when that has ended".to_owned(),
            );
        }
        Decision::Refuse(refusal) => {
            let problem = Problem::Refused(refusal);
            lines.push(format!("decision      refuse: {} {}", problem.status().as_u16(), problem.code()));
            lines.push(format!("because       {}", problem.detail()));
            lines.extend(content.reader_of_refusals(config.cors_of(rule)));
        }
    }
    lines.push(
        "assumed       every region alive, every replica fresh, every home where the configuration has it"
            .to_owned(),
    );
    Ok(lines.join("\n") + "\n")
}

/// Where the request names it, in words.
fn place_of(source: &NameSource) -> String {
    match source {
        NameSource::Json(pointer) => format!("at {pointer} of the body"),
        NameSource::Form(field) => format!("by the form's field {field}"),
        NameSource::Header(name) => format!("by the header {name}"),
        NameSource::Cookie(name) => format!("by the cookie {name}"),
        NameSource::Path(parameter) => format!("by {{{parameter}}} of the path"),
    }
}

/// What the command says of the request's headers and body.
struct Content<'arguments> {
    /// Names in lower case.
    headers: Vec<(String, &'arguments [u8])>,
    body: &'arguments [u8],
    has_body: bool,
}

impl<'arguments> Content<'arguments> {
    fn of(arguments: &'arguments Arguments) -> Self {
        let mut headers: Vec<(String, &[u8])> = arguments
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_bytes()))
            .collect();
        if !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), b"application/json"));
        }
        let body = arguments.body.as_deref();
        Self { headers, body: body.unwrap_or_default().as_bytes(), has_body: body.is_some() }
    }

    fn header(&self, name: &str) -> impl Iterator<Item = &'arguments [u8]> {
        self.headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| *value)
    }

    /// The value, if there is one line of that name.
    fn only(&self, name: &str) -> Option<&'arguments [u8]> {
        let mut values = self.header(name);
        values.next().filter(|_| values.next().is_none())
    }

    fn body(&self) -> WholeBody<'arguments> {
        WholeBody { content_type: self.only("content-type"), bytes: self.body }
    }

    /// The access, and how it was found.
    fn access(
        &self,
        head: Head<'_>,
        query: Option<&str>,
        rule: Option<&RouteRule>,
    ) -> (Access, &'static str) {
        let graphql = match head.classify(rule) {
            Classified::As(access) => return (access, ""),
            Classified::GraphQl(graphql) => graphql,
        };
        let WholeBody { content_type, bytes } = self.body();
        let body = self.has_body.then_some(bytes);
        let request = GraphQlRequest { method: head.method, query, content_type, body };
        let how = match (GraphQlRule::reads_body(head.method), self.has_body) {
            (true, false) => " (by the GraphQL operation, which is in the body: give --body)",
            _ => " (by the GraphQL operation)",
        };
        (graphql.access_of(&request), how)
    }

    /// Whether the script that asks can read the refusal, when the request comes from one.
    fn reader_of_refusals(&self, cors: Option<&Cors>) -> Option<String> {
        let origin = self.only("origin")?;
        let headers = cors.map(|cors| cors.headers_for(Some(origin))).unwrap_or_default();
        let may = headers.iter().any(|(name, _)| *name == "access-control-allow-origin");
        let origin = String::from_utf8_lossy(origin);
        Some(format!("cors          a script of {origin} {} read this", if may { "may" } else { "may not" }))
    }
}

fn describe_claim(config: &Config, token: &VerifiedToken) -> String {
    let claims = config.token.issuers.first().map_or("region", |issuer| issuer.claims.jurisdiction.as_str());
    match &token.jurisdiction {
        ClaimValue::Text(value) => format!("claim {claims}={value:?}"),
        ClaimValue::Missing => format!("no claim {claims}"),
        ClaimValue::WrongType => format!("claim {claims} is no string"),
    }
}

fn describe_location(config: &Config, location: Location, source: &str) -> String {
    match location {
        Location::Jurisdiction(found) => {
            format!("jurisdiction  {} ({source})", config.topology.jurisdiction_name(found))
        }
        _ => format!("jurisdiction  unknown ({source})"),
    }
}

fn because(config: &Config, liveness: &Liveness, question: &Question, permit: &Permit) -> String {
    let topology = &config.topology;
    let Some(jurisdiction) = permit.jurisdiction() else {
        return match permit.basis() {
            Basis::Observed(Enforced::Refused(refusal)) => {
                format!("observed only; enforcing would refuse: {}", refusal.code())
            }
            _ => "a read without a token touches no subject's data and is served here".to_owned(),
        };
    };
    let name = topology.jurisdiction_name(jurisdiction);
    let home = topology.region_name(liveness.of(jurisdiction).home);
    let lawful: Vec<&str> = topology
        .regions()
        .filter(|&region| topology.lawful_regions(jurisdiction).contains(region))
        .map(|region| topology.region_name(region))
        .collect();
    match permit.basis() {
        Basis::Observed(Enforced::OtherRegion(region)) => {
            format!("{name} is observed only; enforcing would send it to {}", topology.region_name(region))
        }
        Basis::Observed(Enforced::Refused(refusal)) => {
            format!("{name} is observed only; enforcing would refuse: {}", refusal.code())
        }
        Basis::Observed(Enforced::SameRegion) => {
            format!("{name} is observed only; enforcing would do the same")
        }
        Basis::Lawful | Basis::NoSubject => match (permit.access(), question.reads) {
            (Access::Write, _) => format!("writes of {name} go to its home {home}"),
            (Access::Read, Reads::Home) => format!("this route's reads of {name} go to its home {home}"),
            (Access::Read, Reads::Nearest) => {
                format!("the nearest of {name}'s regions: {}", lawful.join(", "))
            }
        },
    }
}

type Refused = (TokenFault, crate::domain::decide::Refusal);

/// Verifies the token with keys fetched for this once, and asks its issuer where a gateway would.
fn verify(config: &Config, token: &str) -> anyhow::Result<Result<VerifiedToken, Refused>> {
    let verifier = Verifier::new(config.token.issuers.clone(), None).map_err(|faults| {
        anyhow!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    let options = RefreshOptions { refresh_every: config.token.jwks_refresh, ca_file: None };
    let refresher = KeyRefresher::new(std::sync::Arc::clone(verifier.ring()), &options)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let failed = runtime.block_on(refresher.load_once());
    for (index, fault) in failed {
        tracing::debug!(issuer = index, %fault, "keys not fetched");
        eprintln!("issuer {}: keys not fetched: {fault}", index + 1);
    }
    let introspection = verifier.take_introspection();
    let outcome = runtime.block_on(async {
        let authenticated = verifier.authenticate(token, clock::unix_time().as_secs());
        let Some(introspection) = introspection else { return Ok(authenticated.await) };
        tokio::select! {
            outcome = authenticated => Ok(outcome),
            // It goes on for as long as the verifier is there.
            ended = introspection.run(|_, _| {}) => ended.map(|()| Err(TokenFault::IntrospectionUnavailable)),
        }
    })?;
    Ok(outcome.map_err(|fault| (fault, refusal_for(&fault))))
}
