//! The figures that are judged: ratios between contenders, each with its goal where it has one.
//!
//! A figure has one value a round, from turns of that round, so what drifts between rounds drifts for both sides; its
//! result is the median.
use serde::Serialize;

use super::contender::Load;
use super::report::{median, rounded};
use super::rounds::Rounds;
use super::scaling::capacity_ratio;

/// A contender under a load, by name.
type Who = (Load, &'static str);

/// How one value comes out of a round.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    /// CPU time a request, ours over theirs.
    Cpu(Who, Who),
    /// 99th percentile of latency, ours over theirs.
    P99(Who, Who),
    /// Capacity of two workers over that of one.
    Capacity(Who, Who),
    /// Bytes a resting connection.
    IdleBytes(Who),
}

/// What a figure is meant to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// A figure by its name in `peers.json`.
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) of: Of,
    pub(super) goal: Option<Bound>,
}

const fn requests(name: &'static str) -> Who {
    (Load::Requests, name)
}

const fn cpu(name: &'static str, ours: Who, theirs: Who, at_most: Option<f64>) -> Figure {
    let goal = match at_most {
        Some(most) => Some(Bound::AtMost(most)),
        None => None,
    };
    Figure { name, of: Of::Cpu(ours, theirs), goal }
}

const GATEWAY: Who = requests("gateway");
const NGINX: Who = requests("nginx");
const HAPROXY: Who = requests("haproxy");
pub(super) const ONE_WORKER: Who = (Load::OneWorker, "gateway-one-worker");
pub(super) const TWO_WORKERS: Who = (Load::TwoWorkers, "gateway-two-workers");

/// All figures, in the order of the report.
pub(super) const FIGURES: [Figure; 23] = [
    cpu("gateway_vs_nginx", GATEWAY, NGINX, Some(1.0)),
    cpu("gateway_vs_haproxy", GATEWAY, HAPROXY, None),
    cpu("gateway_vs_haproxy_jwt", GATEWAY, requests("haproxy-jwt"), Some(0.40)),
    cpu("gateway_vs_haproxy_jwt_signature_only", GATEWAY, requests("haproxy-jwt-signature-only"), None),
    cpu("gateway_vs_nginx_no_log", requests("gateway-no-log"), requests("nginx-no-log"), Some(1.0)),
    cpu("gateway_vs_haproxy_no_log", requests("gateway-no-log"), requests("haproxy-no-log"), None),
    cpu(
        "gateway_vs_haproxy_jwt_no_log",
        requests("gateway-no-log"),
        requests("haproxy-jwt-no-log"),
        Some(0.40),
    ),
    cpu("cold_cache_vs_nginx", requests("gateway-cold-cache"), NGINX, None),
    cpu("cold_cache_vs_haproxy_jwt", requests("gateway-cold-cache"), requests("haproxy-jwt"), None),
    Figure { name: "p99_gateway_vs_nginx", of: Of::P99(GATEWAY, NGINX), goal: Some(Bound::AtMost(1.0)) },
    Figure { name: "p99_gateway_vs_haproxy", of: Of::P99(GATEWAY, HAPROXY), goal: Some(Bound::AtMost(1.5)) },
    cpu("unix_gateway_vs_nginx_tcp", requests("gateway-unix"), NGINX, Some(0.8)),
    cpu("unix_gateway_vs_nginx_unix", requests("gateway-unix"), requests("nginx-unix"), None),
    cpu("unix_nginx_vs_nginx_tcp", requests("nginx-unix"), NGINX, None),
    cpu("https_gateway_vs_nginx", (Load::Https, "gateway-https"), (Load::Https, "nginx-https"), Some(1.0)),
    cpu("http2_gateway_vs_nginx", (Load::Http2, "gateway-http2"), (Load::Http2, "nginx-http2"), Some(1.0)),
    cpu(
        "handshakes_gateway_vs_nginx",
        (Load::Handshakes, "gateway-handshakes"),
        (Load::Handshakes, "nginx-handshakes"),
        Some(1.0),
    ),
    cpu("bodies_gateway_vs_haproxy", (Load::Downloads, "gateway"), (Load::Downloads, "haproxy"), Some(0.35)),
    cpu("bodies_gateway_vs_nginx", (Load::Downloads, "gateway"), (Load::Downloads, "nginx"), None),
    cpu("uploads_gateway_vs_haproxy", (Load::Uploads, "gateway"), (Load::Uploads, "haproxy"), None),
    cpu("uploads_gateway_vs_nginx", (Load::Uploads, "gateway"), (Load::Uploads, "nginx"), None),
    Figure {
        name: "idle_gateway_bytes",
        of: Of::IdleBytes((Load::Idle, "gateway")),
        goal: Some(Bound::AtMost(8192.0)),
    },
    Figure {
        name: "workers_capacity_ratio",
        of: Of::Capacity(ONE_WORKER, TWO_WORKERS),
        goal: Some(Bound::AtLeast(1.9)),
    },
];

