//! Draws requests. A number always draws the same request, so who has the number knows the truth about it.
//!
//! The mix is hostile on purpose: about one request in three carries something that no honest client sends.
use std::{fmt::Write as _, sync::Arc};

use http::Method;

use super::{
    credentials::{Credential, Population},
    dice::Dice,
    request::{Answer, Body, Carrier, Conduct, Country, MOST_BODY, Manner, Meaning, Request},
};
use crate::world::Region;

/// Requests by their number.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    pub(super) seed: u64,
    pub(super) population: Arc<Population>,
}

/// Headers that only gateways may set, and attempts to have the gateway drop what counts.
const FORGED: &[(&str, &str)] = &[
    ("residency-jurisdiction", "us"),
    ("residency-jurisdiction", "eu"),
    ("residency-served-by", "us-east"),
    ("residency-served-by", "eu-frankfurt"),
    ("residency-access", "read"),
    ("residency-access", "write"),
    ("residency-database", "primary"),
    ("residency-database", "replica"),
    ("residency-subject", "admin"),
    ("residency-subject", "eu_user_000001"),
    ("residency-hop", "eu-frankfurt"),
    ("residency-hop", "us-east"),
    ("residency-mode", "observe"),
    ("residency-signature", "t=1,v1=00"),
    ("residency-position", "eu/1/0"),
    ("connection", "residency-subject, residency-served-by"),
    ("connection", "keep-alive, authorization, cookie, content-length"),
    ("connection", "close, residency-jurisdiction"),
    ("forwarded", "for=127.0.0.1;host=eu.example"),
    ("x-forwarded-host", "eu.example"),
];

/// Paths without a rule. `{}` stands for a number.
const PAGES: &[&str] = &[
    "/",
    "/me",
    "/orders",
    "/orders/{}",
    "/products?page={}",
    "/transfers/{}",
    "/signup",
    "/reports/{}/a?b=c%20d",
];

/// Paths that look like those of a rule.
const NEAR_MISSES: &[&str] = &[
    "/search/",
    "/Search",
    "/searches",
    "/search/{}",
    "/%73earch",
    "/signup/",
    "/LOGIN",
    "/live/{}",
    "/webhook",
    "/webhooksx/{}",
    "/orgs",
    "/search;v=1",
    "/v1/search",
];

const CROOKED: &[&str] = &[
    "/orders/../search",
    "/./me",
    "/me/..",
    "/%2e%2e/search",
    "/orgs/acme/%2E./x",
    "/webhooks/.%2e/orders",
    "/..",
];

const OWN: &[&str] = &["/health/basic", "/health/basic?jurisdiction=eu"];

const ORGANISATIONS: &[&str] = &["acme", "globex", "initech", "us_user_000001"];

/// Countries as people write them.
const COUNTRIES: &[&str] = &[
    "DE", "FR", "NL", "IE", "GR", "EL", "IS", "LI", "NO", "RE", "AX", "MT", "de", "nO", "el", "US", "us",
    "CA", "GB", "CH", "GL", "FO", "SG", "IN", "BR", "JP", "AU", "ZA", "TR", "UA",
];

const GARBLED: &[&str] = &[
    "7",
    "null",
    "true",
    "[\"DE\"]",
    "{\"code\":\"DE\"}",
    "\"Germany\"",
    "\"D\"",
    "\"\"",
    "\"D3\"",
    "DE",
    "\"DE",
    "\"D E\"",
];

#[derive(Clone, Copy)]
enum Purpose {
    Page,
    NearMiss,
    Search,
    Live,
    WebSocket,
    Arrival,
    Webhook,
    Organisation,
    Crooked,
    Own,
}

impl Draw {
    pub(super) fn request(&self, id: u64) -> Request {
        let mut dice = Dice::new(self.seed, id);
        let dice = &mut dice;
        let purpose = dice.weighed(&[
            (62, Purpose::Page),
            (5, Purpose::NearMiss),
            (10, Purpose::Search),
            (3, Purpose::Live),
            (3, Purpose::WebSocket),
            (8, Purpose::Arrival),
            (3, Purpose::Webhook),
            (4, Purpose::Organisation),
            (1, Purpose::Crooked),
            (1, Purpose::Own),
        ]);
        let (method, target, meaning) = errand(dice, purpose);
        let body = body(dice, id, &method, purpose, meaning);
        let credential = self.credential(dice, purpose);
        let forged = if dice.chance(300) {
            (0..dice.between(1..=4)).map(|_| *dice.pick(FORGED)).collect()
        } else {
            Vec::new()
        };
        Request {
            id,
            edge: *dice.pick(&Region::ALL),
            method,
            target,
            absolute: dice.chance(15),
            meaning,
            credential,
            carrier: dice.weighed(&[(85, Carrier::Bearer), (13, Carrier::Cookie), (2, Carrier::Twice)]),
            forged,
            body,
            afresh: dice.chance(60),
            hasty: dice.chance(5),
            conduct: conduct(dice),
        }
    }

    fn credential(&self, dice: &mut Dice, purpose: Purpose) -> Option<Arc<Credential>> {
        let Population { us, eu, expiring, worthless } = &*self.population;
        let strangers = match purpose {
            Purpose::Arrival | Purpose::Webhook => 250,
            _ => 15,
        };
        let from = dice.weighed(&[
            (40, Some(eu)),
            (34, Some(us)),
            (3, Some(expiring)),
            (9, Some(worthless)),
            (strangers, None),
        ])?;
        Some(Arc::clone(dice.pick(from)))
    }
}

