//! What users waited for, before and after, as JSON, as text and as a picture, and whether it is what was to be reached.
use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{
    Options,
    distribution::{Distribution, Figures},
    picture::{self, Panel},
    plan::{Setup, Stream},
    session::Seen,
};
use crate::{
    checks::Checks,
    generator::TERMS,
    peers::Added,
    world::{Region, round_trip},
};

/// Of EU users: p95 before over p95 after, at least.
const EU_RATIO: f64 = 6.0;
/// Of EU users: p95 with the regions, at most.
const EU_P95_MS: f64 = 45.0;
/// What the gateway may add at half of its highest rate.
const ADDED_P50_US: f64 = 50.0;
const ADDED_P99_US: f64 = 250.0;
/// Fewer requests than this say nothing about a p99.
const LEAST_REQUESTS: usize = 200;

/// What the sessions of all streams saw.
#[derive(Debug)]
pub(super) struct Samples {
    streams: Vec<(Stream, Vec<Seen>)>,
    /// Why the world did not end well.
    pub(super) ended: Option<String>,
}

impl Samples {
    pub(super) fn new(streams: &[Stream]) -> Self {
        Self { streams: streams.iter().map(|stream| (*stream, Vec::new())).collect(), ended: None }
    }

    pub(super) fn add(&mut self, stream: usize, seen: Seen) {
        self.streams[stream].1.push(seen);
    }

    fn of(&self, place: Region, setup: Setup) -> &[Seen] {
        let found = self.streams.iter().find(|(stream, _)| *stream == Stream { place, setup });
        found.map_or(&[], |(_, seen)| seen)
    }

    fn all(&self) -> impl Iterator<Item = &Seen> {
        self.streams.iter().flat_map(|(_, seen)| seen)
    }
}

/// The whole result.
#[derive(Debug, Serialize)]
pub struct Report {
    setups: BTreeMap<&'static str, &'static str>,
    tls: &'static str,
    /// Round trips, ms.
    access_ms: f64,
    to_us_east_ms: BTreeMap<&'static str, u64>,
    places: Vec<Place>,
    /// Sessions that ended early.
    faults: usize,
    /// Why the first of them did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quoted: Vec<String>,
    /// Lists that lacked the order that their user had just placed.
    stale: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<Added>,
    pub checks: Checks,
    #[serde(skip)]
    curves: Vec<(Region, [Distribution; 2])>,
}

/// One place's users.
#[derive(Debug, Serialize)]
struct Place {
    users_near: &'static str,
    before: Option<Figures>,
    after: Option<Figures>,
    /// Before over after.
    p50_ratio: Option<f64>,
    p95_ratio: Option<f64>,
    p99_ratio: Option<f64>,
    /// Connecting, TLS and the first request.
    first_before: Option<Figures>,
    first_after: Option<Figures>,
    session_before: Option<Figures>,
    session_after: Option<Figures>,
}

impl Report {
    pub(super) fn new(options: &Options, samples: &Samples, gateway: Option<Added>) -> Self {
        let curves: Vec<_> = Region::ALL
            .into_iter()
            .map(|place| (place, Setup::ALL.map(|setup| requests(samples.of(place, setup)))))
            .collect();
        let places: Vec<_> =
            curves.iter().map(|(place, curves)| Place::of(*place, curves, samples)).collect();
        let faults: Vec<_> = samples.all().filter_map(|seen| seen.fault.clone()).collect();
        let mut checks = Checks::default();
        for place in &places {
            place.check(&mut checks);
        }
        if let Some(added) = &gateway {
            check_added(added, &mut checks);
        }
        checks.check(
            "every session went through",
            faults.is_empty(),
            format!("{} of {} ended early", faults.len(), samples.all().count()),
        );
        let ended = samples.ended.clone().unwrap_or_default();
        checks.check("the world ended without a trace: no process, port or file", ended.is_empty(), ended);
        Self {
            setups: BTreeMap::from([
                ("before", "everything in us-east: the gateway there ends TLS, the data is beside it"),
                ("after", "the nearest region's gateway; data where the law wants it"),
            ]),
            tls: TERMS,
            access_ms: options.access.as_secs_f64() * 1e3,
            to_us_east_ms: Region::ALL
                .into_iter()
                .map(|place| (place.name(), round_trip(place, Region::UsEast).as_millis() as u64))
                .collect(),
            places,
            stale: samples.all().filter(|seen| seen.stale).count(),
            quoted: faults.iter().take(5).cloned().collect(),
            faults: faults.len(),
            gateway,
            checks,
            curves,
        }
    }

