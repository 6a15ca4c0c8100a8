//! The law, restated: where a request may be delivered, as what, and what is wrong with a delivery.
//!
//! Written from the contract alone. It shares no line with the gateway, reads no configuration, and believes nothing
//! that arrives but the request's number; `Residency-*` headers are what it checks, never what it goes by.
use std::fmt;

use http::{HeaderMap, HeaderName, Method, header, request::Parts};

use super::{
    credentials::Truth,
    request::{Carrier, Country, Meaning, Request},
};
use crate::world::{Jurisdiction, Region};

/// Between the last look at a token and its delivery, in seconds; whole seconds of the clock included.
const EXPIRY_SLACK_S: u64 = 3;

/// The European Economic Area, with those parts of its states that have a code of their own.
const EEA: &[&str] = &[
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT",
    "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK", "IS", "LI", "NO", "AX", "GF", "GP", "MF",
    "MQ", "RE", "YT",
];

/// What the law says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// No API may ever see it. Its client learns so by this status.
    Nowhere { status: u16 },
    /// The API of one of these regions may see it once.
    Somewhere(Grant),
}

/// A right to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) regions: &'static [Region],
    pub(super) jurisdiction: Option<Jurisdiction>,
    pub(super) writes: bool,
    pub(super) subject: Option<String>,
    /// Until when, in Unix seconds.
    pub(super) until: Option<u64>,
}

impl Grant {
    /// Until a moment within any run: who asks then may be refused or not.
    pub(super) fn ends_soon(&self, now_unix_s: u64) -> bool {
        self.until.is_some_and(|until| until < now_unix_s + EXPIRY_SLACK_S)
    }
}

/// One way to break the law or a promise. The letters are those of the scenario's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Breach {
    /// (a) Delivered outside the jurisdiction's regions.
    OutsideJurisdiction,
    /// (b) A write, delivered away from its home.
    WriteAwayFromHome,
    /// (c) Delivered although nobody knows whose it is.
    Unidentified,
    /// (c) Delivered although its token had expired.
    Expired,
    /// Delivered without a number, so nobody knows what it is.
    Stray,
    /// (d) A `Residency-*` header is not exactly what it must be.
    Forged,
    /// (e) Delivered more than once.
    Doubled,
    /// (f) Acknowledged, and not delivered exactly once and whole.
    Unbacked,
    /// Ended like a whole body, and was another one.
    Altered,
    /// Method, target or credential are not those that were sent.
    Changed,
    /// Refused with the promise that nothing was done, and delivered all the same.
    BrokenPromise,
    /// The client got what is not the answer to its request.
    MixedUp,
    /// The client got a `Residency-*` header that is not for clients.
    Leaked,
}

impl Breach {
    pub(super) const ALL: [Self; 13] = [
        Self::OutsideJurisdiction,
        Self::WriteAwayFromHome,
        Self::Unidentified,
        Self::Expired,
        Self::Stray,
        Self::Forged,
        Self::Doubled,
        Self::Unbacked,
        Self::Altered,
        Self::Changed,
        Self::BrokenPromise,
        Self::MixedUp,
        Self::Leaked,
    ];

    /// A delivery that the law forbids, whatever else is wrong with it.
    pub(super) fn is_unlawful(self) -> bool {
        matches!(
            self,
            Self::OutsideJurisdiction
                | Self::WriteAwayFromHome
                | Self::Unidentified
                | Self::Expired
                | Self::Stray
        )
    }

    /// What never happens, as a check's name.
    pub(super) fn claim(self) -> &'static str {
        match self {
            Self::OutsideJurisdiction => "no request is delivered outside its jurisdiction's regions",
            Self::WriteAwayFromHome => "no write is delivered away from its home",
            Self::Unidentified => "no request of an unknown identity is delivered, anonymous reads aside",
            Self::Expired => "no request is delivered after its token's end",
            Self::Stray => "nothing is delivered that no client sent",
            Self::Forged => "every delivery carries exactly the Residency headers that are true of it",
            Self::Doubled => "no request is delivered twice",
            Self::Unbacked => "what is acknowledged was delivered exactly once, and whole",
            Self::Altered => "a body arrives as it was sent, or does not end",
            Self::Changed => "method, target and credential arrive as they were sent",
            Self::BrokenPromise => "what is refused was not delivered",
            Self::MixedUp => "every client gets the answer to its own request",
            Self::Leaked => "no client gets a Residency header that is not for clients",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.claim())
    }
}

