use std::{path::PathBuf, time::Duration};

use super::{
    distribution::Distribution,
    plan::{Setup, Stream},
    report::{Report, Samples},
    session::Seen,
    *,
};
use crate::{peers::Added, world::Region};

#[test]
fn percentiles_are_nearest_ranks_of_what_was_measured() {
    let hundred = Distribution::of((1..=100).rev().map(Duration::from_millis));
    for (share, ms) in [(0.0, 1.0), (0.5, 50.0), (0.95, 95.0), (0.951, 96.0), (0.99, 99.0), (1.0, 100.0)] {
        assert_eq!(hundred.within(share), Some(ms), "{share}");
    }
    for (ms, share) in [(0.5, 0.0), (1.0, 0.01), (50.4, 0.5), (100.0, 1.0), (1e9, 1.0)] {
        assert!((hundred.share_within(ms) - share).abs() < 1e-9, "{ms}");
    }
    let few = Distribution::of([7, 3].map(Duration::from_millis));
    assert_eq!((few.within(0.5), few.within(0.51)), (Some(3.0), Some(7.0)));
    assert_eq!(Distribution::default().figures(), None);
}

#[test]
fn before_all_users_go_to_us_east_and_after_each_to_the_nearest_region_under_their_law() {
    let streams = Stream::all();
    assert_eq!(streams.len(), 8);
    for stream in &streams {
        let (entry, jurisdiction) = (stream.entry(), stream.jurisdiction());
        match stream.setup {
            Setup::OnePlace => assert_eq!((entry, jurisdiction), (Region::UsEast, Jurisdiction::Us)),
            Setup::Regions => {
                assert_eq!((entry, jurisdiction == Jurisdiction::Eu), (stream.place, stream.place.in_eu()));
            }
        }
    }
    let mut users: Vec<_> = streams.iter().map(|stream| stream.user(1)).collect();
    users.sort();
    users.dedup();
    assert_eq!(users.len(), streams.len());
}

fn options() -> Options {
    let nowhere = PathBuf::from("/nowhere");
    let programs = Programs { gateway: nowhere.clone(), migrate: nowhere.clone(), target: nowhere };
    Options {
        programs,
        span: Duration::from_secs(1),
        rate: 1.0,
        access: Duration::from_millis(5),
        users: 1,
        rounds: 1,
    }
}

/// Samples of sessions whose requests take `before` and `after` ms in every place.
fn samples(before: u64, after: u64) -> Samples {
    let streams = Stream::all();
    let mut samples = Samples::new(&streams);
    for (index, stream) in streams.iter().enumerate() {
        let ms = if stream.setup == Setup::OnePlace { before } else { after };
        for _ in 0..50 {
            let latencies = vec![Duration::from_millis(ms); 6];
            samples.add(index, Seen { latencies, ..Seen::default() });
        }
    }
    samples
}

fn added(added_p50_us: f64, added_p99_us: f64, faults: u64) -> Added {
    Added {
        peak_rps: 2.0,
        rps: 1.0,
        rounds: Vec::new(),
        added_p50_us,
        added_p99_us,
        gateway_cpu_share: 0.5,
        gateway_wait_share: 0.0,
        faults,
    }
}

fn failed(report: &Report) -> Vec<String> {
    report.checks.iter().filter(|check| !check.passed).map(|check| check.name.clone()).collect()
}

#[test]
fn the_goals_are_held_against_each_place_in_the_eu_and_against_the_gateway() {
    let good = Report::new(&options(), &samples(90, 15), Some(added(50.0, 250.0, 0)));
    assert_eq!(failed(&good), Vec::<String>::new());
    let json = serde_json::to_value(&good).expect("it is plain data");
    assert_eq!(json["places"][1]["p95_ratio"], 6.0);
    assert_eq!(json["places"][1]["before"]["p99_ms"], 90.0);
    assert_eq!(json["places"][1]["session_after"]["p50_ms"], 90.0);
    assert!(good.text().contains("eu-frankfurt") && good.svg().contains("p95 15.0 ms"));

    let too_near = Report::new(&options(), &samples(300, 60), None);
    let names = failed(&too_near);
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("eu-")), "{names:?}");

    let slow = Report::new(&options(), &samples(90, 10), Some(added(50.1, 250.1, 1)));
    assert_eq!(failed(&slow).len(), 3, "{:?}", failed(&slow));
}

#[test]
fn few_requests_and_sessions_that_end_early_fail_the_run() {
    let streams = Stream::all();
    let mut samples = samples(90, 10);
    samples.add(3, Seen { fault: Some("reset".into()), ..Seen::default() });
    samples.ended = Some("a process is left".into());
    assert_eq!(failed(&Report::new(&options(), &samples, None)).len(), 2);

    let nothing = Samples::new(&streams);
    let names = failed(&Report::new(&options(), &nothing, None));
    assert_eq!(names.iter().filter(|name| name.contains("enough requests")).count(), 4, "{names:?}");
}
