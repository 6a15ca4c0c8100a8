//! Overrides and references.

use std::time::Duration;

use super::*;
use crate::config::{Endpoint, Place};
use crate::domain::upstream_groups::UpstreamGroup;

const SIDECAR: &str =
    "region = \"us-east\"\nupstream = \"127.0.0.1:3000\"\nserves = [\"us\"]\njwks = \"file:/k\"\n";

fn two_regions_with(variables: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    let complete = ["PG_US", "REDIS_URL", "JWT_SECRET", "API_SIGNING_SECRET", "SUBJECT_KEY"];
    let values = [
        "postgres://10.1.0.3/app",
        "redis://10.1.0.4/",
        "0123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789",
        "0123456789012345678901234567890123456789",
    ];
    let environment = complete.into_iter().zip(values).chain(variables.iter().copied()).collect();
    parse(TWO_REGIONS, &environment)
}

#[test]
fn a_variable_stands_over_the_file() {
    let config = two_regions_with(&[
        ("RESIDENCY_MODE", "observe"),
        ("RESIDENCY_LISTEN__WORKERS", "3"),
        ("RESIDENCY_LISTEN__HTTP", "\"127.0.0.1:8081\""),
        ("RESIDENCY_TOKEN__AUDIENCE", "a, b"),
        ("RESIDENCY_TOKEN__FROM", "[\"cookie:t\", \"bearer\"]"),
        ("RESIDENCY_TIMEOUTS__CONNECT_MS", "1_500"),
        ("RESIDENCY_REGIONS__EU_FRANKFURT__GATEWAY", "10.9.9.9:7443"),
        ("RESIDENCY_REGIONS__US_EAST__UPSTREAMS__API", "10.1.0.21:3000,10.1.0.22:3000"),
        ("RESIDENCY_REGIONS__US_EAST__DATABASES__US", "env:OTHER_PG"),
        ("RESIDENCY_JURISDICTIONS__EU__CLAIM_VALUES", "eu"),
        ("OTHER_PG", "postgresql://10.1.0.9/app"),
    ])
    .unwrap_or_else(|errors| panic!("{errors}"))
    .config;
    assert_eq!(config.topology.mode_of_unlocated(), crate::domain::topology::Mode::Observe);
    assert_eq!((config.listen.workers, config.listen.http.map(|address| address.port())), (3, Some(8081)));
    assert_eq!(config.token.issuers[0].audiences, ["a", "b"]);
    assert_eq!(config.token.from.len(), 2);
    assert_eq!(config.timeouts.connect, Duration::from_millis(1_500));
    let frankfurt = &config.regions[config.topology.region("eu-frankfurt").expect("it is there").index()];
    assert_eq!(frankfurt.gateway.as_ref().map(Endpoint::as_str), Some("10.9.9.9:7443"));
    let own = config.own_region();
    assert_eq!(
        own.endpoints(UpstreamGroup::API).iter().map(Endpoint::as_str).collect::<Vec<_>>(),
        ["10.1.0.21:3000", "10.1.0.22:3000"]
    );
    assert_eq!(own.databases[0].1.address(), "10.1.0.9:5432/app");
}

#[test]
fn a_variable_adds_what_the_file_leaves_out() {
    let variables = environment(&[
        ("RESIDENCY_TOKEN__ISSUER", "123"),
        ("RESIDENCY_LOG__ACCESS", "off"),
        ("RESIDENCY_REGION", "elsewhere"),
    ]);
    let config = config(SIDECAR, &variables);
    assert_eq!(config.token.issuers[0].issuer.as_deref(), Some("123"), "a string stays one");
    assert_eq!(config.topology.region_name(config.region), "elsewhere");
}

#[test]
fn the_same_file_serves_every_region() {
    for region in ["us-east", "eu-frankfurt"] {
        let variables = [
            ("RESIDENCY_REGION", region),
            ("PG_US_IN_FRANKFURT", "postgres://f/us"),
            ("PG_EU_IN_FRANKFURT", "postgres://f/eu"),
            ("REDIS_IN_FRANKFURT", "redis://f"),
        ];
        let config = two_regions_with(&variables).unwrap_or_else(|errors| panic!("{errors}")).config;
        assert_eq!(config.topology.region_name(config.region), region);
        assert_eq!(config.own_region().databases.len(), if region == "us-east" { 1 } else { 2 });
    }
}

#[test]
fn what_is_no_override_is_left_alone() {
    let text = SIDECAR.replace("file:/k", "env:RESIDENCY_KEYS");
    let variables = environment(&[
        ("RESIDENCY_KEYS", "file:/k"),
        ("RESIDENCY_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("RESIDENCY_GATEWAY_SERVICE_PORT_HTTP", "8080"),
        ("RESIDENCY_GATEWAY_PORT", "tcp://10.0.0.1:8080"),
        ("RESIDENCY_GATEWAY_PORT_8080_TCP_PROTO", "tcp"),
        ("PATH", "/bin"),
    ]);
    config(&text, &variables);
}

#[test]
fn a_variable_that_names_no_key_is_a_fault() {
    let misspelt = [
        "RESIDENCY_TOKEN__ISUER",
        "RESIDENCY_LISTEN",
        "RESIDENCY_REGIONS__MARS__GATEWAY",
        "RESIDENCY_REGIONS__US_EAST__DATABASES__MARS",
        "RESIDENCY_TOKEN__ISSUERS__0__JWKS",
        "RESIDENCY_",
        "RESIDENCY_TOKEN__",
    ];
    for name in misspelt {
        let errors = two_regions_with(&[(name, "x")]).expect_err(name).errors;
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].place, Place::Variable(name.to_owned()));
    }
}

#[test]
fn a_wrong_override_is_reported_under_its_own_name() {
    let errors = two_regions_with(&[("RESIDENCY_LISTEN__WORKERS", "many"), ("RESIDENCY_REGION", "us-eest")])
        .expect_err("both are wrong");
    insta::assert_snapshot!(errors);
}
