use std::collections::HashSet;

use serde_json::{Value, json};

use super::figures::{FIGURES, Of};
use super::*;

fn names(order: &[&Contender]) -> Vec<String> {
    order.iter().map(|contender| contender.label()).collect()
}

fn options() -> Options {
    Options {
        rounds: 3,
        span: Duration::from_secs(2),
        warm_up: Duration::from_secs(1),
        connections: 64,
        users: 2_000,
        scenarios: Vec::new(),
        only: Vec::new(),
        beside: None,
        idle_connections: 4_000,
        gateway: PathBuf::from("/nowhere/residency-gateway"),
        proxy_core: 0,
        load_core: 1,
        haproxy_log: LogPath::File,
        directory: PathBuf::from("/nowhere"),
    }
}

/// A turn whose request cost so much and whose p99 is ten times that.
fn turn(cpu_us: f64) -> Turn {
    Turn {
        cpu_us_per_request: cpu_us,
        p99_us: 10.0 * cpu_us,
        requests: 1_000,
        proxy_cpu_share: 1.0,
        upstream_reuse: 1.0,
        ..Turn::default()
    }
}

/// Three rounds in which every contender costs 10, 30 and 20 µs, but for those that a test names.
fn rounds(special: &[(Load, &str, f64)]) -> Rounds {
    let contenders = Contender::all();
    let mut rounds = Rounds::new(&contenders);
    for base in [10.0, 30.0, 20.0] {
        rounds.add_direct(turn(base / 2.0));
        for contender in &contenders {
            let factor = special
                .iter()
                .find(|(load, name, _)| *load == contender.load && *name == contender.name())
                .map_or(1.0, |(_, _, factor)| *factor);
            if contender.load == Load::Idle {
                let resting =
                    Resting { bytes: 100.0 * base * factor, connections: 4_000, ..Resting::default() };
                rounds.add_resting(contender, resting);
            } else {
                let spread = (contender.load == Load::TwoWorkers).then_some(0.9);
                rounds.add_turn(contender, Turn { spread, ..turn(base * factor) });
            }
        }
    }
    rounds
}

fn json_of(rounds: &Rounds) -> Value {
    let json = Report::of(rounds, &options()).json().expect("JSON");
    serde_json::from_slice(&json).expect("JSON")
}

#[test]
fn every_round_has_everyone_once_and_another_at_its_head() {
    let contenders = Contender::all();
    let mut heads = Vec::new();
    for round in 0..5 {
        let order = names(&order(&contenders, round));
        assert_eq!(order.len(), contenders.len());
        assert!(contenders.iter().all(|contender| order.contains(&contender.label())));
        assert!(!heads.contains(&order[0]), "{} leads twice", order[0]);
        heads.push(order[0].clone());
    }
}

#[test]
fn names_are_unique_under_a_load_and_labels_everywhere() {
    let contenders = Contender::all();
    let labels: HashSet<_> = contenders.iter().map(Contender::label).collect();
    assert_eq!(labels.len(), contenders.len());
    for load in Load::ALL {
        let names: Vec<_> = contenders.iter().filter(|c| c.load == load).map(Contender::name).collect();
        assert!(!names.is_empty(), "{load:?} has nobody");
        assert_eq!(names.len(), names.iter().collect::<HashSet<_>>().len(), "{names:?}");
    }
}

