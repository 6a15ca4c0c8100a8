//! What the scenario found, as JSON for machines and as text for people.
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    law::Breach,
    ledger::{Calm, Ledger},
    weather::Past,
};
use crate::checks::Checks;

/// Of the lawful requests in calm, the least that must be answered as the API answered them.
const LEAST_ANSWERED: f64 = 0.99;
/// Of the unlawful ones, the least that must be refused with their own status.
const LEAST_REFUSED: f64 = 0.99;
/// Below this share of all requests the calm says too little.
const LEAST_IN_CALM: f64 = 0.05;

/// The whole result.
#[derive(Debug, Serialize)]
pub struct Report {
    pub seed: u64,
    pub requests: u64,
    pub delivered: u64,
    pub acknowledged: u64,
    /// Deliveries that the law forbids.
    pub unlawful: u64,
    pub doubled: u64,
    pub forged: u64,
    /// Acknowledged, and not delivered exactly once and whole.
    pub unbacked: u64,
    pub by_status: BTreeMap<u16, u64>,
    /// Problems by their code.
    pub by_code: BTreeMap<String, u64>,
    /// Requests that ended without an answer, by how.
    pub by_silence: BTreeMap<String, u64>,
    pub delivered_by_region: BTreeMap<&'static str, u64>,
    pub websockets: u64,
    pub in_calm: InCalm,
    pub storms: u64,
    pub faults: u64,
    pub slowest_recovery_ms: u64,
    pub seconds: f64,
    pub requests_per_second: f64,
    /// What was not as it must be, in words: the first few of each kind.
    pub breaches: BTreeMap<&'static str, Vec<String>>,
    /// The first requests in calm that got something else than their due.
    pub surprises: Vec<String>,
    pub checks: Checks,
}

/// Requests that went from first to last byte while nothing was wrong.
#[derive(Debug, Serialize)]
pub struct InCalm {
    pub lawful: u64,
    /// … that got the API's answer.
    pub answered: u64,
    pub unlawful: u64,
    /// … that got the refusal that is theirs.
    pub refused: u64,
}

impl Report {
    pub(super) fn new(seed: u64, wanted: Option<u64>, ledger: &Ledger, past: &Past, took: Duration) -> Self {
        let count = |breach| ledger.count(breach);
        let tally = &ledger.tally;
        let Calm { lawful, answered, unlawful, refused } = tally.calm;
        Self {
            seed,
            requests: tally.asked,
            delivered: tally.delivered,
            acknowledged: tally.acknowledged,
            unlawful: Breach::ALL.into_iter().filter(|breach| breach.is_unlawful()).map(count).sum(),
            doubled: count(Breach::Doubled),
            forged: count(Breach::Forged),
            unbacked: count(Breach::Unbacked),
            by_status: tally.by_status.clone(),
            by_code: tally.by_code.clone(),
            by_silence: tally.by_silence.iter().map(|(how, count)| (format!("{how:?}"), *count)).collect(),
            delivered_by_region: tally.by_region.clone(),
            websockets: tally.websockets,
            in_calm: InCalm { lawful, answered, unlawful, refused },
            storms: past.storms,
            faults: past.faults,
            slowest_recovery_ms: past.slowest.as_millis() as u64,
            seconds: took.as_secs_f64(),
            requests_per_second: tally.asked as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE),
            breaches: ledger
                .breaches
                .iter()
                .map(|(breach, breaches)| (breach.claim(), breaches.quoted.clone()))
                .collect(),
            surprises: tally.surprises.clone(),
            checks: checks(wanted, ledger, past),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let InCalm { lawful, answered, unlawful, refused } = self.in_calm;
        let _ = writeln!(
            text,
            "\n{} requests in {:.0} s ({:.0} a second), seed {}; {} storms with {} faults\n\
             {} delivered, {} acknowledged, {} WebSockets\n\
             unlawful {}, forged {}, doubled {}, unbacked {}\n\
             in calm: {answered} of {lawful} lawful ones answered, {refused} of {unlawful} others refused\n\
             statuses {:?}\nproblems {:?}\nwithout an answer {:?}\ndelivered in {:?}",
            self.requests,
            self.seconds,
            self.requests_per_second,
            self.seed,
            self.storms,
            self.faults,
            self.delivered,
            self.acknowledged,
            self.websockets,
            self.unlawful,
            self.forged,
            self.doubled,
            self.unbacked,
            self.by_status,
            self.by_code,
            self.by_silence,
            self.delivered_by_region,
        );
        text += &self.checks.text();
        for (claim, quoted) in &self.breaches {
            let _ = writeln!(text, "\nNot so: {claim}\n  {}", quoted.join("\n  "));
        }
        if !self.surprises.is_empty() {
            let _ = writeln!(text, "\nNot what was due in calm:\n  {}", self.surprises.join("\n  "));
        }
        text
    }
}

fn checks(wanted: Option<u64>, ledger: &Ledger, past: &Past) -> Checks {
    let mut checks = Checks::default();
    for breach in Breach::ALL {
        let count = ledger.count(breach);
        let detail = if count == 0 { String::new() } else { format!("{count} times") };
        checks.check(breach.claim(), count == 0, detail);
    }
    let mut check = |name: &str, passed: bool, detail: String| {
        checks.check(name, passed, detail);
    };
    let tally = &ledger.tally;
    let Calm { lawful, answered, unlawful, refused } = tally.calm;
    let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let of = |part: u64, whole: u64| format!("{part} of {whole} ({:.2} %)", share(part, whole) * 100.0);
    check(
        "in calm, what is lawful is answered",
        share(answered, lawful) >= LEAST_ANSWERED,
        of(answered, lawful),
    );
    check(
        "in calm, what is not is refused, and the client told why",
        share(refused, unlawful) >= LEAST_REFUSED,
        of(refused, unlawful),
    );
    check(
        "there was enough calm to say so",
        share(lawful + unlawful, tally.asked) >= LEAST_IN_CALM,
        of(lawful + unlawful, tally.asked),
    );
    check("there were storms", past.storms > 0, format!("{} with {} faults", past.storms, past.faults));
    check(
        "after every storm all gateways are healthy again",
        past.recovered == past.storms && past.trouble.is_none(),
        past.trouble.clone().unwrap_or_else(|| {
            format!(
                "{} of {}, the slowest {:.1} s after the last fault",
                past.recovered,
                past.storms,
                past.slowest.as_secs_f64()
            )
        }),
    );
    if let Some(wanted) = wanted {
        check("every request was asked", tally.asked == wanted, of(tally.asked, wanted));
    }
    checks
}
