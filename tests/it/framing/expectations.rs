//! `Expect: 100-continue`, from end to end: whether a body is wanted is the API's to say.

use std::sync::{Arc, Mutex};

use super::head;
use crate::harness::{Key, Peer, Setup, Upstream, Wire};

const ASKS: &str = "expect: 100-continue\r\ncontent-length: 5\r\n\r\n";

type Events = Arc<Mutex<Vec<&'static str>>>;

fn note(events: &Events, event: &'static str) {
    events.lock().expect("nobody panicked with it").push(event);
}

async fn told(wire: &mut Wire) {
    assert_eq!(wire.head().await.expect("an interim answer").status(), 100);
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it_and_the_final_answer() {
    // One that has never heard of it, and waits for the body.
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    for turn in 1..3 {
        wire.send(head("POST /upload", ASKS)).await;
        told(&mut wire).await;
        assert_eq!(upstream.requests().len(), turn - 1, "the body is to come");
        wire.send("hello").await;
        wire.answer(false).await.expect_ok();
        assert_eq!(upstream.last().body, b"hello");
        assert_eq!(upstream.last().head.get("expect"), Some("100-continue"));
    }
    // The same in chunks.
    wire.send(head("POST /upload", "expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n")).await;
    told(&mut wire).await;
    wire.send("5\r\nhello\r\n0\r\n\r\n").await;
    wire.answer(false).await.expect_ok();
    assert_eq!(upstream.last().body, b"hello");

    // One who isn't let in needn't send the body.
    let mut wire = gateway.connect().await;
    wire.send("POST /upload HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
    let answer = wire.answer(false).await;
    answer.expect_problem(401, "token-missing");
    // Whether it sends the body all the same nobody knows.
    assert_eq!(answer.head.get("connection"), Some("close"));
    wire.ended().await;
}

#[tokio::test]
async fn the_upstreams_word_releases_the_body() {
    let events = Events::default();
    let shared = Arc::clone(&events);
    let upstream = Upstream::start(move |mut peer: Peer| {
        let events = Arc::clone(&shared);
        async move {
            while let Some(head) = peer.wire.head().await {
                assert_eq!(head.get("expect"), Some("100-continue"));
                note(&events, "the upstream says to go on");
                peer.say("HTTP/1.1 100 Continue\r\n\r\n").await;
                let body = peer.wire.body(&head).await.expect("the whole body");
                assert_eq!(body, b"hello");
                note(&events, "the upstream has the body");
                peer.say("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    for _ in 0..2 {
        wire.send(head("POST /upload", ASKS)).await;
        told(&mut wire).await;
        note(&events, "the client is told");
        wire.send("hello").await;
        // Nothing more is said about going on: the next is the answer.
        assert_eq!(wire.answer(false).await.status(), 201);
    }
    let turn = ["the upstream says to go on", "the client is told", "the upstream has the body"];
    assert_eq!(*events.lock().expect("nobody panicked with it"), [turn, turn].concat());
    assert_eq!(upstream.accepted(), 1, "the connection is used again");
}

#[tokio::test]
async fn the_upstreams_refusal_reaches_the_client_and_the_body_reaches_nobody() {
    for status in ["417 Expectation Failed", "413 Content Too Large", "401 Unauthorized"] {
        let events = Events::default();
        let shared = Arc::clone(&events);
        let upstream = Upstream::start(move |mut peer: Peer| {
            let events = Arc::clone(&shared);
            async move {
                if peer.wire.head().await.is_none() {
                    return;
                }
                peer.say(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nno")).await;
                let rest = peer.wire.rest().await;
                note(&events, if rest.is_empty() { "nothing behind the head" } else { "a body" });
            }
        });
        let gateway = Setup::before(&[upstream.address]).start().await;
        let mut wire = gateway.connect().await;
        // A client that doesn't wait: what it sent is still not the API's, nor a request.
        wire.send(format!("{}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n", head("POST /upload", ASKS))).await;
        let answer = wire.answer(false).await;
        assert_eq!(
            (answer.status().to_string().as_str(), answer.body.as_slice()),
            (&status[..3], &b"no"[..])
        );
        assert_eq!(answer.head.get("connection"), Some("close"));
        wire.ended().await;
        crate::harness::eventually("the upstream's connection ends", async || {
            let events = events.lock().expect("nobody panicked with it").clone();
            crate::harness::holds(!events.is_empty(), || "not yet".to_owned()).map(|()| events)
        })
        .await;
        assert_eq!(*events.lock().expect("nobody panicked with it"), ["nothing behind the head"]);
        assert_eq!(upstream.accepted(), 1, "{status}");
    }
}

#[tokio::test]
async fn what_expects_something_it_cannot_get_is_not_held_up() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let token = Key::usual().token("me", "us");
    for (what, bytes, body) in [
        ("no body", head("POST /upload", "expect: 100-continue\r\n\r\n"), ""),
        ("an empty body", head("POST /upload", "expect: 100-continue\r\ncontent-length: 0\r\n\r\n"), ""),
        (
            "another expectation",
            head("POST /upload", "expect: the-best\r\ncontent-length: 5\r\n\r\nhello"),
            "hello",
        ),
        (
            "HTTP/1.0",
            format!(
                "POST /upload HTTP/1.0\r\nhost: a\r\nauthorization: Bearer {token}\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello"
            ),
            "hello",
        ),
    ] {
        let mut wire = gateway.connect().await;
        wire.send(bytes).await;
        // No interim answer: they did not ask, or know of none.
        wire.answer(false).await.expect_ok();
        assert_eq!(upstream.last().body, body.as_bytes(), "{what}");
    }
}
