//! Writes that wait while their subject moves: how many, how long, in which order, and what they cost meanwhile.

use tokio::task::JoinSet;

use super::*;
use crate::harness::{Http2, Peer, Wire};

#[tokio::test]
async fn writes_wait_and_reads_go_on_until_the_new_home_gets_them_in_order() {
    let api = Upstream::mirror();
    let gateway = start(&api, "[hold]\nmax_ms = 60000\n").await;
    say(&gateway, "us", &[closing("ann")]).await;
    let mut clients = Vec::new();
    for number in 0..8 {
        let mut wire = gateway.connect().await;
        wire.send(ask(&format!("POST /orders/{number}"), "ann").body(format!("order {number}")).bytes())
            .await;
        clients.push(wire);
        // One after the other, so that there is an order to keep.
        waiting(&gateway, number + 1).await;
    }
    gateway.send(&ask("GET /orders", "ann")).await.expect_ok();
    let read = api.last().head;
    assert_eq!(
        (read.get("residency-jurisdiction"), read.get("residency-access")),
        (Some("us"), Some("read"))
    );
    for start in ["POST /orders", "GET /orders"] {
        gateway.send(&ask(start, "bob")).await.expect_ok();
    }
    // `fenced` is as closed.
    let fenced = json!({ "subject": "ann", "state": "fenced", "generation": 2, "toward": "eu" });
    say(&gateway, "us", &[fenced]).await;
    waiting(&gateway, 8).await;
    let before = api.requests().len();
    assert_eq!(before, 3, "only what was asked beside");
    flip(&gateway, "ann").await;
    for wire in &mut clients {
        wire.answer(false).await.expect_ok();
    }
    let came = api.requests().split_off(before);
    for (number, seen) in came.iter().enumerate() {
        assert_eq!(seen.head.start, format!("POST /orders/{number} HTTP/1.1"));
        assert_eq!(seen.body, format!("order {number}").into_bytes());
        assert_eq!(seen.head.get("residency-jurisdiction"), Some("eu"));
    }
    assert_eq!(came.len(), 8, "each once");
    waiting(&gateway, 0).await;
    assert!((ended(&gateway, "released").await - 8.0).abs() < 1e-9);
    let waits = gateway.metrics().await.value("residency_hold_duration_seconds_count", &[]);
    assert!((waits - 8.0).abs() < 1e-9, "{waits}");
}

#[tokio::test]
async fn whoever_comes_while_others_still_stand_in_line_goes_behind_them() {
    // Answers the first one when another subject's request says so.
    let api = Upstream::start(|mut peer: Peer| async move {
        use std::cell::RefCell;
        use std::rc::Rc;
        use tokio::sync::Notify;
        thread_local!(static GO: RefCell<Rc<Notify>> = RefCell::default());
        let go = GO.with(|go| Rc::clone(&go.borrow()));
        while let Some(seen) = peer.request().await {
            if seen.head.start.contains("/go") {
                go.notify_one();
            } else if seen.head.start.contains("/slow") {
                go.notified().await;
            }
            if peer.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_none() {
                return;
            }
        }
    });
    let gateway = start(&api, "[hold]\nmax_ms = 60000\n").await;
    say(&gateway, "us", &[closing("ann")]).await;
    let mut first = gateway.connect().await;
    first.send(ask("POST /slow", "ann").bytes()).await;
    waiting(&gateway, 1).await;
    flip(&gateway, "ann").await;
    eventually("the first is under way", async || {
        holds(api.requests().len() == 1, || format!("{} requests", api.requests().len()))
    })
    .await;
    // The move is over, and the first one's answer is not there.
    let mut second = gateway.connect().await;
    second.send(ask("POST /late", "ann").bytes()).await;
    waiting(&gateway, 1).await;
    gateway.send(&ask("GET /orders", "ann")).await.expect_ok();
    gateway.send(&ask("POST /go", "bob")).await.expect_ok();
    first.answer(false).await.expect_ok();
    second.answer(false).await.expect_ok();
    let paths: Vec<_> = api.requests().iter().map(|seen| seen.head.start.clone()).collect();
    assert_eq!(paths[0], "POST /slow HTTP/1.1");
    assert_eq!(paths[3], "POST /late HTTP/1.1", "{paths:?}");
    // With nobody in line the next one waits for nobody.
    gateway.send(&ask("POST /orders", "ann")).await.expect_ok();
}

#[tokio::test]
async fn a_move_that_is_given_up_lets_them_go_to_the_home_they_had() {
    let api = Upstream::mirror();
    let gateway = start(&api, "[hold]\nmax_ms = 60000\n").await;
    say(&gateway, "us", &[closing("ann")]).await;
    let mut wire = gateway.connect().await;
    wire.send(ask("POST /orders", "ann").bytes()).await;
    waiting(&gateway, 1).await;
    say(&gateway, "us", &[json!({ "subject": "ann", "generation": 3 })]).await;
    wire.answer(false).await.expect_ok();
    assert_eq!(api.last().head.get("residency-jurisdiction"), Some("us"));
}

