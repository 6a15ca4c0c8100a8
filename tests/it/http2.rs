//! HTTP/2 from clients: streams that are requests of their own, and a connection that bears what clients do with it.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use nix::sys::signal::Signal;
use tokio::sync::Notify;

use crate::harness::{Ask, Gateway, Http2, Key, Peer, Setup, Upstream, eventually, holds, within};
use crate::tls::{dial, with_certificate};

mod hostile;

fn token() -> String {
    Key::usual().token("me", "us")
}

/// Answers `/slow` when told to, everything else at once.
fn on_demand() -> (Upstream, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let shared = Arc::clone(&go);
    let upstream = Upstream::start(move |mut peer: Peer| {
        let go = Arc::clone(&shared);
        async move {
            while let Some(seen) = peer.request().await {
                if seen.head.start.starts_with("GET /slow") {
                    go.notified().await;
                }
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await;
            }
        }
    });
    (upstream, go)
}

async fn arrived(upstream: &Upstream, count: usize) {
    eventually("it arrives", async || {
        holds(upstream.requests().len() >= count, || format!("{}", upstream.requests().len()))
    })
    .await;
}

#[tokio::test]
async fn it_is_agreed_on_by_alpn_or_known_beforehand_unless_switched_off() {
    let upstream = Upstream::mirror();
    let mut gateway = with_certificate(Setup::before(&[upstream.address])).start().await;
    let chain = gateway.path("chain.pem");
    let wire = dial(&gateway, &chain, &[b"h2", b"http/1.1"]).await.expect("a handshake");
    assert_eq!(wire.stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let mut secure = Http2::secure(wire.stream).await;
    let mut plain = Http2::connect(gateway.http).await;
    for (client, scheme) in [(&mut secure, "https"), (&mut plain, "http")] {
        let answer = client.exchange(&Ask::new("POST /orders?x=1").token(&token()).body("some body")).await;
        answer.expect_ok();
        assert_eq!(answer.head.get("residency-served-by"), Some("here"));
        let seen = upstream.last();
        assert_eq!(seen.head.start, "POST /orders?x=1 HTTP/1.1");
        assert_eq!(seen.body, b"some body");
        assert_eq!(seen.head.get("host"), Some("api.test"));
        assert_eq!(seen.head.get("x-forwarded-proto"), Some(scheme));
        assert_eq!(seen.head.get("residency-access"), Some("write"));
    }
    // HTTP/1.1 is served beside it.
    gateway.send(&Ask::new("GET /x")).await.expect_ok();
    drop((secure, plain));

    gateway.setup.lay("listen.http2 = false");
    gateway.reload().await;
    let mut wire = eventually("no HTTP/2 is offered", async || {
        let wire = dial(&gateway, &chain, &[b"h2", b"http/1.1"]).await.map_err(|error| error.to_string())?;
        let agreed = wire.stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        if agreed.as_deref() == Some(b"http/1.1") { Ok(wire) } else { Err(format!("{agreed:?}")) }
    })
    .await;
    wire.exchange(&Ask::new("GET /x")).await.expect_ok();
    drop(wire);
    let mut wire = gateway.connect().await;
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(wire.head().await.expect("an answer").start, "HTTP/1.1 400 Bad Request");
}

#[tokio::test]
async fn each_stream_is_decided_about_and_logged_for_itself() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut client = Http2::connect(gateway.http).await;
    let mut calls = Vec::new();
    for index in 0..60 {
        let ask = Ask::new("POST /orders").body(format!("body {index}"));
        let ask = match index % 3 {
            0 => ask.token(&Key::usual().token(&format!("subject {index}"), "eu")),
            1 => ask.token(&Key::usual().token(&format!("subject {index}"), "us")),
            _ => ask,
        };
        calls.push(client.send(&ask).await);
    }
    for (index, call) in calls.into_iter().enumerate() {
        let answer = call.whole().await;
        if index % 3 == 2 {
            answer.expect_problem(401, "token-missing");
        } else {
            answer.expect_ok();
            let seen = &answer.json()["headers"];
            let told =
                |name: &str, value: &str| seen.to_string().contains(&format!("[\"{name}\",\"{value}\"]"));
            assert!(told("residency-subject", &format!("subject {index}")), "{seen}");
            assert!(told("residency-jurisdiction", if index % 3 == 0 { "eu" } else { "us" }), "{seen}");
        }
    }
    assert_eq!(upstream.requests().len(), 40);
    let lines = gateway.access_lines(60).await;
    assert!(lines.iter().all(|line| line["protocol"] == "h2"), "{lines:?}");
    let counted = |code: &str| lines.iter().filter(|line| line["code"] == code).count();
    assert_eq!((counted("token-missing"), counted("-")), (20, 40));
    assert_eq!(lines.iter().map(|line| line["bytes_in"].as_u64().expect("a count")).max(), Some(7));
}

