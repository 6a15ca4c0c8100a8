//! `residency-gateway explain`: the decision about one request, in words, from the code that decides for real.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use http::Method;
use tokio::runtime::Builder;

use super::exchange::classify;
use super::forward::{access_name, database_name};
use super::identify::{locate, refusal_for};
use super::problem::Problem;
use crate::auth::{ClaimValue, KeyRefresher, RefreshOptions, TokenFault, VerifiedToken, Verifier};
use crate::clock;
use crate::config::Config;
use crate::domain::decide::{Basis, Decision, Enforced, Entry, Location, Question, decide};
use crate::domain::liveness::Liveness;
use crate::domain::names::RegionSet;
use crate::domain::routes::is_unambiguous;

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
    /// The region whose gateway gets the request; the configured one by default.
    #[arg(long, value_name = "REGION")]
    at: Option<String>,
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
    let path = arguments.path.split('?').next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(anyhow!("--path begins with a slash"));
    }
    let mut lines = vec![format!("request       {method} {path} at {}", topology.region_name(at))];
    if !is_unambiguous(path) {
        lines.push("decision      refuse: bad-request (the path has a dot segment)".to_owned());
        return Ok(lines.join("\n") + "\n");
    }
    let route = config.routes.find(method.as_str(), path);
    lines.push(format!("route         {}", route.map_or("no rule", |found| found.rule.pattern.as_str())));
    let access = classify(&method, false, route.as_ref());
    lines.push(format!("access        {}", access_name(access)));

    let location = match &arguments.token {
        Some(token) => match verify(config, token)? {
            Ok(verified) => {
                lines.push(format!(
                    "token         verified, subject {}",
                    verified.subject.as_deref().unwrap_or("-")
                ));
                let location = locate(config, &verified.jurisdiction);
                lines.push(describe_location(config, location, Some(&verified)));
                location
            }
            Err((fault, refusal)) => {
                lines.push(format!("token         refused: {fault}"));
                Location::Unknown(refusal)
            }
        },
        None => {
            lines.push("token         none".to_owned());
            match route.map(|found| found.rule) {
                Some(rule) if rule.jurisdiction.is_some() => {
                    let location = rule.jurisdiction.map_or(Location::Anonymous, Location::Jurisdiction);
                    lines.push(describe_location(config, location, None));
                    location
                }
                Some(rule) if rule.country.is_some() => {
                    lines.push("jurisdiction  of the country named in the body: the home of that jurisdiction decides".to_owned());
                    return Ok(lines.join("\n") + "\n");
                }
                _ => Location::Anonymous,
            }
        }
    };
    let question = Question { at, entry: Entry::Edge, location, access, unreachable: RegionSet::EMPTY };
    match decide(topology, &Liveness::assumed(topology), &question) {
        Decision::Forward(permit) => {
            let database = permit.database().map_or("no database", database_name);
            lines.push(format!(
                "decision      forward to {} ({database})",
                topology.region_name(permit.destination())
            ));
            lines.push(format!("because       {}", because(config, &permit)));
        }
        Decision::Refuse(refusal) => {
            let problem = Problem::Refused(refusal);
            lines.push(format!("decision      refuse: {} {}", problem.status().as_u16(), problem.code()));
            lines.push(format!("because       {}", problem.detail()));
        }
    }
    lines.push("assumed       every region alive and every replica fresh".to_owned());
    Ok(lines.join("\n") + "\n")
}

fn describe_location(config: &Config, location: Location, token: Option<&VerifiedToken>) -> String {
    let claims = config.token.issuers.first().map_or("region", |issuer| issuer.claims.jurisdiction.as_str());
    let source = match token.map(|token| &token.jurisdiction) {
        Some(ClaimValue::Text(value)) => format!("claim {claims}={value:?}"),
        Some(ClaimValue::Missing) => format!("no claim {claims}"),
        Some(ClaimValue::WrongType) => format!("claim {claims} is no string"),
        None => "fixed by the route".to_owned(),
    };
    match location {
        Location::Jurisdiction(found) => {
            format!("jurisdiction  {} ({source})", config.topology.jurisdiction_name(found))
        }
        _ => format!("jurisdiction  unknown ({source})"),
    }
}

fn because(config: &Config, permit: &crate::domain::decide::Permit) -> String {
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
    let home = topology.region_name(topology.home(jurisdiction));
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
        Basis::Lawful | Basis::NoSubject => match permit.access() {
            crate::domain::decide::Access::Write => format!("writes of {name} go to its home {home}"),
            crate::domain::decide::Access::Read => {
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
