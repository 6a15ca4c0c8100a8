use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use super::answer::{Judge, Verdict, judge};
use super::*;

const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";

fn rig() -> Rig {
    Rig::new(Workload::new(vec![REQUEST.to_vec(); 3], HEAD, b"0123456789")).expect("a rig")
}

/// Drives for longer and longer windows until one has what is waited for, and gives that one's tally. What went wrong
/// before it went wrong too.
fn drive_until(rig: &mut Rig, enough: impl Fn(&Tally) -> bool) -> Tally {
    for doubling in 0..9 {
        let tally = rig.drive(Duration::from_millis(25 << doubling)).expect("a window");
        if enough(&tally) {
            return tally;
        }
        assert_eq!(tally.faults(), 0, "{tally:?}");
    }
    panic!("nothing comes of it")
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
fn an_answer_in_pieces_is_judged_like_a_whole_one() {
    let body: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let right = [head.as_bytes(), &body].concat();
    let mut wrong = right.clone();
    wrong[head.len() + 20_000] ^= 1;
    let mut judge = Judge::default();
    for (answer, expected) in
        [(&right, Verdict::Right), (&wrong, Verdict::WrongBody), (&right, Verdict::Right)]
    {
        for piece in [1, 7, 50, 4096, right.len()] {
            let mut verdicts = answer.chunks(piece).map_while(|piece| match judge.feed(piece, &body) {
                None => Some(None),
                verdict => verdict.map(Some),
            });
            let verdict = verdicts.find_map(|verdict| verdict);
            assert_eq!(verdict, Some(expected), "pieces of {piece}");
        }
    }
}

#[test]
fn uploads_arrive_whole_or_are_refused() {
    let upload: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let head = format!("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", upload.len());
    let workload = Workload::new(vec![head.clone().into_bytes()], HEAD, b"taken").uploading(&upload);
    let mut rig = Rig::new(workload).expect("a rig");
    rig.connect(rig.origin_address(), 3, Manner::Plain).expect("three connections");
    let tally = drive_until(&mut rig, |tally| tally.requests() > 0);
    assert_eq!(tally.faults(), 0);
    assert_eq!(rig.origin_count().malformed, 0);
    rig.disconnect();

    let mut bent = upload;
    bent[700_000] ^= 1;
    for request in
        [[head.as_bytes(), &bent].concat(), b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".to_vec()]
    {
        let before = rig.origin_count().malformed;
        let target = rig.origin_address();
        let refused = rig.exchange(target, &request, &Manner::Plain, Duration::from_secs(5));
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(rig.origin_count().malformed, before + 1);
    }
}

#[test]
fn the_upstream_tells_its_sockets_apart() {
    let mut rig = rig();
    let mut unix = UnixStream::connect(rig.origin_socket()).expect("the Unix socket");
    let mut tcp = TcpStream::connect(rig.origin_address()).expect("the port");
    for (stream, expected) in [(&mut unix as &mut dyn Duplex, (1, 1)), (&mut tcp, (2, 1))] {
        stream.write_all(REQUEST).expect("a request sent");
        while rig.origin_count().requests < expected.0 {
            rig.serve(Duration::from_millis(1)).expect("service");
        }
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1");
        let count = rig.origin_count();
        assert_eq!((count.requests, count.over_unix), expected);
    }
}

trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

#[test]
fn resting_connections_did_one_request_each_and_do_another_when_woken() {
    let mut rig = rig();
    rig.connect(rig.origin_address(), 4, Manner::Plain).expect("four connections");
    rig.drive(Duration::from_millis(50)).expect("a window");
    rig.rest().expect("rest");
    let before = rig.origin_count();
    let opened = rig.open_resting(50, 8).expect("fifty more");
    assert_eq!((opened.requests(), opened.faults()), (50, 0));
    let count = rig.origin_count().since(before);
    assert_eq!((count.requests, count.connections), (50, 50));
    rig.serve(Duration::from_millis(20)).expect("service");
    assert_eq!(rig.origin_count().since(before).requests, 50, "nothing was sent meanwhile");
    let woken = rig.wake(8).expect("all once more");
    assert_eq!((woken.requests(), woken.faults()), (54, 0));
    assert_eq!(rig.origin_count().since(before).connections, 50, "all on connections that were there");
}

#[test]
fn load_straight_to_the_upstream_reuses_every_connection() {
    let mut rig = rig();
    rig.connect(rig.origin_address(), 8, Manner::Plain).expect("eight connections");
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
    let exchange = rig
        .exchange(rig.origin_address(), REQUEST, &Manner::Plain, Duration::from_secs(5))
        .expect("an exchange");
    assert_eq!(exchange.answer.status, 200);
    assert_eq!(exchange.answer.header("content-TYPE"), Some("text/plain"));
    assert_eq!(exchange.answer.body, b"0123456789");
    let seen = exchange.upstream_saw.expect("the upstream saw it");
    assert_eq!((seen.head.as_bytes(), seen.over_unix), (REQUEST, false));
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
        rig.connect(address, 1, Manner::Plain).expect("a connection");
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
    rig.connect(listener.local_addr().expect("its address"), 2, Manner::Plain).expect("connections");
    let tally = rig.drive(STUCK_AFTER + Duration::from_millis(200)).expect("a window");
    assert_eq!((tally.requests(), tally.faults_of(Fault::Stuck)), (0, 2));
}

/// TLS and HTTP/2 against servers of other making.
mod secure;
