use proptest::prelude::*;

use super::*;
use crate::domain::countries::CountrySet;
use crate::domain::named::{NameSource, WholeBody, multipart};
use crate::domain::topology::{JurisdictionSpec, Mode, RegionSpec};

fn topology() -> Topology {
    let jurisdiction = |name: &str, country: &str| {
        let mut countries = CountrySet::default();
        countries.add(country).expect("a country");
        JurisdictionSpec {
            name: name.to_owned(),
            home: "here".to_owned(),
            claim_values: vec![name.to_owned()],
            countries,
            ..JurisdictionSpec::default()
        }
    };
    let here = RegionSpec { name: "here".to_owned(), nearest: Vec::new() };
    Topology::new(vec![here], &[jurisdiction("eu", "@eea"), jurisdiction("us", "US")], Mode::Enforce)
        .expect("one region")
}

/// The jurisdiction's name, or the code of the refusal.
fn found(source: &NameSource, content_type: &str, body: &[u8], headers: &[&str]) -> String {
    let topology = topology();
    let content_type = (!content_type.is_empty()).then_some(content_type.as_bytes());
    let body = WholeBody { content_type, bytes: body };
    let named = source.find(&body, None, |name| {
        assert_eq!(name, "x-country");
        headers.iter().map(|value| value.as_bytes())
    });
    match locate(&topology, &named) {
        Location::Jurisdiction(found) => topology.jurisdiction_name(found).to_owned(),
        Location::Unknown(refusal) => refusal.code().to_owned(),
        Location::Anonymous | Location::Moving(_) => panic!("a source locates or refuses"),
    }
}

const MISSING: &str = "country-missing";
const UNKNOWN: &str = "country-unknown";

