use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Body, Frame};
use http_body_util::Full;

use super::ends::{LIMITS, Pieces, next, request, server, whole, within};
use crate::http1::fault::{BodyFault, HeadFault, Malformed};
use crate::http1::framing::Length;
use crate::http1::head::{HeadLimits, ResponseHead};
use crate::http1::name::Name;
use crate::http1::{IncomingBody, RequestHead, ServerConnection, Turn, Unfinished};

const GET: &str = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";

/// Answers 200 with a body of known length; whether the connection goes on.
async fn ok(server: &ServerConnection, head: &RequestHead, body: &'static str) -> bool {
    let head = (Turn::of(head), ResponseHead::new(StatusCode::OK));
    let mut body = Some(Full::new(Bytes::from_static(body.as_bytes())));
    within(server.respond(head.0, &head.1, &mut body, false)).await.expect("it gets through")
}

async fn respond<B>(
    server: &ServerConnection,
    head: &RequestHead,
    status: u16,
    body: B,
) -> Result<bool, Unfinished<B::Error>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let response = ResponseHead::new(StatusCode::from_u16(status).expect("a status"));
    within(server.respond(Turn::of(head), &response, &mut Some(body), false)).await
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_turn() {
    let (server, mut far) = server();
    far.send(
        "POST /1 HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\none\
         POST /2 HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\nx-t: 1\r\n\r\n\
         \r\nGET /3 HTTP/1.1\r\nhost: h\r\n\r\n\
         DELETE /4 HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    far.end().await;
    for (path, length, bytes, trailers) in [
        ("/1", Length::Exact(3), "one", 0),
        ("/2", Length::Chunked, "two", 1),
        ("/3", Length::None, "", 0),
        ("/4", Length::Exact(0), "", 0),
    ] {
        let (head, body) = request(&server).await;
        assert_eq!((head.path(), head.length), (path, length));
        let (found, found_trailers) = whole(body).await.expect("the whole body");
        assert_eq!(found, bytes.as_bytes(), "{path}");
        assert_eq!(found_trailers.map_or(0, |trailers| trailers.len()), trailers, "{path}");
        assert!(ok(&server, &head, "ok").await);
        assert!(within(server.skip_body(0)).await);
        far.expect("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    }
    assert!(next(&server).await.expect("an orderly end").is_none());
}

#[tokio::test]
async fn a_body_is_no_one_elses_once_the_connection_went_on() {
    let (server, mut far) = server();
    far.send("POST /1 HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\nonetwo").await;
    let (head, mut first) = request(&server).await;
    assert_eq!(first.size_hint().exact(), Some(6));
    // Answered early, while somebody still holds the body.
    assert!(ok(&server, &head, "").await);
    assert!(within(server.skip_body(100)).await);
    far.send("POST /2 HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\nsecret").await;
    let (_, second) = request(&server).await;
    assert!(matches!(frame(&mut first).await, Some(Err(BodyFault::Cut))));
    assert!(!first.is_end_stream() && first.size_hint().exact().is_none());
    assert_eq!(whole(second).await.expect("all of it").0, b"secret");
}

async fn frame(body: &mut IncomingBody) -> Option<Result<Frame<Bytes>, BodyFault>> {
    use http_body_util::BodyExt;
    within(body.frame()).await
}

#[tokio::test]
async fn one_that_waits_to_be_told_is_told_when_its_body_is_wanted() {
    let (server, mut far) = server();
    let head = "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-Continue\r\ncontent-length: 5\r\n\r\n";
    far.send(head).await;
    let (asked, body) = request(&server).await;
    assert_eq!(far.at_hand(), b"", "nobody wants the body yet");
    let (sent, received) = tokio::join!(
        async {
            far.expect("HTTP/1.1 100 Continue\r\n\r\n").await;
            far.send("hello").await;
        },
        whole(body)
    );
    assert_eq!((sent, received.expect("all of it").0), ((), b"hello".to_vec()));
    assert!(ok(&server, &asked, "").await, "the connection goes on");
    far.expect("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;

    // Refused: whether the body comes all the same nobody knows, so the connection ends.
    far.send(head).await;
    let (asked, body) = request(&server).await;
    let broken = Pieces::of(&[]).then(Err(BodyFault::Cut));
    assert!(matches!(respond(&server, &asked, 200, broken).await, Err(Unfinished::Unsent(_))));
    let again = respond(&server, &asked, 417, Pieces::exact(&["no"])).await;
    assert!(matches!(again, Ok(false)), "nor does it go on after a second try to answer");
    drop(body);
    drop(server);
    let text = String::from_utf8(far.rest().await).expect("text");
    assert!(
        text.ends_with("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"),
        "{text}"
    );
    assert!(!text.contains("100 Continue"), "{text}");
}

#[tokio::test]
async fn nobody_is_told_to_go_on_who_did_not_ask() {
    for head in [
        // HTTP/1.0 knows no interim responses.
        "POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: h\r\nexpect: something-else\r\ncontent-length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\n\r\n",
    ] {
        let (server, mut far) = server();
        far.send(head).await;
        let (asked, body) = request(&server).await;
        whole(body).await.expect("all of it");
        ok(&server, &asked, "").await;
        drop(server);
        let text = String::from_utf8(far.rest().await).expect("text");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{head:?}: {text:?}");
    }
}

#[tokio::test]
async fn whether_a_connection_goes_on_is_said_and_meant() {
    for (version, line, says, keeps) in [
        ("1.1", "", "", true),
        ("1.1", "connection: keep-alive\r\n", "", true),
        ("1.1", "connection: close\r\n", "connection: close\r\n", false),
        ("1.1", "connection: x, CLOSE ,y\r\n", "connection: close\r\n", false),
        ("1.1", "connection: keep-alive\r\nconnection: close\r\n", "connection: close\r\n", false),
        ("1.0", "", "connection: close\r\n", false),
        ("1.0", "connection: close\r\n", "connection: close\r\n", false),
        ("1.0", "connection: Keep-Alive\r\n", "connection: keep-alive\r\n", true),
        ("1.0", "connection: keep-alive, close\r\n", "connection: close\r\n", false),
    ] {
        let (server, mut far) = server();
        far.send(format!("GET / HTTP/{version}\r\nhost: h\r\n{line}\r\n")).await;
        let (head, _) = request(&server).await;
        assert_eq!(ok(&server, &head, "ok").await, keeps, "{version} {line:?}");
        far.expect(&format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{says}\r\nok")).await;
    }
}

#[tokio::test]
async fn bodies_are_framed_as_the_client_can_read_them() {
    let unknown = || Pieces::of(&["one", "", "two"]);
    let known = || Pieces::exact(&["one", "", "two"]);
    let chunked = "transfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n";
    for (start, status, body, expected, keeps) in [
        ("GET / HTTP/1.1", 200, known(), "content-length: 6\r\n\r\nonetwo", true),
        ("GET / HTTP/1.1", 200, unknown(), chunked, true),
        ("GET / HTTP/1.0", 200, unknown(), "connection: close\r\n\r\nonetwo", false),
        ("GET / HTTP/1.1", 200, Pieces::of(&[]), "transfer-encoding: chunked\r\n\r\n0\r\n\r\n", true),
        ("GET / HTTP/1.1", 200, Pieces::exact(&[]), "content-length: 0\r\n\r\n", true),
        ("HEAD / HTTP/1.1", 200, known(), "\r\n", true),
        ("HEAD / HTTP/1.1", 200, unknown(), "\r\n", true),
        ("GET / HTTP/1.1", 204, unknown(), "\r\n", true),
        ("GET / HTTP/1.1", 304, known(), "\r\n", true),
    ] {
        let (server, mut far) = server();
        far.send(format!("{start}\r\nhost: h\r\nconnection: x\r\n\r\n")).await;
        let (head, _) = request(&server).await;
        assert_eq!(respond(&server, &head, status, body).await.expect("it gets through"), keeps, "{start}");
        drop(server);
        let text = String::from_utf8(far.rest().await).expect("text");
        let (_, rest) = text.split_once("\r\n").expect("a status line");
        assert_eq!(rest, expected, "{start} {status}");
    }
}

#[tokio::test]
async fn trailers_follow_chunks() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    trailers.insert("content-length", HeaderValue::from_static("1"));
    let (server, mut far) = server();
    far.send(GET).await;
    let (head, _) = request(&server).await;
    let body = Pieces::of(&["one"]).then(Ok(Frame::trailers(trailers)));
    respond(&server, &head, 200, body).await.expect("it gets through");
    far.expect("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\nx-sum: 1\r\n\r\n")
        .await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_made_whole() {
    // Before a byte is out another answer may be given, and nothing of the first is seen.
    let (server, mut far) = server();
    far.send(GET).await;
    let (head, _) = request(&server).await;
    let broken = Pieces::of(&["one"]).then(Err(BodyFault::Cut));
    assert!(matches!(respond(&server, &head, 200, broken).await, Err(Unfinished::Unsent(BodyFault::Cut))));
    assert!(respond(&server, &head, 502, Pieces::exact(&["bad"])).await.expect("it gets through"));
    far.expect("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nbad").await;

    // Later the connection must end.
    far.send(GET).await;
    let (head, _) = request(&server).await;
    let large: &'static str = "x".repeat(40_000).leak();
    let broken = Pieces::of(&[large, large]).then(Err(BodyFault::Cut));
    let (outcome, ()) = tokio::join!(respond(&server, &head, 200, broken), async {
        far.expect("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9c40\r\n").await;
    });
    assert!(matches!(outcome, Err(Unfinished::Cut)));
    drop(server);
    let rest = far.rest().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{} bytes and an end", rest.len());
}

#[tokio::test]
async fn a_body_that_can_be_read_in_two_ways_ends_the_connection() {
    for (head, body, fault) in [
        ("transfer-encoding: chunked", "5\nhello\r\n0\r\n\r\n", Some(Malformed::BareLineFeed)),
        ("transfer-encoding: chunked", "5\r\nhello!\r\n0\r\n\r\n", Some(Malformed::Chunk)),
        ("transfer-encoding: chunked", "0\r\nGET /smuggled HTTP/1.1\r\n\r\n", Some(Malformed::Field)),
        ("content-length: 6", "hello", None),
        ("transfer-encoding: chunked", "5\r\nhello\r\n0\r\n", None),
        ("transfer-encoding: chunked", "5\r\nhel", None),
    ] {
        let (server, mut far) = server();
        far.send(format!("POST / HTTP/1.1\r\nhost: h\r\n{head}\r\n\r\n{body}")).await;
        far.end().await;
        let (asked, incoming) = request(&server).await;
        match (whole(incoming).await, fault) {
            (Err(BodyFault::Malformed(found)), Some(fault)) => assert_eq!(found, fault, "{body:?}"),
            (Err(BodyFault::Cut), None) => {}
            (found, _) => panic!("{body:?}: {found:?}"),
        }
        assert!(server.has_lost_body());
        assert!(!ok(&server, &asked, "").await, "{body:?}");
        assert!(!within(server.skip_body(1000)).await, "{body:?}");
        far.expect("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    }
}

#[tokio::test]
async fn what_is_left_of_a_body_is_skipped_within_a_bound() {
    for (most, fits) in [(5, true), (4, false)] {
        let (server, mut far) = server();
        far.send(format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello{GET}")).await;
        let (head, _) = request(&server).await;
        assert!(ok(&server, &head, "").await);
        assert_eq!(within(server.skip_body(most)).await, fits);
        if fits {
            assert_eq!(request(&server).await.0.method, Method::GET);
        }
    }
}

#[tokio::test]
async fn heads_that_are_none_are_faults() {
    enum Fault {
        Malformed,
        TooLarge,
        Ended,
        End,
    }
    let long = format!("GET / HTTP/1.1\r\na: {}", "x".repeat(LIMITS.bytes));
    let longer = format!("{long}\r\n\r\n");
    let lines = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(LIMITS.lines + 1));
    for (bytes, expected) in [
        (&b""[..], Fault::End),
        (b"\r\n", Fault::End),
        (b"\r", Fault::Ended),
        (b"G", Fault::Ended),
        (b"GET / HTTP/1.1\r\nhost: h\r\n", Fault::Ended),
        (b"\r\n\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n", Fault::Malformed),
        (b"\nGET / HTTP/1.1\r\nhost: h\r\n\r\n", Fault::Malformed),
        (b"\rGET / HTTP/1.1\r\nhost: h\r\n\r\n", Fault::Malformed),
        (b"GET / HTTP/1.1\nhost: h\n\n", Fault::Malformed),
        (b"GET / HTTP/1.1\r\nhost: h\n\r\n", Fault::Malformed),
        (b"\x16\x03\x01\x02\x00\x01\x00", Fault::Malformed),
        (b" ", Fault::Malformed),
        (b"\0", Fault::Malformed),
        (b"PRI * HTTP/2.0\r\n\r\n", Fault::Malformed),
        (long.as_bytes(), Fault::TooLarge),
        (longer.as_bytes(), Fault::TooLarge),
        (lines.as_bytes(), Fault::TooLarge),
    ] {
        let (server, mut far) = server();
        far.send(bytes).await;
        far.end().await;
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        match (next(&server).await, expected) {
            (Err(HeadFault::Malformed(_)), Fault::Malformed)
            | (Err(HeadFault::TooLarge), Fault::TooLarge)
            | (Err(HeadFault::Io(_)), Fault::Ended)
            | (Ok(None), Fault::End) => {}
            (found, _) => panic!("{shown:?}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn a_head_may_be_as_large_as_its_bound_and_come_byte_by_byte() {
    let text = "GET / HTTP/1.1\r\nhost: h\r\na: bcd\r\n\r\n";
    for (bytes, fits) in [(text.len(), true), (text.len() - 1, false)] {
        let (server, mut far) = server();
        let limits = HeadLimits { bytes, ..LIMITS };
        let (polled, ()) =
            tokio::join!(within(poll_fn(|context| server.poll_request(context, limits))), async {
                for byte in text.bytes() {
                    far.send([byte]).await;
                    tokio::task::yield_now().await;
                }
            });
        match polled {
            Ok(Some((head, _))) if fits => assert_eq!(head.fields.named("a").collect::<Vec<_>>(), [b"bcd"]),
            Err(HeadFault::TooLarge) if !fits => {}
            other => panic!("{bytes}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_connection_that_waits_holds_no_buffer() {
    let (server, mut far) = server();
    for _ in 0..2 {
        far.send(GET).await;
        let (head, _) = request(&server).await;
        assert!(ok(&server, &head, "").await);
        let polled = poll_fn(|context| Poll::Ready(server.poll_request(context, LIMITS).is_pending())).await;
        assert!(polled && server.is_idle());
        assert_eq!(server.held(), (0, 0));
    }
}

#[tokio::test]
async fn a_client_that_goes_is_noticed_and_one_that_sends_ahead_is_not_read_without_bound() {
    let (server, mut far) = server();
    far.send(GET).await;
    let (_, _body) = request(&server).await;
    // Whether the client has gone, as soon as that is known or no more is read.
    let gone = async |enough: usize| {
        within(poll_fn(|context| match server.poll_gone(context) {
            Poll::Pending if server.held().1 < enough => Poll::Pending,
            polled => Poll::Ready(polled.is_ready()),
        }))
        .await
    };
    assert!(!gone(0).await);
    far.send("x".repeat(20_000)).await;
    assert!(!gone(4096).await && !gone(4096).await);
    assert!(server.has_more());
    let (_, held) = server.held();
    assert!((4096..=8192).contains(&held), "{held} bytes were read ahead");
    drop(far);
    let (server, mut far) = self::server();
    far.send(GET).await;
    let (_, _body) = request(&server).await;
    drop(far);
    within(poll_fn(|context| server.poll_gone(context))).await;
}

#[tokio::test]
async fn http2_by_prior_knowledge_is_told_by_its_preface() {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (bytes, expected) in
        [(preface, true), (GET, false), ("P", false), ("PRI * HTTP/2.0\r\n\r\nSX", false), ("", false)]
    {
        let (server, mut far) = server();
        let (found, ()) = tokio::join!(within(poll_fn(|context| server.poll_preface(context))), async {
            for byte in bytes.bytes() {
                if far.0.try_write(&[byte]).is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            far.end().await;
        });
        assert_eq!(found.expect("a socket that is open"), expected, "{bytes:?}");
        // Nothing of it is lost.
        if expected {
            let mut stream = server.into_stream().expect("nobody else has it");
            let mut read = vec![0; preface.len()];
            within(tokio::io::AsyncReadExt::read_exact(&mut stream, &mut read)).await.expect("what was sent");
            assert_eq!(read, preface.as_bytes());
        }
    }
}

#[tokio::test]
async fn an_end_lets_the_client_read_what_it_was_sent() {
    let (server, mut far) = server();
    far.send(format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n{}", "x".repeat(1000)))
        .await;
    let (head, body) = request(&server).await;
    drop(body);
    ok(&server, &head, "no").await;
    let (text, ()) = tokio::join!(
        async {
            // Still sending while the answer is on its way.
            far.send("x".repeat(1000)).await;
            far.end().await;
            far.rest().await
        },
        within(server.linger(10_000))
    );
    assert!(text.ends_with(b"\r\n\r\nno"));
    assert!(!head.fields.has(Name::Expect));
}
