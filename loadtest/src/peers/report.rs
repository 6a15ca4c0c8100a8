//! Medians over rounds, ratios and goals, as JSON for machines and as a table for people.
use std::collections::BTreeMap;

use anyhow::Result;
use comfy_table::{Cell, CellAlignment, Table};
use serde::Serialize;

use super::Options;
use super::contender::Contender;
use super::turn::Turn;

/// Goals on ratios: what must not be exceeded.
const GOALS: [(&str, f64); 2] = [("gateway_vs_nginx", 1.15), ("gateway_vs_haproxy_jwt", 0.45)];

/// Which ratios there are: name, ours, theirs.
const RATIOS: [(&str, &str, &str); 9] = [
    ("gateway_vs_nginx", "gateway", "nginx"),
    ("gateway_vs_haproxy", "gateway", "haproxy"),
    ("gateway_vs_haproxy_jwt", "gateway", "haproxy-jwt"),
    ("gateway_vs_haproxy_jwt_signature_only", "gateway", "haproxy-jwt-signature-only"),
    ("gateway_vs_nginx_no_log", "gateway-no-log", "nginx-no-log"),
    ("gateway_vs_haproxy_no_log", "gateway-no-log", "haproxy-no-log"),
    ("gateway_vs_haproxy_jwt_no_log", "gateway-no-log", "haproxy-jwt-no-log"),
    ("cold_cache_vs_nginx", "gateway-cold-cache", "nginx"),
    ("cold_cache_vs_haproxy_jwt", "gateway-cold-cache", "haproxy-jwt"),
];

/// The proxy's core counts as full from this share of CPU time on, so that the load was no limit.
const FULL: f64 = 0.95;
/// More waiting than this for a core that should be its own, and the figures are not to be relied on.
const UNREST: f64 = 0.02;
/// Upstream connections must be kept this well.
const REUSE: f64 = 0.999;

/// All turns as they come in.
pub(super) struct Rounds {
    direct: Vec<Turn>,
    turns: Vec<(&'static str, Vec<Turn>)>,
}

impl Rounds {
    pub(super) fn new(contenders: &[Contender]) -> Self {
        let turns = contenders.iter().map(|contender| (contender.name(), Vec::new())).collect();
        Self { direct: Vec::new(), turns }
    }

    pub(super) fn direct(&mut self, turn: Turn) {
        self.direct.push(turn);
    }

    pub(super) fn turn(&mut self, contender: &Contender, turn: Turn) {
        if let Some((_, turns)) = self.turns.iter_mut().find(|(name, _)| *name == contender.name()) {
            turns.push(turn);
        }
    }

    pub(super) fn report(&self, options: &Options) -> Report {
        let rows: Vec<_> = self.turns.iter().map(|(name, turns)| Row::of(name, turns)).collect();
        let mut ratios = BTreeMap::new();
        let mut ranges = BTreeMap::new();
        for (name, ours, theirs) in RATIOS {
            let mut each = self.per_round(ours, theirs);
            if let Some(middle) = median(&mut each) {
                ratios.insert(name, rounded(middle, 3));
                // Sorted by median().
                ranges.insert(name, [rounded(each[0], 3), rounded(each[each.len() - 1], 3)]);
            }
        }
        let goals = GOALS
            .into_iter()
            .filter_map(|(name, at_most)| {
                let ratio = *ratios.get(name)?;
                Some(Goal { ratio: name, at_most, measured: ratio, reached: ratio <= at_most })
            })
            .collect();
        let mut warnings: Vec<_> = rows.iter().flat_map(Row::warnings).collect();
        if options.rounds < 5 {
            warnings.push(format!("{} rounds: medians need five or more to be relied on", options.rounds));
        }
        let direct = Direct {
            rps: median_of(&self.direct, |turn| turn.rps),
            cpu_us_per_request: median_of(&self.direct, |turn| turn.cpu_us_per_request),
            errors: self.direct.iter().flat_map(|turn| turn.faults.values()).sum(),
        };
        Report {
            rounds: options.rounds,
            seconds: options.span.as_secs_f64(),
            connections: options.connections,
            users: options.users,
            haproxy_log: format!("{:?}", options.haproxy_log).to_lowercase(),
            generator: direct,
            rows,
            ratios,
            ratio_ranges: ranges,
            goals,
            warnings,
        }
    }

