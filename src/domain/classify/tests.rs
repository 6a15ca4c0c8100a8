use super::*;
use crate::domain::decide::{Basis, Decision, Entry, Question, Refusal, decide};
use crate::domain::liveness::Liveness;
use crate::domain::names::RegionSet;
use crate::domain::topology::{JurisdictionSpec, Mode, RegionSpec, Topology};

fn head(method: &str, has_token: bool) -> Head<'_> {
    Head { method, upgrade: false, has_token }
}

fn rule(access: Option<AccessRule>) -> RouteRule {
    RouteRule { pattern: "/x".to_owned(), access, ..RouteRule::default() }
}

#[test]
fn the_method_decides_unless_a_rule_does() {
    use Access::{Read, Write};
    let graphql = GraphQlRule { subscriptions: Read };
    let always = |access| rule(Some(AccessRule::Always(access)));
    let (read, write, by_operation) = (always(Read), always(Write), rule(Some(AccessRule::GraphQl(graphql))));
    for (method, rule, expect) in [
        ("GET", None, Classified::As(Read)),
        ("HEAD", None, Classified::As(Read)),
        ("OPTIONS", None, Classified::As(Read)),
        ("POST", None, Classified::As(Write)),
        ("get", None, Classified::As(Write)),
        ("PROPFIND", None, Classified::As(Write)),
        ("POST", Some(&read), Classified::As(Read)),
        ("GET", Some(&write), Classified::As(Write)),
        ("OPTIONS", Some(&write), Classified::As(Write)),
        ("POST", Some(&by_operation), Classified::GraphQl(graphql)),
        ("GET", Some(&by_operation), Classified::GraphQl(graphql)),
    ] {
        assert_eq!(head(method, true).classify(rule), expect, "{method} {rule:?}");
        if method != "OPTIONS" {
            assert_eq!(head(method, false).classify(rule), expect, "{method} {rule:?}");
        }
    }
    let upgrade = Head { upgrade: true, ..head("GET", true) };
    assert_eq!(upgrade.classify(None), Classified::As(Write));
    assert_eq!(upgrade.classify(Some(&by_operation)), Classified::As(Write));
    assert_eq!(upgrade.classify(Some(&read)), Classified::As(Read));
}

fn topology() -> Topology {
    let region = |name: &str| RegionSpec { name: name.to_owned(), nearest: Vec::new() };
    let eu = JurisdictionSpec {
        name: "eu".to_owned(),
        home: "eu-frankfurt".to_owned(),
        claim_values: vec!["eu".to_owned()],
        mode: Mode::Enforce,
        ..JurisdictionSpec::default()
    };
    Topology::new(vec![region("us-east"), region("eu-frankfurt")], &[eu], Mode::Enforce).expect("two regions")
}

/// Through the decision, in a region where nothing of the EU may be: the preflight is answered there, whatever its route is
/// for; with a token the same request is not.
#[test]
fn a_preflight_is_answered_here_whatever_its_route_says_and_with_a_token_it_is_not() {
    let topology = topology();
    let eu = topology.jurisdiction("eu").expect("eu");
    let at = topology.region("us-east").expect("us-east");
    let rules = [
        RouteRule { jurisdiction: Some(eu), ..rule(None) },
        RouteRule { country: Some(NameSource::Json("/country".to_owned())), ..rule(None) },
        RouteRule { reads: Reads::Home, ..rule(Some(AccessRule::Always(Access::Write))) },
        rule(Some(AccessRule::GraphQl(GraphQlRule::default()))),
    ];
    let ask = |location, access, reads| {
        let question = Question {
            at,
            entry: Entry::Edge,
            location,
            access,
            reads,
            caught_up: None,
            unreachable: RegionSet::EMPTY,
        };
        decide(&topology, &Liveness::assumed(&topology), &question)
    };
    for rule in &rules {
        let preflight = head("OPTIONS", false);
        let (Classified::As(access), Hint::Located(location)) =
            (preflight.classify(Some(rule)), preflight.hint(Some(rule)))
        else {
            panic!("{rule:?}")
        };
        assert_eq!((access, location), (Access::Read, Location::Anonymous), "{rule:?}");
        match ask(location, access, reads(Some(rule))) {
            Decision::Forward(permit) => {
                assert_eq!((permit.destination(), permit.basis()), (at, Basis::NoSubject), "{rule:?}");
                assert_eq!((permit.leaves_region(), permit.jurisdiction()), (false, None), "{rule:?}");
            }
            other => panic!("{rule:?}: {other:?}"),
        }
    }
    // The same with a subject's token.
    let Classified::As(access) = head("OPTIONS", true).classify(Some(&rules[0])) else {
        panic!("no GraphQL")
    };
    match ask(Location::Jurisdiction(eu), access, Reads::Nearest) {
        Decision::Forward(permit) => assert_eq!(permit.destination(), topology.home(eu)),
        other => panic!("{other:?}"),
    }
    let expired = Location::Unknown(Refusal::TokenExpired);
    assert_eq!(ask(expired, access, Reads::Nearest), Decision::Refuse(Refusal::TokenExpired));
}

#[test]
fn without_a_token_the_route_says_whose_data_it_is() {
    let eu = topology().jurisdiction("eu").expect("eu");
    let country = NameSource::Json("/country".to_owned());
    let named = RouteRule { country: Some(country.clone()), ..rule(None) };
    let fixed = RouteRule { jurisdiction: Some(eu), ..rule(None) };
    for (rule, expect) in [
        (None, Hint::Located(Location::Anonymous)),
        (Some(&rule(None)), Hint::Located(Location::Anonymous)),
        (Some(&named), Hint::Country(&country)),
        (Some(&fixed), Hint::Located(Location::Jurisdiction(eu))),
    ] {
        assert_eq!(head("POST", false).hint(rule), expect, "{rule:?}");
    }
}

/// Nobody's identifier goes by the country, else where the rule says, and is never refused for what it names: that would tell
/// it from one that somebody has.
#[test]
fn an_identifier_goes_before_a_country_and_that_before_what_is_fixed() {
    let eu = topology().jurisdiction("eu").expect("eu");
    let (email, country) =
        (NameSource::Json("/email".to_owned()), NameSource::Header("x-country".to_owned()));
    let named = RouteRule { identifier: Some(email.clone()), ..rule(None) };
    let both = RouteRule { country: Some(country.clone()), jurisdiction: Some(eu), ..named.clone() };
    assert_eq!(head("OPTIONS", false).hint(Some(&both)), Hint::Located(Location::Anonymous));
    for (rule, by_country, found, expect) in [
        (&named, None, None, Location::Anonymous),
        (&both, Some(&country), None, Location::Jurisdiction(eu)),
        (&both, Some(&country), Some(Location::Unknown(Refusal::CountryMissing)), Location::Jurisdiction(eu)),
        (&both, Some(&country), Some(Location::Unknown(Refusal::CountryUnknown)), Location::Jurisdiction(eu)),
        (&both, Some(&country), Some(Location::Jurisdiction(eu)), Location::Jurisdiction(eu)),
    ] {
        let Hint::Identifier(identified) = head("POST", false).hint(Some(rule)) else { panic!("{rule:?}") };
        assert_eq!((identified.identifier, identified.country), (&email, by_country), "{rule:?}");
        assert_eq!(identified.of_nobody(found), expect, "{rule:?} {found:?}");
    }
}
