//! What an upstream answers is held to the rules that requests are held to: no response that can be read in two ways reaches
//! a client, none that broke off looks whole, and no bytes of one exchange are taken for another's.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::harness::{Ask, Peer, Setup, Upstream};

/// Answers every request with these bytes, and ends the connection if told to.
fn saying(bytes: String, ends: bool) -> Upstream {
    Upstream::start(move |mut peer: Peer| {
        let bytes = bytes.clone();
        async move {
            while peer.request().await.is_some() {
                if peer.say(&bytes).await.is_none() || ends {
                    return;
                }
            }
        }
    })
}

#[tokio::test]
async fn heads_that_can_be_read_in_two_ways_are_a_502() {
    let ok = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}");
    for bytes in [
        "SSH-2.0-OpenSSH\r\n\r\n".to_owned(),
        "ICY 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 2000 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 20 OK\r\n\r\n".to_owned(),
        "HTTP/1.1  200 OK\r\n\r\n".to_owned(),
        "HTTP/1.2 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/2 200\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ok("content-length: 1\r\ncontent-length: 2\r\n\r\nok"),
        ok("content-length: 2\r\ncontent-length: 2\r\n\r\nok"),
        ok("content-length: 2, 2\r\n\r\nok"),
        ok("content-length: x\r\n\r\nok"),
        ok("content-length:\r\n\r\nok"),
        ok("content-length: -2\r\n\r\nok"),
        ok("content-length: +2\r\n\r\nok"),
        ok("content-length: 02\r\n\r\nok"),
        ok("content-length: 0x2\r\n\r\nok"),
        ok("content-length: 18446744073709551618\r\n\r\nok"),
        ok("content-length : 2\r\n\r\nok"),
        ok("content_length: 2\r\n\r\nok"),
        ok("content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ok("transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ok("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ok("transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ok("transfer-encoding: identity\r\n\r\nok"),
        ok("transfer-encoding:\r\n chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\ncontent-length: 2\n\nok".to_owned(),
        ok("content-length: 2\n\r\nok"),
        ok("x: 1\ry: 2\r\ncontent-length: 2\r\n\r\nok"),
        ok("x: 1\r\n y\r\ncontent-length: 2\r\n\r\nok"),
        ok("x: \0\r\ncontent-length: 2\r\n\r\nok"),
        ok("x y: 1\r\ncontent-length: 2\r\n\r\nok"),
        "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 103 Early Hints\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        format!(
            "{}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 102 Processing\r\n\r\n".repeat(20)
        ),
        ok(&format!("x: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(70_000))),
    ] {
        let upstream = saying(bytes.clone(), false);
        let gateway = Setup::before(&[upstream.address]).start().await;
        let shown = &bytes[..bytes.len().min(100)];
        let mut wire = gateway.connect().await;
        for start in ["GET /x", "GET /y"] {
            let answer = wire.exchange(&Ask::new(start)).await;
            assert_eq!(answer.problem(), (502, "upstream-failed".to_owned()), "{shown:?}");
        }
        assert_eq!(upstream.requests().len(), 2, "{shown:?}: nothing was sent again");
        assert_eq!(upstream.accepted(), 2, "{shown:?}: what follows can't be trusted");
    }
}

#[tokio::test]
async fn bodies_that_can_be_read_in_two_ways_or_break_off_are_cut_visibly() {
    let chunks = |body: &str| format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
    let long = format!("2;{}\r\nok\r\n0\r\n\r\n", "x".repeat(600));
    for bytes in [
        chunks("2\nok\r\n0\r\n\r\n"),
        chunks("2\r\nok\r\n0x0\r\n\r\n"),
        chunks("2 \r\nok\r\n0\r\n\r\n"),
        chunks("+2\r\nok\r\n0\r\n\r\n"),
        chunks("2\r\nok0\r\n\r\n"),
        chunks("2\r\nok!\r\n0\r\n\r\n"),
        chunks("2;a\nb\r\nok\r\n0\r\n\r\n"),
        chunks("2;a\0\r\nok\r\n0\r\n\r\n"),
        chunks(&long),
        chunks("2\r\nok\r\nffffffffffffffff1\r\nok\r\n0\r\n\r\n"),
        chunks("2\r\nok\r\n0\n\n"),
        chunks("2\r\nok\r\n0\r\nx : 1\r\n\r\n"),
        chunks("2\r\nok\r\n0\r\nHTTP/1.1 200 OK\r\n\r\n"),
        chunks("2\r\nok\r\n"),
        chunks("ffffffffffffffff\r\nok"),
        "HTTP/1.1 200 OK\r\ncontent-length: 999999999999999\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok".to_owned(),
    ] {
        let upstream = saying(bytes.clone(), true);
        let gateway = Setup::before(&[upstream.address]).start().await;
        let mut wire = gateway.connect().await;
        wire.send(Ask::new("GET /x").bytes()).await;
        // Told, or cut off: both are no whole answer.
        if let Some(head) = wire.head().await {
            let body = wire.body(&head).await;
            assert!(
                head.status() == 502 || body.is_err(),
                "{bytes:?}: the client takes {body:?} for the whole"
            );
        }
        assert_eq!(upstream.requests().len(), 1, "{bytes:?}");
    }
}

#[tokio::test]
async fn bytes_behind_a_whole_response_reach_nobody() {
    const SECRET: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret";
    for (start, response, status, body) in [
        ("GET /x", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, "ok"),
        ("GET /x", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, ""),
        ("GET /x", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok"),
        (
            "GET /x",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: 1\r\n\r\n",
            200,
            "ok",
        ),
        ("GET /x", "HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        ("GET /x", "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", 204, ""),
        ("GET /x", "HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\n", 304, ""),
        ("HEAD /x", "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n", 200, ""),
        ("HEAD /x", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 200, ""),
    ] {
        // At once with the response, and once that has arrived.
        for late in [false, true] {
            let (go, said) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let shared = (Arc::clone(&go), Arc::clone(&said));
            let upstream = Upstream::start(move |mut peer: Peer| {
                let (go, said) = shared.clone();
                async move {
                    while let Some(seen) = peer.request().await {
                        if seen.head.start.contains("/next") {
                            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext").await;
                            continue;
                        }
                        if late {
                            peer.say(response).await;
                            go.notified().await;
                            peer.say(SECRET).await;
                        } else {
                            peer.say(format!("{response}{SECRET}")).await;
                        }
                        said.notify_one();
                    }
                }
            });
            let gateway = Setup::before(&[upstream.address]).start().await;
            let mut first = gateway.connect().await;
            let answer = first.exchange(&Ask::new(start)).await;
            let told = (answer.status(), String::from_utf8_lossy(&answer.body).into_owned());
            assert_eq!(told, (status, body.to_owned()), "{response:?}");
            if status == 204 {
                assert_eq!(answer.head.get("content-length"), None, "{response:?}");
            }
            go.notify_one();
            said.notified().await;
            for wire in [&mut first, &mut gateway.connect().await] {
                let answer = wire.exchange(&Ask::new("GET /next")).await;
                assert_eq!(answer.body, b"next", "{response:?}, late: {late}");
            }
            assert_eq!(upstream.accepted(), 2, "{response:?}: the connection was of no use any more");
        }
    }
}

#[tokio::test]
async fn a_switch_to_another_protocol_than_was_asked_for_is_a_502() {
    for lines in [
        "upgrade: h2c\r\nconnection: upgrade\r\n",
        "upgrade: websocket, h2c\r\nconnection: upgrade\r\n",
        "upgrade: websocket\r\nupgrade: h2c\r\nconnection: upgrade\r\n",
        "connection: upgrade\r\n",
        "upgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 5\r\n",
        "upgrade: websocket\r\nconnection: upgrade\r\ntransfer-encoding: chunked\r\n",
    ] {
        let upstream = saying(format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\nhello"), false);
        let gateway = Setup::before(&[upstream.address]).start().await;
        let ask = Ask::new("GET /live")
            .token(&crate::harness::Key::usual().token("me", "us"))
            .header("connection", "upgrade")
            .header("upgrade", "websocket");
        let mut wire = gateway.connect().await;
        wire.exchange(&ask).await.expect_problem(502, "upstream-failed");
        // The connection is HTTP as before.
        assert_eq!(wire.exchange(&Ask::new("HEAD /health/basic")).await.status(), 200, "{lines:?}");
    }
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

/// A client of HTTP/1.0 knows the end of such a body by the connection's: a body that broke off must break the connection.
#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_not_made_whole_by_its_end() {
    use tokio::io::AsyncReadExt;
    let go = Arc::new(Notify::new());
    let shared = Arc::clone(&go);
    let upstream = Upstream::start(move |mut peer: Peer| {
        let go = Arc::clone(&shared);
        async move {
            let Some(seen) = peer.request().await else { return };
            peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
            go.notified().await;
            if seen.head.start.contains("/whole") {
                peer.say("0\r\n\r\n").await;
            } else if seen.head.start.contains("/garbled") {
                peer.say("0\n\n").await;
            } else if seen.head.start.contains("/silent") {
                peer.wire.drain().await;
            }
        }
    });
    let gateway = Setup::before(&[upstream.address]).with("[timeouts]\nstream_idle_ms = 300").start().await;
    for (path, whole) in [("/whole", true), ("/cut", false), ("/garbled", false), ("/silent", false)] {
        let mut wire = gateway.connect().await;
        wire.send(format!("GET {path} HTTP/1.0\r\nhost: a\r\n\r\n")).await;
        let head = wire.head().await.expect("an answer");
        assert!(head.start.contains(" 200 "), "{path}: {head:?}");
        assert_eq!((head.get("connection"), head.get("transfer-encoding")), (Some("close"), None));
        assert_eq!(wire.exactly(5).await.expect("the beginning"), b"hello");
        go.notify_one();
        let ended = crate::harness::within("the end", wire.stream.read_to_end(&mut Vec::new())).await;
        assert_eq!(ended.is_ok(), whole, "{path}: {ended:?}");
    }
}