/// Method and target, and what the rules say they are for.
fn errand(dice: &mut Dice, purpose: Purpose) -> (Method, String, Meaning) {
    let any = [
        (52, Method::GET),
        (5, Method::HEAD),
        (4, Method::OPTIONS),
        (20, Method::POST),
        (7, Method::PUT),
        (6, Method::PATCH),
        (6, Method::DELETE),
    ];
    let index = dice.weighed(&std::array::from_fn::<_, 7, _>(|index| (any[index].0, index)));
    let any = any[index].1.clone();
    let path = |dice: &mut Dice, of: &[&str]| {
        let number = dice.between(0..=9999).to_string();
        dice.pick(of).replace("{}", &number)
    };
    let query = if dice.chance(200) { "?q=a%2Fb" } else { "" };
    match purpose {
        Purpose::Page => match (any, path(dice, PAGES)) {
            // That would be an arrival.
            (Method::POST, path) if path == "/signup" => (Method::PUT, path, Meaning::Plain),
            (method, path) => (method, path, Meaning::Plain),
        },
        Purpose::NearMiss => {
            (dice.pick(&[Method::POST, Method::GET]).clone(), path(dice, NEAR_MISSES), Meaning::Plain)
        }
        Purpose::Search => (Method::POST, format!("/search{query}"), Meaning::Search),
        Purpose::Live => (Method::GET, format!("/live{query}"), Meaning::Live),
        Purpose::WebSocket if dice.chance(700) => (Method::GET, format!("/live{query}"), Meaning::Live),
        Purpose::WebSocket => (Method::GET, "/events".to_owned(), Meaning::Plain),
        Purpose::Arrival => {
            let country = match dice.between(0..=9) {
                0 => Country::Garbled(dice.pick::<&str>(GARBLED)),
                1 if dice.chance(500) => Country::Missing,
                1 => Country::TooDeep,
                2 if dice.chance(500) => {
                    Country::Twice(dice.pick::<&str>(COUNTRIES), dice.pick::<&str>(COUNTRIES))
                }
                _ => Country::Named(dice.pick::<&str>(COUNTRIES)),
            };
            let path = *dice.pick(&["/signup", "/login"]);
            (Method::POST, format!("{path}{query}"), Meaning::Arrival(country))
        }
        Purpose::Webhook => {
            let path = *dice.pick(&["/webhooks", "/webhooks/stripe", "/webhooks/a/b"]);
            (any, format!("{path}{query}"), Meaning::Webhook)
        }
        Purpose::Organisation => {
            let name = *dice.pick(ORGANISATIONS);
            let rest = *dice.pick(&["", "/orders", "/a/b"]);
            (any, format!("/orgs/{name}{rest}{query}"), Meaning::Organisation(name))
        }
        Purpose::Crooked => (any, path(dice, CROOKED), Meaning::Crooked),
        Purpose::Own => (Method::GET, path(dice, OWN), Meaning::Own),
    }
}

fn body(dice: &mut Dice, id: u64, method: &Method, purpose: Purpose, meaning: Meaning) -> Body {
    if matches!(purpose, Purpose::WebSocket) {
        return Body { manner: Manner::Upgrade, ..Body::default() };
    }
    if let Meaning::Arrival(country) = meaning {
        let text = arrival(id, country);
        let length = text.len() + dice.between(0..=40);
        let chunks = dice.between(1..=4);
        let manner = if dice.chance(300) { Manner::Chunked(chunks) } else { Manner::Whole };
        return Body { length, text: Some(text), manner };
    }
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    if safe && !dice.chance(10) {
        return Body::default();
    }
    let chunks = dice.between(1..=6);
    let manner = dice.weighed(&[
        (74, Manner::Whole),
        (20, Manner::Chunked(chunks)),
        (3, Manner::Trailed(chunks)),
        (3, Manner::BrokenOff(chunks)),
    ]);
    let length = match manner {
        Manner::Whole => dice.between(0..=2048),
        _ if dice.chance(100) => dice.between(64 << 10..=MOST_BODY),
        // A body that breaks off has something left to send.
        _ => dice.between(chunks + 1..=24 << 10),
    };
    Body { length, text: None, manner }
}

/// The body of a sign-up or a login.
fn arrival(id: u64, country: Country) -> String {
    let mut text = format!("{{\"email\":\"{id:x}@people.example\"");
    let _ = match country {
        Country::Twice(first, last) => {
            write!(text, ",\"billing\":{{\"country\":\"{first}\"}},\"billing\":{{\"country\":\"{last}\"}}")
        }
        Country::Named(code) => write!(text, ",\"billing\":{{\"country\":\"{code}\"}}"),
        Country::Garbled(raw) => write!(text, ",\"billing\":{{\"country\":{raw}}}"),
        Country::Missing => write!(text, ",\"billing\":{{\"city\":\"DE\"}},\"country\":\"DE\""),
        Country::TooDeep => {
            write!(text, ",\"note\":\"{}\",\"billing\":{{\"country\":\"DE\"}}", "x".repeat(70_000))
        }
    };
    text.push('}');
    text
}

fn conduct(dice: &mut Dice) -> Conduct {
    if dice.chance(3) {
        return Conduct::Vanish;
    }
    let thinks_ms = match dice.between(0..=99) {
        0 | 1 => dice.between(50..=300),
        2..=19 => dice.between(1..=20),
        _ => 0,
    };
    Conduct::Answer(Answer {
        status: dice.weighed(&[(85, 200), (10, 201), (5, 409)]),
        length: if dice.chance(50) { dice.between(0..=40_000) } else { dice.between(0..=300) },
        chunked: dice.chance(200),
        thinks_ms: thinks_ms as u64,
        hangs_up: dice.chance(5),
        leaks: dice.chance(100),
    })
}
