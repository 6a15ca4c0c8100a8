//! Trailers go through, but for those that would change what was understood of the head.

use super::head;
use crate::harness::{Ask, Peer, Setup, Upstream};

/// None of these may pass, in whatever spelling.
pub const FORBIDDEN: &str = "Content-Length: 5\r\ntransfer-encoding: chunked\r\nHost: evil\r\nauthorization: Bearer x\r\n\
                             cookie: a=b\r\nresidency-subject: root\r\nResidency_Jurisdiction: us\r\nresidency-hop: here\r\n\
                             connection: close\r\nupgrade: websocket\r\nte: trailers\r\nexpect: 100-continue\r\n\
                             x-forwarded-for: 1.2.3.4\r\nforwarded: for=1.2.3.4\r\ncontent_length: 5\r\ntrailer: x\r\n";

#[tokio::test]
async fn trailers_go_through_both_ways() {
    let upstream = Upstream::start(|mut peer: Peer| async move {
        while peer.request().await.is_some() {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{FORBIDDEN}x-sum: 2\r\nX-Sum: 3\r\n\r\n"
            );
            peer.say(answer).await;
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    for turn in 1..3 {
        let lines = "te: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n";
        wire.send(head("POST /upload", lines)).await;
        wire.send(format!("5\r\nhello\r\n0\r\n{FORBIDDEN}x-sum: 1\r\n\r\n")).await;
        let answer = wire.answer(false).await;
        assert_eq!((answer.status(), answer.body.as_slice()), (200, b"ok".as_slice()));
        assert_eq!(answer.head.get("trailer"), Some("x-sum"));
        assert_eq!(wire.trailers, ["x-sum: 2", "x-sum: 3"]);
        let seen = upstream.last();
        assert_eq!((seen.body.as_slice(), seen.trailers), (b"hello".as_slice(), vec!["x-sum: 1".to_owned()]));
        assert_eq!((seen.head.get("te"), seen.head.get("trailer")), (Some("trailers"), Some("x-sum")));
        assert_eq!(upstream.requests().len(), turn);
    }
    assert_eq!(upstream.accepted(), 1);
    // A client of HTTP/1.0 knows of no chunks, and of nothing behind them.
    let mut wire = gateway.connect().await;
    wire.send("GET /x HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert_eq!(wire.answer(false).await.body, b"ok");
}

#[tokio::test]
async fn whoever_takes_trailers_is_said_to_in_any_letters_and_nobody_else_is() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    for (value, passes) in [
        ("trailers", true),
        ("Trailers", true),
        ("gzip;q=0.5, TRAILERS", true),
        ("gzip", false),
        ("trailer", false),
        ("", false),
    ] {
        gateway.send(&Ask::new("GET /x").header("te", value).header("connection", "te")).await.expect_ok();
        let seen = upstream.last().head;
        assert_eq!(seen.get("te"), passes.then_some("trailers"), "{value}");
        assert_eq!(seen.get("connection"), passes.then_some("te"), "{value}");
    }
}
