//! Medians over rounds, ratios and goals, as JSON for machines; [`Report::text`] has them for people.
//!
//! Names in the JSON are stable: `rows` by contender, `ratios` and `goals` by figure, and a list each for bodies,
//! memory and workers. A comparison that was not asked for leaves its list empty, or out where there is one value.
use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::Options;
use super::contender::Load;
use super::figures::{FIGURES, Goal, ONE_WORKER, Of, TWO_WORKERS};
use super::rounds::Rounds;
use super::row::{Row, errors};
use super::scaling::capacity_ratio;
use super::turn::Turn;
use crate::generator::TERMS;

/// What came out.
#[derive(Debug, Serialize)]
pub struct Report {
    pub(super) rounds: usize,
    pub(super) seconds: f64,
    pub(super) connections: usize,
    pub(super) users: usize,
    pub(super) haproxy_log: String,
    /// What all TLS is, whoever the server.
    pub(super) tls: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) generator: Option<Direct>,
    pub(super) rows: Vec<Row>,
    pub(super) bodies_1mib: Vec<BodyRow>,
    pub(super) uploads_1mib: Vec<BodyRow>,
    pub(super) idle_connection_bytes: Vec<IdleRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workers: Option<WorkersRow>,
    pub(super) ratios: BTreeMap<&'static str, f64>,
    /// Smallest and largest ratio of a round.
    pub(super) ratio_ranges: BTreeMap<&'static str, [f64; 2]>,
    pub(super) goals: Vec<Goal>,
    pub(super) warnings: Vec<String>,
}

/// The load without a proxy: what its core can do at most, client and upstream together.
#[derive(Debug, Serialize)]
pub(super) struct Direct {
    pub(super) rps: f64,
    pub(super) cpu_us_per_request: f64,
    pub(super) errors: u64,
}

/// Bodies of 1 MiB through one contender.
#[derive(Debug, Serialize)]
pub(super) struct BodyRow {
    pub(super) name: &'static str,
    pub(super) cpu_us_per_mib: f64,
    pub(super) mib_per_s: f64,
    pub(super) proxy_cpu_share: f64,
    pub(super) errors: BTreeMap<&'static str, u64>,
    pub(super) cpu_us_by_round: Vec<f64>,
}

/// Memory of one contender for a connection that rests.
#[derive(Debug, Serialize)]
pub(super) struct IdleRow {
    pub(super) name: &'static str,
    pub(super) bytes: f64,
    pub(super) connections: usize,
    pub(super) errors: BTreeMap<&'static str, u64>,
    pub(super) bytes_by_round: Vec<f64>,
}

/// One worker beside two; see [`super::scaling`].
#[derive(Debug, Serialize)]
pub(super) struct WorkersRow {
    /// CPU time a request, of one worker on one core with the load on it.
    pub(super) one_cpu_us: f64,
    /// Of two workers on two cores with the load on them.
    pub(super) two_cpu_us: f64,
    pub(super) one_rps: f64,
    pub(super) two_rps: f64,
    /// The median of the rounds' ratios.
    pub(super) capacity_ratio: f64,
    /// CPU time of the less busy worker over that of the busier one, in the worst round.
    pub(super) spread: f64,
}

impl Report {
    pub(super) fn of(rounds: &Rounds, options: &Options) -> Self {
        let all: Vec<_> = rounds.all_turns().map(|(contender, turns)| Row::of(contender, turns)).collect();
        let mut ratios = BTreeMap::new();
        let mut ratio_ranges = BTreeMap::new();
        let mut goals = Vec::new();
        for figure in &FIGURES {
            let Some(value) = figure.value(rounds) else { continue };
            if !matches!(figure.of, Of::IdleBytes(_)) {
                ratios.insert(figure.name, value.median);
                ratio_ranges.insert(figure.name, value.range);
            }
            goals.extend(figure.goal.map(|bound| Goal::judge(figure.name, bound, value.median)));
        }
        let mut warnings: Vec<_> = all.iter().flat_map(Row::warnings).collect();
        if options.rounds < 5 {
            warnings.push(format!("{} rounds: medians need five or more to be relied on", options.rounds));
        }
        let of = |load| all.iter().filter(move |row| row.load == load);
        Self {
            rounds: options.rounds,
            seconds: options.span.as_secs_f64(),
            connections: options.connections,
            users: options.users,
            haproxy_log: format!("{:?}", options.haproxy_log).to_lowercase(),
            tls: TERMS,
            generator: Direct::of(rounds.direct()),
            bodies_1mib: of(Load::Downloads).map(BodyRow::of).collect(),
            uploads_1mib: of(Load::Uploads).map(BodyRow::of).collect(),
            idle_connection_bytes: IdleRow::all(rounds),
            workers: WorkersRow::of(rounds, ratios.get("workers_capacity_ratio").copied()),
            rows: all
                .into_iter()
                .filter(|row| !matches!(row.load, Load::Downloads | Load::Uploads))
                .collect(),
            ratios,
            ratio_ranges,
            goals,
            warnings,
        }
    }