/// `GET /x` of `api.test`, with these lines.
fn get(lines: &[(&str, &str)]) -> Request<()> {
    let request = Request::builder().uri("http://api.test/x");
    lines
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value))
        .body(())
        .expect("a request")
}

#[tokio::test]
async fn what_can_be_read_two_ways_is_refused_and_the_connection_goes_on() {
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[upstream.address]).with("[limits]\nheader_bytes = 8192\nheaders = 20");
    let gateway = setup.start().await;
    let mut client = Http2::connect(gateway.http).await;
    let at = |uri: &str| Request::builder().uri(uri).body(()).expect("a request");
    let mut connect = at("http://api.test:443");
    *connect.method_mut() = Method::CONNECT;
    *connect.uri_mut() = "api.test:443".parse().expect("an authority");
    let large = "x".repeat(8192);
    let many: Vec<(String, String)> = (0..30).map(|index| (format!("x-{index}"), String::new())).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for (what, request, status, code) in [
        ("another host than the authority", get(&[("host", "other.test")]), 400, "bad-request"),
        ("two hosts", get(&[("host", "api.test"), ("host", "api.test")]), 400, "bad-request"),
        ("user information", at("http://me@api.test/x"), 400, "bad-request"),
        ("a path that is another", at("http://api.test/a/%2e%2e/b"), 400, "bad-request"),
        ("a name that is another's", get(&[("transfer_encoding", "chunked")]), 400, "bad-request"),
        ("a tunnel", connect, 400, "bad-request"),
        ("too many lines", get(&many), 431, "head-too-large"),
        ("too many bytes", get(&[("x-large", &large)]), 431, "head-too-large"),
    ] {
        let mut call = client.begin(request).await;
        call.sending.end();
        let answer = call.whole().await;
        assert_eq!(answer.status(), status, "{what}");
        answer.expect_problem(status, code);
    }
    assert_eq!(upstream.requests().len(), 0);
    // The same host twice is one; names of a connection's own have no place in HTTP/2 at all.
    let mut call = client.begin(get(&[("host", "api.test"), ("te", "trailers")])).await;
    call.sending.end();
    call.whole().await.expect_ok();
    let seen = upstream.last().head;
    assert_eq!((seen.get("host"), seen.get("te")), (Some("api.test"), Some("trailers")));
    // Where the frames contradict the head there is no request.
    for lengths in [&[("content-length", "1"), ("content-length", "2")][..], &[("content-length", "5")]] {
        let mut call = client.begin(get(lengths)).await;
        call.sending.end();
        let fault = call.answer().await.err().expect("no answer");
        assert_eq!(fault.reason(), Some(h2::Reason::PROTOCOL_ERROR), "{lengths:?}");
    }
    // And what is far beyond the limits does not take the others along.
    let larger = "x".repeat(14_000);
    let mut call = client.begin(get(&[("x-large", &larger)])).await;
    call.sending.end();
    assert_eq!(call.answer().await.expect("an answer").0.status(), 431);
    client.exchange(&Ask::new("GET /x")).await.expect_ok();
}

#[tokio::test]
async fn pieces_of_a_cookie_are_one_to_the_api() {
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[upstream.address]).with("[token]\nfrom = ['cookie:session']");
    let gateway = setup.start().await;
    let mut client = Http2::connect(gateway.http).await;
    let session = format!("session={}", token());
    let mut call = client.begin(get(&[("cookie", "a=1"), ("cookie", &session), ("cookie", "b=2")])).await;
    call.sending.end();
    call.whole().await.expect_ok();
    let seen = upstream.last().head;
    assert_eq!(seen.get("cookie"), Some(format!("a=1; {session}; b=2").as_str()));
    assert_eq!(seen.get("residency-subject"), Some("me"));
}