/// A figure's result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    pub(super) median: f64,
    /// Smallest and largest of a round.
    pub(super) range: [f64; 2],
}

impl Figure {
    /// `None` when one of its contenders did not take part.
    pub(super) fn value(&self, rounds: &Rounds) -> Option<Value> {
        let turns = |(load, name)| rounds.turns(load, name);
        let mut each: Vec<f64> = match self.of {
            Of::Cpu(ours, theirs) => turns(ours)
                .iter()
                .zip(turns(theirs))
                .map(|(a, b)| a.cpu_us_per_request / b.cpu_us_per_request)
                .collect(),
            Of::P99(ours, theirs) => {
                turns(ours).iter().zip(turns(theirs)).map(|(a, b)| a.p99_us / b.p99_us).collect()
            }
            Of::Capacity(one, two) => turns(one)
                .iter()
                .zip(turns(two))
                .map(|(one, two)| capacity_ratio(one.cpu_us_per_request, two.cpu_us_per_request))
                .collect(),
            Of::IdleBytes((load, name)) => {
                rounds.resting(load, name).iter().map(|resting| resting.bytes).collect()
            }
        };
        let middle = median(&mut each)?;
        // Sorted by median().
        Some(Value {
            median: rounded(middle, 3),
            range: [rounded(each[0], 3), rounded(each[each.len() - 1], 3)],
        })
    }
}

/// Whether a figure is what it is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Goal {
    /// The figure's name.
    pub(super) ratio: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at_least: Option<f64>,
    pub(super) measured: f64,
    pub(super) reached: bool,
}

impl Goal {
    pub(super) fn judge(ratio: &'static str, bound: Bound, measured: f64) -> Self {
        let (at_most, at_least) = match bound {
            Bound::AtMost(most) => (Some(most), None),
            Bound::AtLeast(least) => (None, Some(least)),
        };
        let reached =
            at_most.is_none_or(|most| measured <= most) && at_least.is_none_or(|least| measured >= least);
        Self { ratio, at_most, at_least, measured, reached }
    }

    /// "goal ≤ 1.00: reached".
    pub(super) fn text(&self) -> String {
        let verdict = if self.reached { "reached" } else { "MISSED" };
        let (sign, bound) = match (self.at_most, self.at_least) {
            (Some(most), _) => ('≤', most),
            (None, least) => ('≥', least.unwrap_or_default()),
        };
        let digits = if bound >= 100.0 { 0 } else { 2 };
        format!("goal {sign} {bound:.digits$}: {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_reached_up_to_their_bound_and_not_beyond() {
        let cases = [
            (Bound::AtMost(1.0), 1.0, true, "goal ≤ 1.00: reached"),
            (Bound::AtMost(1.0), 1.001, false, "goal ≤ 1.00: MISSED"),
            (Bound::AtLeast(1.9), 1.9, true, "goal ≥ 1.90: reached"),
            (Bound::AtLeast(1.9), 1.899, false, "goal ≥ 1.90: MISSED"),
            (Bound::AtMost(8192.0), 9000.0, false, "goal ≤ 8192: MISSED"),
            // Nothing that was not measured is reached.
            (Bound::AtMost(1.0), f64::NAN, false, "goal ≤ 1.00: MISSED"),
        ];
        for (bound, measured, reached, text) in cases {
            let goal = Goal::judge("x", bound, measured);
            assert_eq!((goal.reached, goal.text().as_str()), (reached, text), "{bound:?} {measured}");
        }
    }
}