    /// Both distributions of each place, as SVG.
    pub fn svg(&self) -> String {
        let panels: Vec<_> = self
            .curves
            .iter()
            .map(|(place, [before, after])| Panel { title: place.name(), before, after })
            .collect();
        picture::draw(&panels)
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "\nms a request, {} ms from the nearest region; before: everything in us-east, after: the regions\n\
             {:<14}{:>9}{:>9}{:>9}   {:>9}{:>9}{:>9}   {:>8}\n",
            self.access_ms, "users near", "p50 bef.", "p95", "p99", "p50 aft.", "p95", "p99", "p95 ratio"
        );
        for Place { users_near, before, after, p95_ratio, .. } in &self.places {
            let (Some(before), Some(after)) = (before, after) else { continue };
            let _ = writeln!(
                text,
                "{users_near:<14}{:>9.1}{:>9.1}{:>9.1}   {:>9.1}{:>9.1}{:>9.1}   {:>8.1}",
                before.p50_ms,
                before.p95_ms,
                before.p99_ms,
                after.p50_ms,
                after.p95_ms,
                after.p99_ms,
                p95_ratio.unwrap_or(f64::NAN)
            );
        }
        if let Some(Added { rps, added_p50_us, added_p99_us, gateway_cpu_share, .. }) = &self.gateway {
            let _ = writeln!(
                text,
                "the gateway adds {added_p50_us:.0} µs (p50) and {added_p99_us:.0} µs (p99) at {rps:.0} requests a \
                 second, with its core {:.0} % busy",
                gateway_cpu_share * 100.0
            );
        }
        let _ = writeln!(text, "{} stale lists\n", self.stale);
        text + &self.checks.text()
    }
}

impl Place {
    fn of(place: Region, [before, after]: &[Distribution; 2], samples: &Samples) -> Self {
        let firsts = |setup| {
            let firsts = samples.of(place, setup).iter().filter_map(|seen| seen.latencies.first().copied());
            Distribution::of(firsts).figures()
        };
        let sessions = |setup| {
            let whole = samples.of(place, setup).iter().filter(|seen| seen.fault.is_none());
            Distribution::of(whole.map(|seen| seen.latencies.iter().sum())).figures()
        };
        Self {
            users_near: place.name(),
            p50_ratio: ratio(before, after, 0.50),
            p95_ratio: ratio(before, after, 0.95),
            p99_ratio: ratio(before, after, 0.99),
            before: before.figures(),
            after: after.figures(),
            first_before: firsts(Setup::OnePlace),
            first_after: firsts(Setup::Regions),
            session_before: sessions(Setup::OnePlace),
            session_after: sessions(Setup::Regions),
        }
    }

    fn check(&self, checks: &mut Checks) {
        let name = self.users_near;
        let enough = |figures: &Option<Figures>| figures.map_or(0, |figures| figures.requests);
        let least = enough(&self.before).min(enough(&self.after));
        checks.check(
            format!("{name}: enough requests on either side"),
            least >= LEAST_REQUESTS,
            format!("{least}"),
        );
        if !Region::named(name).is_some_and(Region::in_eu) {
            return;
        }
        let ratio = self.p95_ratio.unwrap_or(0.0);
        checks.check(
            format!("{name}: p95 at least {EU_RATIO} times better than from us-east"),
            ratio >= EU_RATIO,
            format!("{ratio:.1} times"),
        );
        let p95_ms = self.after.map_or(f64::INFINITY, |after| after.p95_ms);
        checks.check(
            format!("{name}: p95 within {EU_P95_MS} ms"),
            p95_ms <= EU_P95_MS,
            format!("{p95_ms:.1} ms"),
        );
    }
}

fn check_added(added: &Added, checks: &mut Checks) {
    let Added { added_p50_us, added_p99_us, faults, .. } = added;
    checks.check(
        format!("the gateway adds at most {ADDED_P50_US} µs to the p50 at half load"),
        *added_p50_us <= ADDED_P50_US,
        format!("{added_p50_us:.0} µs"),
    );
    checks.check(
        format!("the gateway adds at most {ADDED_P99_US} µs to the p99 at half load"),
        *added_p99_us <= ADDED_P99_US,
        format!("{added_p99_us:.0} µs"),
    );
    checks.check("no request went wrong at half load", *faults == 0, format!("{faults} did"));
}

/// The latencies of all requests that were answered.
fn requests(seen: &[Seen]) -> Distribution {
    Distribution::of(seen.iter().flat_map(|seen| seen.latencies.iter().copied()))
}

fn ratio(before: &Distribution, after: &Distribution, share: f64) -> Option<f64> {
    let ratio = before.within(share)? / after.within(share)?;
    Some((ratio * 100.0).round() / 100.0)
}
