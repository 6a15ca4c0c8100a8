//! Plans, boots, and strings.

use proptest::prelude::*;

use super::*;
use crate::domain::replication_lag::Timeline;

mod model;

fn row(home: &str, generation: u64, durability: Durability, synchronous: &[&str]) -> Row {
    let synchronous = synchronous.iter().map(|&name| name.to_owned()).collect();
    Row { home: home.to_owned(), generation: Generation(generation), durability, synchronous }
}

fn standby(timeline: u32, lsn: u64, row: &Row) -> Answer {
    Answer {
        system_identifier: 7,
        recovering: true,
        has: LogPosition { timeline: Timeline(timeline), lsn: Lsn(lsn) },
        replayed: Lsn(lsn),
        streamed: true,
        heard: None,
        last_commit: None,
        open: true,
        fence: None,
        row: Some(row.clone()),
    }
}

fn primary(timeline: u32, lsn: u64, row: &Row) -> Answer {
    Answer { recovering: false, ..standby(timeline, lsn, row) }
}

fn cluster(members: &[(&str, Option<Answer>)]) -> Cluster {
    let member = |(region, answer): &(&str, Option<Answer>)| Member {
        region: (*region).to_owned(),
        answer: answer.clone().ok_or_else(|| "refused".to_owned()),
    };
    Cluster {
        jurisdiction: "us".to_owned(),
        lawful: ["a", "b", "c"].map(str::to_owned).into(),
        members: members.iter().map(member).collect(),
    }
}

fn to(region: &str) -> Request {
    Request { to: region.to_owned(), ..Request::default() }
}

#[test]
fn of_two_that_are_open_the_one_is_the_primary_that_nobody_has_gone_past() {
    let of = |generation| row("a", generation, Durability::Async, &[]);
    let closed = |answer| Answer { open: false, row: None, ..answer };
    for (name, members, wanted) in [
        (
            "a later timeline",
            [primary(1, 90, &of(1)), primary(2, 80, &of(1)), standby(2, 80, &of(1))],
            Some("b"),
        ),
        (
            "a row that ended with its timeline",
            [standby(1, 90, &of(2)), primary(2, 80, &of(1)), standby(1, 80, &of(1))],
            Some("b"),
        ),
        (
            "two of the same number",
            [primary(2, 90, &of(2)), primary(2, 80, &of(3)), standby(1, 80, &of(1))],
            Some("b"),
        ),
        (
            "followed by a standby that went another way",
            [primary(2, 90, &of(2)), standby(2, 80, &of(3)), standby(1, 80, &of(1))],
            None,
        ),
        (
            "closed",
            [closed(primary(2, 90, &of(1))), standby(2, 80, &of(3)), standby(1, 80, &of(1))],
            Some("a"),
        ),
        (
            "a standby has followed a later one",
            [primary(1, 90, &of(1)), standby(2, 80, &of(1)), standby(1, 80, &of(1))],
            None,
        ),
    ] {
        let cluster = cluster(&["a", "b", "c"].into_iter().zip(members.map(Some)).collect::<Vec<_>>());
        assert_eq!(cluster.primary().map(|(region, _)| region), wanted, "{name}");
    }
}

