//! Requests that could be read in two ways: 400, a closed connection, and nothing of it for the API.

use super::head;
use crate::harness::{Ask, Gateway, Setup, Upstream};

/// What follows a request that some reader takes for a shorter one.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// Every one is refused, says so, and is the last on its connection.
async fn refused(rows: &[(&str, String)]) {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    for (what, bytes) in rows {
        refused_by(&gateway, what, bytes).await;
        refused_by(&gateway, what, &format!("{bytes}{SMUGGLED}")).await;
    }
    let seen: Vec<_> = upstream.requests().into_iter().map(|seen| seen.head.start).collect();
    assert_eq!(seen, Vec::<String>::new(), "nothing of all this reached the API");
    assert_eq!(upstream.accepted(), 0, "nor a part of it");
    // And the gateway lives.
    gateway.send(&Ask::new("GET /x")).await.expect_ok();
}

async fn refused_by(gateway: &Gateway, what: &str, bytes: &str) {
    let mut wire = gateway.connect().await;
    wire.send(bytes).await;
    let answer = wire.answer(false).await;
    assert_eq!(answer.status(), 400, "{what}: {:?}", answer.head.start);
    answer.expect_problem(400, "bad-request");
    assert_eq!(answer.head.get("connection"), Some("close"), "{what}");
    wire.ended().await;
}

fn post(lines: &str) -> String {
    head("POST /orders", lines)
}

fn get(lines: &str) -> String {
    head("GET /orders", lines)
}

#[tokio::test]
async fn lengths_that_can_be_read_in_two_ways() {
    let row = |what: &'static str, lines: &str| (what, post(&format!("{lines}\r\n\r\n")));
    refused(&[
        row("two lengths", "content-length: 0\r\ncontent-length: 5"),
        row("the same length twice", "content-length: 0\r\ncontent-length: 0"),
        row("the same length twice, apart", "content-length: 0\r\nx: y\r\nContent-Length: 0"),
        row("a list of lengths", "content-length: 0, 5"),
        row("a list of equal lengths", "content-length: 0,0"),
        row("a signed length", "content-length: +0"),
        row("a negative length", "content-length: -1"),
        row("a hexadecimal length", "content-length: 0x0"),
        row("an octal length", "content-length: 010"),
        row("a length in parts", "content-length: 1 0"),
        row("a fraction", "content-length: 0.0"),
        row("no number", "content-length: zero"),
        row("an empty length", "content-length:"),
        row("a length beyond what a double counts", "content-length: 9007199254740993"),
        row("a length beyond 63 bits", "content-length: 9223372036854775808"),
        row("a length beyond 64 bits", "content-length: 18446744073709551616"),
        row("space before the colon", "content-length : 0"),
        row("an underscore", "content_length: 0"),
        row("a folded length", "content-length:\r\n 0"),
        row("a length in HTTP's other spelling, beside it", "content-length: 0\r\nCONTENT_LENGTH: 5"),
    ])
    .await;
}

#[tokio::test]
async fn codings_that_can_be_read_in_two_ways() {
    let row = |what: &'static str, lines: &str| (what, post(&format!("{lines}\r\n\r\n0\r\n\r\n")));
    let mut rows = vec![
        row("chunks twice", "transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
        row("chunks twice in a list", "transfer-encoding: chunked, chunked"),
        row("a coding within the chunks", "transfer-encoding: gzip, chunked"),
        row("chunks not last", "transfer-encoding: chunked, identity"),
        row("identity, then chunks", "transfer-encoding: identity\r\ntransfer-encoding: chunked"),
        row("identity", "transfer-encoding: identity"),
        row("an unknown coding", "transfer-encoding: xchunked"),
        row("a coding in quotes", "transfer-encoding: \"chunked\""),
        row("a parameter", "transfer-encoding: chunked;q=1"),
        row("an empty element", "transfer-encoding: ,chunked"),
        row("an empty last element", "transfer-encoding: chunked,"),
        row("no coding", "transfer-encoding:"),
        row("a vertical tab", "transfer-encoding: \x0bchunked"),
        row("a form feed", "transfer-encoding: chunked\x0c"),
        row("space before the colon", "transfer-encoding : chunked"),
        row("a tab before the colon", "transfer-encoding\t: chunked"),
        row("an underscore", "transfer_encoding: chunked"),
        row("a folded coding", "transfer-encoding:\r\n chunked"),
        row("a folded second coding", "transfer-encoding: chunked\r\n , identity"),
    ];
    for version in ["1.0", "1.1"] {
        let both =
            |lines: &str| format!("POST /orders HTTP/{version}\r\nhost: a\r\n{lines}\r\n\r\n0\r\n\r\n");
        rows.extend([
            ("a length before chunks", both("content-length: 6\r\ntransfer-encoding: chunked")),
            ("a length behind chunks", both("transfer-encoding: chunked\r\ncontent-length: 6")),
            ("a length of zero beside chunks", both("content-length: 0\r\ntransfer-encoding: chunked")),
            ("a length beside another coding", both("content-length: 5\r\ntransfer-encoding: identity")),
        ]);
    }
    let old = "POST /x HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    rows.push(("chunks in HTTP/1.0", old.to_owned()));
    refused(&rows).await;
}

#[tokio::test]
async fn nothing_is_taken_for_a_request_behind_a_length_beside_chunks() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    for both in
        ["content-length: 6\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 6"]
    {
        let bytes = post(&format!("{both}\r\n\r\n0\r\n\r\n{SMUGGLED}"));
        refused_by(&gateway, both, &bytes).await;
    }
    assert_eq!(upstream.accepted(), 0);
}