    /// Requests that went wrong, of all contenders in all rounds, and of the load without a proxy.
    pub fn errors(&self) -> u64 {
        let bodies = self.bodies_1mib.iter().chain(&self.uploads_1mib);
        let lists =
            bodies.map(|row| &row.errors).chain(self.idle_connection_bytes.iter().map(|row| &row.errors));
        self.generator.as_ref().map_or(0, |direct| direct.errors)
            + self.rows.iter().map(Row::faults).sum::<u64>()
            + lists.flat_map(BTreeMap::values).sum::<u64>()
    }

    pub fn json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }
}

impl Direct {
    fn of(turns: &[Turn]) -> Option<Self> {
        (!turns.is_empty()).then(|| Self {
            rps: median_of(turns, |turn| turn.rps),
            cpu_us_per_request: median_of(turns, |turn| turn.cpu_us_per_request),
            errors: turns.iter().flat_map(|turn| turn.faults.values()).sum(),
        })
    }
}

impl BodyRow {
    /// A request of these rows moves one MiB.
    fn of(row: &Row) -> Self {
        Self {
            name: row.name,
            cpu_us_per_mib: row.cpu_us_per_request,
            mib_per_s: row.rps,
            proxy_cpu_share: row.proxy_cpu_share,
            errors: row.errors.clone(),
            cpu_us_by_round: row.cpu_us_by_round.clone(),
        }
    }
}

impl IdleRow {
    fn all(rounds: &Rounds) -> Vec<Self> {
        let row = |(contender, turns): (&super::Contender, &[super::idle::Resting])| {
            let bytes_by_round: Vec<_> = turns.iter().map(|turn| rounded(turn.bytes, 1)).collect();
            Some(Self {
                name: contender.name(),
                bytes: rounded(median(&mut bytes_by_round.clone())?, 1),
                connections: turns.first()?.connections,
                errors: errors(turns.iter().map(|turn| &turn.faults)),
                bytes_by_round,
            })
        };
        rounds.all_resting().filter_map(row).collect()
    }
}

impl WorkersRow {
    fn of(rounds: &Rounds, ratio: Option<f64>) -> Option<Self> {
        let [one, two] = [ONE_WORKER, TWO_WORKERS].map(|(load, name)| rounds.turns(load, name));
        if one.is_empty() || two.is_empty() {
            return None;
        }
        let [one_cpu_us, two_cpu_us] =
            [one, two].map(|turns| median_of(turns, |turn| turn.cpu_us_per_request));
        Some(Self {
            one_cpu_us,
            two_cpu_us,
            one_rps: median_of(one, |turn| turn.rps),
            two_rps: median_of(two, |turn| turn.rps),
            capacity_ratio: ratio.unwrap_or_else(|| rounded(capacity_ratio(one_cpu_us, two_cpu_us), 3)),
            spread: two.iter().filter_map(|turn| turn.spread).reduce(f64::min).map_or(0.0, |s| rounded(s, 3)),
        })
    }
}

pub(super) fn median_of(turns: &[Turn], figure: impl Fn(&Turn) -> f64) -> f64 {
    rounded(median(&mut turns.iter().map(figure).collect::<Vec<_>>()).unwrap_or(0.0), 4)
}

/// The middle value, or the mean of the two middle ones; leaves the values sorted.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values {
        [] => None,
        _ if values.len() % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

pub(super) fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