#[test]
fn proof_is_found_in_its_order_and_says_what_is_lost() {
    let alone = row("a", 1, Durability::Async, &[]);
    let remote = row("a", 1, Durability::Remote, &["b", "c"]);
    let whole = |why| Loss::Nothing(why);
    let lost = |lsn, at_least| Loss::After {
        position: LogPosition { timeline: Timeline(1), lsn: Lsn(lsn) },
        last_commit: None,
        at_least,
    };
    let off = Request { confirm_off: true, ..to("b") };
    let assumed = Request { assume_dead: true, ..to("b") };
    let dead = |row: &Row| {
        cluster(&[("a", None), ("b", Some(standby(1, 90, row))), ("c", Some(standby(1, 80, row)))])
    };
    let all = |first| {
        let (second, third) = (standby(1, 90, &alone), standby(1, 80, &alone));
        cluster(&[("a", Some(first)), ("b", Some(second)), ("c", Some(third))])
    };
    let mut heard = dead(&alone);
    heard.members[2].answer.as_mut().unwrap().heard = Some(Lsn(140));
    for (cluster, request, proof, loss) in [
        (all(primary(1, 100, &alone)), to("b"), Proof::Fence, whole(Whole::Fenced)),
        (all(standby(1, 90, &alone)), to("b"), Proof::NoPrimary, whole(Whole::AllAnswer)),
        (dead(&remote), to("b"), Proof::Quorum(vec!["b".into(), "c".into()]), whole(Whole::Synchronous)),
        (dead(&remote), off.clone(), Proof::Off, whole(Whole::Synchronous)),
        (dead(&alone), off, Proof::Off, lost(90, None)),
        (dead(&alone), assumed.clone(), Proof::Assumed, lost(90, None)),
        (heard, assumed, Proof::Assumed, lost(90, Some(50))),
    ] {
        let plan = plan(&cluster, &request).expect("a plan");
        assert_eq!((plan.proof, plan.loss), (proof, loss), "{request:?}");
    }
}

#[test]
fn what_is_refused_is_refused_for_its_reason() {
    let alone = row("a", 1, Durability::Async, &[]);
    let remote = row("a", 1, Durability::Remote, &["b", "c"]);
    let (here, there) = (standby(1, 90, &alone), standby(1, 95, &alone));
    let dead = [("a", None), ("b", Some(here.clone())), ("c", Some(there))];
    let assumed = |region: &str| Request { assume_dead: true, ..to(region) };
    let without = |region: &str| Request { without: vec![region.to_owned()], ..assumed("b") };
    let fresh = Answer { streamed: false, ..standby(1, 90, &remote) };
    let pair = |second| [("a", None), ("b", Some(standby(1, 90, &remote))), ("c", second)];
    let foreign = Answer { system_identifier: 8, ..standby(1, 80, &alone) };
    let bare = Answer { row: None, ..here.clone() };
    for (members, request, part) in [
        (&dead[..], to("x"), "no region where us's data may be (a, b, c)"),
        (&dead[..2], to("c"), "no member in c"),
        (&dead, to("a"), "the target a doesn't answer"),
        (&dead, assumed("b"), "c has 5 bytes of log that b lacks"),
        (&dead, to("c"), "no proof that the primary in a"),
        (&dead, without("b"), "the target can't be left out"),
        (&dead, without("y"), "no member of that name"),
        (&[("a", None), ("b", Some(here.clone())), ("c", None)], assumed("b"), "c doesn't answer"),
        (&[("a", None), ("b", Some(here.clone())), ("c", Some(foreign))], assumed("b"), "another cluster"),
        (&[("a", None), ("b", Some(bare))], assumed("b"), "schema apply"),
        (
            &[("a", None), ("b", Some(here)), ("c", Some(standby(2, 10, &alone)))],
            assumed("b"),
            "missed a promotion",
        ),
        (&pair(Some(fresh)), to("b"), "has not streamed since its server started"),
        (&pair(None)[..2], assumed("b"), "no standby but the target b answers"),
        (
            &[
                ("a", Some(primary(1, 99, &alone))),
                ("b", Some(primary(2, 99, &row("b", 2, Durability::Async, &[])))),
            ],
            to("a"),
            "runs as a former primary, of timeline 1",
        ),
    ] {
        let refusals = plan(&cluster(members), &request).expect_err(part);
        assert!(refusals.iter().any(|one| one.to_string().contains(part)), "{part}: {refusals:?}");
    }
}

