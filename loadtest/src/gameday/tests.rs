use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    diary::{Acknowledged, Asked, Diary, Missing, Outcome},
    phase::{Phase, Span},
    script::Past,
    truth::Truth,
    verdict::{Day, Which, within},
    *,
};
use crate::world::{Jurisdiction, Region};

const S: Duration = Duration::from_secs(1);

fn asked(due_ms: u64, took_ms: u64, place: Region, jurisdiction: Jurisdiction, outcome: Outcome) -> Asked {
    let (due, took) = (Duration::from_millis(due_ms), Duration::from_millis(took_ms));
    Asked { due, took, place, jurisdiction, writes: true, wrote: None, outcome }
}

fn refused(status: u16, code: &str) -> Outcome {
    Outcome::Refused(status, Some(code.to_owned()))
}

fn span(phase: Phase, began: u32, acted: u32, ended: u32) -> Span {
    Span { phase, began: S * began, acted: S * acted, ended: S * ended }
}

/// us-east falls silent at 10 s, dies at 20 s, and is replaced at 30 s, by an act of 2 s. Nothing is wrong before.
fn spans() -> Vec<Span> {
    vec![
        span(Phase::Calm, 0, 0, 10),
        span(Phase::UsEastSilent, 10, 10, 20),
        span(Phase::UsEastDead, 20, 21, 30),
        span(Phase::UsPromoted, 30, 32, 45),
    ]
}

#[test]
fn noticed_is_when_nobody_waits_any_more_and_resumed_when_nobody_is_refused_any_more() {
    use Jurisdiction::Us;
    use Region::{ApSingapore, EuFrankfurt, UsEast};
    let told = || refused(503, "home-unavailable");
    let diary = Diary {
        asked: vec![
            asked(9_000, 5_000, EuFrankfurt, Us, refused(504, "upstream-timeout")),
            asked(10_500, 5_000, EuFrankfurt, Us, refused(504, "upstream-timeout")),
            asked(11_600, 1_200, ApSingapore, Us, told()),
            asked(12_400, 4, ApSingapore, Us, told()),
            asked(15_000, 8_000, UsEast, Us, Outcome::TimedOut),
            asked(31_000, 3, EuFrankfurt, Us, told()),
            asked(33_500, 3, ApSingapore, Us, told()),
            asked(33_600, 30, EuFrankfurt, Us, Outcome::Done),
            asked(40_000, 3, UsEast, Us, Outcome::Unconnected),
        ],
        ..Diary::default()
    };
    let (spans, truth) = (spans(), Truth::default());
    let day = Day { diary: &diary, truth: &truth, spans: &spans };
    let silent = day.span(Phase::UsEastSilent).expect("it took place");
    assert_eq!(day.detected_after(silent), Duration::from_millis(1_600));
    let promoted = day.span(Phase::UsPromoted).expect("it took place");
    let writes =
        |not_through| Which { jurisdiction: Some(Us), writes: Some(true), not_through, ..Which::default() };
    assert_eq!(day.recovered_after(promoted, writes(Some(UsEast))), Some(Duration::from_millis(2_500)));
    // Users of a region that is away never resume, and so count apart.
    assert_eq!(day.recovered_after(promoted, writes(None)), None);
    assert_eq!(day.span(Phase::EuPromoted), None);

    // Two that failed then, of which one was due before; what nobody knew before the next phase began counts there.
    let [_, account, dead, ..] = &day.accounts()[..] else { panic!("four phases") };
    assert_eq!((account.requests, account.done), (4, 0));
    assert_eq!(account.errors["us"]["503 home-unavailable"], 2);
    assert_eq!(account.errors["us"]["504 upstream-timeout"], 2);
    assert_eq!(dead.errors_through_it["us"]["timed out"], 1);
    assert_eq!(account.detected_after_s, Some(1.6));
}