#[test]
fn a_scenario_brings_all_that_its_figures_need_and_no_more_than_it_must() {
    let chosen = |scenarios: &[Scenario], only: &[&str]| {
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        let options = Options { scenarios: scenarios.to_vec(), only, ..options() };
        options.contenders().map(|chosen| chosen.iter().map(Contender::label).collect::<Vec<_>>())
    };
    let cases: [(&[Scenario], &[&str], &[&str]); 6] = [
        (&[Scenario::Unix], &[], &["nginx", "nginx-unix", "gateway-unix"]),
        (&[Scenario::Workers], &[], &["gateway-one-worker", "gateway-two-workers"]),
        (&[Scenario::Http2], &[], &["nginx-http2", "gateway-http2"]),
        (&[Scenario::Idle, Scenario::Unix], &["nginx"], &["nginx", "nginx-idle"]),
        (&[Scenario::Requests], &["gateway"], &["gateway"]),
        (&[], &["gateway"], &["gateway", "gateway-1mib", "gateway-upload-1mib", "gateway-idle"]),
    ];
    for (scenarios, only, expected) in cases {
        assert_eq!(chosen(scenarios, only).expect("contenders"), expected, "{scenarios:?} {only:?}");
    }
    assert!(chosen(&[], &["apache"]).is_err());
    assert!(chosen(&[Scenario::Http2], &["haproxy"]).is_err());
    for scenario in Scenario::all() {
        assert!(!chosen(&[*scenario], &[]).expect("contenders").is_empty(), "{scenario:?}");
    }
}

#[test]
fn every_figure_names_contenders_that_exist() {
    let exists =
        |(load, name): (Load, &str)| Contender::all().iter().any(|c| c.load == load && c.name() == name);
    let mut names = HashSet::new();
    for figure in &FIGURES {
        assert!(names.insert(figure.name), "{} is there twice", figure.name);
        let who = match figure.of {
            Of::Cpu(ours, theirs) | Of::P99(ours, theirs) | Of::Capacity(ours, theirs) => vec![ours, theirs],
            Of::IdleBytes(whose) => vec![whose],
        };
        for who in who {
            assert!(exists(who), "{}: {who:?}", figure.name);
        }
    }
}

#[test]
fn goals_stand_where_they_were_set() {
    let report = json_of(&rounds(&[]));
    let goals: Vec<_> = report["goals"]
        .as_array()
        .expect("goals")
        .iter()
        .map(|goal| {
            let bound =
                goal.get("at_most").or(goal.get("at_least")).and_then(Value::as_f64).expect("a bound");
            (goal["ratio"].as_str().expect("a name"), bound)
        })
        .collect();
    let expected = [
        ("gateway_vs_nginx", 1.0),
        ("gateway_vs_haproxy_jwt", 0.40),
        ("gateway_vs_nginx_no_log", 1.0),
        ("gateway_vs_haproxy_jwt_no_log", 0.40),
        ("p99_gateway_vs_nginx", 1.0),
        ("p99_gateway_vs_haproxy", 1.5),
        ("unix_gateway_vs_nginx_tcp", 0.8),
        ("https_gateway_vs_nginx", 1.0),
        ("http2_gateway_vs_nginx", 1.0),
        ("handshakes_gateway_vs_nginx", 1.0),
        ("bodies_gateway_vs_haproxy", 0.35),
        ("idle_gateway_bytes", 8192.0),
        ("workers_capacity_ratio", 1.9),
    ];
    assert_eq!(goals, expected);
}

#[test]
fn ratios_are_medians_of_rounds_and_goals_follow_from_them() {
    let report = json_of(&rounds(&[
        (Load::Requests, "gateway", 0.9),
        (Load::Requests, "nginx", 1.2),
        (Load::Downloads, "gateway", 0.5),
        (Load::OneWorker, "gateway-one-worker", 0.9),
        (Load::Idle, "gateway", 4.2),
    ]));
    let close = |value: &Value, expected: f64| {
        let value = value.as_f64().expect("a number");
        assert!((value - expected).abs() < 1e-3, "{value} and not {expected}");
    };
    close(&report["ratios"]["gateway_vs_nginx"], 0.75);
    close(&report["ratios"]["p99_gateway_vs_haproxy"], 0.9);
    close(&report["ratios"]["bodies_gateway_vs_haproxy"], 0.5);
    close(&report["ratios"]["workers_capacity_ratio"], 1.8);
    close(&report["workers"]["one_cpu_us"], 18.0);
    close(&report["workers"]["two_cpu_us"], 20.0);
    close(&report["workers"]["capacity_ratio"], 1.8);
    close(&report["workers"]["spread"], 0.9);
    let reached = |name: &str| {
        let goals = report["goals"].as_array().expect("goals");
        let goal = goals.iter().find(|goal| goal["ratio"] == name).expect("a goal");
        goal["reached"].as_bool().expect("a verdict")
    };
    assert!(reached("gateway_vs_nginx") && reached("p99_gateway_vs_haproxy"));
    assert!(!reached("bodies_gateway_vs_haproxy") && !reached("workers_capacity_ratio"));
    // 100 × 4.2 × 20 (the median round).
    assert!(!reached("idle_gateway_bytes"));
}

