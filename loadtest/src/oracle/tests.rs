//! The judge can fail: every kind of unlawful delivery, fed to it, is caught, and nothing else is.
use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};

use super::{
    credentials::{Credential, Population, Truth},
    draw::Draw,
    law::{self, Breach, Grant, Right},
    ledger::{Content, Ledger, Moment, Reply, Silence},
    request::{Answer, Carrier, Conduct, Country, ID, Meaning, Request},
};
use crate::world::{Jurisdiction, Region};

const REQUESTS: u64 = 20_000;
const CALM: Moment = Moment { calm: true, unix_s: 0 };

/// Tokens without signatures: the law looks at what is true of a token.
fn population() -> Arc<Population> {
    let credential = |name: String, truth| Arc::new(Credential { token: format!("token.of.{name}"), truth });
    let subject = |jurisdiction: Jurisdiction, until| {
        let subject = format!("{jurisdiction}_user");
        credential(format!("{subject}.{until}"), Truth::Subject { subject, jurisdiction, until })
    };
    let worthless =
        |why: &'static str, status| credential(why.replace(' ', "-"), Truth::Worthless { why, status });
    Arc::new(Population {
        us: vec![subject(Jurisdiction::Us, u64::MAX)],
        eu: vec![subject(Jurisdiction::Eu, u64::MAX)],
        expiring: vec![subject(Jurisdiction::Us, 1000), subject(Jurisdiction::Eu, 1000)],
        worthless: vec![worthless("expired", 401), worthless("no region", 403)],
    })
}

fn draw() -> Draw {
    static POPULATION: OnceLock<Arc<Population>> = OnceLock::new();
    Draw { seed: 1, population: Arc::clone(POPULATION.get_or_init(population)) }
}

fn requests() -> impl Iterator<Item = Request> {
    (0..REQUESTS).map(|id| draw().request(id))
}

/// The first request that is as wanted; the mix has all kinds.
fn find(wanted: impl Fn(&Request) -> bool) -> Request {
    requests().find(wanted).expect("20,000 requests hold every kind")
}

fn grant(request: &Request) -> Option<Grant> {
    match law::right(request) {
        Right::Somewhere(grant) => Some(grant),
        Right::Nowhere { .. } => None,
    }
}

/// A lawful delivery's head.
fn head(request: &Request, region: Region) -> Parts {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = request.method.clone();
    parts.uri = request.target.parse().expect("targets are URIs");
    let headers = &mut parts.headers;
    headers.insert(ID, HeaderValue::from(request.id));
    if let Some(credential) = &request.credential {
        let (name, prefix) = match request.carrier {
            Carrier::Cookie => ("cookie", "access_token="),
            Carrier::Bearer | Carrier::Twice => ("authorization", "Bearer "),
        };
        headers.insert(name, value(&format!("{prefix}{}", credential.token)));
    }
    if request.is_upgrade() {
        headers.insert("upgrade", value("websocket"));
    }
    for (name, text) in grant(request).iter().flat_map(|grant| law::due(grant, region)) {
        headers.insert(name, value(&text));
    }
    parts
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("plain text")
}

fn ledger() -> Ledger {
    Ledger::new(draw(), REQUESTS)
}

fn deliver(ledger: &mut Ledger, request: &Request, region: Region, head: &Parts, now_unix_s: u64) {
    let known = ledger.delivered(region, head, now_unix_s).expect("it has a number");
    assert_eq!((known.id, &known.target), (request.id, &request.target));
    if !request.breaks_off() {
        ledger.body_ended(request, &request.payload(), None);
    }
}

fn reply(request: &Request, region: Region, status: u16) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(ID, HeaderValue::from(request.id));
    headers.insert("x-oracle-region", value(region.name()));
    headers.insert("residency-served-by", value(region.name()));
    Reply { status, code: None, headers, body: Content::Right }
}

fn refusal(status: u16) -> Reply {
    Reply { status, code: Some("some".to_owned()), headers: HeaderMap::new(), body: Content::Right }
}

/// Every breach so far.
fn found(ledger: &mut Ledger) -> Vec<(Breach, u64)> {
    ledger.close();
    ledger.breaches.iter().map(|(breach, breaches)| (*breach, breaches.count)).collect()
}

