use std::sync::Arc;

use super::*;
use crate::clock::CoarseClock;
use crate::gateway::connection::Activity;

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_str(value).expect("a value"),
            )
        })
        .collect()
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

fn client(address: &str) -> Client {
    let second = std::time::Duration::from_secs(1);
    let timeouts = crate::config::Timeouts {
        header: second,
        idle: second,
        connect: second,
        first_byte: second,
        upstream_idle: second,
        stream_idle: second,
        drain: second,
    };
    let activity = Activity::new(&Arc::new(CoarseClock::default()), &timeouts);
    Client::new(address.parse().expect("an address"), Entry::Edge, false, activity)
}

#[test]
fn nothing_that_is_ours_or_hop_by_hop_passes() {
    let mut headers = map(&[
        ("host", "a"),
        ("residency-jurisdiction", "eu"),
        ("Residency-Subject", "root"),
        ("residency-anything", "x"),
        ("connection", "close, X-Secret, authorization"),
        ("x-secret", "1"),
        ("authorization", "Bearer t"),
        ("keep-alive", "5"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("proxy-authorization", "x"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-port", "1"),
        ("forwarded", "for=6.6.6.6"),
        ("x-kept", "1"),
    ]);
    assert_eq!(strip(&mut headers, false), Seen { hosts: 1, upgrade: None, coding: Coding::Chunked });
    assert_eq!(names(&headers), ["authorization", "host", "x-kept"]);
}

#[test]
fn an_upgrade_is_one_only_if_connection_says_so() {
    assert!(
        strip(&mut map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]), false)
            .upgrade
            .is_some()
    );
    assert!(
        strip(&mut map(&[("connection", "keep-alive"), ("upgrade", "websocket")]), false).upgrade.is_none()
    );
    assert!(strip(&mut map(&[("upgrade", "websocket")]), false).upgrade.is_none());
    assert!(strip(&mut map(&[("connection", "upgrade")]), false).upgrade.is_none());
}

#[test]
fn forwarding_headers_are_made_anew_for_strangers_and_extended_for_the_believed() {
    let mut headers =
        map(&[("host", "api.acme.com"), ("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6")]);
    strip(&mut headers, false);
    add_forwarded(&mut headers, &client("192.0.2.7"), false);
    assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    assert_eq!(headers["forwarded"], "for=192.0.2.7;host=\"api.acme.com\";proto=http");
    assert_eq!(headers["x-forwarded-host"], "api.acme.com");

    let mut headers = map(&[("host", "a"), ("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https")]);
    strip(&mut headers, true);
    add_forwarded(&mut headers, &client("2001:db8::1"), true);
    assert_eq!(headers["x-forwarded-for"], "6.6.6.6, 2001:db8::1");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers["forwarded"], "for=\"[2001:db8::1]\";host=\"a\";proto=http");
}

#[test]
fn the_forwarded_value_follows_the_host() {
    let client = client("192.0.2.7");
    for host in ["a", "b", "b\"x"] {
        let mut headers = map(&[("host", host)]);
        add_forwarded(&mut headers, &client, false);
        let expect = match host {
            "b\"x" => "for=192.0.2.7;proto=http".to_owned(),
            host => format!("for=192.0.2.7;host=\"{host}\";proto=http"),
        };
        assert_eq!(headers["forwarded"], expect);
    }
}
