use proptest::prelude::*;

use super::*;

fn cors(origins: &[&str], credentials: bool) -> Cors {
    let origins = origins.iter().map(|text| OriginPattern::parse(text).expect(text)).collect();
    let allow_headers = vec!["authorization".to_owned(), "content-type".to_owned()];
    Cors::new(CorsSpec {
        origins,
        credentials,
        expose: vec!["x-request-id".to_owned()],
        allow_headers,
        max_age_s: 60,
    })
    .expect("it fits together")
}

fn shown(headers: &CorsHeaders<'_>) -> Vec<String> {
    headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect()
}

#[test]
fn a_refusal_can_be_read_by_whoever_may() {
    let own = cors(&["https://app.acme.com", "https://*.acme.dev:8443"], true);
    for (origin, expect) in [
        (
            Some("https://app.acme.com"),
            &[
                "access-control-allow-origin: https://app.acme.com",
                "access-control-allow-credentials: true",
                "access-control-expose-headers: x-request-id, retry-after, residency-position",
                "vary: origin",
            ][..],
        ),
        (
            Some("https://a.b.acme.dev:8443"),
            &[
                "access-control-allow-origin: https://a.b.acme.dev:8443",
                "access-control-allow-credentials: true",
                "access-control-expose-headers: x-request-id, retry-after, residency-position",
                "vary: origin",
            ],
        ),
        (Some("https://evil.com"), &["vary: origin"]),
        (Some("null"), &["vary: origin"]),
        (Some(""), &["vary: origin"]),
        (None, &["vary: origin"]),
    ] {
        assert_eq!(shown(&own.headers_for(origin.map(str::as_bytes))), expect, "{origin:?}");
    }
    let anyone = cors(&["*"], false);
    assert_eq!(
        shown(&anyone.headers_for(Some(b"https://any.com"))),
        [
            "access-control-allow-origin: *",
            "access-control-expose-headers: x-request-id, retry-after, residency-position"
        ]
    );
    assert_eq!(shown(&anyone.headers_for(None)), [""; 0]);
    let off = Cors::new(CorsSpec::default()).expect("nothing fits together");
    assert_eq!(shown(&off.headers_for(Some(b"https://app.acme.com"))), [""; 0]);
}

#[test]
fn what_is_exposed_is_said_once() {
    let expose = |names: &[&str]| {
        let spec = CorsSpec {
            origins: vec![OriginPattern::Anyone],
            expose: names.iter().map(|name| (*name).to_owned()).collect(),
            ..CorsSpec::default()
        };
        Cors::new(spec).expect("no credentials").expose.into_string()
    };
    assert_eq!(expose(&[]), "retry-after, residency-position");
    assert_eq!(expose(&["retry-after", "x"]), "retry-after, x, residency-position");
    assert_eq!(expose(&["*"]), "*");
}

#[test]
fn hosts_below_are_below_and_nothing_else() {
    let cors = cors(&["https://*.acme.com", "http://*.localhost:3000"], false);
    for (origin, allowed) in [
        ("https://a.acme.com", true),
        ("https://a-b.c_d.acme.com", true),
        ("https://xn--bcher-kva.acme.com", true),
        ("http://a.localhost:3000", true),
        ("https://acme.com", false),
        ("https://.acme.com", false),
        ("https://a..acme.com", false),
        ("https://evilacme.com", false),
        ("https://a.acme.com.evil.com", false),
        ("https://evil.com/.acme.com", false),
        ("https://evil.com?.acme.com", false),
        ("https://evil.com#.acme.com", false),
        ("https://evil.com:1.acme.com", false),
        ("https://user@x.acme.com", false),
        ("https://a.acme.com:8443", false),
        ("https://a.acme.com/", false),
        ("http://a.acme.com", false),
        ("HTTPS://a.acme.com", false),
        ("https://A.acme.com", false),
        ("https://a.acme.com https://b.acme.com", false),
        ("https://\u{fc}.acme.com", false),
        ("http://a.localhost", false),
        ("http://localhost:3000", false),
    ] {
        let headers = cors.headers_for(Some(origin.as_bytes()));
        assert_eq!(headers.iter().any(|(name, _)| *name == ALLOW_ORIGIN), allowed, "{origin}");
    }
}

