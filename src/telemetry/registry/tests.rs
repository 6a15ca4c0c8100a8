use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use super::*;
use crate::telemetry::catalog::Kind;
use crate::telemetry::{Access, DatabaseRole, Decision, HoldOutcome, RequestOutcome, UpstreamFailure};

fn labels() -> Arc<Labels> {
    labels_named(&["us", "eu"])
}

fn labels_named(jurisdictions: &[&str]) -> Arc<Labels> {
    Arc::new(Labels {
        regions: vec!["us-east".to_owned(), "eu-frankfurt".to_owned()],
        jurisdictions: jurisdictions.iter().map(|&name| name.to_owned()).collect(),
        refusals: &["token-missing", "home-unavailable"],
        token_faults: &["signature", "expired"],
    })
}

fn metrics() -> Metrics {
    Metrics::new("1.2.3", SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
}

fn local_read(jurisdiction: usize) -> RequestOutcome {
    RequestOutcome {
        jurisdiction: Some(jurisdiction),
        access: Access::Read,
        decision: Decision::Local,
        status: 200,
        duration: Duration::from_micros(100),
    }
}

/// Samples by `name{labels}`, as text.
fn scrape(metrics: &Metrics) -> BTreeMap<String, String> {
    let text = metrics.encode();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a sample is a series and a value");
            (series.to_owned(), value.to_owned())
        })
        .collect()
}

/// Everything that can be shown, shown.
fn exercised() -> Metrics {
    let metrics = metrics();
    let worker = metrics.worker(0, labels());
    worker.request(&local_read(0));
    metrics.access_log(Arc::default());
    let control = metrics.control();
    control.replication_lag("us", Some(Duration::from_millis(250)));
    control.database("us", true, Some(DatabaseRole::Replica));
    control.home("eu", "eu-frankfurt", true);
    control.generation("eu", 2, false);
    control.home_alarm("eu", "stale-primary");
    control.peer("eu-frankfurt", false);
    control.endpoint("api", "10.1.0.11:3000", true);
    control.endpoint_set_aside("api", "10.1.0.11:3000", 1);
    control.certificate_expiry("public", SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_001));
    control.jwks_fetched(
        "https://auth.acme.com",
        true,
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_001),
    );
    control.introspected("https://auth.acme.com/introspect", "active", Duration::from_millis(3));
    control.position_asked("eu", "primary");
    control.register("eu", 7, Some(Duration::from_millis(40)));
    control.register_reloaded("eu", "first");
    control.register_alarm("eu", "stale");
    control.register_row_refused("eu", "unknown-state");
    control.forgotten_certificate("refused");
    control.snapshot_refused("torn");
    control.control_call("GET /v1/table", "ok");
    control.config_applied(1, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_002));
    metrics
}

#[test]
fn a_scrape_shows_the_catalog_and_nothing_else() {
    let text = exercised().encode();
    let mut shown: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            shown.entry(name).or_default().0 = help;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            shown.entry(name).or_default().1 = kind;
        }
    }
    let catalog: BTreeMap<&str, (&str, &str)> =
        catalog::ALL.iter().map(|family| (family.name, (family.help, family.kind.as_str()))).collect();
    assert_eq!(shown, catalog);
    assert_eq!(catalog.len(), catalog::ALL.len(), "two families share a name");
}

#[test]
fn samples_have_the_labels_of_the_catalog() {
    for series in scrape(&exercised()).keys() {
        let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
        let used: BTreeSet<&str> = rest
            .trim_end_matches('}')
            .split("\",")
            .filter_map(|label| label.split_once('='))
            .map(|(label, _)| label)
            .filter(|&label| label != "le")
            .collect();
        let family = catalog::ALL
            .iter()
            .find(|family| match family.kind {
                Kind::Histogram => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|suffix| name.strip_suffix(suffix).is_some_and(|name| name == family.name)),
                Kind::Counter | Kind::Gauge => name == family.name,
            })
            .unwrap_or_else(|| panic!("{name} is not in the catalog"));
        assert_eq!(used, family.labels.iter().copied().collect(), "{series}");
    }
}

#[test]
fn names_follow_the_conventions() {
    for family in catalog::ALL {
        assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
        assert!(family.help.ends_with('.') && !family.help.contains('|'), "{}", family.name);
    }
}

/// To add a metric, add it to the catalog and put the row this test prints into the document.
#[test]
fn every_metric_is_documented_and_every_documented_metric_is_there() {
    let document = include_str!("../../../docs/METRICS.md");
    let documented: BTreeSet<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
    let rows: Vec<String> = catalog::ALL
        .iter()
        .map(|family| {
            let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            format!(
                "| `{}` | {} | {} | {} |",
                family.name,
                family.kind.as_str(),
                labels.join(", "),
                family.help
            )
        })
        .collect();
    let expected: BTreeSet<&str> = rows.iter().map(String::as_str).collect();
    let missing: Vec<_> = expected.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&expected).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "docs/METRICS.md lacks\n{missing:#?}\nand should not have\n{stale:#?}"
    );
}