    fn per_round(&self, ours: &str, theirs: &str) -> Vec<f64> {
        let of = |name| self.turns.iter().find(|(n, _)| *n == name).map(|(_, turns)| turns.as_slice());
        let (Some(ours), Some(theirs)) = (of(ours), of(theirs)) else { return Vec::new() };
        ours.iter().zip(theirs).map(|(a, b)| a.cpu_us_per_request / b.cpu_us_per_request).collect()
    }
}

/// What came out.
#[derive(Debug, Serialize)]
pub struct Report {
    rounds: usize,
    seconds: f64,
    connections: usize,
    users: usize,
    haproxy_log: String,
    generator: Direct,
    rows: Vec<Row>,
    ratios: BTreeMap<&'static str, f64>,
    /// Smallest and largest ratio of a round.
    ratio_ranges: BTreeMap<&'static str, [f64; 2]>,
    goals: Vec<Goal>,
    warnings: Vec<String>,
}

/// The load without a proxy: what its core can do at most, client and upstream together.
#[derive(Debug, Serialize)]
struct Direct {
    rps: f64,
    cpu_us_per_request: f64,
    errors: u64,
}

#[derive(Debug, Serialize)]
struct Goal {
    ratio: &'static str,
    at_most: f64,
    measured: f64,
    reached: bool,
}

/// Medians of one contender.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    cpu_us_per_request: f64,
    rps: f64,
    p50_us: f64,
    p99_us: f64,
    requests: u64,
    /// Of all rounds, by kind.
    errors: BTreeMap<&'static str, u64>,
    /// The worst of all rounds.
    upstream_reuse: f64,
    upstream_connections: u64,
    generator_cpu_share: f64,
    load_core_idle_share: f64,
    proxy_cpu_share: f64,
    proxy_core_idle_share: f64,
    proxy_wait_share: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_lines_per_request: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_misses_per_request: Option<f64>,
    /// CPU microseconds a request, round by round.
    cpu_us_by_round: Vec<f64>,
}

impl Row {
    fn of(name: &'static str, turns: &[Turn]) -> Self {
        let mut errors = BTreeMap::new();
        for (kind, count) in turns.iter().flat_map(|turn| &turn.faults) {
            *errors.entry(*kind).or_default() += count;
        }
        let optional = |figure: fn(&Turn) -> Option<f64>| {
            median(&mut turns.iter().filter_map(figure).collect::<Vec<_>>()).map(|value| rounded(value, 4))
        };
        Self {
            name,
            cpu_us_per_request: median_of(turns, |turn| turn.cpu_us_per_request),
            rps: median_of(turns, |turn| turn.rps),
            p50_us: median_of(turns, |turn| turn.p50_us),
            p99_us: median_of(turns, |turn| turn.p99_us),
            requests: turns.iter().map(|turn| turn.requests).sum(),
            errors,
            upstream_reuse: rounded(turns.iter().map(|turn| turn.upstream_reuse).fold(1.0, f64::min), 6),
            upstream_connections: turns.iter().map(|turn| turn.upstream_connections).max().unwrap_or(0),
            generator_cpu_share: median_of(turns, |turn| turn.generator_cpu_share),
            load_core_idle_share: median_of(turns, |turn| turn.load_core_idle_share),
            proxy_cpu_share: median_of(turns, |turn| turn.proxy_cpu_share),
            proxy_core_idle_share: median_of(turns, |turn| turn.proxy_core_idle_share),
            proxy_wait_share: median_of(turns, |turn| turn.proxy_wait_share),
            log_lines_per_request: optional(|turn| turn.log_lines_per_request),
            token_misses_per_request: optional(|turn| turn.token_misses_per_request),
            cpu_us_by_round: turns.iter().map(|turn| rounded(turn.cpu_us_per_request, 3)).collect(),
        }
    }

