use std::future::poll_fn;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::io::AsyncReadExt;

use super::ends::{Far, client, response, whole_of, within};
use crate::http1::fault::BodyFault;
use crate::http1::framing::Length;
use crate::http1::head::RequestHead;
use crate::http1::{ClientConnection, SendError};

fn head(method: Method, length: Length) -> RequestHead {
    RequestHead { method, length, ..RequestHead::get("/x", "h") }
}

/// Sends a request without a body.
async fn ask(client: &mut ClientConnection, far: &mut Far, method: Method) {
    let text = format!("{method} /x HTTP/1.1\r\nhost: h\r\n\r\n");
    client.begin(&head(method, Length::None));
    within(poll_fn(|context| client.poll_flush(context))).await.expect("an open socket");
    far.expect(&text).await;
}

#[tokio::test]
async fn every_way_to_end_a_response_is_known() {
    for (method, bytes, status, body, reusable) in [
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", true),
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, "", true),
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            200,
            "hello",
            true,
        ),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, "", true),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 200, "", true),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 200, "", true),
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
            200,
            "hello",
            false,
        ),
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 5\r\n\r\nhello",
            200,
            "hello",
            false,
        ),
        (Method::GET, "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, "hello", false),
        (
            Method::GET,
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
            200,
            "hello",
            true,
        ),
        // Bytes behind a whole response are nobody's.
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello!", 200, "hello", false),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\nhello", 204, "", false),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, "", false),
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret",
            200,
            "",
            false,
        ),
        (
            Method::GET,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            200,
            "",
            false,
        ),
    ] {
        let (mut client, mut far) = client();
        ask(&mut client, &mut far, method.clone()).await;
        far.send(bytes).await;
        let head = response(&mut client).await.expect("a response");
        assert_eq!(head.status.as_u16(), status, "{bytes:?}");
        assert_eq!(whole_of(&mut client).await.expect("all of it").0, body.as_bytes(), "{bytes:?}");
        assert_eq!(
            (client.is_done(), client.is_reusable(), client.is_usable()),
            (true, reusable, reusable),
            "{method} {bytes:?}"
        );
        if reusable {
            client.rest();
            ask(&mut client, &mut far, Method::GET).await;
        }
    }
}

#[tokio::test]
async fn a_response_to_the_connections_end_ends_it() {
    let (mut client, mut far) = client();
    ask(&mut client, &mut far, Method::GET).await;
    far.send("HTTP/1.1 200 OK\r\n\r\nhello").await;
    assert_eq!(response(&mut client).await.expect("a response").length, Length::UntilClose);
    assert_eq!(client.bytes_left(), None);
    far.send(" world").await;
    far.end().await;
    assert_eq!(whole_of(&mut client).await.expect("all of it").0, b"hello world");
    assert!(client.is_done() && !client.is_reusable());
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_whole() {
    for bytes in [
        "content-length: 6\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "transfer-encoding: chunked\r\n\r\n6\r\nhello",
    ] {
        let (mut client, mut far) = client();
        ask(&mut client, &mut far, Method::GET).await;
        far.send(format!("HTTP/1.1 200 OK\r\n{bytes}")).await;
        far.end().await;
        response(&mut client).await.expect("a response");
        assert!(matches!(whole_of(&mut client).await, Err(BodyFault::Cut)), "{bytes:?}");
        assert!(!client.is_done() && !client.is_reusable(), "{bytes:?}");
    }
}

#[tokio::test]
async fn chunks_that_can_be_read_in_two_ways_are_a_fault() {
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "10000000000000000\r\nhello",
        "0\r\n a: b\r\n\r\n",
    ] {
        let (mut client, mut far) = client();
        ask(&mut client, &mut far, Method::GET).await;
        far.send(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}")).await;
        response(&mut client).await.expect("a response");
        assert!(matches!(whole_of(&mut client).await, Err(BodyFault::Malformed(_))), "{body:?}");
        assert!(!client.is_done() && !client.is_reusable(), "{body:?}");
    }
}

#[tokio::test]
async fn interim_responses_come_one_by_one_and_not_without_end() {
    let (mut client, mut far) = client();
    ask(&mut client, &mut far, Method::GET).await;
    far.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await;
    for status in [100, 103, 200] {
        assert_eq!(response(&mut client).await.expect("a head").status.as_u16(), status);
    }
    assert!(client.is_usable());

    ask(&mut client, &mut far, Method::GET).await;
    far.send("HTTP/1.1 102 Processing\r\n\r\n".repeat(17)).await;
    for _ in 0..16 {
        assert_eq!(response(&mut client).await.expect("a head").status, StatusCode::PROCESSING);
    }
    assert!(matches!(response(&mut client).await, Err(SendError::Malformed(_))));
}

