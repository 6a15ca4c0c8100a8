use std::rc::Rc;

use super::*;

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.add(name, value.as_bytes());
    }
    fields
}

fn names(fields: &Fields) -> Vec<String> {
    let mut names: Vec<_> =
        fields.iter().map(|field| String::from_utf8_lossy(field.name_text).into_owned()).collect();
    names.sort_unstable();
    names
}

fn value(fields: &Fields, name: &str) -> String {
    let values: Vec<_> = fields.named(name).map(String::from_utf8_lossy).collect();
    values.join("|")
}

fn peer(address: &str) -> Rc<Peer> {
    Peer::new(address.parse().expect("an address"), Entry::Edge, false)
}

#[test]
fn nothing_that_is_ours_or_hop_by_hop_passes() {
    let mut headers = fields(&[
        ("host", "a"),
        ("residency-jurisdiction", "eu"),
        ("Residency-Subject", "root"),
        ("residency_subject", "root"),
        ("residency-anything", "x"),
        ("connection", "close, X-Secret, authorization"),
        ("x-secret", "1"),
        ("authorization", "Bearer t"),
        ("keep-alive", "5"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("proxy-authorization", "x"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("x-forwarded-for", "6.6.6.6"),
        ("X-Forwarded-Port", "1"),
        ("x_forwarded_for", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("x-kept", "1"),
        ("trailer", "x-sum"),
    ]);
    let seen = strip(&mut headers, false);
    assert_eq!(seen, Seen { hosts: 1, takes_trailers: true, ..Seen::default() });
    assert_eq!(names(&headers), ["authorization", "host", "trailer", "x-kept"]);
}

#[test]
fn an_upgrade_is_one_only_if_connection_says_so_and_to_a_websocket_only() {
    for (lines, expected) in [
        (&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")][..], true),
        (&[("connection", "Upgrade"), ("upgrade", "WebSocket")], true),
        (&[("connection", "keep-alive"), ("upgrade", "websocket")], false),
        (&[("upgrade", "websocket")], false),
        (&[("connection", "upgrade")], false),
        (&[("connection", "upgrade, http2-settings"), ("upgrade", "h2c")], false),
        (&[("connection", "upgrade"), ("upgrade", "h2c, websocket")], false),
        (&[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")], false),
    ] {
        let mut headers = fields(lines);
        assert_eq!(strip(&mut headers, false).websocket, expected, "{lines:?}");
        assert!(headers.is_empty(), "{lines:?}");
    }
}

#[test]
fn an_api_says_nothing_that_is_ours_or_for_one_hop() {
    let mut headers = fields(&[
        ("residency-served-by", "elsewhere"),
        ("Residency-Position", "x"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("set-cookie", "a=1"),
        ("content-length", "5"),
        ("x-forwarded-for", "passes"),
    ]);
    strip_response(&mut headers, |name| name == b"residency-served-by");
    assert_eq!(names(&headers), ["content-length", "residency-served-by", "set-cookie", "x-forwarded-for"]);
    strip_response(&mut headers, |_| false);
    assert_eq!(names(&headers), ["content-length", "set-cookie", "x-forwarded-for"]);
}

#[test]
fn forwarding_headers_are_made_anew_for_strangers_and_extended_for_the_believed() {
    let mut headers =
        fields(&[("host", "api.acme.com"), ("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6")]);
    strip(&mut headers, false);
    add_forwarded(&mut headers, &peer("192.0.2.7"), false);
    assert_eq!(value(&headers, "x-forwarded-for"), "192.0.2.7");
    assert_eq!(value(&headers, "forwarded"), "for=192.0.2.7;host=\"api.acme.com\";proto=http");
    assert_eq!(value(&headers, "x-forwarded-host"), "api.acme.com");

    let mut headers =
        fields(&[("host", "a"), ("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https")]);
    strip(&mut headers, true);
    add_forwarded(&mut headers, &peer("2001:db8::1"), true);
    assert_eq!(value(&headers, "x-forwarded-for"), "6.6.6.6, 2001:db8::1");
    assert_eq!(value(&headers, "x-forwarded-proto"), "https");
    assert_eq!(value(&headers, "forwarded"), "for=\"[2001:db8::1]\";host=\"a\";proto=http");
}

#[test]
fn the_forwarded_value_follows_the_host() {
    let peer = peer("192.0.2.7");
    for host in ["a", "b", "b\"x"] {
        let mut headers = fields(&[("host", host)]);
        add_forwarded(&mut headers, &peer, false);
        let expect = match host {
            "b\"x" => "for=192.0.2.7;proto=http".to_owned(),
            host => format!("for=192.0.2.7;host=\"{host}\";proto=http"),
        };
        assert_eq!(value(&headers, "forwarded"), expect);
    }
}