    /// What makes this row's figures worth less than they look.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let name = self.name;
        if self.proxy_cpu_share < FULL && self.proxy_wait_share < UNREST {
            warnings.push(format!(
                "{name}: its core was not full ({:.0} %), so rate and latency are limited by the load; CPU a request stands",
                self.proxy_cpu_share * 100.0
            ));
        }
        if self.proxy_wait_share >= UNREST {
            warnings.push(format!(
                "{name}: something else had its core for {:.0} % of the time; run again on a quiet machine",
                self.proxy_wait_share * 100.0
            ));
        }
        if self.upstream_reuse < REUSE {
            warnings.push(format!(
                "{name}: only {:.3} % of requests found an upstream connection open",
                self.upstream_reuse * 100.0
            ));
        }
        if self.log_lines_per_request.is_some_and(|lines| lines < 0.99) {
            warnings.push(format!("{name}: its access log lacks lines of requests that it served"));
        }
        warnings
    }
}

impl Report {
    /// Requests that went wrong, of all contenders in all rounds, and of the load without a proxy.
    pub fn errors(&self) -> u64 {
        self.generator.errors + self.rows.iter().flat_map(|row| row.errors.values()).sum::<u64>()
    }

    pub fn json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }

    /// The table, then ratios against goals, then what to be wary of.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
        table.set_header([
            "contender",
            "CPU µs each",
            "requests/s",
            "p50 µs",
            "p99 µs",
            "errors",
            "upstream reuse",
            "proxy CPU",
            "load core idle",
            "log lines each",
            "token misses each",
        ]);
        for row in &self.rows {
            let errors: u64 = row.errors.values().sum();
            let optional =
                |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
            table.add_row([
                Cell::new(row.name),
                number(format!("{:.2}", row.cpu_us_per_request)),
                number(format!("{:.0}", row.rps)),
                number(format!("{:.0}", row.p50_us)),
                number(format!("{:.0}", row.p99_us)),
                number(errors.to_string()),
                number(format!("{:.3} %", row.upstream_reuse * 100.0)),
                number(format!("{:.0} %", row.proxy_cpu_share * 100.0)),
                number(format!("{:.0} %", row.load_core_idle_share * 100.0)),
                number(optional(row.log_lines_per_request)),
                number(optional(row.token_misses_per_request)),
            ]);
        }
        let mut lines = vec![
            table.to_string(),
            format!(
                "Load and upstream without a proxy, on the load's core alone: {:.0} requests/s, {:.2} µs each.",
                self.generator.rps, self.generator.cpu_us_per_request
            ),
            String::new(),
            format!("CPU a request, medians of {} rounds' ratios [smallest–largest]", self.rounds),
        ];
        for (name, ratio) in &self.ratios {
            let [low, high] = self.ratio_ranges.get(name).copied().unwrap_or([*ratio; 2]);
            let goal = self.goals.iter().find(|goal| goal.ratio == *name).map_or_else(String::new, |goal| {
                let verdict = if goal.reached { "reached" } else { "missed" };
                format!("   goal ≤ {:.2}: {verdict}", goal.at_most)
            });
            lines.push(format!("  {name:<38} {ratio:>6.3}  [{low:.3}–{high:.3}]{goal}"));
        }
        lines.extend(self.warnings.iter().map(|warning| format!("! {warning}")));
        lines.join("\n")
    }
}

fn number(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn median_of(turns: &[Turn], figure: impl Fn(&Turn) -> f64) -> f64 {
    rounded(median(&mut turns.iter().map(figure).collect::<Vec<_>>()).unwrap_or(0.0), 4)
}

/// The middle value, or the mean of the two middle ones; leaves the values sorted.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values {
        [] => None,
        _ if values.len() % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn rounded(value: f64, digits: i32) -> f64 {
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

    #[test]
    fn every_ratio_and_goal_names_something_that_exists() {
        let names: Vec<_> = Contender::all().iter().map(Contender::name).collect();
        for (_, ours, theirs) in RATIOS {
            assert!(names.contains(&ours) && names.contains(&theirs), "{ours} {theirs}");
        }
        for (goal, _) in GOALS {
            assert!(RATIOS.iter().any(|(name, _, _)| *name == goal), "{goal}");
        }
    }
}