#[test]
fn a_read_is_excused_only_to_a_user_who_wrote_just_before_the_home_went_away() {
    let (diary, truth, spans) = (Diary::default(), Truth::default(), spans());
    let day = Day { diary: &diary, truth: &truth, spans: &spans };
    let unseen = refused(503, "position-unavailable");
    for (phase, wrote_ms, writes, outcome, excused) in [
        (Phase::UsEastSilent, Some(9_500), false, unseen.clone(), true),
        (Phase::UsPromoted, Some(9_500), false, unseen.clone(), true),
        (Phase::UsEastDead, Some(8_900), false, unseen.clone(), false),
        (Phase::UsEastDead, Some(13_100), false, unseen.clone(), false),
        (Phase::UsEastDead, None, false, unseen.clone(), false),
        (Phase::UsEastDead, Some(9_500), true, unseen.clone(), false),
        (Phase::UsEastDead, Some(9_500), false, refused(503, "home-unavailable"), false),
        (Phase::UsEastDead, Some(9_500), false, Outcome::TimedOut, false),
        (Phase::Calm, Some(9_500), false, unseen, false),
    ] {
        let (wrote, place) = (wrote_ms.map(Duration::from_millis), Region::ApSingapore);
        let asked = Asked { writes, wrote, ..asked(25_000, 3, place, Jurisdiction::Us, outcome) };
        assert_eq!(day.is_behind_its_own_write(phase, &asked), excused, "{phase:?} {asked:?}");
    }
}

fn acknowledged(at: Duration, jurisdiction: Jurisdiction, order: &str) -> Acknowledged {
    Acknowledged { at, jurisdiction, order: order.to_owned() }
}

type Rows = &'static [(&'static str, u64)];
type Admitted = &'static [(Jurisdiction, u32)];

/// Orders that were acknowledged, and reads without them, over databases that hold `rows`.
fn kept(rows: Rows, admitted: Admitted) -> (Diary, Truth) {
    let diary = Diary {
        acknowledged: vec![
            acknowledged(S * 5, Jurisdiction::Us, "us-a/0"),
            acknowledged(S * 19, Jurisdiction::Us, "us-a/1"),
            acknowledged(S * 25, Jurisdiction::Eu, "eu-b/0"),
        ],
        missing: vec![
            Missing { due: S * 33, order: "us-a/1".to_owned() },
            Missing { due: S * 34, order: "us-a/1".to_owned() },
            Missing { due: S * 35, order: "eu-b/0".to_owned() },
        ],
        ..Diary::default()
    };
    let mut truth = Truth {
        rows: rows.iter().map(|(order, count)| ((*order).to_owned(), *count)).collect(),
        ..Truth::default()
    };
    for (jurisdiction, after) in admitted {
        truth.admitted.entry(*jurisdiction).or_default().push(S * *after);
    }
    (diary, truth)
}

#[test]
fn a_write_is_lost_stale_or_doubled_by_what_the_databases_hold() {
    use Jurisdiction::{Eu, Us};
    let whole: Rows = &[("us-a/0", 1), ("us-a/1", 1), ("eu-b/0", 1)];
    // What the databases hold, what promotions admit; lost, of these not admitted, stale reads, doubled.
    let cases: [(Rows, Admitted, [usize; 4]); 6] = [
        (whole, &[], [0, 0, 3, 0]),
        (&[("us-a/0", 1), ("eu-b/0", 1)], &[], [1, 1, 1, 0]),
        (&[("us-a/0", 1), ("eu-b/0", 1)], &[(Us, 18)], [1, 0, 1, 0]),
        (&[("us-a/0", 1), ("eu-b/0", 1)], &[(Us, 20), (Eu, 1)], [1, 1, 1, 0]),
        (&[("eu-b/0", 1)], &[(Us, 18)], [2, 1, 1, 0]),
        (&[("us-a/0", 2), ("us-a/1", 1), ("eu-b/0", 3)], &[], [0, 0, 3, 2]),
    ];
    for (rows, admitted, [lost, unadmitted, stale, doubled]) in cases {
        let ((diary, truth), spans) = (kept(rows, admitted), spans());
        let day = Day { diary: &diary, truth: &truth, spans: &spans };
        let seen = [day.lost().count(), day.lost_unadmitted(), day.stale().count(), day.doubled().count()];
        assert_eq!(seen, [lost, unadmitted, stale, doubled], "{rows:?} {admitted:?}");
    }
}

