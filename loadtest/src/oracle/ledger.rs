//! What was delivered, and what clients were told: every delivery judged as it comes, every promise held against it at
//! the end.
//!
//! Invariants
//! - A request's number has one line; a delivery or an answer with a number that was never given out is a breach.
//! - Breaches are counted all, and quoted the first few of each kind.
//!
//! Absent by design: sockets and clocks. Callers bring what arrived, and when.
use std::collections::BTreeMap;

use http::{HeaderMap, request::Parts};

use super::{
    draw::Draw,
    law::{self, Breach, Right},
    request::{Conduct, ID, Request},
};
use crate::world::Region;

/// Breaches of one kind that are quoted.
const QUOTED: usize = 5;
/// Statuses by which a gateway says that nothing was done.
const PROMISES: [u16; 6] = [401, 403, 413, 421, 422, 503];

/// The book.
#[derive(Debug)]
pub(super) struct Ledger {
    draw: Draw,
    lines: Vec<Line>,
    pub(super) breaches: BTreeMap<Breach, Breaches>,
    pub(super) tally: Tally,
}

/// Breaches of one kind.
#[derive(Debug, Default)]
pub(super) struct Breaches {
    pub(super) count: u64,
    pub(super) quoted: Vec<String>,
}

/// What is known of one request.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    deliveries: u8,
    whole: bool,
    acknowledged: bool,
    refused: bool,
}

/// What a client got.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// The problem's code, if the answer is one.
    pub(super) code: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Content,
}

/// The body that a client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The one that the API gives this request, or a whole body where that is not known.
    Right,
    Wrong,
    /// It broke off.
    Partial,
}

/// When an answer came, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Nothing was wrong with the world since the request's first byte.
    pub(super) calm: bool,
    pub(super) unix_s: u64,
}

/// How a request ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Silence {
    /// There was no connection.
    Unconnected,
    /// The connection ended before the answer.
    Broken,
    /// The client lost patience.
    TimedOut,
    /// The client left on purpose.
    Left,
}

/// Counts of what happened.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) asked: u64,
    pub(super) delivered: u64,
    pub(super) acknowledged: u64,
    pub(super) by_status: BTreeMap<u16, u64>,
    pub(super) by_code: BTreeMap<String, u64>,
    pub(super) by_silence: BTreeMap<Silence, u64>,
    pub(super) by_region: BTreeMap<&'static str, u64>,
    pub(super) websockets: u64,
    /// Requests that went from first to last byte while nothing was wrong: those that the law lets through, those that
    /// it stops, and how many of each got what is due.
    pub(super) calm: Calm,
    /// The first requests in calm that got something else.
    pub(super) surprises: Vec<String>,
}

/// Requests in calm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Calm {
    pub(super) lawful: u64,
    pub(super) answered: u64,
    pub(super) unlawful: u64,
    pub(super) refused: u64,
}

impl Ledger {
    pub(super) fn new(draw: Draw, requests: u64) -> Self {
        let lines = vec![Line::default(); usize::try_from(requests).expect("they fit in memory")];
        Self { draw, lines, breaches: BTreeMap::new(), tally: Tally::default() }
    }

    /// A request's head has reached the API of `region`. The truth about it, unless it has no number.
    pub(super) fn delivered(&mut self, region: Region, head: &Parts, now_unix_s: u64) -> Option<Request> {
        self.tally.delivered += 1;
        *self.tally.by_region.entry(region.name()).or_default() += 1;
        let Some(id) = number(&head.headers).filter(|id| self.line(*id).is_some()) else {
            self.breach(Breach::Stray, format!("{} {} in {region}", head.method, head.uri));
            return None;
        };
        let request = self.draw.request(id);
        let line = self.line(id)?;
        line.deliveries = line.deliveries.saturating_add(1);
        if line.deliveries > 1 {
            let times = line.deliveries;
            self.breach(Breach::Doubled, format!("{}: {times} times, now in {region}", brief(&request)));
        }
        for (breach, detail) in law::judge(&request, region, head, now_unix_s) {
            self.breach(breach, format!("{}: {detail}", brief(&request)));
        }
        Some(request)
    }

    /// A delivery's body has ended as whole bodies end.
    pub(super) fn body_ended(&mut self, request: &Request, body: &[u8], trailers: Option<&HeaderMap>) {
        let same = body == request.payload() && !request.breaks_off();
        if let Some(line) = self.line(request.id) {
            line.whole = same;
        }
        if !same {
            let detail = format!("{}: {} bytes of {}", brief(request), body.len(), request.body.length);
            self.breach(Breach::Altered, detail);
        }
        for name in trailers.into_iter().flat_map(law::ours) {
            self.breach(Breach::Forged, format!("{}: {name} behind the body", brief(request)));
        }
    }