#[tokio::test]
async fn lines_that_end_in_two_ways() {
    refused(&[
        ("bare line feeds all over", "GET / HTTP/1.1\nhost: a\n\n".to_owned()),
        ("a bare line feed behind the request line", "GET / HTTP/1.1\nhost: a\r\n\r\n".to_owned()),
        ("a bare line feed behind a header", get("x: 1\ny: 2\r\n\r\n")),
        ("a bare line feed at the head's end", get("x: 1\r\n\n")),
        ("a bare line feed before the last line", get("x: 1\n\r\n")),
        ("a bare line feed before the request", "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("a bare carriage return in a value", get("x: 1\ry: 2\r\n\r\n")),
        ("a bare carriage return in a name", get("x\ry: 2\r\n\r\n")),
        ("a bare carriage return before the request", "\rGET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("a bare carriage return in the request line", "GET /\rHTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("two carriage returns", get("x: 1\r\r\n\r\n")),
        ("two empty lines before the request", "\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("a folded header", get("x: 1\r\n transfer-encoding: chunked\r\n\r\n")),
        ("a header folded with a tab", get("x: 1\r\n\ttransfer-encoding: chunked\r\n\r\n")),
        ("a header folded into nothing", get("x: 1\r\n \r\n\r\n")),
        ("a folded first header", "GET / HTTP/1.1\r\n host: a\r\n\r\n".to_owned()),
        ("no colon", get("x\r\n\r\n")),
        ("no name", get(": 1\r\n\r\n")),
    ])
    .await;
}

#[tokio::test]
async fn characters_that_are_none() {
    let target =
        |what: &'static str, target: &str| (what, format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
    refused(&[
        target("a zero byte in the path", "/a\0b"),
        target("a control character in the path", "/a\x01b"),
        target("a delete in the path", "/a\x7fb"),
        target("a letter beyond ASCII in the path", "/\u{e4}"),
        target("a space in the path", "/a b"),
        target("a tab in the path", "/a\tb"),
        target("a backslash in the path", "/a\\..\\b"),
        target("a backquote in the path", "/a`b"),
        target("angle brackets in the path", "/<a>"),
        target("a fragment", "/a#b"),
        target("a fragment in a query", "/a?b#c"),
        target("no slash", "a"),
        target("a star", "*"),
        target("another scheme", "file:///etc/passwd"),
        ("a zero byte in a value", get("x: \0\r\n\r\n")),
        ("a control character in a value", get("x: a\x01b\r\n\r\n")),
        ("a vertical tab in a value", get("x: \x0bb\r\n\r\n")),
        ("a delete in a value", get("x: \x7f\r\n\r\n")),
        ("a zero byte in a name", get("x\0y: 1\r\n\r\n")),
        ("a letter beyond ASCII in a name", get("x\u{e4}: 1\r\n\r\n")),
        ("a space in a name", get("x y: 1\r\n\r\n")),
        ("a bracket in a name", get("x[0]: 1\r\n\r\n")),
        ("an at in a name", get("x@y: 1\r\n\r\n")),
        ("no method", " / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("a method with a bracket", "GE[T / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("two spaces", "GET  / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("two spaces before the version", "GET /  HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("a tab for a space", "GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("a space behind the version", "GET / HTTP/1.1 \r\nhost: a\r\n\r\n".to_owned()),
        ("a version in small letters", "GET / http/1.1\r\nhost: a\r\n\r\n".to_owned()),
        ("a later version", "GET / HTTP/1.2\r\nhost: a\r\n\r\n".to_owned()),
        ("another protocol", "GET / HTTP/2.7\r\nhost: a\r\n\r\n".to_owned()),
        ("no version", "GET /\r\nhost: a\r\n\r\n".to_owned()),
        ("nothing but a path", "GET /\r\n\r\n".to_owned()),
        ("a response", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()),
        ("TLS on a plain port", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n".to_owned()),
    ])
    .await;
}

#[tokio::test]
async fn hosts_that_contradict_each_other() {
    let row = |what: &'static str, target: &str, lines: &str| {
        (what, format!("GET {target} HTTP/1.1\r\n{lines}\r\n"))
    };
    let mut rows = vec![
        row("no host", "/", ""),
        row("an empty host", "/", "host:\r\n"),
        row("two hosts", "/", "host: a\r\nhost: b\r\n"),
        row("the same host twice", "/", "host: a\r\nHost: a\r\n"),
        row("a list of hosts", "/", "host: a, b\r\n"),
        row("a space in the host", "/", "host: a b\r\n"),
        row("a path in the host", "/", "host: a/b\r\n"),
        row("a user in the host", "/", "host: b@a\r\n"),
        row("a query in the host", "/", "host: a?b\r\n"),
        row("a fragment in the host", "/", "host: a#b\r\n"),
        row("a backslash in the host", "/", "host: a\\b\r\n"),
        row("another host in the target", "http://b/", "host: a\r\n"),
        row("another port in the target", "http://a:81/", "host: a\r\n"),
        row("a port in the target alone", "http://a:80/", "host: a\r\n"),
        row("a host in the target alone", "http://a/", ""),
        row("an empty host beside the target's", "http://a/", "host:\r\n"),
        row("two hosts beside the target's", "http://a/", "host: a\r\nhost: a\r\n"),
        row("a user in the target", "http://b@a/", "host: a\r\n"),
        row("a host as a user in the target", "http://a@b/", "host: b\r\n"),
        row("an empty host in the target", "http:///", "host: a\r\n"),
        row("another scheme", "ftp://a/", "host: a\r\n"),
        row("half a scheme", "http:/a/", "host: a\r\n"),
    ];
    let old = |lines: &str| format!("GET http://b/ HTTP/1.0\r\n{lines}\r\n");
    rows.push(("another host in HTTP/1.0", old("host: a\r\n")));
    refused(&rows).await;

    // What agrees is one request, with one host.
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    for (request, host) in [
        ("GET http://a.test:81/x?y HTTP/1.1\r\nhost: A.TEST:81\r\n\r\n", "A.TEST:81"),
        ("GET http://a.test:81/x?y HTTP/1.0\r\n\r\n", "a.test:81"),
        ("GET /x?y HTTP/1.0\r\nhost: a.test:81\r\n\r\n", "a.test:81"),
        ("GET /x?y HTTP/1.0\r\n\r\n", ""),
    ] {
        let mut wire = gateway.connect().await;
        wire.send(request).await;
        wire.answer(false).await.expect_ok();
        let seen = upstream.last();
        assert_eq!(
            (seen.head.start.as_str(), seen.head.get("host")),
            ("GET /x?y HTTP/1.1", Some(host)),
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn paths_that_climb() {
    let paths = ["/a/../b", "/..", "/a/./b", "/a/%2e%2e/b", "/a/%2E./b", "/a/.%2e", "/./a", "/a/..?b"];
    let rows: Vec<_> =
        paths.into_iter().map(|path| (path, format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))).collect();
    refused(&rows).await;
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    for path in ["/a/...", "/a/b..c", "/.well-known/x", "/a//b", "/a?../b", "/a%2fb", "/a|b"] {
        gateway.send(&Ask::new(&format!("GET {path}"))).await.expect_ok();
        assert_eq!(upstream.last().head.start, format!("GET {path} HTTP/1.1"));
    }
}

#[tokio::test]
async fn tunnels_to_anywhere() {
    refused(&[
        ("CONNECT", "CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\r\n".to_owned()),
        ("CONNECT in HTTP/1.0", "CONNECT a.test:443 HTTP/1.0\r\n\r\n".to_owned()),
        (
            "CONNECT with a body",
            "CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
        ),
        ("CONNECT with a token", head("CONNECT a:443", "\r\n")),
        ("CONNECT of a path", head("CONNECT /x", "\r\n")),
        ("CONNECT of a path with a body", head("CONNECT /x", "content-length: 5\r\n\r\nhello")),
        ("CONNECT of a URI", head("CONNECT http://a/x", "\r\n")),
        ("CONNECT of a star", head("CONNECT *", "\r\n")),
        ("the authority form of another method", head("GET a.test:443", "\r\n")),
    ])
    .await;
}

#[tokio::test]
async fn chunks_that_can_be_read_in_two_ways() {
    let row =
        |what: &'static str, body: &str| (what, post(&format!("transfer-encoding: chunked\r\n\r\n{body}")));
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(600));
    let trailers = format!("0\r\n{}\r\n", "x: 1\r\n".repeat(100));
    refused(&[
        row("a bare line feed behind the size", "5\nhello\r\n0\r\n\r\n"),
        row("a bare line feed in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        row("a bare line feed in a quoted extension", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"),
        row("a bare carriage return in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        row("a zero byte in an extension", "5;a\0\r\nhello\r\n0\r\n\r\n"),
        row("a letter beyond ASCII in an extension", "5;\u{e4}\r\nhello\r\n0\r\n\r\n"),
        row("an extension without its semicolon", "5 a\r\nhello\r\n0\r\n\r\n"),
        row("an extension without end", &long),
        row("space before the size", " 5\r\nhello\r\n0\r\n\r\n"),
        row("space behind the size", "5 \r\nhello\r\n0\r\n\r\n"),
        row("a signed size", "+5\r\nhello\r\n0\r\n\r\n"),
        row("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        row("a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        row("an underscore", "0_5\r\nhello\r\n0\r\n\r\n"),
        row("no size", "\r\nhello\r\n0\r\n\r\n"),
        row("no digit", "g\r\nhello\r\n0\r\n\r\n"),
        row("a size beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        row("an endless size", &"0".repeat(600)),
        row("a bare line feed at the last size", "0\n\r\n"),
        row("a bare line feed at the end", "0\r\n\n"),
        row("a bare line feed behind a trailer", "0\r\nx: 1\n\r\n"),
        row("a folded trailer", "0\r\nx: 1\r\n y: 2\r\n\r\n"),
        row("a trailer with space before the colon", "0\r\ncontent-length : 1\r\n\r\n"),
        row("a request for a trailer", "0\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        row("too many trailers", &trailers),
    ])
    .await;

    // Behind a piece that is on its way already the API can't be spared the request, but an end of it.
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    for (what, body) in [
        ("a chunk longer than it says", "5\r\nhello!\r\n0\r\n\r\n"),
        ("a chunk without its end", "5\r\nhello0\r\n\r\n"),
        ("a bare line feed behind a chunk", "5\r\nhello\n0\r\n\r\n"),
        ("a bare carriage return behind a chunk", "5\r\nhello\r0\r\n\r\n"),
        ("a later size that is none", "5\r\nhello\r\n0x0\r\n\r\n"),
    ] {
        refused_by(&gateway, what, &post(&format!("transfer-encoding: chunked\r\n\r\n{body}{SMUGGLED}")))
            .await;
    }
    assert_eq!(upstream.requests().len(), 0, "none of them ended");
}

/// The body is no one else's fault: no other endpoint is asked, and no connection is opened for nothing.
#[tokio::test]
async fn a_body_that_is_none_is_not_tried_on_every_endpoint() {
    let (one, two) = (Upstream::mirror(), Upstream::mirror());
    let gateway = Setup::before(&[one.address, two.address]).start().await;
    for _ in 0..4 {
        gateway.send(&Ask::new("GET /x")).await.expect_ok();
        refused_by(&gateway, "chunks", &post("transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n")).await;
    }
    let metrics = gateway.metrics().await;
    let retries = metrics.value("residency_upstream_retries_total", &[("region", "here")]);
    assert!(retries.abs() < 1e-9, "{retries}");
    assert_eq!(one.requests().len() + two.requests().len(), 4);
}

/// Bodies that the gateway reads for itself, and those of requests that it refuses, are held to the same.
#[tokio::test]
async fn chunks_that_the_gateway_reads_itself() {
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[upstream.address]);
    let gateway = setup.with("[routes]\n'POST /signup' = { country = 'json:/country' }").start().await;
    let bytes = "POST /signup HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
                 10\r\n{\"country\":\"DE\"}\n0\r\n\r\n";
    refused_by(&gateway, "a body that is read ahead", &format!("{bytes}{SMUGGLED}")).await;
    let mut wire = gateway.connect().await;
    wire.send(format!(
        "POST /orders HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\n\r\n{SMUGGLED}"
    ))
    .await;
    wire.answer(false).await.expect_problem(401, "token-missing");
    wire.ended().await;
    assert_eq!(upstream.accepted(), 0);
}
