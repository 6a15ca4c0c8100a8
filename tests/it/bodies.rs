//! Bodies: streamed both ways at the pace of the slower side, and never passed off as whole when they aren't.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::harness::{Ask, Gateway, Head, Key, Peer, Setup, Upstream, Wire, eventually, holds, within};

/// Far more than the gateway may hold.
const LARGE: usize = 256 * 1024 * 1024;
/// What it may hold of one body on top of what it had: kernel buffers aren't its memory, so this is generous.
const MOST_KIB: u64 = 32 * 1024;

fn upload_head(length: usize) -> String {
    let token = Key::usual().token("me", "us");
    format!(
        "POST /upload HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// Sends until the way is full: nothing is taken for a while. How much was taken.
async fn send_until_stuck(wire: &mut Wire, most: usize) -> usize {
    use tokio::io::AsyncWriteExt;
    let piece = vec![7; 64 * 1024];
    let mut sent = 0;
    while sent < most {
        let next = piece.len().min(most - sent);
        // No guess about the gateway: it decides only when the test goes on to look at memory, not what it finds.
        match tokio::time::timeout(std::time::Duration::from_millis(500), wire.stream.write(&piece[..next]))
            .await
        {
            Ok(count) => sent += count.expect("the gateway takes bytes"),
            Err(_) => break,
        }
    }
    sent
}

fn assert_bounded(gateway: &Gateway, before: u64) {
    let now = gateway.resident_kib();
    assert!(now < before + MOST_KIB, "{before} KiB grew to {now} KiB");
}

#[tokio::test]
async fn a_large_upload_waits_for_a_slow_api_and_takes_no_memory() {
    let go = Arc::new(Notify::new());
    let shared = Arc::clone(&go);
    let upstream = Upstream::start(move |mut peer: Peer| {
        let go = Arc::clone(&shared);
        async move {
            let Some(head) = peer.wire.head().await else { return };
            go.notified().await;
            let mut bytes = 0;
            while let Ok(Some(part)) = peer.wire.part(&head, bytes).await {
                bytes += part.len();
            }
            let body = bytes.to_string();
            peer.say(format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let before = gateway.resident_kib();
    let mut wire = gateway.connect().await;
    wire.send(upload_head(LARGE)).await;
    let mut sent = send_until_stuck(&mut wire, LARGE).await;
    assert!(sent < LARGE / 2, "{sent} bytes were taken though the API reads nothing");
    assert_bounded(&gateway, before);
    go.notify_one();
    let piece = vec![7; 1024 * 1024];
    while sent < LARGE {
        let next = piece.len().min(LARGE - sent);
        wire.send(&piece[..next]).await;
        sent += next;
        if sent % (64 * piece.len()) < piece.len() {
            assert_bounded(&gateway, before);
        }
    }
    let answer = wire.answer(false).await;
    assert_eq!((answer.status(), answer.body), (201, LARGE.to_string().into_bytes()));
    assert_bounded(&gateway, before);
}

#[tokio::test]
async fn a_large_download_waits_for_a_slow_client_and_takes_no_memory() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let upstream = Upstream::start(move |mut peer: Peer| {
        let sent = Arc::clone(&counter);
        async move {
            while peer.request().await.is_some() {
                peer.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n")).await;
                let piece = vec![7; 256 * 1024];
                while sent.load(SeqCst) < LARGE {
                    use tokio::io::AsyncWriteExt;
                    // No deadline here: waiting is what it is about.
                    if peer.wire.stream.write_all(&piece).await.is_err() {
                        return;
                    }
                    sent.fetch_add(piece.len(), SeqCst);
                }
            }
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let before = gateway.resident_kib();
    let mut wire = gateway.connect().await;
    wire.send(Ask::new("GET /download").bytes()).await;
    let head = wire.head().await.expect("an answer");
    // Nobody reads: the upstream must come to a halt.
    let halted = eventually("the download halts", async || {
        let first = sent.load(SeqCst);
        sleep(std::time::Duration::from_millis(500)).await;
        let second = sent.load(SeqCst);
        if first == second { Ok(second) } else { Err(format!("{second} bytes and going on")) }
    })
    .await;
    assert!(halted < LARGE / 2, "{halted} bytes were taken though the client reads nothing");
    assert_bounded(&gateway, before);
    let mut received = 0;
    while let Some(part) = wire.part(&head, received).await.expect("the whole body") {
        received += part.len();
    }
    assert_eq!(received, LARGE);
    assert_bounded(&gateway, before);
}

/// Waits until nobody serves a connection of the upstream any more.
async fn all_closed(upstream: &Upstream) {
    eventually("the upstream's connection ends", async || {
        holds(upstream.open() == 0, || format!("{} are open", upstream.open()))
    })
    .await;
}

#[tokio::test]
async fn a_client_that_goes_away_mid_upload_takes_the_upstream_request_with_it() {
    let whole = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&whole);
    let upstream = Upstream::start(move |mut peer: Peer| {
        let whole = Arc::clone(&flag);
        async move {
            let Some(head) = peer.wire.head().await else { return };
            whole.store(peer.wire.body(&head).await.is_ok(), SeqCst);
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    for reset in [false, true] {
        let mut wire = gateway.connect().await;
        wire.send(upload_head(1000)).await;
        wire.send("half of it").await;
        eventually("it goes upstream", async || holds(upstream.open() == 1, || "no".to_owned())).await;
        if reset {
            wire.reset();
        } else {
            drop(wire);
        }
        all_closed(&upstream).await;
        assert!(!whole.load(SeqCst), "a body that broke off was passed off as whole");
    }
    // The same with chunks, whose end must not be made up.
    let token = Key::usual().token("me", "us");
    let mut wire = gateway.connect().await;
    let head = format!(
        "POST /upload HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    wire.send(head + "5\r\nhello\r\n").await;
    eventually("it goes upstream", async || holds(upstream.open() == 1, || "no".to_owned())).await;
    drop(wire);
    all_closed(&upstream).await;
    assert!(!whole.load(SeqCst), "a body that broke off was passed off as whole");
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_answer_or_within_it_frees_the_upstream() {
    let upstream = Upstream::start(|mut peer: Peer| async move {
        let Some(seen) = peer.request().await else { return };
        if seen.head.start.starts_with("GET /download") {
            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nthe beginning").await;
        }
        // Until the gateway hangs up.
        peer.wire.drain().await;
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    for path in ["/never", "/download"] {
        let requests = upstream.requests().len();
        let mut wire = gateway.connect().await;
        wire.send(Ask::new(&format!("GET {path}")).bytes()).await;
        if path == "/download" {
            wire.head().await.expect("an answer");
        }
        eventually("the request arrives", async || {
            holds(upstream.requests().len() > requests, || "not yet".to_owned())
        })
        .await;
        drop(wire);
        all_closed(&upstream).await;
    }
}

#[tokio::test]
async fn an_upstream_that_dies_within_a_body_never_looks_like_one_that_finished() {
    for (what, bytes) in [
        ("by length", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nthe beginning"),
        ("by chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nd\r\nthe beginning\r\n"),
        ("within a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nthe beginning"),
        ("before the last line", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"),
    ] {
        for reset in [false, true] {
            let upstream = Upstream::start(move |mut peer: Peer| async move {
                if peer.request().await.is_some() {
                    peer.say(bytes).await;
                    if reset {
                        let linger = Some(std::time::Duration::ZERO);
                        socket2::SockRef::from(&peer.wire.stream).set_linger(linger).expect("an option");
                    }
                }
            });
            let gateway = Setup::before(&[upstream.address]).start().await;
            let mut wire = gateway.connect().await;
            wire.send(Ask::new("GET /download").bytes()).await;
            match wire.head().await {
                // The end may overtake the head: then the client is told.
                Some(head) if head.status() == 502 => {}
                Some(head) => {
                    let body = wire.body(&head).await;
                    assert!(body.is_err(), "{what}: the client takes {body:?} for the whole");
                }
                // The end came before the head was sent on: no answer, and nobody takes that for one.
                None => {}
            }
        }
    }
}

#[tokio::test]
async fn a_body_arrives_piece_by_piece_and_not_at_its_end() {
    let next = Arc::new(Notify::new());
    let shared = Arc::clone(&next);
    let upstream = Upstream::start(move |mut peer: Peer| {
        let next = Arc::clone(&shared);
        async move {
            while peer.request().await.is_some() {
                peer.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
                for index in 0..3 {
                    next.notified().await;
                    peer.say(format!("7\r\nevent {index}\r\n")).await;
                }
                peer.say("0\r\n\r\n").await;
            }
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    wire.send(Ask::new("GET /events").bytes()).await;
    let head: Head = wire.head().await.expect("an answer");
    for index in 0..3 {
        // Each is sent only after the one before has arrived.
        next.notify_one();
        let part = wire.part(&head, 0).await.expect("more").expect("not the end");
        assert_eq!(part, format!("event {index}").into_bytes());
    }
    assert_eq!(wire.part(&head, 0).await.expect("an end"), None);
}

#[tokio::test]
async fn both_bodies_may_flow_at_once() {
    // An API that answers each piece as it comes, on one request.
    let upstream = Upstream::start(|mut peer: Peer| async move {
        let Some(head) = peer.wire.head().await else { return };
        peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while let Ok(Some(part)) = peer.wire.part(&head, 0).await {
            peer.say(format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(&part))).await;
        }
        peer.say("0\r\n\r\n").await;
        peer.wire.drain().await;
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let token = Key::usual().token("me", "us");
    let mut wire = gateway.connect().await;
    let began = Instant::now();
    wire.send(format!("POST /duplex HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n"))
        .await;
    let head = wire.head().await.expect("the head comes before the request's end");
    for word in ["one", "two", "three"] {
        wire.send(format!("{:x}\r\n{word}\r\n", word.len())).await;
        let part = within("an echo", wire.part(&head, 0)).await.expect("more").expect("not the end");
        assert_eq!(part, word.as_bytes(), "after {:?}", began.elapsed());
    }
    wire.send("0\r\n\r\n").await;
    assert_eq!(wire.part(&head, 0).await.expect("an end"), None);
}

/// Past the size at which a body goes from socket to socket.
const MOVED: usize = 4 * 1024 * 1024;

fn patterned(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8 ^ seed).collect()
}

#[tokio::test]
async fn large_bodies_arrive_whole_or_visibly_cut_and_never_with_anothers_bytes() {
    let upstream = Upstream::start(|mut peer: Peer| async move {
        use tokio::io::AsyncWriteExt;
        while let Some(seen) = peer.request().await {
            let broken = seen.head.start.starts_with("GET /broken");
            peer.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {MOVED}\r\n\r\n")).await;
            let body = patterned(MOVED, if broken { 0x55 } else { 0 });
            let part = if broken { MOVED / 2 } else { MOVED };
            for piece in body[..part].chunks(100_000) {
                if peer.wire.stream.write_all(piece).await.is_err() {
                    return;
                }
            }
            if broken {
                return;
            }
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let whole = patterned(MOVED, 0);
    let mut kept = gateway.connect().await;
    for round in 0..4 {
        // One that is broken off by its API, and one whose client goes away with the way full of its bytes.
        let mut wire = gateway.connect().await;
        wire.send(Ask::new("GET /broken").bytes()).await;
        let head = wire.head().await.expect("an answer");
        assert!(wire.body(&head).await.is_err(), "half a body is taken for the whole in round {round}");
        let mut leaving = gateway.connect().await;
        leaving.send(Ask::new("GET /broken").bytes()).await;
        leaving.head().await.expect("an answer");
        drop(leaving);
        // Others get their own, one after the other on one connection.
        let answer = kept.exchange(&Ask::new("GET /whole")).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.body == whole, "other bytes in round {round}");
    }
    gateway.metric_becomes("residency_downstream_connections_active", &[], 1.0).await;
    let lines = gateway.access_lines(12).await;
    let sent = lines.iter().filter(|line| line["bytes_out"].as_u64() == Some(MOVED as u64)).count();
    assert_eq!(sent, 4, "what went past the process is counted, too");
}