    /// A client has its answer.
    pub(super) fn answered(&mut self, request: &Request, reply: &Reply, moment: Moment) {
        self.tally.asked += 1;
        *self.tally.by_status.entry(reply.status).or_default() += 1;
        if let Some(code) = &reply.code {
            *self.tally.by_code.entry(code.clone()).or_default() += 1;
        }
        let right = law::right(request);
        let named = number(&reply.headers);
        let of_api = named.is_some();
        if reply.body == Content::Wrong || (of_api && named != Some(request.id)) {
            self.breach(Breach::MixedUp, format!("{}: got {reply:?}", brief(request)));
        }
        let mut leaked: Vec<_> = law::ours(&reply.headers)
            .filter(|name| !(of_api && *name == "residency-served-by"))
            .map(ToString::to_string)
            .collect();
        if of_api && !served_by_who_answered(&reply.headers) {
            leaked.push(format!("served by {:?}", reply.headers.get("residency-served-by")));
        }
        if !leaked.is_empty() {
            self.breach(Breach::Leaked, format!("{}: {leaked:?}", brief(request)));
        }
        let own = right == Right::Nowhere { status: 200 };
        // An upgrade is acknowledged by its protocol switch.
        let success = (200..300).contains(&reply.status) || reply.status == 101;
        if success && !own {
            self.tally.acknowledged += 1;
        }
        if let Some(line) = self.line(request.id) {
            line.acknowledged = success && !own;
            line.refused = !of_api && PROMISES.contains(&reply.status);
        }
        if moment.calm {
            self.calm(request, &right, reply, moment.unix_s);
        }
    }

    fn calm(&mut self, request: &Request, right: &Right, reply: &Reply, now_unix_s: u64) {
        let calm = &mut self.tally.calm;
        let (due, got) = match (right, request.conduct) {
            _ if request.breaks_off() => return,
            (Right::Nowhere { status }, _) => {
                calm.unlawful += 1;
                calm.refused += u64::from(reply.status == *status);
                (*status, reply.status)
            }
            // Its token may end on its way.
            (Right::Somewhere(grant), _) if grant.ends_soon(now_unix_s) => return,
            (Right::Somewhere(_), Conduct::Vanish) => return,
            (Right::Somewhere(_), Conduct::Answer(answer)) => {
                let due = if request.is_upgrade() && answer.status != 409 { 101 } else { answer.status };
                calm.lawful += 1;
                calm.answered += u64::from(reply.status == due && reply.body == Content::Right);
                (due, reply.status)
            }
        };
        if due != got && self.tally.surprises.len() < 4 * QUOTED {
            let code = reply.code.as_deref().unwrap_or("-");
            let text = format!("{}: {got} {code}, due {due}, with {}", brief(request), law::shown(request));
            self.tally.surprises.push(text);
        }
    }

    /// A request ended without an answer.
    pub(super) fn unanswered(&mut self, request: &Request, silence: Silence, moment: Moment) {
        self.tally.asked += 1;
        *self.tally.by_silence.entry(silence).or_default() += 1;
        let excused = silence == Silence::Left || request.breaks_off() || request.conduct == Conduct::Vanish;
        if moment.calm && !excused {
            match law::right(request) {
                Right::Nowhere { .. } => self.tally.calm.unlawful += 1,
                Right::Somewhere(_) => self.tally.calm.lawful += 1,
            }
            if self.tally.surprises.len() < 4 * QUOTED {
                self.tally.surprises.push(format!("{}: {silence:?}", brief(request)));
            }
        }
    }

    /// What a client heard through a WebSocket was, or was not, what it had said.
    pub(super) fn echoed(&mut self, request: &Request, same: bool) {
        self.tally.websockets += 1;
        if !same {
            self.breach(Breach::MixedUp, format!("{}: the WebSocket echoes something else", brief(request)));
        }
    }

    /// Holds what clients were told against what was delivered. Called once, when nothing is under way any more.
    pub(super) fn close(&mut self) {
        for id in 0..self.lines.len() as u64 {
            let Line { deliveries, whole, acknowledged, refused } = self.lines[id as usize];
            if acknowledged && (deliveries != 1 || !whole) {
                let detail = format!("delivered {deliveries} times, whole: {whole}");
                self.breach(Breach::Unbacked, format!("{}: {detail}", brief(&self.draw.request(id))));
            }
            if refused && deliveries > 0 {
                let detail = format!("delivered {deliveries} times");
                self.breach(Breach::BrokenPromise, format!("{}: {detail}", brief(&self.draw.request(id))));
            }
        }
    }

    pub(super) fn count(&self, breach: Breach) -> u64 {
        self.breaches.get(&breach).map_or(0, |breaches| breaches.count)
    }

    fn line(&mut self, id: u64) -> Option<&mut Line> {
        self.lines.get_mut(usize::try_from(id).ok()?)
    }

    fn breach(&mut self, breach: Breach, detail: String) {
        let breaches = self.breaches.entry(breach).or_default();
        breaches.count += 1;
        if breaches.quoted.len() < QUOTED {
            breaches.quoted.push(detail);
        }
    }
}

/// The number that a head carries, once.
fn number(headers: &HeaderMap) -> Option<u64> {
    let mut all = headers.get_all(ID).iter();
    let number = all.next()?.to_str().ok()?.parse().ok()?;
    all.next().is_none().then_some(number)
}

fn served_by_who_answered(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all("residency-served-by").iter();
    let said = all.next();
    all.next().is_none() && said.is_some() && said == headers.get("x-oracle-region")
}

fn brief(request: &Request) -> String {
    let Request { id, edge, method, target, .. } = request;
    format!("#{id} {method} {target} at {edge}")
}
