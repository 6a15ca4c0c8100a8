use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::time::{Instant, SystemTime};

use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::telemetry::{Access, Decision, SubjectHasher, truncate_address};

/// Far beyond what any of this takes: only a defect waits for it.
const LONG: Duration = Duration::from_mins(1);

fn record(method: &Method) -> AccessRecord<'_> {
    AccessRecord {
        ended: crate::clock::now(),
        method,
        route: Some("/orders/{id}"),
        status: 200,
        jurisdiction: Some("eu"),
        access: Access::Read,
        decision: Decision::Hop,
        served_by: Some("eu-frankfurt"),
        code: None,
        subject: Some(SubjectHasher::new(b"key").hash("user-1")),
        client: truncate_address(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77))),
        duration: Duration::from_micros(1234),
        upstream: Some(Duration::from_micros(1100)),
        bytes_in: 0,
        bytes_out: 512,
        protocol: Protocol::Http11,
    }
}

fn line_of(region: &str, record: &AccessRecord<'_>, clock: &mut clock::Clock) -> String {
    let mut line = Vec::new();
    line::append(&mut line, &line::head(region), clock, record);
    String::from_utf8(line).expect("what is made of strings is UTF-8")
}

/// A clock that shows 2023-11-14T22:13:20Z at `anchor`.
fn clock_at(anchor: Instant) -> clock::Clock {
    clock::Clock::new(anchor, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
}

fn lines(text: &str) -> usize {
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().filter(|line| serde_json::from_str::<Value>(line).expect("JSON").is_object()).count()
}

#[test]
fn a_line_as_people_see_it() {
    let record = record(&Method::GET);
    insta::assert_snapshot!(line_of("us-east", &record, &mut clock_at(record.ended)), @r#"{"ts":"2023-11-14T22:13:20.000Z","region":"us-east","method":"GET","route":"/orders/{id}","status":200,"jurisdiction":"eu","access":"read","decision":"hop","served_by":"eu-frankfurt","code":"-","subject":"8402de207b9613feb43cd26e253d460b","client":"203.0.113.0/24","duration_us":1234,"upstream_us":1100,"bytes_in":0,"bytes_out":512,"protocol":"http/1.1"}"#);
    let refused = AccessRecord {
        route: None,
        status: 401,
        jurisdiction: None,
        decision: Decision::Refused(0),
        served_by: None,
        code: Some("token-missing"),
        subject: None,
        client: truncate_address(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6))),
        upstream: None,
        ..record
    };
    insta::assert_snapshot!(line_of("us-east", &refused, &mut clock_at(record.ended)), @r#"{"ts":"2023-11-14T22:13:20.000Z","region":"us-east","method":"GET","route":"-","status":401,"jurisdiction":"-","access":"read","decision":"refused","served_by":"-","code":"token-missing","subject":"-","client":"2001:db8:1::/48","duration_us":1234,"upstream_us":null,"bytes_in":0,"bytes_out":512,"protocol":"http/1.1"}"#);
}

#[test]
fn a_method_the_client_made_up_is_not_repeated() {
    let method = Method::from_bytes(b"alice.smith").expect("a token");
    let record = record(&method);
    let line = line_of("us-east", &record, &mut clock_at(record.ended));
    assert!(line.contains(r#""method":"other""#) && !line.contains("alice"), "{line}");
}

proptest! {
    #[test]
    fn any_strings_make_lines_that_read_back_equal(
        region in any::<String>(), route in any::<Option<String>>(), jurisdiction in any::<Option<String>>(),
        served_by in any::<Option<String>>(), code in any::<Option<String>>(), subject in any::<Option<String>>(),
        status in any::<u16>(), duration in any::<u64>(), upstream in any::<Option<u64>>(),
        bytes in any::<(u64, u64)>(), client in any::<IpAddr>(), millis in 0..4_000_000_000_000_u64,
    ) {
        let subject = subject.map(|subject| SubjectHasher::new(b"key").hash(&subject));
        let record = AccessRecord {
            route: route.as_deref(),
            status,
            jurisdiction: jurisdiction.as_deref(),
            served_by: served_by.as_deref(),
            code: code.as_deref(),
            subject,
            client: truncate_address(client),
            duration: Duration::from_micros(duration),
            upstream: upstream.map(Duration::from_micros),
            bytes_in: bytes.0,
            bytes_out: bytes.1,
            ..record(&Method::PATCH)
        };
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let line = line_of(&region, &record, &mut clock::Clock::new(record.ended, wall));
        prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
        let time = jiff::Timestamp::from_millisecond(i64::try_from(millis).expect("in range")).expect("in range");
        let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        prop_assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON"), json!({
            "ts": format!("{time:.3}"),
            "region": region,
            "method": "PATCH",
            "route": text(route),
            "status": status,
            "jurisdiction": text(jurisdiction),
            "access": "read",
            "decision": "hop",
            "served_by": text(served_by),
            "code": text(code),
            "subject": text(subject.map(|subject| subject.to_string())),
            "client": truncate_address(client).to_string(),
            "duration_us": duration,
            "upstream_us": upstream,
            "bytes_in": bytes.0,
            "bytes_out": bytes.1,
            "protocol": "http/1.1",
        }));
    }
}