#[test]
fn the_shape_of_the_json() {
    let report = json_of(&rounds(&[]));
    let keys: Vec<_> = report.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = [
        "bodies_1mib",
        "connections",
        "generator",
        "goals",
        "haproxy_log",
        "idle_connection_bytes",
        "ratio_ranges",
        "ratios",
        "rounds",
        "rows",
        "seconds",
        "tls",
        "uploads_1mib",
        "users",
        "warnings",
        "workers",
    ];
    assert_eq!(keys, expected);
    for (list, name, figure, value) in [
        ("bodies_1mib", "haproxy", "cpu_us_per_mib", 20.0),
        ("uploads_1mib", "gateway", "cpu_us_per_mib", 20.0),
        ("idle_connection_bytes", "nginx", "bytes", 2000.0),
        ("rows", "gateway-http2", "cpu_us_per_request", 20.0),
        ("rows", "nginx-handshakes", "p99_us", 200.0),
        ("rows", "gateway-unix", "cpu_us_per_request", 20.0),
    ] {
        let rows = report[list].as_array().expect("a list");
        let row = rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} in {list}"));
        assert_eq!(row[figure], json!(value), "{list} {name}");
    }
    let busy = Contender::all().len() - 9;
    assert_eq!(
        report["rows"].as_array().map(Vec::len),
        Some(busy),
        "bodies and memory have lists of their own"
    );
}

#[test]
fn what_was_not_asked_for_is_not_there() {
    let chosen = Options { scenarios: vec![Scenario::Idle], ..options() }.contenders().expect("contenders");
    let mut rounds = Rounds::new(&chosen);
    for contender in &chosen {
        rounds.add_resting(contender, Resting { bytes: 700.0, connections: 9, ..Resting::default() });
    }
    let report = json_of(&rounds);
    assert!(report.get("workers").is_none() && report.get("generator").is_none());
    assert_eq!(report["rows"], json!([]));
    assert_eq!(report["ratios"], json!({}));
    assert_eq!(report["goals"].as_array().map(Vec::len), Some(1));
}

#[test]
fn faults_count_wherever_they_happen() {
    assert_eq!(Report::of(&rounds(&[]), &options()).errors(), 0);
    for load in Load::ALL {
        let mut rounds = rounds(&[]);
        let contender = *Contender::all().iter().find(|c| c.load == load).expect("somebody");
        let faults = [("closed", 2)].into();
        if load == Load::Idle {
            rounds.add_resting(&contender, Resting { faults, ..Resting::default() });
        } else {
            rounds.add_turn(&contender, Turn { faults, ..turn(10.0) });
        }
        assert_eq!(Report::of(&rounds, &options()).errors(), 2, "{load:?}");
    }
}

#[test]
fn the_text_has_every_goal_and_every_list() {
    let text = Report::of(&rounds(&[(Load::Http2, "gateway-http2", 2.0)]), &options()).text();
    for figure in FIGURES.iter().filter(|figure| figure.goal.is_some()) {
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{} ", figure.name)));
        let line = line.unwrap_or_else(|| panic!("{} is missing in\n{text}", figure.name));
        let missed = ["http2_gateway_vs_nginx", "bodies_gateway_vs_haproxy"];
        let jwt = figure.name.starts_with("gateway_vs_haproxy_jwt") || figure.name.starts_with("unix_");
        let verdict = if jwt || missed.contains(&figure.name) { "MISSED" } else { "reached" };
        assert!(line.contains("goal ") && line.ends_with(verdict), "{line}");
    }
    for part in
        ["Answers of 1 MiB", "Uploads of 1 MiB", "Memory a resting connection, of 4000", "Two workers"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}