#[test]
fn percentiles_are_of_what_was_measured() {
    let ms = |all: &[u64], share| within(all.iter().map(|ms| Duration::from_millis(*ms)), share);
    assert!((ms(&[30, 10, 20], 0.5) - 20.0).abs() < 1e-9);
    assert!((ms(&[30, 10, 20], 0.99) - 30.0).abs() < 1e-9);
    assert!(ms(&[], 0.5).abs() < 1e-9);
}

#[test]
fn only_requests_whose_fate_is_unknown_are_tried_again() {
    for (outcome, unknown) in [
        (Outcome::Broken, true),
        (Outcome::TimedOut, true),
        (refused(502, "upstream-failed"), true),
        (refused(504, "upstream-timeout"), true),
        (refused(503, "home-unavailable"), false),
        (Outcome::Unconnected, false),
        (Outcome::Done, false),
    ] {
        assert_eq!(outcome.is_unknown(), unknown, "{outcome}");
    }
}

/// A report over a day with these requests and rows.
fn report(asked: Vec<Asked>, truth: Result<Truth>, past: Past) -> Report {
    let nowhere = PathBuf::from("/nowhere");
    let programs = Programs { gateway: nowhere.clone(), migrate: nowhere.clone(), target: nowhere };
    let options = Options { programs, rate: 1.0, seed: 1, users: 1, phases: Vec::new() };
    let diary = Diary { asked, ..Diary::default() };
    Report::new(&options, &diary, truth, past, Ok(()))
}

fn failed(report: &Report) -> Vec<&str> {
    report.checks.iter().filter(|check| !check.passed).map(|check| check.name.as_str()).collect()
}

#[test]
fn a_day_passes_by_what_was_seen_and_one_that_nobody_saw_fails() {
    let calm = || asked(1_000, 5, Region::UsEast, Jurisdiction::Us, Outcome::Done);
    let truth =
        || Truth { rows: BTreeMap::from([("us-a/0".to_owned(), 1)]), deliveries: 1, ..Truth::default() };
    let past = || Past { spans: spans()[..1].to_vec(), ..Past::default() };
    assert_eq!(failed(&report(vec![calm()], Ok(truth()), past())), Vec::<&str>::new());

    let blind = report(vec![calm()], Err(anyhow::anyhow!("no database")), past());
    assert_eq!(
        failed(&blind),
        ["databases, logs and disks could be looked at", "there was something to see"]
    );

    let idle = report(Vec::new(), Ok(truth()), past());
    assert_eq!(failed(&idle), ["calm: everything is answered"]);

    let astray =
        Truth { astray: vec![(S, "eu-b at us-east".into())], leaks: vec!["a file".into()], ..truth() };
    let report_of = report(vec![calm()], Ok(astray), past());
    assert_eq!(failed(&report_of).len(), 2, "{:?}", failed(&report_of));
    assert!(report_of.text().contains("unlawful at 1.0 s: eu-b at us-east"));

    let past = Past { failed: vec![(Phase::Calm, "no such program".into())], ..past() };
    assert_eq!(failed(&report(vec![calm()], Ok(truth()), past)), ["calm: it could be done"]);
}

#[test]
fn every_phase_has_a_name_of_its_own_and_those_who_come_back_were_away() {
    let names: std::collections::BTreeSet<_> = Phase::ALL.into_iter().map(Phase::name).collect();
    assert_eq!(names.len(), Phase::ALL.len());
    for phase in Phase::ALL {
        assert!(phase.heals().is_none() || phase.heals() == phase.away(), "{}", phase.name());
        assert!(!phase.lasts().is_zero());
    }
}
