//! Cases for people to read, and a simulated primary and replica whose true lag is known.

use proptest::prelude::*;

use super::*;

const STALE_AFTER: Duration = Duration::from_millis(1500);

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

fn position(timeline: u32, lsn: u64) -> LogPosition {
    LogPosition { timeline: Timeline(timeline), lsn: Lsn(lsn) }
}

/// Samples are (time in ms, timeline, LSN).
fn tracker(samples: &[(u64, u32, u64)]) -> LagTracker {
    let mut tracker = LagTracker::new(STALE_AFTER);
    for &(at, timeline, lsn) in samples {
        tracker.primary_sample(ms(at), position(timeline, lsn));
    }
    tracker
}

#[test]
fn lag_is_the_age_of_the_newest_replayed_sample() {
    let busy: &[(u64, u32, u64)] = &[(100, 1, 10), (200, 1, 20), (300, 1, 30)];
    let idle: &[(u64, u32, u64)] = &[(100, 1, 10), (200, 1, 10), (300, 1, 10)];
    let promoted: &[(u64, u32, u64)] = &[(100, 1, 10), (200, 2, 12)];
    let late_sample_of_the_old_primary: &[(u64, u32, u64)] = &[(100, 2, 12), (200, 1, 900)];
    let crashed: &[(u64, u32, u64)] = &[(100, 1, 10), (200, 1, 50), (300, 1, 20)];
    let out_of_order: &[(u64, u32, u64)] = &[(300, 1, 30), (200, 1, 40)];
    let cases = [
        ("never heard of the primary", &[][..], 100, position(1, 10), Lag::Unknown),
        ("level", busy, 350, position(1, 30), Lag::Known(ms(50))),
        ("ahead of the newest sample", busy, 350, position(1, 99), Lag::Known(ms(50))),
        ("one sample behind", busy, 350, position(1, 29), Lag::Known(ms(150))),
        ("behind every sample", busy, 350, position(1, 9), Lag::Unknown),
        ("an idle primary keeps its replica fresh", idle, 310, position(1, 10), Lag::Known(ms(10))),
        ("at the bound", busy, 1800, position(1, 30), Lag::Known(ms(1500))),
        ("the primary went silent", busy, 1801, position(1, 30), Lag::Unknown),
        ("replica still on the old timeline", promoted, 210, position(1, 12), Lag::Unknown),
        ("replica followed", promoted, 210, position(2, 12), Lag::Known(ms(10))),
        ("replica behind the promotion", promoted, 210, position(2, 11), Lag::Unknown),
        ("old primary ignored", late_sample_of_the_old_primary, 210, position(2, 12), Lag::Known(ms(110))),
        ("log fell in a crash", crashed, 310, position(1, 20), Lag::Known(ms(10))),
        ("log fell, replica behind", crashed, 310, position(1, 19), Lag::Known(ms(210))),
        ("a late answer changes nothing", out_of_order, 310, position(1, 30), Lag::Known(ms(10))),
    ];
    for (name, samples, now, replica, expected) in cases {
        assert_eq!(tracker(samples).lag(ms(now), replica), expected, "{name}");
    }
}

#[test]
fn unknown_is_never_within_a_limit() {
    assert!(Lag::Known(ms(500)).within(ms(500)));
    assert!(!Lag::Known(ms(501)).within(ms(500)));
    assert!(!Lag::Unknown.within(Duration::MAX));
}

#[test]
fn positions_are_written_as_postgres_writes_them() {
    for (text, value) in [("0/0", 0), ("16/B374D848", 0x16_B374_D848), ("FFFFFFFF/FFFFFFFF", u64::MAX)] {
        assert_eq!(text.parse::<Lsn>(), Ok(Lsn(value)));
        assert_eq!(Lsn(value).to_string(), text);
    }
    for text in ["", "/", "0/", "/0", "0", "0/0/0", "G/0", "+1/0", "100000000/0", "0/100000000", " 0/0"] {
        assert_eq!(text.parse::<Lsn>(), Err(InvalidLsn), "{text:?}");
    }
}