/// Where a jurisdiction's data may be.
pub(super) const fn regions(jurisdiction: Jurisdiction) -> &'static [Region] {
    match jurisdiction {
        Jurisdiction::Us => &[Region::UsEast, Region::EuFrankfurt, Region::ApSingapore],
        Jurisdiction::Eu => &[Region::EuFrankfurt, Region::EuNuremberg],
    }
}

/// Where it is written.
pub(super) const fn home(jurisdiction: Jurisdiction) -> &'static [Region] {
    match jurisdiction {
        Jurisdiction::Us => &[Region::UsEast],
        Jurisdiction::Eu => &[Region::EuFrankfurt],
    }
}

/// The jurisdiction of a country as a client wrote it.
fn of_country(code: &str) -> Jurisdiction {
    match code.to_ascii_uppercase().as_str() {
        // Greece's other code, of EU bodies.
        "EL" => Jurisdiction::Eu,
        code if EEA.contains(&code) => Jurisdiction::Eu,
        _ => Jurisdiction::Us,
    }
}

/// The same country, as two clients may write it.
fn is_same_country(first: &str, other: &str) -> bool {
    let plain = |code: &str| code.to_ascii_uppercase().replace("EL", "GR");
    plain(first) == plain(other)
}

fn writes(request: &Request) -> bool {
    match request.meaning {
        Meaning::Search => false,
        Meaning::Live => true,
        _ => request.is_upgrade() || ![Method::GET, Method::HEAD, Method::OPTIONS].contains(&request.method),
    }
}

/// What the law says about a request.
pub(super) fn right(request: &Request) -> Right {
    let writes = writes(request);
    let located = |jurisdiction, subject, until| {
        let regions = if writes { home(jurisdiction) } else { regions(jurisdiction) };
        Right::Somewhere(Grant { regions, jurisdiction: Some(jurisdiction), writes, subject, until })
    };
    match request.meaning {
        Meaning::Own => return Right::Nowhere { status: 200 },
        Meaning::Crooked => return Right::Nowhere { status: 400 },
        _ => {}
    }
    if let Some(credential) = &request.credential {
        return match &credential.truth {
            _ if request.carrier == Carrier::Twice => Right::Nowhere { status: 401 },
            Truth::Worthless { status, .. } => Right::Nowhere { status: *status },
            Truth::Subject { subject, jurisdiction, until } => {
                let subject = match request.meaning {
                    Meaning::Organisation(name) => name.to_owned(),
                    _ => subject.clone(),
                };
                located(*jurisdiction, Some(subject), Some(*until))
            }
        };
    }
    match request.meaning {
        // What may be asked concerns nobody's data, whatever the route is about.
        Meaning::Webhook if request.method != Method::OPTIONS => located(Jurisdiction::Us, None, None),
        Meaning::Arrival(Country::Named(code)) => located(of_country(code), None, None),
        Meaning::Arrival(Country::Twice(first, last)) if is_same_country(first, last) => {
            located(of_country(last), None, None)
        }
        Meaning::Arrival(Country::Twice(..) | Country::Garbled(_) | Country::Missing) => {
            Right::Nowhere { status: 422 }
        }
        Meaning::Arrival(Country::TooDeep) => Right::Nowhere { status: 413 },
        _ if writes => Right::Nowhere { status: 401 },
        _ => Right::Somewhere(Grant {
            regions: &Region::ALL,
            jurisdiction: None,
            writes,
            subject: None,
            until: None,
        }),
    }
}

