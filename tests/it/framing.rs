//! Messages: where one ends and the next begins, seen alike by the client, the gateway and the API.

use serde_json::json;

use crate::harness::{Ask, Key, Peer, Setup, Upstream, eventually, holds};

mod expectations;
mod requests;
mod responses;
mod trailers;
mod upgrades;

/// The head of a request with a token, up to the lines given, which end it.
fn head(start: &str, lines: &str) -> String {
    let token = Key::usual().token("me", "us");
    format!("{start} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n{lines}")
}

/// Answers by what the path asks for.
async fn answer_by_path(mut peer: Peer) {
    while let Some(seen) = peer.request().await {
        let path = seen.head.start.split(' ').nth(1).unwrap_or_default().to_owned();
        let to_head = seen.head.start.starts_with("HEAD ");
        let bytes = match path.as_str() {
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 5\r\n\r\n",
            "/sized" if to_head => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            "/sized" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "/chunked" if to_head => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "/chunked" => {
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
            }
            "/empty" => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "/until-close" => {
                peer.say("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello").await;
                return;
            }
            _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        };
        if peer.say(bytes).await.is_none() {
            return;
        }
    }
}

#[tokio::test]
async fn every_way_to_end_a_body_arrives_whole_and_leaves_the_connection_usable() {
    let upstream = Upstream::start(answer_by_path);
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    for (start, status, body, length) in [
        ("GET /sized", 200, "hello", Some("5")),
        ("GET /chunked", 200, "hello", None),
        ("HEAD /sized", 200, "", Some("5")),
        ("HEAD /chunked", 200, "", None),
        ("GET /204", 204, "", None),
        ("GET /304", 304, "", None),
        ("GET /empty", 200, "", Some("0")),
        ("HEAD /204", 204, "", None),
        ("GET /until-close", 200, "hello", None),
        ("GET /none", 404, "", Some("0")),
        ("GET /sized", 200, "hello", Some("5")),
    ] {
        let answer = wire.exchange(&Ask::new(start)).await;
        assert_eq!((answer.status(), answer.body.as_slice()), (status, body.as_bytes()), "{start}");
        // A 304 may say how long the body would have been, and needn't.
        if status != 304 {
            assert_eq!(answer.head.get("content-length"), length, "{start}: {:?}", answer.head);
        }
    }
}

#[tokio::test]
async fn health_answers_head_without_a_body() {
    let gateway = Setup::before(&[crate::harness::vacant()]).start().await;
    let mut wire = gateway.connect().await;
    for _ in 0..2 {
        let answer = wire.exchange(&Ask::new("HEAD /health/basic")).await;
        assert_eq!((answer.status(), answer.body.len()), (200, 0));
    }
}

#[tokio::test]
async fn a_chunked_body_goes_up_as_one_and_is_not_buffered() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    let token = Key::usual().token("me", "us");
    let head = format!(
        "POST /upload HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    wire.send(head).await;
    wire.send("5\r\nhello\r\n").await;
    // The upstream has the head while the body is under way.
    eventually("a connection upstream", async || holds(upstream.accepted() == 1, || "none".to_owned())).await;
    wire.send("6;a=b\r\n world\r\n0\r\nx-trailer: 1\r\n\r\n").await;
    wire.answer(false).await.expect_ok();
    let seen = upstream.last();
    assert_eq!(seen.body, b"hello world");
    assert_eq!(seen.head.get("transfer-encoding"), Some("chunked"));
    assert_eq!(seen.head.get("content-length"), None);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start(answer_by_path);
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    let mut bytes = Vec::new();
    for start in ["GET /sized", "HEAD /sized", "GET /204", "GET /chunked"] {
        bytes.extend(Ask::new(start).bytes());
    }
    wire.send(bytes).await;
    assert_eq!(wire.answer(false).await.body, b"hello");
    assert_eq!(wire.answer(true).await.body, b"");
    assert_eq!(wire.answer(false).await.status(), 204);
    assert_eq!(wire.answer(false).await.body, b"hello");
}

#[tokio::test]
async fn an_answer_before_the_body_was_read_reaches_the_client() {
    let upstream = Upstream::start(|mut peer| async move {
        while let Some(head) = peer.wire.head().await {
            peer.say("HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig")
                .await;
            // What still comes is read and dropped, since a reset could overtake the answer.
            drop(head);
            peer.wire.drain().await;
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let token = Key::usual().token("me", "us");
    let mut wire = gateway.connect().await;
    wire.send(format!(
        "POST /upload HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: 1000000\r\n\r\nhello"
    ))
    .await;
    let answer = wire.answer(false).await;
    assert_eq!((answer.status(), answer.body.as_slice()), (413, b"big".as_slice()));
}

/// A refusal that overtakes its request's body must still arrive: a connection closed with bytes unread would reset.
#[tokio::test]
async fn a_refusal_does_not_get_lost_in_the_upload_it_refuses() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    for _ in 0..20 {
        wire.send("POST /orders HTTP/1.1\r\nhost: api.test\r\ncontent-length: 30000\r\n\r\n").await;
        for _ in 0..3 {
            tokio::task::yield_now().await;
            wire.send("x".repeat(10_000)).await;
        }
        wire.answer(false).await.expect_problem(401, "token-missing");
    }
    let token = Key::usual().token("me", "eu");
    wire.exchange(&Ask::new("GET /orders").token(&token)).await.expect_ok();
    assert_eq!(upstream.requests().len(), 1, "nothing of what was refused went up");
}

#[tokio::test]
async fn chunked_uploads_leave_the_connection_usable() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    for (index, body) in ["hello", "", "again"].into_iter().enumerate() {
        wire.send(head("POST /upload", "transfer-encoding: chunked\r\n\r\n")).await;
        if !body.is_empty() {
            wire.send(format!("{:x}\r\n{body}\r\n", body.len())).await;
        }
        wire.send("0\r\n\r\n").await;
        wire.answer(false).await.expect_ok();
        assert_eq!(upstream.requests().len(), index + 1);
        assert_eq!(upstream.last().body, body.as_bytes());
    }
    assert_eq!(upstream.accepted(), 1, "the upstream's connection, too");
}

/// A body that was read ahead for what it says, and that is too large to be copied behind its head.
#[tokio::test]
async fn a_chunked_body_that_was_read_ahead_goes_up_whole_and_ends_where_it_ends() {
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[upstream.address]);
    let gateway = setup.with("[routes]\n'POST /signup' = { country = 'json:/country' }").start().await;
    let mut wire = gateway.connect().await;
    for size in [10, 8 * 1024, 20_000] {
        let body = json!({ "country": "DE", "about": "x".repeat(size) }).to_string();
        wire.send(format!(
            "POST /signup HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
             {:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ))
        .await;
        wire.answer(false).await.expect_ok();
        assert_eq!(upstream.last().body.len(), body.len());
    }
    assert_eq!((upstream.requests().len(), upstream.accepted()), (3, 1));
}