#[test]
fn workers_are_summed() {
    let metrics = metrics();
    let threads = 4;
    thread::scope(|scope| {
        for index in 0..threads {
            let worker = metrics.worker(index, labels());
            scope.spawn(move || {
                for _ in 0..10_000 {
                    worker.request(&local_read(1));
                    worker.bytes(3, 5);
                }
                worker.token_cache_entries(7);
                worker.downstream_accepted();
            });
        }
        for _ in 0..50 {
            metrics.encode();
        }
    });
    let samples = scrape(&metrics);
    let requests =
        r#"residency_requests_total{jurisdiction="eu",access="read",decision="local",status="2xx"}"#;
    assert_eq!(samples[requests], "40000");
    assert_eq!(samples[r#"residency_downstream_bytes_total{direction="out"}"#], "200000");
    assert_eq!(samples["residency_token_cache_entries"], "28");
    assert_eq!(samples["residency_downstream_connections_active"], "4");
    assert_eq!(samples[r#"residency_request_duration_seconds_count{decision="local"}"#], "40000");
    assert_eq!(samples[r#"residency_request_duration_seconds_sum{decision="local"}"#], "4");
}

#[test]
fn requests_are_counted_by_all_their_labels() {
    let metrics = metrics();
    let worker = metrics.worker(0, labels());
    let outcome = |jurisdiction, access, decision, status| RequestOutcome {
        jurisdiction,
        access,
        decision,
        status,
        duration: Duration::from_millis(3),
    };
    for (times, outcome) in [
        outcome(Some(0), Access::Read, Decision::Local, 200),
        outcome(Some(0), Access::Write, Decision::Hop, 201),
        outcome(Some(1), Access::Write, Decision::Refused(1), 503),
        outcome(None, Access::Read, Decision::Refused(0), 401),
        outcome(None, Access::Read, Decision::Own, 200),
        outcome(Some(1), Access::Read, Decision::Observed, 0),
        outcome(Some(9), Access::Read, Decision::Refused(9), 999),
    ]
    .iter()
    .enumerate()
    {
        for _ in 0..=times {
            worker.request(outcome);
        }
    }
    let samples = scrape(&metrics);
    let requests: Vec<(&str, &str)> = samples
        .iter()
        .filter_map(|(series, value)| {
            Some((series.strip_prefix("residency_requests_total")?, value.as_str()))
        })
        .collect();
    assert_eq!(
        requests,
        [
            (r#"{jurisdiction="eu",access="read",decision="observed",status="aborted"}"#, "6"),
            (r#"{jurisdiction="eu",access="write",decision="refused",status="5xx"}"#, "3"),
            (r#"{jurisdiction="none",access="read",decision="own",status="2xx"}"#, "5"),
            (r#"{jurisdiction="none",access="read",decision="refused",status="4xx"}"#, "4"),
            (r#"{jurisdiction="none",access="read",decision="refused",status="aborted"}"#, "7"),
            (r#"{jurisdiction="us",access="read",decision="local",status="2xx"}"#, "1"),
            (r#"{jurisdiction="us",access="write",decision="hop",status="2xx"}"#, "2"),
        ]
    );
    assert_eq!(samples[r#"residency_refusals_total{jurisdiction="eu",code="home-unavailable"}"#], "3");
    assert_eq!(samples[r#"residency_refusals_total{jurisdiction="none",code="token-missing"}"#], "4");
    assert_eq!(samples[r#"residency_refusals_total{jurisdiction="us",code="token-missing"}"#], "0");
    assert!(!samples.contains_key(r#"residency_request_duration_seconds_count{decision="own"}"#));
    let bucket = |bound| {
        samples[&format!(r#"residency_request_duration_seconds_bucket{{decision="hop",le="{bound}"}}"#)]
            .clone()
    };
    assert_eq!(["0.002048", "0.003072", "+Inf"].map(bucket), ["0", "2", "2"]);
}

#[test]
fn every_counter_lands_under_its_own_name() {
    let metrics = metrics();
    let worker = metrics.worker(0, labels());
    worker.upstream_opened(0);
    worker.upstream_opened(0);
    worker.upstream_reused(1);
    worker.upstream_closed(0);
    worker.upstream_retried(1);
    worker.upstream_failed(1, UpstreamFailure::Protocol);
    worker.upstream_failed(77, UpstreamFailure::Connect);
    worker.downstream_accepted();
    worker.downstream_accepted();
    worker.downstream_closed();
    worker.tls_handshake(true);
    worker.tls_handshake(true);
    worker.tls_handshake(false);
    for (is_tls13, is_resumed) in [(false, false), (false, true), (true, false), (true, false), (true, true)]
    {
        worker.tls_session(is_tls13, is_resumed);
    }
    worker.websocket_opened();
    worker.hold_began();
    worker.hold_began();
    worker.hold_ended(HoldOutcome::Released, Duration::from_millis(3));
    worker.hold_ended(HoldOutcome::Full, Duration::ZERO);
    worker.token_cache_lookup(true);
    worker.token_cache_lookup(true);
    worker.token_cache_lookup(false);
    worker.token_fault(1);
    worker.token_fault(77);
    worker.unlawful_observed(Some(1));
    let mut samples = scrape(&metrics);
    samples.retain(|series, value| value != "0" && !series.contains("_bucket{"));
    samples.retain(|series, _| series.starts_with("residency_"));
    let lines: Vec<String> = samples.iter().map(|(series, value)| format!("{series} {value}")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    residency_build_info{version="1.2.3"} 1
    residency_downstream_connections_accepted_total 2
    residency_downstream_connections_active 1
    residency_downstream_connections_closed_total 1
    residency_hold_duration_seconds_count 1
    residency_hold_duration_seconds_sum 0.003
    residency_holds_total{outcome="full"} 1
    residency_holds_total{outcome="released"} 1
    residency_holds_waiting 1
    residency_tls_handshakes_total{result="failed"} 1
    residency_tls_handshakes_total{result="ok"} 2
    residency_tls_sessions_total{version="1.2",handshake="full"} 1
    residency_tls_sessions_total{version="1.2",handshake="resumed"} 1
    residency_tls_sessions_total{version="1.3",handshake="full"} 2
    residency_tls_sessions_total{version="1.3",handshake="resumed"} 1
    residency_token_cache_lookups_total{result="hit"} 2
    residency_token_cache_lookups_total{result="miss"} 1
    residency_token_faults_total{fault="expired"} 1
    residency_unlawful_observed_total{jurisdiction="eu"} 1
    residency_upstream_connections_closed_total{region="us-east"} 1
    residency_upstream_connections_opened_total{region="us-east"} 2
    residency_upstream_connections_open{region="us-east"} 1
    residency_upstream_connections_reused_total{region="eu-frankfurt"} 1
    residency_upstream_failures_total{region="eu-frankfurt",kind="protocol"} 1
    residency_upstream_failures_total{region="none",kind="connect"} 1
    residency_upstream_retries_total{region="eu-frankfurt"} 1
    residency_websockets_active 1
    residency_websockets_total 1
    "#);
}

#[test]
fn a_reload_with_other_labels_loses_no_count_and_repeats_none() {
    let metrics = metrics();
    let old = metrics.worker(0, labels_named(&["us", "eu"]));
    old.request(&local_read(1));
    old.downstream_accepted();
    old.token_cache_entries(5);
    // The same index means another jurisdiction now.
    let new = metrics.worker(0, labels_named(&["eu", "jp"]));
    new.request(&local_read(0));
    new.request(&local_read(1));
    new.downstream_closed();
    new.token_cache_entries(2);
    old.request(&local_read(1));
    let check = |metrics: &Metrics| {
        let samples = scrape(metrics);
        let requests = |jurisdiction| {
            samples[&format!(
                r#"residency_requests_total{{jurisdiction="{jurisdiction}",access="read",decision="local",status="2xx"}}"#
            )]
                .as_str()
        };
        assert_eq!((requests("eu"), requests("jp")), ("3", "1"));
        assert_eq!(samples["residency_downstream_connections_active"], "0");
        assert_eq!(samples["residency_token_cache_entries"], "2");
    };
    check(&metrics);
    drop(old);
    check(&metrics);
    check(&metrics);
    assert_eq!(lock(&metrics.workers).counting.len(), 1, "what nobody counts with is let go");
}

#[test]
fn what_is_unknown_has_no_sample() {
    let metrics = exercised();
    let lag = r#"residency_replication_lag_seconds{jurisdiction="us"}"#;
    let replica = r#"residency_database_role{jurisdiction="us",role="replica"}"#;
    assert_eq!((scrape(&metrics)[lag].as_str(), scrape(&metrics)[replica].as_str()), ("0.25", "1"));
    metrics.control().replication_lag("us", None);
    metrics.control().replication_lag("us", None);
    metrics.control().database("us", false, None);
    let samples = scrape(&metrics);
    assert!(!samples.contains_key(lag) && !samples.contains_key(replica));
    assert_eq!(samples[r#"residency_database_up{jurisdiction="us"}"#], "0");
    metrics.control().forget_topology();
    assert!(!metrics.encode().contains("residency_database_up"));
}

#[test]
fn a_rejected_configuration_shows() {
    let metrics = exercised();
    metrics.control().config_rejected();
    let samples = scrape(&metrics);
    assert_eq!(samples["residency_config_last_reload_success"], "0");
    assert_eq!(samples["residency_config_generation"], "1");
    assert_eq!(samples[r#"residency_config_reloads_total{result="rejected"}"#], "1");
}

#[test]
fn label_values_are_escaped() {
    let metrics = metrics();
    metrics.control().peer("a\"b\\c\nd", true);
    assert!(metrics.encode().contains(r#"residency_peer_up{region="a\"b\\c\nd"} 1"#));
}