#[tokio::test]
async fn heads_that_are_none_are_faults() {
    let large = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
    for (bytes, closed) in [
        ("", true),
        ("HTTP/1.1 200 OK\r\ncontent-len", true),
        ("HTTP/1.1 200 OK\ncontent-length: 0\n\n", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\n\r\n", false),
        ("HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", false),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello", false),
        ("HTTP/1.1 103 Early Hints\r\ncontent-length: 5\r\n\r\nhello", false),
        ("\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false),
        ("SSH-2.0-OpenSSH\r\n", true),
        ("\0\0\0", false),
        (&large, false),
        (&many, false),
    ] {
        let (mut client, mut far) = client();
        ask(&mut client, &mut far, Method::GET).await;
        let (found, ()) = tokio::join!(response(&mut client), async {
            far.send(bytes).await;
            far.end().await;
        });
        let shown = &bytes[..bytes.len().min(60)];
        match found {
            Err(SendError::Closed) => assert!(closed, "{shown:?}"),
            Err(SendError::Malformed(_)) => assert!(!closed, "{shown:?}"),
            Ok(head) => panic!("{shown:?}: {head:?}"),
        }
    }
}

#[tokio::test]
async fn bodies_go_out_as_the_head_says() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    trailers.insert("authorization", HeaderValue::from_static("Bearer x"));
    let large = Bytes::from("x".repeat(9000));
    for (length, expected) in [
        (Length::Exact(9005), format!("hello{}", "x".repeat(9000))),
        (Length::Chunked, format!("5\r\nhello\r\n2328\r\n{}\r\n0\r\nx-sum: 1\r\n\r\n", "x".repeat(9000))),
    ] {
        let (mut client, mut far) = client();
        client.begin(&head(Method::POST, length));
        assert!(!client.has_sent() && client.has_room());
        client.queue(Bytes::from_static(b"hello"));
        client.queue(Bytes::new());
        assert!(client.has_room());
        client.queue(large.clone());
        assert!(!client.has_room(), "a large piece goes out before anything else");
        within(poll_fn(|context| client.poll_flush(context))).await.expect("an open socket");
        assert!(client.has_room() && client.has_sent());
        client.queue_end(Some(&trailers));
        within(poll_fn(|context| client.poll_flush(context))).await.expect("an open socket");
        drop(client);
        let text = String::from_utf8(far.rest().await).expect("text");
        let (_, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(body == expected, "{length:?}: {} bytes", body.len());
    }
}

#[tokio::test]
async fn an_idle_connection_holds_no_buffer_and_tells_when_it_is_of_no_use() {
    for (unasked, usable) in
        [(None, true), (Some(""), false), (Some("HTTP/1.1 408 Request Timeout\r\n\r\n"), false)]
    {
        let (mut client, mut far) = client();
        ask(&mut client, &mut far, Method::GET).await;
        far.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
        response(&mut client).await.expect("a response");
        whole_of(&mut client).await.expect("all of it");
        client.rest();
        assert_eq!(client.held(), 0);
        assert!(client.is_usable());
        assert_eq!(client.held(), 0);
        if let Some(bytes) = unasked {
            far.send(bytes).await;
            far.end().await;
        }
        // The news has come once a second socket's has: both are read by one poll.
        let (mut witness, mut other) = tokio::net::UnixStream::pair().expect("a pair of sockets");
        tokio::io::AsyncWriteExt::write_all(&mut other, b"x").await.expect("an open socket");
        within(witness.read_exact(&mut [0])).await.expect("a byte");
        tokio::task::yield_now().await;
        assert_eq!(client.is_usable(), usable, "{unasked:?}");
    }
}

#[tokio::test]
async fn what_was_read_behind_a_switch_is_not_lost() {
    let (mut client, mut far) = client();
    ask(&mut client, &mut far, Method::GET).await;
    far.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nearly")
        .await;
    assert_eq!(response(&mut client).await.expect("a head").status, StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = client.into_stream();
    far.send(" late").await;
    let mut bytes = [0; 10];
    within(stream.read_exact(&mut bytes)).await.expect("all of it");
    assert_eq!(&bytes, b"early late");
}