#[test]
fn origins_are_written_as_browsers_send_them() {
    use OriginFault::{DefaultPort, Form, TooWide};
    for text in [
        "*",
        "https://acme.com",
        "http://localhost:3000",
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
        "https://[fd00::12]",
        "capacitor://localhost",
        "https://*.acme.com",
        "https://*.acme.com:8443",
        "http://*.localhost",
    ] {
        assert!(OriginPattern::parse(text).is_ok(), "{text}");
    }
    for (text, fault) in [
        ("", Form),
        ("null", Form),
        ("acme.com", Form),
        ("https://", Form),
        ("https://acme.com/", Form),
        ("https://acme.com/path", Form),
        ("https://Acme.com", Form),
        ("HTTPS://acme.com", Form),
        ("https://b\u{fc}cher.com", Form),
        ("https://user@acme.com", Form),
        ("https://acme.com:", Form),
        ("https://acme.com:0", Form),
        ("https://acme.com:08443", Form),
        ("https://acme.com:99999", Form),
        ("https://acme..com", Form),
        ("https://[::1", Form),
        ("https://a.*.com", Form),
        ("https://*", Form),
        ("*://acme.com", Form),
        ("https://*.[::1]", Form),
        ("https://acme.com:443", DefaultPort),
        ("http://*.acme.com:80", DefaultPort),
        ("https://*.com", TooWide),
    ] {
        assert_eq!(OriginPattern::parse(text), Err(fault), "{text}");
    }
}

#[test]
fn a_wildcard_never_comes_with_credentials() {
    let star = || vec!["*".to_owned()];
    let spec = CorsSpec {
        origins: vec![OriginPattern::Anyone],
        credentials: true,
        expose: star(),
        allow_headers: star(),
        max_age_s: 0,
    };
    assert_eq!(
        Cors::new(spec.clone()),
        Err(vec![CorsFault::AnyoneWithCredentials, CorsFault::AnyHeaderExposed, CorsFault::AnyHeaderAllowed])
    );
    assert!(Cors::new(CorsSpec { credentials: false, ..spec }).is_ok());
}

#[test]
fn a_preflight_that_no_api_can_answer() {
    let preflight = |origin: Option<&'static str>, method: Option<&'static str>| {
        Preflight::of("OPTIONS", |name| match name {
            "origin" => origin.map(str::as_bytes),
            "access-control-request-method" => method.map(str::as_bytes),
            other => panic!("{other} isn't needed"),
        })
    };
    let own = cors(&["https://app.acme.com"], true);
    let asked = preflight(Some("https://app.acme.com"), Some("DELETE")).expect("a preflight");
    assert_eq!(
        shown(&own.preflight_headers(asked).expect("it may")),
        [
            "access-control-allow-origin: https://app.acme.com",
            "access-control-allow-credentials: true",
            "access-control-allow-methods: DELETE",
            "access-control-allow-headers: authorization, content-type, residency-position",
            "access-control-max-age: 60",
            "vary: origin, access-control-request-method, access-control-request-headers",
        ]
    );
    let stranger = preflight(Some("https://evil.com"), Some("DELETE")).expect("a preflight");
    assert_eq!(own.preflight_headers(stranger), None);
    assert!(cors(&["*"], false).preflight_headers(stranger).is_some());
    assert_eq!(Cors::new(CorsSpec::default()).expect("nothing").preflight_headers(asked), None);

    for (origin, method) in [
        (None, Some("GET")),
        (Some("https://app.acme.com"), None),
        (Some("https://app.acme.com"), Some("")),
        (Some("https://app.acme.com"), Some("GET, PUT")),
        (Some("https://app.acme.com"), Some("GET\r\nx: y")),
    ] {
        assert_eq!(preflight(origin, method), None, "{origin:?} {method:?}");
    }
    assert_eq!(Preflight::of("GET", |_| Some(b"GET".as_slice())), None);
}

proptest! {
    /// Whoever asks: what is given back is `*` or what was asked for, credentials are only for those who are named, and no value
    /// breaks out of its line.
    #[test]
    fn nobody_gets_another_origins_name(
        origin in "https?://([a-z*.]{0,12}|(a\\.)?acme\\.(com|dev))(:[0-9]{1,4})?|\\PC{0,20}",
        method in "[A-Z ,\r\n]{0,6}",
        credentials in any::<bool>(),
    ) {
        let own = cors(&["https://acme.com", "https://*.acme.com", "https://*.acme.dev"], credentials);
        let anyone = cors(&["*"], false);
        let asked = Preflight::of("OPTIONS", |name| {
            Some(if name == "origin" { origin.as_bytes() } else { method.as_bytes() })
        });
        for cors in [&own, &anyone] {
            let mut answers = vec![cors.headers_for(Some(origin.as_bytes()))];
            answers.extend(asked.and_then(|asked| cors.preflight_headers(asked)));
            for headers in answers {
                let value = |name: &str| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
                let allowed = value(ALLOW_ORIGIN);
                prop_assert!(allowed.is_none_or(|given| given == b"*" || given == origin.as_bytes()));
                prop_assert_eq!(value(ALLOW_CREDENTIALS).is_some(), credentials && allowed.is_some_and(|given| given != b"*"));
                prop_assert!(allowed != Some(b"*") || std::ptr::eq(cors, &raw const anyone));
                for (_, value) in &headers {
                    prop_assert!(value.iter().all(|byte| (b' '..=b'~').contains(byte)));
                }
            }
        }
    }
}
