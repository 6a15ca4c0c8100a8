use super::*;
use crate::domain::countries::CountrySet;
use crate::domain::topology::{JurisdictionSpec, Mode, RegionSpec};

fn topology() -> Topology {
    let mut countries = CountrySet::default();
    countries.add("@eea").expect("countries");
    let eu = JurisdictionSpec {
        name: "eu".to_owned(),
        home: "here".to_owned(),
        claim_values: vec!["eu".to_owned()],
        countries,
        ..JurisdictionSpec::default()
    };
    let here = RegionSpec { name: "here".to_owned(), nearest: Vec::new() };
    Topology::new(vec![here], &[eu], Mode::Enforce).expect("one region")
}

fn faults(body: &str) -> Vec<(String, Option<&'static str>)> {
    AssignCall::parse(&topology(), body.as_bytes())
        .expect_err(body)
        .into_iter()
        .map(|fault| (fault.pointer, fault.code))
        .collect()
}

#[test]
fn a_whole_call_is_read() {
    let eu = topology().jurisdiction("eu").expect("eu");
    let call = |identifiers: &[&str]| AssignCall {
        subject: "u-1".to_owned(),
        jurisdiction: eu,
        identifiers: identifiers.iter().map(|text| (*text).to_owned()).collect(),
    };
    for (body, expect) in [
        (r#"{"subject":"u-1","country":"DE","identifiers":["a@b.c","+49 1"]}"#, call(&["a@b.c", "+49 1"])),
        (r#"{"identifiers":[],"country":"el","subject":"u-1"}"#, call(&[])),
        (r#"{"country":"IS","subject":"u-1"}"#, call(&[])),
    ] {
        assert_eq!(AssignCall::parse(&topology(), body.as_bytes()), Ok(expect), "{body}");
    }
}

#[test]
fn all_faults_come_at_once_each_at_its_place() {
    for (body, expect) in [
        ("", &[("", None)][..]),
        ("[]", &[("", None)]),
        (r#"{"subject":"u","subject":"v","country":"DE"}"#, &[("", None)]),
        ("{}", &[("/subject", None), ("/country", None)]),
        (
            r#"{"subject":7,"country":null,"identifiers":"a","a/b~c":1}"#,
            &[("/subject", None), ("/country", None), ("/identifiers", None), ("/a~1b~0c", None)],
        ),
        (r#"{"subject":" ","country":"DE"}"#, &[("/subject", None)]),
        (r#"{"subject":"a\u0000b","country":"DE"}"#, &[("/subject", None)]),
        (r#"{"subject":"u","country":"US"}"#, &[("/country", Some("country-unknown"))]),
        (r#"{"subject":"u","country":"Germany"}"#, &[("/country", Some("country-unknown"))]),
        (
            r#"{"subject":"u","country":"DE","identifiers":["a",7,"","b\n"]}"#,
            &[("/identifiers/1", None), ("/identifiers/2", None)],
        ),
        (
            r#"{"subject":"u","country":"DE","identifiers":["a\u0007b",{}],"region":"eu"}"#,
            &[("/identifiers/0", None), ("/identifiers/1", None), ("/region", None)],
        ),
    ] {
        let expect: Vec<_> = expect.iter().map(|(pointer, code)| ((*pointer).to_owned(), *code)).collect();
        assert_eq!(faults(body), expect, "{body}");
    }
    let many = vec!["\"a\""; MOST_IDENTIFIERS + 1].join(",");
    assert_eq!(
        faults(&format!(r#"{{"subject":"u","country":"DE","identifiers":[{many}]}}"#)),
        [("/identifiers".to_owned(), None)]
    );
    let long = "x".repeat(MOST_TEXT_BYTES + 1);
    assert_eq!(faults(&format!(r#"{{"subject":"{long}","country":"DE"}}"#)), [("/subject".to_owned(), None)]);
}

#[test]
fn a_fault_repeats_nothing_that_was_written() {
    let body = r#"{"subject":{"secret":1},"country":"secret","identifiers":["secret\u0001",["secret"]]}"#;
    for fault in AssignCall::parse(&topology(), body.as_bytes()).expect_err("faults") {
        assert!(!fault.detail.contains("secret"), "{fault:?}");
    }
}

#[test]
fn closing_a_jurisdiction_wants_a_reason() {
    let read = |body: &str| {
        ReadOnlyCall::parse(body.as_bytes())
            .map(|call| (call.read_only, call.reason))
            .map_err(|faults| faults.into_iter().map(|fault| fault.pointer).collect::<Vec<_>>())
    };
    assert_eq!(read(r#"{"read_only":true,"reason":"disk"}"#), Ok((true, "disk".to_owned())));
    for (body, expect) in [
        (r#"{"read_only":true}"#, &["/reason"][..]),
        (r#"{"read_only":"yes","reason":"","until":1}"#, &["/read_only", "/reason", "/until"]),
        ("{}", &["/read_only", "/reason"]),
    ] {
        assert_eq!(read(body), Err(expect.iter().map(|at| (*at).to_owned()).collect()), "{body}");
    }
}
