use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use super::answer::{Verdict, judge};
use super::*;

const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";

fn rig() -> Rig {
    Rig::new(Workload::new(vec![REQUEST.to_vec(); 3], HEAD, b"0123456789")).expect("a rig")
}

#[test]
fn answers_are_judged_by_status_length_and_content() {
    let body = b"0123456789";
    let cases: [(&[u8], Option<Verdict>); 9] = [
        (b"HTTP/1.1", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789", Some(Verdict::Right)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456780", Some(Verdict::WrongBody)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789!", Some(Verdict::WrongBody)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n01234", Some(Verdict::WrongBody)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n", Some(Verdict::WrongBody)),
        (b"HTTP/1.1 502 Bad Gateway\r\n", Some(Verdict::WrongStatus)),
    ];
    for (received, verdict) in cases {
        assert_eq!(judge(received, body), verdict, "{:?}", String::from_utf8_lossy(received));
    }
}

#[test]
fn load_straight_to_the_upstream_reuses_every_connection() {
    let mut rig = rig();
    rig.connect(rig.origin_address(), 8).expect("eight connections");
    let tally = rig.drive(Duration::from_millis(200)).expect("a window");
    assert_eq!(tally.faults(), 0);
    assert!(tally.requests() > 0);
    let count = rig.origin_count();
    assert_eq!(count.connections, 8);
    // In flight at the end of the window: one a connection at most.
    assert!(count.requests - tally.requests() <= 8, "{count:?} and {}", tally.requests());
    assert!(count.reuse() > 0.5);
}

#[test]
fn an_exchange_shows_what_the_upstream_saw() {
    let mut rig = rig();
    let exchange = rig.exchange(rig.origin_address(), REQUEST, Duration::from_secs(5)).expect("an exchange");
    assert_eq!(exchange.answer.status, 200);
    assert_eq!(exchange.answer.header("content-TYPE"), Some("text/plain"));
    assert_eq!(exchange.answer.body, b"0123456789");
    assert_eq!(exchange.upstream_saw.as_deref().map(str::as_bytes), Some(REQUEST));
}

#[test]
fn faults_are_counted_by_kind_and_connections_replaced() {
    let cases: [(&[u8], Fault); 3] = [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", Fault::Status),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", Fault::Body),
        (b"", Fault::Closed),
    ];
    for (answer, fault) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let server = thread::spawn(move || {
            // The first connection and the one that replaces it; what comes after is refused.
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).expect("a request") > 0);
                stream.write_all(answer).expect("an answer sent");
            }
        });
        let mut rig = rig();
        rig.connect(address, 1).expect("a connection");
        let tally = rig.drive(Duration::from_secs(1)).expect("a window");
        server.join().expect("the server saw two connections");
        assert_eq!(tally.requests(), 0);
        assert!(tally.faults_of(fault) >= 2, "{fault:?}: {tally:?}");
    }
}

#[test]
fn silence_is_a_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut rig = rig();
    rig.connect(listener.local_addr().expect("its address"), 2).expect("connections");
    let tally = rig.drive(STUCK_AFTER + Duration::from_millis(200)).expect("a window");
    assert_eq!((tally.requests(), tally.faults_of(Fault::Stuck)), (0, 2));
}
