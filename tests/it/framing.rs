//! Messages: where one ends and the next begins, seen alike by the client, the gateway and the API.

use crate::harness::{Ask, Key, Peer, Setup, Upstream, eventually, holds};

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
async fn what_can_be_read_in_two_ways_is_refused_and_ends_the_connection() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let token = Key::usual().token("me", "us");
    let post =
        |rest: &str| format!("POST /orders HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n{rest}");
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for (what, bytes) in [
        ("two lengths", post(&format!("content-length: 0\r\ncontent-length: 5\r\n\r\n{smuggled}"))),
        ("a list of lengths", post(&format!("content-length: 0, 5\r\n\r\n{smuggled}"))),
        ("a signed length", post(&format!("content-length: +0\r\n\r\n{smuggled}"))),
        ("a negative length", post(&format!("content-length: -1\r\n\r\n{smuggled}"))),
        (
            "chunks twice",
            post(&format!(
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            )),
        ),
        (
            "a coding within the chunks",
            post(&format!("transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n{smuggled}")),
        ),
        (
            "chunks not last",
            post(&format!("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}")),
        ),
        ("an unknown coding", post(&format!("transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"))),
        (
            "chunks in HTTP/1.0",
            format!("POST /x HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        ("space before the colon", post(&format!("transfer-encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"))),
        ("a folded header", post(&format!("x: 1\r\n transfer-encoding: chunked\r\n\r\n{smuggled}"))),
        ("a bare line feed in a value", post(&format!("x: 1\ry: 2\r\n\r\n{smuggled}"))),
        ("a zero byte", post(&format!("x: \0\r\n\r\n{smuggled}"))),
        ("no method", format!(" / HTTP/1.1\r\nhost: a\r\n\r\n{smuggled}")),
        ("another protocol", format!("GET / HTTP/2.7\r\nhost: a\r\n\r\n{smuggled}")),
    ] {
        let mut wire = gateway.connect().await;
        wire.send(&bytes).await;
        let answer = wire.answer(false).await;
        assert_eq!(answer.status(), 400, "{what}: {:?}", answer.head.start);
        wire.drain().await;
    }
    let seen: Vec<_> = upstream.requests().into_iter().map(|seen| seen.head.start).collect();
    assert_eq!(seen, Vec::<String>::new(), "nothing of all this reached the API");
}

#[tokio::test]
async fn nothing_is_taken_for_a_request_behind_a_length_beside_chunks() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let token = Key::usual().token("me", "us");
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for both in
        ["content-length: 6\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 6"]
    {
        let mut wire = gateway.connect().await;
        let head =
            format!("POST /orders HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n{both}\r\n\r\n");
        wire.send(format!("{head}0\r\n\r\n{smuggled}")).await;
        // Refused, or taken by its chunks alone; then the connection ends (RFC 9112 section 6.1).
        let answer = wire.answer(false).await;
        assert!([200, 400].contains(&answer.status()), "{both}: {}", answer.head.start);
        wire.ended().await;
    }
    for seen in upstream.requests() {
        assert!(seen.head.start.starts_with("POST /orders "), "{}", seen.head.start);
        assert_eq!((seen.head.get("content-length"), seen.body.len()), (None, 0));
    }
}

#[tokio::test]
async fn ambiguous_hosts_and_paths_are_refused() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    for path in ["/a/../b", "/..", "/a/./b", "/a/%2e%2e/b", "/a/%2E./b", "/a/.%2e", "/./a"] {
        let answer = gateway.send(&Ask::new(&format!("GET {path}"))).await;
        assert_eq!(answer.status(), 400, "{path}");
    }
    gateway.send(&Ask::new("GET /x").header("host", "another")).await.expect_problem(400, "bad-request");
    let mut wire = gateway.connect().await;
    wire.send("GET /x HTTP/1.1\r\n\r\n").await;
    wire.answer(false).await.expect_problem(400, "bad-request");
    let connect = "CONNECT a.test:443 HTTP/1.1\r\nhost: a.test\r\n\r\n";
    let mut wire = gateway.connect().await;
    wire.send(connect).await;
    assert_eq!(wire.answer(false).await.status(), 400);
    assert_eq!(upstream.requests().len(), 0);
    for path in ["/a/...", "/a/b..c", "/.well-known/x", "/a//b"] {
        gateway.send(&Ask::new(&format!("GET {path}"))).await.expect_ok();
        assert_eq!(upstream.last().head.start, format!("GET {path} HTTP/1.1"));
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it_and_the_final_answer() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let token = Key::usual().token("me", "us");
    let mut wire = gateway.connect().await;
    wire.send(format!(
        "POST /upload HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
    ))
    .await;
    let interim = wire.head().await.expect("an interim answer");
    assert_eq!(interim.status(), 100);
    wire.send("hello").await;
    wire.answer(false).await.expect_ok();
    assert_eq!(upstream.last().body, b"hello");

    // One who isn't let in needn't send the body.
    let mut wire = gateway.connect().await;
    wire.send("POST /upload HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
    wire.answer(false).await.expect_problem(401, "token-missing");
    wire.drain().await;
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

#[tokio::test]
async fn interim_answers_of_the_api_do_not_end_the_exchange() {
    let upstream = Upstream::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.say("HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await;
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    for _ in 0..2 {
        wire.send(Ask::new("GET /x").bytes()).await;
        let mut head = wire.head().await.expect("an answer");
        // Passing it on is allowed, not required (RFC 9110 section 15.2).
        while head.status() == 103 {
            head = wire.head().await.expect("the final answer");
        }
        assert_eq!(head.status(), 200);
        assert_eq!(wire.body(&head).await.expect("whole"), b"ok");
    }
}

#[tokio::test]
async fn what_is_no_http_upstream_is_a_502() {
    for nonsense in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nok",
        "HTTP/1.1 2000 OK\r\n\r\n",
    ] {
        let upstream = Upstream::start(move |mut peer| async move {
            while peer.request().await.is_some() {
                peer.say(nonsense).await;
            }
        });
        let gateway = Setup::before(&[upstream.address]).start().await;
        let answer = gateway.send(&Ask::new("GET /x")).await;
        assert_eq!(answer.problem(), (502, "upstream-failed".to_owned()), "{nonsense:?}");
        assert_eq!(upstream.requests().len(), 1);
    }
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