/// Everything that is wrong with a delivery of `request` to the API of `region`.
pub(super) fn judge(
    request: &Request,
    region: Region,
    head: &Parts,
    now_unix_s: u64,
) -> Vec<(Breach, String)> {
    let mut breaches = Vec::new();
    match right(request) {
        Right::Nowhere { .. } => {
            breaches.push((Breach::Unidentified, format!("in {region}, with {}", shown(request))));
        }
        Right::Somewhere(grant) => {
            let lawful = grant.jurisdiction.map_or(&Region::ALL[..], regions);
            if !lawful.contains(&region) {
                breaches.push((Breach::OutsideJurisdiction, format!("{:?} in {region}", grant.jurisdiction)));
            } else if !grant.regions.contains(&region) {
                breaches.push((Breach::WriteAwayFromHome, format!("{:?} in {region}", grant.jurisdiction)));
            }
            if let Some(until) = grant.until
                && now_unix_s > until.saturating_add(EXPIRY_SLACK_S)
            {
                breaches.push((Breach::Expired, format!("{} s after its end", now_unix_s - until)));
            }
            let due = due(&grant, region);
            breaches.extend(headers(&head.headers, &due).into_iter().map(|detail| (Breach::Forged, detail)));
        }
    }
    breaches.extend(changes(request, head).into_iter().map(|detail| (Breach::Changed, detail)));
    breaches
}

/// The `Residency-*` headers that an API in `region` must get, each once, and no others.
pub(super) fn due(grant: &Grant, region: Region) -> Vec<(&'static str, String)> {
    let mut due = vec![
        ("residency-served-by", region.name().to_owned()),
        ("residency-access", if grant.writes { "write" } else { "read" }.to_owned()),
    ];
    if let Some(jurisdiction) = grant.jurisdiction {
        let primary = grant.writes || home(jurisdiction).contains(&region);
        due.push(("residency-jurisdiction", jurisdiction.name().to_owned()));
        due.push(("residency-database", if primary { "primary" } else { "replica" }.to_owned()));
    }
    if let Some(subject) = &grant.subject {
        due.push(("residency-subject", subject.clone()));
    }
    due
}

fn headers(got: &HeaderMap, due: &[(&str, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, value) in due {
        let values: Vec<_> = got.get_all(*name).iter().collect();
        if values.len() != 1 || values[0].as_bytes() != value.as_bytes() {
            faults.push(format!("{name} is {values:?}, must be {value:?}"));
        }
    }
    for name in ours(got).filter(|name| due.iter().all(|(expected, _)| *expected != name.as_str())) {
        faults.push(format!("{name} is {:?}, must not be there", got.get(name)));
    }
    faults
}

/// The names that belong to gateways.
pub(super) fn ours(headers: &HeaderMap) -> impl Iterator<Item = &HeaderName> {
    headers.keys().filter(|name| name.as_str().starts_with("residency-"))
}

/// What was shown for identity, in words.
pub(super) fn shown(request: &Request) -> String {
    match request.credential.as_deref().map(|credential| &credential.truth) {
        None => format!("no token, as {:?}", request.meaning),
        Some(Truth::Worthless { why, .. }) => format!("a token that is worth nothing: {why}"),
        Some(Truth::Subject { subject, .. }) => format!("the token of {subject} ({:?})", request.carrier),
    }
}

fn changes(request: &Request, head: &Parts) -> Vec<String> {
    let mut faults = Vec::new();
    if head.method != request.method {
        faults.push(format!("{} became {}", request.method, head.method));
    }
    let target = head.uri.to_string();
    if target != request.target {
        faults.push(format!("{} became {target}", request.target));
    }
    let sent = request.credential.as_ref().map(|credential| credential.token.as_str());
    let arrived = credential(&head.headers, request.carrier);
    if arrived != sent {
        faults.push(format!("the token {sent:?} became {arrived:?}"));
    }
    let upgrade = head.headers.get(header::UPGRADE).is_some_and(|protocol| protocol == "websocket");
    if upgrade != request.is_upgrade() {
        faults.push(format!("an upgrade: sent {}, arrived {upgrade}", request.is_upgrade()));
    }
    faults
}

fn credential(headers: &HeaderMap, carrier: Carrier) -> Option<&str> {
    let (name, prefix) = match carrier {
        Carrier::Bearer | Carrier::Twice => (header::AUTHORIZATION, "Bearer "),
        Carrier::Cookie => (header::COOKIE, "access_token="),
    };
    headers.get(name)?.to_str().ok()?.strip_prefix(prefix)
}