#[test]
fn memory_is_bounded_and_old_samples_still_tell_something() {
    let mut tracker = LagTracker::new(STALE_AFTER);
    let samples = 100_000;
    for tick in 0..samples {
        tracker.primary_sample(ms(tick * 100), position(1, tick));
        assert!(tracker.samples.len() <= CAPACITY);
    }
    let now = ms(samples * 100);
    // Fine where it matters, coarse but never too low far back.
    for behind in [1, 10, 250, 1_000, 50_000, samples] {
        let Lag::Known(lag) = tracker.lag(now, position(1, samples - behind)) else {
            panic!("{behind} is unknown")
        };
        let truth = ms(behind * 100);
        assert!(lag >= truth, "{behind} samples behind: {lag:?} < {truth:?}");
        if behind <= 250 {
            assert_eq!(lag, truth);
        }
    }
}

/// What happens between a primary, its replica and one who watches both.
#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    Commit,
    /// The query takes this long on its way; the position is read when it arrives.
    SamplePrimary(u64),
    /// The replica replays this share of what it lacks, in 1/4.
    Replay(u64),
    /// Crash: this many of the last positions are lost with the unflushed log.
    CrashPrimary(u64),
    Promote,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0_u64..400).prop_map(Event::Pass),
        6 => Just(Event::Commit),
        6 => (0_u64..200).prop_map(Event::SamplePrimary),
        4 => (0_u64..=4).prop_map(Event::Replay),
        1 => (1_u64..5).prop_map(Event::CrashPrimary),
        1 => Just(Event::Promote),
    ];
    proptest::collection::vec(event, 0..1200)
}

#[derive(Default)]
struct Truth {
    now: u64,
    timeline: u32,
    lsn: u64,
    /// When each acknowledged commit that still exists was made, with its position.
    commits: Vec<(u64, u64)>,
    replayed: u64,
    replica_timeline: u32,
}

impl Truth {
    /// How long ago the oldest commit was made that the replica lacks.
    fn lag(&self) -> Duration {
        let missing =
            self.commits.iter().filter(|&&(_, lsn)| lsn > self.replayed).map(|&(at, _)| self.now - at);
        ms(missing.max().unwrap_or(0))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn lag_is_never_too_low(events in events()) {
        let mut truth = Truth { timeline: 1, replica_timeline: 1, ..Truth::default() };
        let mut tracker = LagTracker::new(STALE_AFTER);
        for event in events {
            match event {
                Event::Pass(duration) => truth.now += duration,
                Event::Commit => {
                    truth.lsn += 1;
                    truth.commits.push((truth.now, truth.lsn));
                }
                Event::SamplePrimary(delay) => {
                    let sent = truth.now;
                    truth.now += delay;
                    tracker.primary_sample(ms(sent), position(truth.timeline, truth.lsn));
                }
                Event::Replay(quarters) => {
                    truth.replica_timeline = truth.timeline;
                    truth.replayed += (truth.lsn - truth.replayed) * quarters / 4;
                }
                Event::CrashPrimary(lost) => {
                    // A replica never has what its primary had not flushed.
                    truth.lsn = truth.lsn.saturating_sub(lost).max(truth.replayed);
                    truth.commits.retain(|&(_, lsn)| lsn <= truth.lsn);
                }
                Event::Promote => truth.timeline += 1,
            }
            let replica = position(truth.replica_timeline, truth.replayed);
            if let Lag::Known(lag) = tracker.lag(ms(truth.now), replica) {
                prop_assert!(lag >= truth.lag(), "{lag:?} known, {:?} true", truth.lag());
            }
            // Useful, too: a replica level with a fresh sample is no older than that sample.
            let level = position(truth.timeline, truth.lsn);
            if tracker.timeline == Some(Timeline(truth.timeline))
                && let Some(age) = tracker.newest_age(ms(truth.now))
                && age <= STALE_AFTER
                && tracker.samples.back().is_some_and(|newest| newest.lsn.0 <= truth.lsn)
            {
                prop_assert_eq!(tracker.lag(ms(truth.now), level), Lag::Known(age));
            }
        }
    }
}