#[test]
fn a_run_that_was_cut_off_is_finished() {
    let row_before = row("a", 4, Durability::Async, &[]);
    let fence = Fence { to: "b".to_owned(), row: row_before.clone() };
    let closed = Answer { open: false, row: None, fence: Some(fence), ..primary(1, 99, &row_before) };
    let behind = Answer { recovering: true, ..closed.clone() };
    // Closed, not promoted: closed again, which changes nothing, and on.
    let plan_closed =
        plan(&cluster(&[("a", Some(closed.clone())), ("b", Some(behind))]), &to("b")).expect("a plan");
    assert_eq!((&plan_closed.proof, plan_closed.generation), (&Proof::Fence, Generation(4)));
    // Promoted, no row yet: what is left.
    let promoted = Answer { has: LogPosition { timeline: Timeline(2), lsn: Lsn(120) }, ..closed.clone() };
    let members = [("a", Some(closed)), ("b", Some(promoted))];
    let finished = plan(&cluster(&members), &to("b")).expect("a plan");
    assert_eq!(finished.proof, Proof::Promoted);
    assert_eq!(finished.steps, [Step::Synchronous, Step::Open, Step::Follow, Step::Row]);
    let done = [("a", None), ("b", Some(primary(2, 9, &row("b", 5, Durability::Async, &[]))))];
    let without = Request { without: vec!["a".to_owned()], ..to("b") };
    assert_eq!(plan(&cluster(&done), &without).expect("a plan").steps, []);
}

#[test]
fn a_fence_is_read_as_it_was_written() {
    for synchronous in [&[][..], &["b", "c"]] {
        let fence = Fence { to: "b".to_owned(), row: row("a", 9, Durability::Remote, synchronous) };
        assert_eq!(Fence::parse(&fence.to_string()), Some(fence));
    }
    for text in ["", "b a nine async ", "b a 9 sometimes ", "b a 9 async"] {
        assert_eq!(Fence::parse(text), None, "{text}");
    }
}

#[test]
fn strings_of_connections_are_turned() {
    let list = "host=10.0.0.1,10.0.0.2,10.0.0.3 port=1,2,3 password='it\\'s' target_session_attrs=read-write";
    let turned = first_last(list).expect("a list");
    let expected =
        "host='10.0.0.2,10.0.0.3,10.0.0.1' port='2,3,1' password='it\\'s' target_session_attrs='read-write'";
    assert_eq!(turned, expected);
    assert_eq!(beginning_with(list, "10.0.0.3", "3"), first_last(&turned));
    assert_eq!(beginning_with(list, "10.0.0.1", "1"), None);
    assert_eq!(beginning_with(list, "10.0.0.3", "1"), None);
    assert!(first_last("host=a,b port=5432").is_some_and(|turned| turned.contains("port='5432'")));
    for alone in ["", "host=a port=1", "host='a,b", "nothing"] {
        assert_eq!(first_last(alone), None, "{alone}");
    }
    for (conninfo, others, expected) in [
        (list, 2, true),
        (list, 4, false),
        ("host=a,b port=1,2", 2, false),
        ("host=a target_session_attrs=primary", 1, true),
        ("host=a,b target_session_attrs=any", 1, false),
    ] {
        assert_eq!(is_list(conninfo, others), expected, "{conninfo}");
    }
    assert_eq!(synchronous_standby_names(&[]), "");
    assert_eq!(synchronous_standby_names(&["a".into(), "b\"c".into()]), "ANY 1 (\"a\", \"b\"\"c\")");
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        Just(Peer::Silent),
        (1..4u32, any::<bool>())
            .prop_map(|(one, promoting)| Peer::Standby { timeline: Timeline(one), promoting }),
        (1..4u32, proptest::option::of(1..4u64)).prop_map(|(one, two)| Peer::Primary {
            timeline: Timeline(one),
            generation: two.map(Generation)
        }),
    ]
}

proptest! {
    #[test]
    fn nobody_opens_beside_a_later_primary_or_before_all_have_answered(
        own in (any::<bool>(), 1..4u32),
        peers in proptest::collection::vec(peer(), 0..4),
        patient: bool,
        assume_latest: bool,
    ) {
        let own = Own { standby: own.0, timeline: Timeline(own.1) };
        let verdict = boot(own, &peers, patient, assume_latest);
        let outdone = peers.iter().any(|peer| match *peer {
            Peer::Silent => !assume_latest,
            Peer::Standby { timeline, promoting } => promoting || timeline > own.timeline,
            Peer::Primary { timeline, .. } => timeline >= own.timeline,
        });
        prop_assert_eq!(verdict == BootVerdict::Open, !own.standby && !outdone, "{:?}", verdict);
        if let BootVerdict::Wait(silent) = &verdict {
            prop_assert!(patient && !silent.is_empty());
        }
    }
}