#[tokio::test]
async fn nobody_waits_longer_than_they_may_whatever_the_apis_time_is() {
    let api = Upstream::mirror();
    // The API's own time is shorter, and none of its business.
    let gateway = start(&api, "[hold]\nmax_ms = 1500\n[timeouts]\nfirst_byte_ms = 1000\n").await;
    say(&gateway, "us", &[closing("ann")]).await;
    for body in [None, Some("with a body")] {
        let write = ask("POST /orders", "ann");
        let answer = gateway.send(&body.into_iter().fold(write, Ask::body)).await;
        answer.expect_problem(503, "subject-moving");
        assert!(answer.head.get("retry-after").is_some());
    }
    assert!((ended(&gateway, "too-long").await - 2.0).abs() < 1e-9);
    assert_eq!(api.requests().len(), 0);
    waiting(&gateway, 0).await;
}

#[tokio::test]
async fn what_was_held_has_all_of_the_apis_time_then() {
    let api = Upstream::mirror();
    let gateway = start(&api, "[hold]\nmax_ms = 60000\n[timeouts]\nfirst_byte_ms = 1000\n").await;
    say(&gateway, "us", &[closing("ann")]).await;
    let mut wire = gateway.connect().await;
    wire.send(ask("POST /orders", "ann").body("late").bytes()).await;
    waiting(&gateway, 1).await;
    // Longer than the API has, with nothing moving.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    flip(&gateway, "ann").await;
    wire.answer(false).await.expect_ok();
}

#[tokio::test]
async fn only_so_many_wait_and_the_others_are_told_at_once() {
    let api = Upstream::mirror();
    let gateway = start(&api, "[hold]\nmax_ms = 60000\nper_subject = 2\nper_worker = 3\n").await;
    say(&gateway, "us", &[closing("ann"), closing("bob")]).await;
    let mut held = JoinSet::new();
    let wait = |who: &'static str| {
        let to = gateway.http;
        async move { Wire::connect(to).await.exchange(&ask("POST /orders", who)).await }
    };
    for (count, who) in [(1, "ann"), (2, "ann")] {
        held.spawn(wait(who));
        waiting(&gateway, count).await;
    }
    gateway.send(&ask("POST /orders", "ann")).await.expect_problem(503, "subject-moving");
    held.spawn(wait("bob"));
    waiting(&gateway, 3).await;
    gateway.send(&ask("POST /orders", "bob")).await.expect_problem(503, "subject-moving");
    assert!((ended(&gateway, "full").await - 2.0).abs() < 1e-9);
    gateway.send(&ask("POST /orders", "cid")).await.expect_ok();
    say(&gateway, "us", &[]).await;
    while let Some(answer) = held.join_next().await {
        answer.expect("it does not panic").expect_ok();
    }
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let api = Upstream::mirror();
    let gateway = start(&api, "[hold]\nmax_ms = 60000\nper_subject = 1\n").await;
    say(&gateway, "us", &[closing("ann")]).await;
    let bodiless = ask("POST /orders", "ann");
    let whole = bodiless.clone().body("all of it is there");
    let part = bodiless.clone().header("content-length", "1000000");
    for (count, ask) in (1..).zip([&bodiless, &whole, &part]) {
        let mut wire = gateway.connect().await;
        wire.send(ask.bytes()).await;
        waiting(&gateway, 1).await;
        gateway.send(&bodiless).await.expect_problem(503, "subject-moving");
        if count == 2 {
            wire.reset();
        } else {
            drop(wire);
        }
        waiting(&gateway, 0).await;
        assert!((ended(&gateway, "gone").await - f64::from(count)).abs() < 1e-9);
    }
    // A stream of HTTP/2, and a connection of it.
    let mut client = Http2::connect(gateway.http).await;
    let mut call = client.send(&whole).await;
    waiting(&gateway, 1).await;
    call.sending.0.send_reset(h2::Reason::CANCEL);
    waiting(&gateway, 0).await;
    client.exchange(&ask("POST /orders", "bob")).await.expect_ok();
    let _call = client.send(&bodiless).await;
    waiting(&gateway, 1).await;
    drop(client);
    waiting(&gateway, 0).await;
    assert!((ended(&gateway, "gone").await - 5.0).abs() < 1e-9);
    assert_eq!(api.requests().len(), 1, "nothing of them went anywhere");
}

#[tokio::test]
async fn a_body_is_not_read_while_its_request_waits() {
    let api = Upstream::mirror();
    let gateway = start(&api, "[hold]\nmax_ms = 60000\n").await;
    gateway.send(&ask("POST /orders", "bob")).await.expect_ok();
    say(&gateway, "us", &[closing("ann")]).await;
    let size = 64 << 20;
    let head = ask("POST /orders", "ann").header("content-length", &size.to_string());
    let before = gateway.resident_kib();
    let mut wire = gateway.connect().await;
    wire.send(head.bytes()).await;
    waiting(&gateway, 1).await;
    // As much as the two sockets hold, which is all that anybody takes.
    let mut sent = 0;
    let piece = vec![b'x'; 64 * 1024];
    loop {
        use tokio::io::AsyncWriteExt;
        let writing = wire.stream.write(&piece);
        match tokio::time::timeout(std::time::Duration::from_millis(500), writing).await {
            Ok(count) => sent += count.expect("the connection is open"),
            Err(_) => break,
        }
    }
    assert!(sent < size / 2, "{sent} bytes were taken while nobody may read them");
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
    flip(&gateway, "ann").await;
    while sent < size {
        let count = piece.len().min(size - sent);
        wire.send(&piece[..count]).await;
        sent += count;
    }
    wire.answer(false).await.expect_ok();
    assert_eq!(api.last().body.len(), size);
}
