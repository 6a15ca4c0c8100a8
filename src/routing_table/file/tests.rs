//! Files as people write them, and a follower of one that is rewritten under it.

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::super::forgotten::Forgotten;
use super::super::{TableWriter, tests::topology};
use super::*;
use crate::{
    domain::{
        register::{EntryState, Generation, Placed},
        secret::Secret,
    },
    telemetry::Metrics,
};

fn keys() -> RegisterKeys {
    let (subjects, identifiers) =
        (Secret::new(b"subjects".as_slice()), Secret::new(b"identifiers".as_slice()));
    RegisterKeys::new((&subjects, None), (&identifiers, None))
}

fn parsed(text: &str) -> Result<Read, FileFault> {
    let topology = topology(&["us", "eu"]);
    parse(text, &topology, &keys(), topology.jurisdiction("us").expect("there"))
}

#[test]
fn lines_and_arrays_say_the_same() {
    let lines = r#"
        {"subject": "user-1"}
        {"identifier": " Ann@Example.com ", "generation": 3}
        {"hash": "000102030405060708090a0b0c0d0e0f", "state": "fenced", "generation": 2, "toward": "eu",
         "move_id": "00000000-0000-0000-0000-000000000001", "attempt": 2, "floor": [1, "0/10"]}
        {"subject": "user-2", "jurisdiction": "eu"}
    "#;
    let array = format!("[{}]", lines.trim().replace("}\n", "},\n"));
    let (rows, faults) = parsed(lines).expect("good lines");
    assert_eq!((rows.clone(), faults), parsed(&array).expect("a good array"));
    assert_eq!(rows.len(), 3, "a line of another jurisdiction is left to that one's register");
    let of_user = rows[&keys().subject("user-1")[0]];
    assert_eq!((of_user.state, of_user.generation), (EntryState::Home, Generation(1)));
    assert_eq!(rows[&keys().identifier("ann@example.com")[0]].generation, Generation(3));
    assert_eq!(parsed("[]").expect("an empty register").0.len(), 0);
}

#[test]
fn a_file_with_a_fault_is_refused_with_its_place() {
    for (text, reason) in [
        ("", "it is empty"),
        ("\n", "it is empty"),
        (r#"{"subject":"a"} {"subject":"#, "entry 2: EOF"),
        (r#"{"subject":"a","sate":"home"}"#, "entry 1: unknown field `sate`"),
        (r#"{"subject":"a"} {"subject":"a"}"#, "entry 2 is of the same"),
        (r#"{"subject":"a","identifier":"b"}"#, "entry 1: exactly one"),
        (r"{}", "entry 1: exactly one"),
        (r#"{"hash":"00"}"#, "entry 1: exactly one"),
        (r#"{"subject":"a","state":"frozen"}"#, "entry 1: its state is `frozen`"),
        (r#"{"subject":"a","floor":[1,"x"]}"#, "entry 1: it can't be read"),
    ] {
        let fault = parsed(text).expect_err(text).to_string();
        assert!(fault.starts_with(reason), "{text}: {fault}");
    }
}

#[test]
fn a_line_of_an_unknown_jurisdiction_refuses_its_subject_alone() {
    let (rows, faults) =
        parsed(r#"{"subject":"a","jurisdiction":"mars"} {"subject":"b","state":"pending","toward":"venus"} {"subject":"c"}"#)
            .expect("a good file");
    let placed = |subject| rows[&keys().subject(subject)[0]].placed();
    assert_eq!((placed("a"), placed("b")), (Some(Placed::Unknown), Some(Placed::Unknown)));
    assert!(matches!(placed("c"), Some(Placed::At(_))));
    assert_eq!(faults.len(), 2);
}

#[tokio::test]
async fn a_file_is_read_again_when_it_has_changed() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("register.json");
    fs::write(&path, r#"{"subject":"a"}"#).expect("writable");
    let topology = Arc::new(topology(&["us", "eu"]));
    let writer = Arc::new(TableWriter::new());
    let stop = CancellationToken::new();
    let shared = Shared {
        topology: Arc::clone(&topology),
        keys: Arc::new(keys()),
        writer: Arc::clone(&writer),
        forgotten: Arc::new(Forgotten::new(&topology)),
        metrics: Arc::new(Metrics::new("test", SystemTime::UNIX_EPOCH)),
        stop: stop.clone(),
    };
    let us = topology.jurisdiction("us").expect("there");
    let (hour, minute) = (Duration::from_hours(1), Duration::from_mins(1));
    let (follower, handle) = FileFollower::new(us, path.clone(), hour, minute, shared);
    let metrics = Arc::clone(&follower.shared.metrics);
    let running = tokio::spawn(follower.run());
    let there = |subject| writer.table().get(&keys().subject(subject)[0]).is_some();
    assert!(handle.refresh(minute).await);
    assert!(there("a") && !there("b"));
    assert!(handle.view().current_at.is_some());

    // By rename, so that no content between counts.
    let put = |text: &str| {
        let new = path.with_extension("new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).expect("writable");
    };
    put(r#"{"subject":"b", "generation": 2}"#);
    assert!(handle.refresh(minute).await);
    assert!(!there("a") && there("b"));

    // Torn in the middle: what was known stays, and somebody is told.
    put(r#"{"subject":"#);
    let mut view = handle.watch();
    let asked = handle.clone();
    tokio::select! {
        answered = asked.refresh(minute) => panic!("answered: {answered}"),
        seen = view.wait_for(|view| view.fault.is_some()) => drop(seen.expect("it runs")),
    }
    assert!(there("b"));
    let alarm = r#"residency_register_alarms_total{alarm="file",jurisdiction="us"} 1"#;
    assert!(metrics.encode().contains(alarm), "{}", metrics.encode());

    put(r#"{"subject":"c"}"#);
    assert!(handle.refresh(minute).await);
    assert!(!there("b") && there("c") && handle.view().fault.is_none());
    stop.cancel();
    running.await.expect("it stops");
}