/// One delivery in `region`, changed by `change`: what the ledger finds.
fn judged(request: &Request, region: Region, change: impl Fn(&mut Parts)) -> Vec<(Breach, u64)> {
    let mut ledger = ledger();
    let mut head = head(request, region);
    change(&mut head);
    deliver(&mut ledger, request, region, &head, 0);
    found(&mut ledger)
}

fn of(jurisdiction: Jurisdiction, writes: bool) -> Request {
    find(|request| {
        let subject = request.credential.is_some() && request.meaning == Meaning::Plain;
        subject
            && grant(request)
                .is_some_and(|grant| grant.jurisdiction == Some(jurisdiction) && grant.writes == writes)
    })
}

#[test]
fn what_is_lawful_is_no_breach_wherever_it_may_arrive() {
    let mut kinds = BTreeSet::new();
    // One book for each region that a request may be delivered in, so that none is delivered twice.
    let mut ledgers = Region::ALL.map(|_| ledger());
    for request in requests() {
        let regions = grant(&request).map_or(&[][..], |grant| grant.regions);
        for (ledger, region) in ledgers.iter_mut().zip(regions) {
            deliver(ledger, &request, *region, &head(&request, *region), 0);
        }
        kinds.insert(format!("{:?}", request.meaning).split('(').next().unwrap_or_default().to_owned());
    }
    for mut ledger in ledgers {
        assert_eq!(found(&mut ledger), [], "{:?}", ledger.breaches);
    }
    assert_eq!(kinds.len(), 8, "{kinds:?}");
}

#[test]
fn a_what_leaves_its_jurisdiction_is_caught() {
    for (jurisdiction, outside) in [
        (Jurisdiction::Eu, &[Region::UsEast, Region::ApSingapore][..]),
        (Jurisdiction::Us, &[Region::EuNuremberg][..]),
    ] {
        for writes in [false, true] {
            for region in outside {
                let found = judged(&of(jurisdiction, writes), *region, |_| ());
                assert_eq!(found, [(Breach::OutsideJurisdiction, 1)], "{jurisdiction} {writes} {region}");
            }
        }
    }
}

#[test]
fn b_a_write_away_from_home_is_caught_and_a_read_there_is_none() {
    for (jurisdiction, replicas) in [
        (Jurisdiction::Eu, &[Region::EuNuremberg][..]),
        (Jurisdiction::Us, &[Region::EuFrankfurt, Region::ApSingapore][..]),
    ] {
        for region in replicas {
            assert_eq!(judged(&of(jurisdiction, false), *region, |_| ()), []);
            let found = judged(&of(jurisdiction, true), *region, |_| ());
            assert_eq!(found, [(Breach::WriteAwayFromHome, 1)], "{jurisdiction} {region}");
        }
    }
    let upgrade = find(|request| request.is_upgrade() && grant(request).is_some_and(|grant| grant.writes));
    let arrival = find(|request| {
        matches!(request.meaning, Meaning::Arrival(Country::Named("DE"))) && request.credential.is_none()
    });
    for request in [upgrade, arrival] {
        let home = grant(&request).expect("it was chosen so").regions;
        let jurisdiction = grant(&request).and_then(|grant| grant.jurisdiction).expect("it has one");
        let away =
            law::regions(jurisdiction).iter().find(|region| !home.contains(region)).expect("a replica");
        assert_eq!(judged(&request, *away, |_| ()), [(Breach::WriteAwayFromHome, 1)], "{request:?}");
    }
}

#[test]
fn c_what_nobody_knows_is_caught_wherever_it_arrives() {
    let mut kinds = BTreeSet::new();
    for request in requests().filter(|request| grant(request).is_none()) {
        let why = match (&request.credential, request.meaning) {
            (_, Meaning::Own) => "own path",
            (_, Meaning::Crooked) => "crooked",
            (Some(_), _) if request.carrier == Carrier::Twice => "two tokens",
            (Some(_), _) => "worthless token",
            (None, Meaning::Arrival(Country::Missing | Country::Garbled(_))) => "no country",
            (None, Meaning::Arrival(Country::TooDeep)) => "country too deep",
            (None, _) => "anonymous write",
        };
        if kinds.insert(why) {
            for region in Region::ALL {
                assert_eq!(judged(&request, region, |_| ()), [(Breach::Unidentified, 1)], "{request:?}");
            }
        }
    }
    assert_eq!(kinds.len(), 7, "{kinds:?}");
    let anonymous = find(|request| {
        request.credential.is_none() && grant(request).is_some_and(|g| g.jurisdiction.is_none())
    });
    for region in Region::ALL {
        assert_eq!(judged(&anonymous, region, |_| ()), []);
    }
}