#[test]
fn several_workers_lines_all_arrive_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let log = AccessLog::start(&Destination::File(path.clone()), "us-east").expect("it opens");
    let counts = log.lines();
    let sent = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut handle = log.handle();
            let (counts, sent) = (&counts, &sent);
            scope.spawn(move || {
                for _ in 0..10 {
                    for _ in 0..500 {
                        handle.write(&record(&Method::GET));
                    }
                    // Far fewer than the queue holds are under way, so every line must arrive.
                    let all = sent.fetch_add(500, Ordering::Relaxed) + 500;
                    wait_until(|| counts.written() + 2000 >= all);
                }
            });
        }
    });
    assert!(log.finish(LONG));
    assert_eq!((counts.written(), counts.dropped(), counts.failed()), (15_000, 0, 0));
    assert_eq!(lines(&fs::read_to_string(&path).expect("it is there")), 15_000);
    assert_eq!(
        fs::metadata(&path).expect("it is there").permissions().mode() & 0o007,
        0,
        "others may not read it"
    );
}

#[test]
fn a_flush_brings_a_single_line_to_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let log = AccessLog::start(&Destination::File(path.clone()), "us-east").expect("it opens");
    let mut handle = log.handle();
    handle.write(&record(&Method::GET));
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "", "a line waits for company");
    handle.flush();
    wait_until(|| log.lines().written() == 1);
    assert_eq!(lines(&fs::read_to_string(&path).expect("it is there")), 1);
    handle.flush();
    handle.write(&record(&Method::GET));
    drop(handle);
    assert!(log.finish(LONG));
    assert_eq!(lines(&fs::read_to_string(&path).expect("it is there")), 2, "dropping a handle flushes it");
}

#[test]
fn a_stuck_destination_costs_lines_and_no_time_and_every_line_is_accounted_for() {
    let (mut reader, log) = piped();
    let counts = log.lines();
    let mut handle = log.handle();
    // Several times what pipe and queue hold. With nobody reading, this ends only if writing never waits.
    let total = 40_000;
    for _ in 0..total {
        handle.write(&record(&Method::GET));
    }
    let dropped = counts.dropped();
    assert!(dropped > 0 && dropped < total, "{dropped} dropped");
    assert!(!log_is_finished(&log));
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text).expect("a pipe can be read")
    });
    wait_until(|| counts.written() > 0);
    handle.flush();
    drop(handle);
    assert!(log.finish(LONG));
    let text = reading.join().expect("it reads");
    assert_eq!(lines(&text) as u64, counts.written());
    assert_eq!(counts.written() + counts.dropped(), total);
    assert_eq!(counts.failed(), 0);
}

#[test]
fn finishing_does_not_wait_for_a_stuck_destination_for_ever() {
    let (reader, log) = piped();
    let mut handle = log.handle();
    for _ in 0..2_000 {
        handle.write(&record(&Method::GET));
    }
    drop(handle);
    assert!(!log.finish(Duration::from_millis(20)));
    drop(reader);
}

#[test]
fn emptied_buffers_are_used_again() {
    let (mut reader, log) = piped();
    let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let mut handle = log.handle();
    // A buffer that can be told from all others.
    let marked = BUFFER + 4321;
    handle.replace_buffer(Vec::with_capacity(marked));
    let counts = log.lines();
    wait_until(|| {
        handle.write(&record(&Method::GET));
        handle.flush();
        // The queue was empty when the marked one was sent, so to be here it must have come back.
        counts.written() > 0 && handle.buffer_capacity() == marked
    });
    drop(handle);
    assert!(log.finish(LONG));
    assert!(reading.join().expect("it reads").is_ok());
}