#[tokio::test]
async fn an_answer_without_a_body_ends_with_its_head_and_gets_no_length() {
    let upstream = Upstream::start(|mut peer: Peer| async move {
        while let Some(seen) = peer.request().await {
            let status = if seen.head.start.contains("/304") { "304 Not Modified" } else { "204 No Content" };
            if seen.head.start.starts_with("HEAD") {
                peer.say("HTTP/1.1 200 OK\r\nx-length: unknown\r\ntransfer-encoding: chunked\r\n\r\n").await;
            } else {
                peer.say(format!("HTTP/1.1 {status}\r\n\r\n")).await;
            }
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut client = Http2::connect(gateway.http).await;
    for (start, status) in [("HEAD /x", 200), ("GET /304", 304), ("GET /204", 204)] {
        let mut call = client.send(&Ask::new(start)).await;
        let (head, body) = call.answer().await.expect("an answer");
        assert_eq!(head.status(), status);
        assert!(body.is_ended(), "{start}");
        assert_eq!(head.get("content-length"), None, "{start}");
        assert_eq!(head.get("transfer-encoding"), None, "{start}");
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_first_piece_is_framed_behind_it() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut client = Http2::connect(gateway.http).await;
    // Without a length the API gets chunks; around what is copied and what is not.
    for size in [1, 8 * 1024, 8 * 1024 + 1, 16 * 1024, 100_000] {
        let body: Vec<u8> = (0..size).map(|index: usize| index.to_le_bytes()[0]).collect();
        let ask = Ask::new("POST /orders").token(&token()).body(body.clone());
        client.exchange(&ask).await.expect_ok();
        let seen = upstream.last();
        assert_eq!(seen.head.get("transfer-encoding"), Some("chunked"));
        assert!(seen.body == body, "{size} bytes came as {}", seen.body.len());
    }
}

#[tokio::test]
async fn a_stream_that_waits_too_long_gets_504_and_the_others_go_on() {
    let (upstream, go) = on_demand();
    let setup = Setup::before(&[upstream.address]).with("[timeouts]\nfirst_byte_ms = 400\nidle_ms = 600");
    let gateway = setup.start().await;
    let mut client = Http2::connect(gateway.http).await;
    let mut slow = client.send(&Ask::new("GET /slow")).await;
    arrived(&upstream, 1).await;
    client.exchange(&Ask::new("GET /quick")).await.expect_ok();
    let (head, mut body) = slow.answer().await.expect("an answer");
    assert_eq!((head.status(), head.get("content-type")), (504, Some("application/problem+json")));
    assert!(!body.rest().await.expect("a body").is_empty());
    client.exchange(&Ask::new("GET /quick")).await.expect_ok();
    go.notify_waiters();
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_loses_the_stream_and_no_other() {
    let upstream = Upstream::start(|mut peer: Peer| async move {
        while let Some(seen) = peer.request().await {
            if seen.head.start.starts_with("GET /small") {
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await;
            } else {
                use tokio::io::AsyncWriteExt;
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await;
                let piece = vec![7; 64 * 1024];
                while peer.wire.stream.write_all(&piece).await.is_ok() {}
                return;
            }
        }
    });
    let setup = Setup::before(&[upstream.address]).with("[timeouts]\nstream_idle_ms = 500");
    let gateway = setup.start().await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(65_535).initial_connection_window_size(1024 * 1024);
    let mut client = Http2::with(&builder, gateway.http).await;
    let mut stuck = client.send(&Ask::new("GET /large").token(&token())).await;
    let (head, _unread) = stuck.answer().await.expect("an answer");
    assert_eq!(head.status(), 200);
    let reset = stuck.sending.reset();
    let others = async {
        loop {
            client.exchange(&Ask::new("GET /small")).await.expect_ok();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _reason = reset => (),
        () = others => (),
    }
    client.exchange(&Ask::new("GET /small")).await.expect_ok();
    eventually("the API's connection ends", async || {
        holds(upstream.open() <= 1, || format!("{} are open", upstream.open()))
    })
    .await;
}

#[tokio::test]
async fn a_connection_without_a_stream_is_told_before_it_ends() {
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[upstream.address]).with("[timeouts]\nidle_ms = 300");
    let gateway = setup.start().await;
    let mut client = Http2::connect(gateway.http).await;
    client.exchange(&Ask::new("GET /x")).await.expect_ok();
    // GOAWAY without a fault, and the end: not a word of which streams were lost.
    client.ended().await.expect("a connection that ended well");
}

#[tokio::test]
async fn a_drain_lets_streams_finish_and_takes_no_more() {
    let (upstream, go) = on_demand();
    let mut gateway = Setup::before(&[upstream.address]).start().await;
    let mut busy = Http2::connect(gateway.http).await;
    let slow = busy.send(&Ask::new("GET /slow")).await;
    let mut idle = Http2::connect(gateway.http).await;
    idle.exchange(&Ask::new("GET /quick")).await.expect_ok();
    arrived(&upstream, 2).await;
    gateway.signal(Signal::SIGTERM);
    gateway.logged("draining").await;
    idle.ended().await.expect("an idle connection ends well");
    go.notify_one();
    let answer = slow.whole().await;
    answer.expect_ok();
    assert_eq!(answer.body, b"done");
    busy.ended().await.expect("and then so does a busy one");
    assert!(gateway.end().await.success());
}

/// Far more than the gateway may hold, and what it may hold of it.
const LARGE: usize = 128 * 1024 * 1024;
const MOST_KIB: u64 = 32 * 1024;

fn assert_bounded(gateway: &Gateway, before: u64) {
    let now = gateway.resident_kib();
    assert!(now < before + MOST_KIB, "{before} KiB grew to {now} KiB");
}

#[tokio::test]
async fn large_bodies_take_no_memory_whoever_is_slow() {
    let go = Arc::new(Notify::new());
    let shared = Arc::clone(&go);
    let upstream = Upstream::start(move |mut peer: Peer| {
        let go = Arc::clone(&shared);
        async move {
            use tokio::io::AsyncWriteExt;
            let Some(head) = peer.wire.head().await else { return };
            let piece = vec![7; 256 * 1024];
            if head.start.starts_with("GET") {
                peer.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n")).await;
                for _ in 0..LARGE / piece.len() {
                    if peer.wire.stream.write_all(&piece).await.is_err() {
                        return;
                    }
                }
            } else {
                go.notified().await;
                let mut bytes = 0;
                while let Ok(Some(part)) = peer.wire.part(&head, bytes).await {
                    bytes += part.len();
                }
                peer.say(format!("HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\n{bytes:09}")).await;
            }
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let before = gateway.resident_kib();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1024 * 1024).initial_connection_window_size(1024 * 1024);
    let mut client = Http2::with(&builder, gateway.http).await;
    let mut call = client.send(&Ask::new("GET /large")).await;
    let (_, mut body) = call.answer().await.expect("an answer");
    let mut received = body.data().await.expect("data").expect("it lives").len();
    assert_bounded(&gateway, before);
    while let Some(data) = body.data().await {
        received += data.expect("the stream lives").len();
        if received % (16 * 1024 * 1024) < 64 * 1024 {
            assert_bounded(&gateway, before);
        }
    }
    assert_eq!(received, LARGE);

    let (request, _) = Ask::new("POST /large").token(&token()).http2();
    let mut call = client.begin(request).await;
    let piece = bytes::Bytes::from(vec![7; 1024 * 1024]);
    let mut sent = 0;
    // Until the window is full; what a stuck wait shows is looked at below.
    while let Ok(taken) = tokio::time::timeout(
        Duration::from_millis(500),
        call.sending.try_all(piece.slice(..64 * 1024), false),
    )
    .await
    {
        taken.expect("the stream lives");
        sent += 64 * 1024;
        assert!(sent < LARGE / 2, "{sent} bytes were taken though the API reads nothing");
    }
    assert_bounded(&gateway, before);
    drop(call);
    go.notify_waiters();
    eventually("the API's side ends", async || holds(upstream.open() == 0, || "open".to_owned())).await;
    let (request, _) = Ask::new("POST /large").token(&token()).http2();
    let mut call = client.begin(request).await;
    go.notify_one();
    for _ in 0..LARGE / piece.len() {
        call.sending.all(piece.clone(), false).await;
    }
    call.sending.end();
    let answer = call.whole().await;
    assert_eq!((answer.status(), answer.body), (201, format!("{LARGE:09}").into_bytes()));
    assert_bounded(&gateway, before);
}

#[tokio::test]
async fn a_client_that_breaks_off_breaks_off_upstream() {
    let (upstream, _go) = on_demand();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut client = Http2::connect(gateway.http).await;
    let mut call = client.send(&Ask::new("GET /slow")).await;
    arrived(&upstream, 1).await;
    call.sending.0.send_reset(h2::Reason::CANCEL);
    drop(call);
    gateway.metric_becomes("residency_upstream_connections_open", &[], 0.0).await;
    client.exchange(&Ask::new("GET /quick")).await.expect_ok();
    assert!(client.is_open());
}

#[tokio::test]
async fn an_upload_that_is_answered_early_ends_without_a_fault() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut client = Http2::connect(gateway.http).await;
    let (request, _) = Ask::new("POST /orders").http2();
    let mut call = client.begin(request).await;
    call.sending.all("the beginning", false).await;
    let (head, mut body) = call.answer().await.expect("an answer");
    assert_eq!(head.status(), 401);
    assert!(!body.rest().await.expect("the whole answer").is_empty());
    assert_eq!(call.sending.reset().await, h2::Reason::NO_ERROR, "no more of it is wanted");
    within("the connection lives", client.exchange(&Ask::new("GET /x"))).await.expect_ok();
    assert_eq!(upstream.requests().len(), 1);
}