#[test]
fn c_a_token_that_has_expired_is_caught() {
    let request = find(|request| grant(request).is_some_and(|grant| grant.until == Some(1000)));
    let region = grant(&request).expect("it was chosen so").regions[0];
    for (now, breaches) in [(999, &[][..]), (1001, &[]), (1010, &[(Breach::Expired, 1)])] {
        let mut ledger = ledger();
        deliver(&mut ledger, &request, region, &head(&request, region), now);
        assert_eq!(found(&mut ledger), breaches, "at {now}");
    }
}

#[test]
fn what_has_no_number_or_an_unknown_one_is_caught() {
    let request = of(Jurisdiction::Us, false);
    for number in [None, Some("20000"), Some("-1"), Some("x")] {
        let mut head = head(&request, Region::UsEast);
        head.headers.remove(ID);
        if let Some(number) = number {
            head.headers.insert(ID, value(number));
        }
        let mut ledger = ledger();
        assert!(ledger.delivered(Region::UsEast, &head, 0).is_none());
        assert_eq!(found(&mut ledger), [(Breach::Stray, 1)]);
    }
}

#[test]
fn d_every_header_that_is_not_exactly_right_is_caught() {
    let request = of(Jurisdiction::Eu, false);
    let home = Region::EuFrankfurt;
    let caught = |change: &dyn Fn(&mut HeaderMap)| {
        let found = judged(&request, home, |head| change(&mut head.headers));
        assert_eq!(found, [(Breach::Forged, 1)]);
    };
    for (name, forged) in [
        ("residency-served-by", "eu-nuremberg"),
        ("residency-access", "write"),
        ("residency-jurisdiction", "us"),
        ("residency-database", "replica"),
        ("residency-subject", "admin"),
    ] {
        let name = HeaderName::from_static(name);
        caught(&|headers| {
            headers.insert(&name, value(forged));
        });
        caught(&|headers| {
            headers.append(&name, value(forged));
        });
        // Twice what is right is one too many as well.
        caught(&|headers| {
            let right = headers[&name].clone();
            headers.append(&name, right);
        });
        caught(&|headers| {
            headers.remove(&name);
        });
    }
    for (name, forged) in [
        ("residency-hop", "us-east"),
        ("residency-mode", "observe"),
        ("residency-signature", "v1=0"),
        ("residency-x", ""),
    ] {
        caught(&|headers| {
            headers.insert(HeaderName::from_static(name), value(forged));
        });
    }
    // At a replica the replica's database is right.
    assert_eq!(judged(&request, Region::EuNuremberg, |_| ()), []);
    let found = judged(&request, Region::EuNuremberg, |head| {
        head.headers.insert("residency-database", value("primary"));
    });
    assert_eq!(found, [(Breach::Forged, 1)]);
}

#[test]
fn d_an_anonymous_read_has_no_subject_and_no_jurisdiction() {
    let request = find(|request| {
        matches!(request.meaning, Meaning::Organisation(_))
            && grant(request).is_some_and(|grant| grant.jurisdiction.is_none())
    });
    for (name, forged) in
        [("residency-subject", "acme"), ("residency-jurisdiction", "us"), ("residency-database", "primary")]
    {
        let found = judged(&request, Region::ApSingapore, |head| {
            head.headers.insert(HeaderName::from_static(name), value(forged));
        });
        assert_eq!(found, [(Breach::Forged, 1)], "{name}");
    }
}

#[test]
fn d_a_forged_header_behind_the_body_is_caught() {
    let request = of(Jurisdiction::Us, true);
    let mut ledger = ledger();
    ledger.delivered(Region::UsEast, &head(&request, Region::UsEast), 0).expect("it has a number");
    let mut trailers = HeaderMap::new();
    trailers.insert("residency-subject", value("admin"));
    ledger.body_ended(&request, &request.payload(), Some(&trailers));
    assert_eq!(found(&mut ledger), [(Breach::Forged, 1)]);
}

