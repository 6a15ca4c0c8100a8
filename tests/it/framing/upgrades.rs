//! Upgrades as a way around the rules: of protocols that are not offered, half asked for, or refused.

use super::head;
use crate::harness::{Ask, Head, Peer, Setup, Upstream, Wire};

const WEBSOCKET: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n";

/// Everything about upgrades that must not be in a request that is none.
fn assert_plain(head: &Head, what: &str) {
    for name in ["upgrade", "connection", "http2-settings"] {
        assert_eq!(head.all(name), Vec::<&str>::new(), "{what}: {name} went up");
    }
}

/// What came behind was taken for no request: the connection says so and ends.
async fn refused(wire: &mut Wire, what: &str) {
    let answer = wire.answer(false).await;
    assert_eq!(answer.problem(), (400, "bad-request".to_owned()), "{what}");
    assert_eq!(answer.head.get("connection"), Some("close"), "{what}");
    wire.ended().await;
}

#[tokio::test]
async fn protocols_that_are_not_offered_are_not_asked_for() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let settings = "http2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n";
    for (what, lines) in [
        ("h2c", format!("connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n{settings}")),
        ("h2c without its settings", "connection: upgrade\r\nupgrade: h2c\r\n".to_owned()),
        ("h2c that Connection doesn't name", format!("upgrade: h2c\r\n{settings}")),
        ("h2c in other letters", format!("Connection: UPGRADE\r\nUpgrade: H2C\r\n{settings}")),
        ("h2c beside a WebSocket", "connection: upgrade\r\nupgrade: websocket, h2c\r\n".to_owned()),
        (
            "h2c behind a WebSocket",
            "connection: upgrade\r\nupgrade: websocket\r\nupgrade: h2c\r\n".to_owned(),
        ),
        (
            "a WebSocket behind h2c",
            "connection: upgrade\r\nupgrade: h2c\r\nupgrade: websocket\r\n".to_owned(),
        ),
        ("two WebSockets", "connection: upgrade\r\nupgrade: websocket\r\nupgrade: websocket\r\n".to_owned()),
        ("TLS", "connection: upgrade\r\nupgrade: TLS/1.0, HTTP/1.1\r\n".to_owned()),
        ("a WebSocket that Connection doesn't name", "upgrade: websocket\r\n".to_owned()),
        (
            "a WebSocket that Connection almost names",
            "connection: upgrades\r\nupgrade: websocket\r\n".to_owned(),
        ),
        ("a WebSocket of another version", "connection: upgrade\r\nupgrade: websocket/13\r\n".to_owned()),
        ("an upgrade to nothing", "connection: upgrade\r\n".to_owned()),
    ] {
        let mut wire = gateway.connect().await;
        wire.send(head("GET /x", &format!("{lines}\r\n"))).await;
        let answer = wire.answer(false).await;
        answer.expect_ok();
        assert_eq!(answer.head.get("upgrade"), None, "{what}");
        assert_plain(&upstream.last().head, what);
        // Nothing was sent ahead, so the connection is still one of HTTP.
        wire.exchange(&Ask::new("GET /y")).await.expect_ok();
    }
}

#[tokio::test]
async fn bytes_behind_an_upgrade_that_was_not_granted_are_no_request() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let h2c = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n";
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for (what, request, status) in [
        ("h2c", head("GET /x", &format!("{h2c}\r\n")), 200),
        ("h2c with a body", head("POST /x", &format!("{h2c}content-length: 5\r\n\r\nhello")), 200),
        (
            "h2c with chunks",
            head("POST /x", &format!("{h2c}transfer-encoding: chunked\r\n\r\n0\r\n\r\n")),
            200,
        ),
        ("a WebSocket that Connection doesn't name", head("GET /x", "upgrade: websocket\r\n\r\n"), 200),
        ("a WebSocket that the API refuses", head("GET /x", &format!("{WEBSOCKET}\r\n")), 200),
        (
            "a WebSocket that the gateway refuses",
            format!("GET /x HTTP/1.1\r\nhost: a\r\n{WEBSOCKET}\r\n"),
            401,
        ),
        (
            "a WebSocket to the gateway itself",
            format!("GET /health/basic HTTP/1.1\r\nhost: a\r\n{WEBSOCKET}\r\n"),
            200,
        ),
    ] {
        for behind in [preface, smuggled, "\x01\x05hello"] {
            let before = upstream.requests().len();
            let mut wire = gateway.connect().await;
            wire.send(format!("{request}{behind}")).await;
            let answer = wire.answer(false).await;
            assert_eq!(answer.status(), status, "{what}");
            refused(&mut wire, what).await;
            let after: Vec<_> = upstream.requests().split_off(before);
            assert!(after.len() <= 1, "{what}: {after:?}");
            assert!(after.iter().all(|seen| !seen.head.start.contains("smuggled")), "{what}: {after:?}");
        }
    }
}

#[tokio::test]
async fn an_upgrade_of_what_has_a_body_or_knows_none_is_refused() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let old = head("GET /x", &format!("{WEBSOCKET}\r\n")).replacen("HTTP/1.1", "HTTP/1.0", 1);
    for (what, bytes) in [
        ("a length", head("GET /x", &format!("{WEBSOCKET}content-length: 5\r\n\r\nhello"))),
        ("a length of zero", head("GET /x", &format!("{WEBSOCKET}content-length: 0\r\n\r\n"))),
        ("chunks", head("GET /x", &format!("{WEBSOCKET}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"))),
        (
            "a length and chunks",
            head("GET /x", &format!("{WEBSOCKET}content-length: 0\r\ntransfer-encoding: chunked\r\n\r\n")),
        ),
        ("another method", head("POST /x", &format!("{WEBSOCKET}\r\n"))),
        ("a method without a body", head("HEAD /x", &format!("{WEBSOCKET}\r\n"))),
        ("CONNECT", head("CONNECT /x", &format!("{WEBSOCKET}\r\n"))),
        ("HTTP/1.0", old),
    ] {
        for behind in ["", "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"] {
            let mut wire = gateway.connect().await;
            wire.send(format!("{bytes}{behind}")).await;
            let to_head = bytes.starts_with("HEAD");
            let answer = wire.answer(to_head).await;
            assert_eq!((answer.status(), answer.head.get("connection")), (400, Some("close")), "{what}");
            wire.ended().await;
        }
    }
    assert_eq!(upstream.accepted(), 0);
}

#[tokio::test]
async fn an_upstream_that_refuses_an_upgrade_and_goes_on_is_not_heard() {
    let upstream = Upstream::start(|mut peer: Peer| async move {
        while let Some(seen) = peer.request().await {
            let upgrade = seen.head.get("upgrade").is_some();
            let bytes = if upgrade {
                "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nnoHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret"
            } else {
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain"
            };
            peer.say(bytes).await;
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    wire.send(head("GET /live", &format!("{WEBSOCKET}\r\n"))).await;
    let answer = wire.answer(false).await;
    assert_eq!((answer.status(), answer.body.as_slice()), (403, b"no".as_slice()));
    for _ in 0..2 {
        assert_eq!(wire.exchange(&Ask::new("GET /x")).await.body, b"plain");
    }
}