#[test]
fn json_pointers() {
    let country = NameSource::Json("/billing/country".to_owned());
    for (body, expect) in [
        (r#"{"billing":{"country":"DE"}}"#, "eu"),
        (r#"{"billing":{"country":"us","zip":"1"},"other":[1,{"country":"DE"}]}"#, "us"),
        (r#"{"billing":{"country":"JP"}}"#, UNKNOWN),
        (r#"{"billing":{"country":"Germany"}}"#, UNKNOWN),
        (r#"{"billing":{"country":""}}"#, UNKNOWN),
        (r#"{"billing":{"country":7}}"#, MISSING),
        (r#"{"billing":{"country":null}}"#, MISSING),
        (r#"{"billing":"DE"}"#, MISSING),
        (r#"{"billing":["DE"]}"#, MISSING),
        (r#"{"country":"DE"}"#, MISSING),
        (r#""DE""#, MISSING),
        ("", MISSING),
        (r#"{"billing":{"country":"DE"}"#, MISSING),
        (r#"{"billing":{"country":"DE"}}x"#, MISSING),
        // Said twice.
        (r#"{"billing":{"country":"DE","country":"DE"}}"#, "eu"),
        (r#"{"billing":{"country":"DE","country":"US"}}"#, UNKNOWN),
        (r#"{"billing":{"country":"DE","c\u006funtry":"US"}}"#, UNKNOWN),
        (r#"{"billing":{"country":"DE"},"billing":{"country":"US"}}"#, UNKNOWN),
        (r#"{"billing":{"country":"DE"},"billing":{}}"#, UNKNOWN),
        (r#"{"billing":{"country":"DE"},"billing":{"country":"DE","x":1}}"#, "eu"),
        (r#"{"billing":{"country":"DE","country":"US"},"billing":{"country":"DE"}}"#, UNKNOWN),
        (r#"{"x":1,"x":2,"billing":{"country":"DE"}}"#, "eu"),
    ] {
        assert_eq!(found(&country, "", body.as_bytes(), &[]), expect, "{body}");
    }
    for (pointer, body, expect) in [
        ("/0/country", r#"[{"country":"DE"},{"country":"US"}]"#, "eu"),
        ("/1/country", r#"[{"country":"DE"},{"country":"US"}]"#, "us"),
        ("/2/country", r#"[{"country":"DE"},{"country":"US"}]"#, MISSING),
        ("/01/country", r#"[{"country":"DE"},{"country":"US"}]"#, MISSING),
        ("/-/country", r#"[{"country":"DE"}]"#, MISSING),
        ("/99999999999999999999999", "[]", MISSING),
        ("/a~1b/~0", r#"{"a/b":{"~":"DE"}}"#, "eu"),
        ("/~01", r#"{"~1":"DE"}"#, "eu"),
        ("/", r#"{"":"DE"}"#, "eu"),
    ] {
        let source = NameSource::Json(pointer.to_owned());
        assert_eq!(found(&source, "", body.as_bytes(), &[]), expect, "{pointer} in {body}");
    }
    let deep =
        format!("{{\"x\":{}1{},\"billing\":{{\"country\":\"DE\"}}}}", "[".repeat(9_999), "]".repeat(9_999));
    assert_eq!(found(&country, "", deep.as_bytes(), &[]), "eu", "what is skipped may be deep");
}

#[test]
fn headers() {
    let source = NameSource::Header("x-country".to_owned());
    assert!(!source.reads_body());
    for (lines, expect) in [
        (&["DE"][..], "eu"),
        (&[" us\t"], "us"),
        (&["DE", "DE"], "eu"),
        (&["DE", "de", " EL"], UNKNOWN),
        (&["DE", "US"], UNKNOWN),
        (&["DE", ""], UNKNOWN),
        (&["DE, US"], UNKNOWN),
        (&["\u{fc}"], UNKNOWN),
        (&[""], UNKNOWN),
        (&[], MISSING),
    ] {
        assert_eq!(found(&source, "application/json", b"{\"country\":\"US\"}", lines), expect, "{lines:?}");
    }
}

#[test]
fn forms() {
    let source = NameSource::Form("billing[country]".to_owned());
    let urlencoded = "application/x-www-form-urlencoded";
    for (content_type, body, expect) in [
        (urlencoded, "billing[country]=DE", "eu"),
        (urlencoded, "a=b&billing%5Bcountry%5D=%55S&c", "us"),
        ("Application/X-WWW-Form-Urlencoded; charset=UTF-8", "billing[country]=DE", "eu"),
        (urlencoded, "billing[country]=DE&billing%5bcountry%5d=de", "eu"),
        (urlencoded, "billing[country]=DE&billing[country]=US", UNKNOWN),
        (urlencoded, "billing[country]=", UNKNOWN),
        (urlencoded, "billing[country]", UNKNOWN),
        (urlencoded, "billing[country]=%FF", UNKNOWN),
        (urlencoded, "Billing[country]=DE", MISSING),
        (urlencoded, "", MISSING),
        ("application/json", "billing[country]=DE", MISSING),
        ("", "billing[country]=DE", MISSING),
    ] {
        assert_eq!(found(&source, content_type, body.as_bytes(), &[]), expect, "{content_type}: {body}");
    }
}

#[test]
fn multipart_forms() {
    let part = |headers: &str, value: &str| format!("--b\r\n{headers}\r\n\r\n{value}\r\n");
    let field =
        |name: &str, value: &str| part(&format!("Content-Disposition: form-data; name=\"{name}\""), value);
    let de = field("country", "DE");
    let file = "Content-Disposition: form-data; name=\"country\"; filename=\"x\"\r\nContent-Type: text/plain";
    for (content_type, body, expect) in [
        ("multipart/form-data; boundary=b", format!("{de}--b--\r\n"), "eu"),
        ("multipart/form-data; boundary=\"b\"", format!("{de}--b--"), "eu"),
        ("multipart/form-data; charset=utf-8; boundary=b", format!("before\r\n{de}--b-- after"), "eu"),
        ("multipart/form-data; boundary=b", format!("{}{de}--b--", field("a", "1\r\n--c\r\n2")), "eu"),
        ("multipart/form-data; boundary=b", format!("{de}{}--b--", field("country", "de")), "eu"),
        ("multipart/form-data; boundary=b", format!("{de}{}--b--", field("country", "US")), UNKNOWN),
        ("multipart/form-data; boundary=b", format!("{}--b--", field("country", "")), UNKNOWN),
        ("multipart/form-data; boundary=b", format!("{}--b--", field("Country", "DE")), MISSING),
        ("multipart/form-data; boundary=b", "--b--".to_owned(), MISSING),
        ("multipart/form-data; boundary=b", format!("{}{de}--b--", part(file, "US")), "eu"),
        ("multipart/form-data; boundary=b", format!("{}--b--", part("X: y", "DE")), MISSING),
        (
            "multipart/form-data; boundary=b",
            "--b \t\r\ncontent-disposition:form-data;name=country\r\n\r\nDE\r\n--b--".to_owned(),
            "eu",
        ),
        // Anything doubtful.
        ("multipart/form-data; boundary=b", de.clone(), MISSING),
        ("multipart/form-data; boundary=b", format!("{de}--b"), MISSING),
        ("multipart/form-data; boundary=b", format!("{de}--b\r\n\r\nx"), MISSING),
        ("multipart/form-data; boundary=b", format!("{de}--b\r\n\r\n--b--"), MISSING),
        ("multipart/form-data; boundary=b", format!("{de}--bc\r\n--b--"), MISSING),
        ("multipart/form-data; boundary=b", format!("{de}--b--").replace("\r\n", "\n"), MISSING),
        ("multipart/form-data; boundary=b; boundary=c", format!("{de}--b--"), MISSING),
        ("multipart/form-data; boundary=c", format!("{de}--b--"), MISSING),
        ("multipart/form-data", format!("{de}--b--"), MISSING),
        ("multipart/mixed; boundary=b", format!("{de}--b--"), MISSING),
        (
            "multipart/form-data; boundary=b",
            format!(
                "{de}{}--b--",
                part("Content-Disposition: form-data; name=\"country\"; name=\"x\"", "US")
            ),
            MISSING,
        ),
        (
            "multipart/form-data; boundary=b",
            format!(
                "{de}{}--b--",
                part("Content-Disposition: form-data; name=\"a\\\"; name=country\"", "US")
            ),
            MISSING,
        ),
        (
            "multipart/form-data; boundary=b",
            format!(
                "{de}{}--b--",
                part(
                    "Content-Disposition: form-data; name=a\r\ncontent-disposition: form-data; name=country",
                    "US"
                )
            ),
            MISSING,
        ),
        ("multipart/form-data; boundary=b", format!("{de}{}--b--", part("no header", "US")), MISSING),
    ] {
        let source = NameSource::Form("country".to_owned());
        assert_eq!(found(&source, content_type, body.as_bytes(), &[]), expect, "{content_type}: {body}");
    }
    let long = "b".repeat(71);
    let body = format!("--{long}\r\nContent-Disposition: form-data; name=country\r\n\r\nDE\r\n--{long}--");
    let source = NameSource::Form("country".to_owned());
    assert_eq!(
        found(&source, &format!("multipart/form-data; boundary={long}"), body.as_bytes(), &[]),
        MISSING
    );
}

proptest! {
    /// What a writer puts into a form, its reader finds: all values of the field and no others.
    #[test]
    fn a_form_gives_back_the_values_that_were_put_in(
        fields in prop::collection::vec((prop::sample::select(vec!["country", "a", "country "]), "[ -~\r\n]{0,20}"), 0..6),
        boundary in "[0-9A-Za-z'()+_,./:=?-]{20,70}",
    ) {
        let part = |(name, value): &(&str, String)| {
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let parts: String = fields.iter().map(part).collect();
        let body = format!("{parts}--{boundary}--\r\n");
        let expect: Vec<&[u8]> =
            fields.iter().filter(|(name, _)| *name == "country").map(|(_, value)| value.as_bytes()).collect();
        prop_assert_eq!(multipart::values(body.as_bytes(), &boundary, "country"), Some(expect));
    }

    #[test]
    fn any_body_gives_an_answer(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        text in "(--b|\r\n|; |name=|\"|country|Content-Disposition: form-data|[{}:,a-z]){0,12}",
        content_type in prop::sample::select(vec!["multipart/form-data; boundary=b", "application/x-www-form-urlencoded", ""]),
        source in prop::sample::select(vec![NameSource::Form("country".to_owned()), NameSource::Json("/country".to_owned())]),
    ) {
        for body in [&bytes[..], text.as_bytes()] {
            let said = found(&source, content_type, body, &[]);
            prop_assert!(["eu", "us", MISSING, UNKNOWN].contains(&said.as_str()));
        }
    }
}