#[test]
fn e_a_second_delivery_is_caught_in_the_same_region_and_in_another() {
    let request = of(Jurisdiction::Us, false);
    for again in [Region::UsEast, Region::EuFrankfurt] {
        let mut ledger = ledger();
        deliver(&mut ledger, &request, Region::UsEast, &head(&request, Region::UsEast), 0);
        deliver(&mut ledger, &request, again, &head(&request, again), 0);
        assert_eq!(found(&mut ledger), [(Breach::Doubled, 1)]);
    }
}

#[test]
fn f_what_is_acknowledged_and_did_not_arrive_is_caught() {
    let request = of(Jurisdiction::Eu, true);
    let mut ledger = ledger();
    ledger.answered(&request, &reply(&request, Region::EuFrankfurt, 200), CALM);
    assert_eq!(found(&mut ledger), [(Breach::Unbacked, 1)]);
}

#[test]
fn f_what_is_acknowledged_and_arrived_twice_is_caught() {
    let request = of(Jurisdiction::Eu, true);
    let mut ledger = ledger();
    for _ in 0..2 {
        deliver(&mut ledger, &request, Region::EuFrankfurt, &head(&request, Region::EuFrankfurt), 0);
    }
    ledger.answered(&request, &reply(&request, Region::EuFrankfurt, 201), CALM);
    assert_eq!(found(&mut ledger), [(Breach::Doubled, 1), (Breach::Unbacked, 1)]);
}

#[test]
fn f_what_is_acknowledged_and_arrived_otherwise_is_caught() {
    let request = find(|request| {
        let us = grant(request).is_some_and(|grant| grant.jurisdiction == Some(Jurisdiction::Us));
        us && request.body.length > 1 && !request.breaks_off()
    });
    let payload = request.payload();
    let mut swapped = payload.to_vec();
    swapped[0] ^= 1;
    for body in [&payload[..payload.len() - 1], &[], &swapped] {
        let mut ledger = ledger();
        ledger.delivered(Region::UsEast, &head(&request, Region::UsEast), 0).expect("it has a number");
        ledger.body_ended(&request, body, None);
        ledger.answered(&request, &reply(&request, Region::UsEast, 200), CALM);
        assert_eq!(found(&mut ledger), [(Breach::Unbacked, 1), (Breach::Altered, 1)]);
    }
    // Its body never ended.
    let mut ledger = ledger();
    ledger.delivered(Region::UsEast, &head(&request, Region::UsEast), 0).expect("it has a number");
    ledger.answered(&request, &reply(&request, Region::UsEast, 200), CALM);
    assert_eq!(found(&mut ledger), [(Breach::Unbacked, 1)]);
}

#[test]
fn a_body_that_broke_off_and_ends_all_the_same_is_caught() {
    let request = find(|request| request.breaks_off() && grant(request).is_some());
    let region = grant(&request).expect("it was chosen so").regions[0];
    let mut ledger = ledger();
    ledger.delivered(region, &head(&request, region), 0).expect("it has a number");
    let payload = request.payload();
    ledger.body_ended(&request, &payload[..payload.len() / 2], None);
    assert_eq!(found(&mut ledger), [(Breach::Altered, 1)]);
}

#[test]
fn what_is_changed_on_its_way_is_caught() {
    let request = of(Jurisdiction::Us, true);
    let changes: [&dyn Fn(&mut Parts); 5] = [
        &|head| drop(head.headers.insert("upgrade", value("websocket"))),
        &|head| head.method = http::Method::TRACE,
        &|head| head.uri = "/other".parse().expect("a URI"),
        &|head| drop(head.headers.remove("authorization").or(head.headers.remove("cookie"))),
        &|head| {
            for name in ["authorization", "cookie"] {
                if head.headers.contains_key(name) {
                    head.headers.insert(name, value("Bearer another"));
                }
            }
        },
    ];
    for change in changes {
        assert_eq!(judged(&request, Region::UsEast, change), [(Breach::Changed, 1)]);
    }
}

#[test]
fn a_refusal_that_was_delivered_is_caught() {
    let request = of(Jurisdiction::Us, true);
    for (status, breaches) in [
        (503, &[(Breach::BrokenPromise, 1)][..]),
        (401, &[(Breach::BrokenPromise, 1)]),
        (502, &[]),
        (504, &[]),
    ] {
        let mut ledger = ledger();
        ledger.answered(&request, &refusal(status), CALM);
        // It may come late.
        deliver(&mut ledger, &request, Region::UsEast, &head(&request, Region::UsEast), 0);
        assert_eq!(found(&mut ledger), breaches, "{status}");
    }
}