#[test]
fn lines_a_full_disk_refuses_are_counted() {
    let log = AccessLog::start(&Destination::File("/dev/full".into()), "us-east").expect("it opens");
    let counts = log.lines();
    let mut handle = log.handle();
    for _ in 0..1000 {
        handle.write(&record(&Method::GET));
    }
    drop(handle);
    assert!(log.finish(LONG));
    assert_eq!((counts.written(), counts.dropped(), counts.failed()), (0, 0, 1000));
}

#[test]
fn lines_after_the_end_are_dropped_and_counted() {
    let (_reader, log) = piped();
    let counts = log.lines();
    let mut handle = log.handle();
    assert!(log.finish(LONG));
    handle.write(&record(&Method::GET));
    drop(handle);
    assert_eq!((counts.written(), counts.dropped()), (0, 1));
}

#[test]
fn lines_handed_over_while_the_log_ends_are_accounted_for() {
    for _ in 0..50 {
        let (mut reader, log) = piped();
        let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        let counts = log.lines();
        let mut handle = log.handle();
        let writing = std::thread::spawn(move || {
            for _ in 0..200 {
                handle.write(&record(&Method::GET));
                handle.flush();
            }
        });
        assert!(log.finish(LONG));
        writing.join().expect("it writes");
        assert!(reading.join().expect("it reads").is_ok());
        assert_eq!(counts.written() + counts.dropped() + counts.failed(), 200);
    }
}

#[test]
fn reopening_follows_a_moved_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let moved = directory.path().join("access.log.1");
    let log = AccessLog::start(&Destination::File(path.clone()), "us-east").expect("it opens");
    let mut handle = log.handle();
    handle.write(&record(&Method::GET));
    handle.flush();
    wait_until(|| log.lines().written() == 1);
    fs::rename(&path, &moved).expect("it moves");
    log.reopen();
    wait_until(|| path.exists());
    handle.write(&record(&Method::POST));
    drop(handle);
    assert!(log.finish(LONG));
    assert!(fs::read_to_string(&moved).expect("it is there").contains(r#""method":"GET""#));
    let new = fs::read_to_string(&path).expect("it is there");
    assert!(new.contains(r#""method":"POST""#) && lines(&new) == 1, "{new}");
}

#[test]
fn a_reopening_that_fails_keeps_the_old_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("logs/access.log");
    let elsewhere = directory.path().join("moved");
    fs::create_dir(directory.path().join("logs")).expect("it is made");
    let log = AccessLog::start(&Destination::File(path), "us-east").expect("it opens");
    let mut handle = log.handle();
    fs::rename(directory.path().join("logs"), &elsewhere).expect("it moves");
    log.reopen();
    handle.write(&record(&Method::GET));
    drop(handle);
    assert!(log.finish(LONG));
    assert_eq!(lines(&fs::read_to_string(elsewhere.join("access.log")).expect("it is there")), 1);
}

#[test]
fn a_destination_that_can_not_be_opened_is_an_error_at_start() {
    assert!(AccessLog::start(&Destination::File("/nowhere/at/all.log".into()), "us-east").is_err());
}

/// What a line costs, for whoever changes the formatting: `cargo test --release -- --ignored --nocapture ns_per_line`.
#[test]
#[ignore = "a measurement, and not a check"]
fn ns_per_line() {
    let log = AccessLog::start(&Destination::File("/dev/null".into()), "us-east").expect("it opens");
    let mut handle = log.handle();
    let record = record(&Method::GET);
    for round in 0..5 {
        let count = 1_000_000;
        let start = crate::clock::now();
        for _ in 0..count {
            handle.write(std::hint::black_box(&record));
        }
        println!("round {round}: {:.0} ns a line", start.elapsed().as_nanos() as f64 / f64::from(count));
    }
    println!("{:?}", log.lines());
}

/// A log that writes into a pipe nobody reads yet.
fn piped() -> (std::io::PipeReader, AccessLog) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let sink = writer::Sink::of(File::from(OwnedFd::from(writer)));
    (reader, AccessLog::start_on(sink, "us-east").expect("it starts"))
}

fn log_is_finished(log: &AccessLog) -> bool {
    log.finished.try_recv().is_ok()
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let start = crate::clock::now();
    while !done() {
        assert!(start.elapsed() < LONG, "it never happens");
        std::thread::yield_now();
    }
}