#[test]
fn an_answer_to_another_request_is_caught() {
    let request = of(Jurisdiction::Us, false);
    let other = draw().request(request.id + 1);
    let wrong = Reply { body: Content::Wrong, ..reply(&request, Region::UsEast, 200) };
    for reply in [reply(&other, Region::UsEast, 200), wrong] {
        let mut ledger = ledger();
        deliver(&mut ledger, &request, Region::UsEast, &head(&request, Region::UsEast), 0);
        ledger.answered(&request, &reply, CALM);
        assert_eq!(found(&mut ledger), [(Breach::MixedUp, 1)]);
    }
    let mut ledger = ledger();
    ledger.echoed(&request, false);
    assert_eq!(found(&mut ledger), [(Breach::MixedUp, 1)]);
}

#[test]
fn a_header_that_is_not_for_clients_is_caught() {
    let request = of(Jurisdiction::Us, false);
    let leaks: [&dyn Fn(&mut HeaderMap); 4] = [
        &|headers| drop(headers.insert("residency-subject", value("admin"))),
        &|headers| assert!(headers.append("residency-served-by", value("us-east"))),
        &|headers| drop(headers.insert("residency-served-by", value("eu-frankfurt"))),
        &|headers| drop(headers.remove("residency-served-by")),
    ];
    for leak in leaks {
        let mut reply = reply(&request, Region::UsEast, 200);
        leak(&mut reply.headers);
        let mut ledger = ledger();
        deliver(&mut ledger, &request, Region::UsEast, &head(&request, Region::UsEast), 0);
        ledger.answered(&request, &reply, CALM);
        assert_eq!(found(&mut ledger), [(Breach::Leaked, 1)]);
    }
}

#[test]
fn in_calm_what_gets_its_due_counts_and_what_does_not_is_told() {
    let lawful = find(|request| {
        let answered = matches!(request.conduct, Conduct::Answer(Answer { status: 200, .. }));
        let plain = !request.is_upgrade() && !request.breaks_off();
        answered && plain && grant(request).is_some_and(|grant| grant.until != Some(1000))
    });
    let unlawful =
        find(|request| law::right(request) == Right::Nowhere { status: 403 } && !request.breaks_off());
    let region = grant(&lawful).expect("it was chosen so").regions[0];
    let mut ledger = ledger();
    deliver(&mut ledger, &lawful, region, &head(&lawful, region), 0);
    ledger.answered(&lawful, &reply(&lawful, region, 200), CALM);
    ledger.answered(&unlawful, &refusal(403), CALM);
    assert!(ledger.tally.surprises.is_empty(), "{:?}", ledger.tally.surprises);
    ledger.answered(&lawful, &refusal(504), CALM);
    ledger.answered(&unlawful, &refusal(502), CALM);
    ledger.unanswered(&lawful, Silence::TimedOut, CALM);
    ledger.answered(&lawful, &refusal(504), Moment { calm: false, ..CALM });
    let calm = ledger.tally.calm;
    assert_eq!((calm.lawful, calm.answered, calm.unlawful, calm.refused), (3, 1, 2, 1));
    assert_eq!((ledger.tally.asked, ledger.tally.surprises.len()), (6, 3));
}

#[test]
fn a_number_draws_the_same_request_again_and_another_seed_another() {
    let again = draw();
    let other = Draw { seed: 2, ..draw() };
    let text = |draw: &Draw, id| format!("{:?}", draw.request(id));
    assert!((0..1000).all(|id| text(&draw(), id) == text(&again, id)));
    assert!((0..1000).filter(|id| text(&again, *id) == text(&other, *id)).count() < 10);
}

#[test]
fn the_mix_is_mostly_lawful_and_holds_everything() {
    let lawful = requests().filter(|request| grant(request).is_some()).count() as u64;
    assert!((REQUESTS * 70 / 100..REQUESTS * 95 / 100).contains(&lawful), "{lawful}");
    for edge in Region::ALL {
        assert!(requests().filter(|request| request.edge == edge).count() > 4000);
    }
    assert!(requests().filter(|request| !request.forged.is_empty()).count() > 5000);
}
