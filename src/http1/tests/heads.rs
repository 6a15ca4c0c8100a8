use bytes::Bytes;
use http::{Method, Version};

use super::ends::LIMITS;
use crate::http1::fault::{HeadFault, Malformed};
use crate::http1::framing::Length;
use crate::http1::head::{HeadLimits, RequestHead, ResponseHead};

fn request(text: impl Into<Vec<u8>>) -> Result<RequestHead, Malformed> {
    match RequestHead::parse(&Bytes::from(text.into()), LIMITS) {
        Ok(head) => Ok(head),
        Err(HeadFault::Malformed(fault)) => Err(fault),
        Err(other) => panic!("{other:?}"),
    }
}

fn response(text: impl Into<Vec<u8>>, method: &Method) -> Result<ResponseHead, Malformed> {
    match ResponseHead::parse(&Bytes::from(text.into()), LIMITS, method) {
        Ok(head) => Ok(head),
        Err(HeadFault::Malformed(fault)) => Err(fault),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn request_lines() {
    for (line, expected) in [
        ("GET / HTTP/1.1", Ok(("/", None))),
        ("GET /a?b=c HTTP/1.0", Ok(("/a?b=c", None))),
        ("OPTIONS * HTTP/1.1", Ok(("*", None))),
        ("get / HTTP/1.1", Ok(("/", None))),
        ("QUERY-1 //a//?? HTTP/1.1", Ok(("//a//??", None))),
        ("GET /a|b\"{}^ HTTP/1.1", Ok(("/a|b\"{}^", None))),
        ("GET http://a.test HTTP/1.1", Ok(("/", Some("a.test")))),
        ("GET HTTP://a.test:81/x?y HTTP/1.1", Ok(("/x?y", Some("a.test:81")))),
        ("GET https://a.test?y HTTP/1.1", Ok(("/?y", Some("a.test")))),
        ("GET http://[::1]:80/ HTTP/1.1", Ok(("/", Some("[::1]:80")))),
        ("GET * HTTP/1.1", Err(Malformed::Target)),
        ("GET a HTTP/1.1", Err(Malformed::Target)),
        ("GET ?a HTTP/1.1", Err(Malformed::Target)),
        ("GET a.test:443 HTTP/1.1", Err(Malformed::Target)),
        ("CONNECT a.test:443 HTTP/1.1", Err(Malformed::Target)),
        ("GET ftp://a.test/ HTTP/1.1", Err(Malformed::Target)),
        ("GET http:/a.test/ HTTP/1.1", Err(Malformed::Target)),
        ("GET http:///x HTTP/1.1", Err(Malformed::Target)),
        ("GET http://u@a.test/ HTTP/1.1", Err(Malformed::Target)),
        ("GET http://u:p@a.test/ HTTP/1.1", Err(Malformed::Target)),
        ("GET http://a.test\\b/ HTTP/1.1", Err(Malformed::Target)),
        ("GET /a#b HTTP/1.1", Err(Malformed::Target)),
        ("GET http://a.test#b HTTP/1.1", Err(Malformed::Target)),
        ("GET /a\\b HTTP/1.1", Err(Malformed::Target)),
        ("GET /<a> HTTP/1.1", Err(Malformed::Target)),
        ("GET /a`b HTTP/1.1", Err(Malformed::Target)),
        ("GET /\u{e4} HTTP/1.1", Err(Malformed::Target)),
        ("GET /a\0 HTTP/1.1", Err(Malformed::RequestLine)),
        ("GET /a\x7f HTTP/1.1", Err(Malformed::RequestLine)),
        ("GET /a\tb HTTP/1.1", Err(Malformed::RequestLine)),
        ("GET / HTTP/2.0", Err(Malformed::Version)),
        ("GET / HTTP/1.2", Err(Malformed::Version)),
        ("GET / HTTP/1.10", Err(Malformed::RequestLine)),
        ("GET / http/1.1", Err(Malformed::Version)),
        ("GET / HTTP/1.1 ", Err(Malformed::RequestLine)),
        ("GET / HTTP/1.1\t", Err(Malformed::RequestLine)),
        ("GET /  HTTP/1.1", Err(Malformed::Version)),
        ("GET  / HTTP/1.1", Err(Malformed::RequestLine)),
        ("GET\t/ HTTP/1.1", Err(Malformed::RequestLine)),
        ("GET /a b HTTP/1.1", Err(Malformed::Version)),
        (" GET / HTTP/1.1", Err(Malformed::RequestLine)),
        ("GE(T / HTTP/1.1", Err(Malformed::RequestLine)),
        ("GET /", Err(Malformed::Version)),
        ("GET", Err(Malformed::RequestLine)),
        ("", Err(Malformed::RequestLine)),
        ("HTTP/1.1 200 OK", Err(Malformed::RequestLine)),
    ] {
        let head = request(format!("{line}\r\nhost: h\r\n\r\n"));
        let found = head
            .as_ref()
            .map(|head| (head.target.as_str(), head.authority.as_ref().map(http::uri::Authority::as_str)));
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{line:?}"),
            // Which rule a line breaks first is the parser's affair where it breaks several.
            (Err(_), Err(Malformed::RequestLine | Malformed::Version)) => {
                assert!(
                    matches!(head, Err(Malformed::RequestLine | Malformed::Version | Malformed::Field)),
                    "{line:?}: {head:?}"
                );
            }
            (Err(found), Err(expected)) => assert_eq!(*found, expected, "{line:?}"),
            (found, expected) => panic!("{line:?}: {found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn header_lines_that_are_none() {
    for line in [
        "a : 1",
        "a\t: 1",
        " a: 1",
        "\ta: 1",
        ": 1",
        "a",
        "a b: 1",
        "a\u{e4}: 1",
        "a(b): 1",
        "a: 1\r\n 2",
        "a: 1\r\n\t2",
        "a: 1\rb: 2",
        "a: \r",
        "a: 1\r\r",
        "a: \0",
        "a: \x01",
        "a: \x0b",
        "a: \x1f",
        "a: \x7f",
        "a\0: 1",
        "a@: 1",
        "a[]: 1",
        "\"a\": 1",
    ] {
        for bytes in [
            format!("GET / HTTP/1.1\r\n{line}\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nhost: h\r\n{line}\r\nb: 2\r\n\r\n"),
        ] {
            assert_eq!(request(bytes).err(), Some(Malformed::Field), "{line:?}");
        }
        let bytes = format!("HTTP/1.1 200 OK\r\nb: 1\r\n{line}\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(response(bytes, &Method::GET).err(), Some(Malformed::Field), "{line:?}");
    }
    for line in ["content_length: 5", "Transfer_Encoding: chunked", "CONTENT_TYPE: x", "proxy_connection: x"]
    {
        assert_eq!(
            request(format!("GET / HTTP/1.1\r\n{line}\r\n\r\n")).err(),
            Some(Malformed::Alias),
            "{line}"
        );
        let bytes = format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n");
        assert_eq!(response(bytes, &Method::GET).err(), Some(Malformed::Alias), "{line}");
    }
    // What may stand in a value.
    let head = request(b"GET / HTTP/1.1\r\na: \xe4\tb \xff!~\r\n\r\n".to_vec()).expect("obs-text is text");
    assert_eq!(head.fields.named("A").collect::<Vec<_>>(), [b"\xe4\tb \xff!~"]);
}

#[test]
fn heads_beyond_their_bounds() {
    let parse = |text: String, limits| RequestHead::parse(&Bytes::from(text), limits);
    let lines = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: 1\r\n".repeat(count));
    for most in [1, 100, 101, 300] {
        let limits = HeadLimits { lines: most, ..LIMITS };
        assert_eq!(parse(lines(most), limits).expect("as many as may be").fields.len(), most);
        assert!(matches!(parse(lines(most + 1), limits), Err(HeadFault::TooLarge)), "{most}");
    }
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "a".repeat(length - 1));
    assert_eq!(parse(target(65_534), LIMITS).expect("the longest").target.as_str().len(), 65_534);
    assert!(matches!(parse(target(65_535), LIMITS), Err(HeadFault::TargetTooLong)));
    let name = |length: usize| format!("GET / HTTP/1.1\r\n{}: 1\r\n\r\n", "a".repeat(length));
    assert!(parse(name(4096), LIMITS).is_ok());
    assert!(matches!(parse(name(4097), LIMITS), Err(HeadFault::TooLarge)));
}

#[test]
fn status_lines() {
    for (line, expected) in [
        ("HTTP/1.1 200 OK", Some((200, Version::HTTP_11))),
        ("HTTP/1.1 200 ", Some((200, Version::HTTP_11))),
        ("HTTP/1.1 200", Some((200, Version::HTTP_11))),
        ("HTTP/1.0 404 Nothing here at all", Some((404, Version::HTTP_10))),
        ("HTTP/1.1 999 Odd", Some((999, Version::HTTP_11))),
        ("HTTP/1.1 2000 OK", None),
        ("HTTP/1.1 20 OK", None),
        ("HTTP/1.1 -20 OK", None),
        ("HTTP/1.1 +20 OK", None),
        ("HTTP/1.1 099 OK", None),
        ("HTTP/1.1  200 OK", None),
        ("HTTP/1.1 200\tOK", None),
        ("HTTP/1.1 OK 200", None),
        ("HTTP/1.2 200 OK", None),
        ("HTTP/2 200 OK", None),
        ("http/1.1 200 OK", None),
        (" HTTP/1.1 200 OK", None),
        ("\r\nHTTP/1.1 200 OK", None),
        ("ICY 200 OK", None),
        ("SSH-2.0-OpenSSH", None),
        ("HTTP/1.1 200 O\0K", None),
        ("HTTP/1.1 200 O\rK", None),
        ("", None),
    ] {
        // A head that begins with an empty line ends with it.
        let bytes = if line.starts_with("\r\n") { "\r\n".to_owned() } else { format!("{line}\r\n\r\n") };
        let found = response(bytes, &Method::GET).ok().map(|head| (head.status.as_u16(), head.version));
        assert_eq!(found, expected, "{line:?}");
    }
}

#[test]
fn a_reason_is_made_anew_and_no_header_of_the_upstreams_framing_stays_where_none_may_be() {
    let written = |head: &ResponseHead| {
        let mut out = Vec::new();
        head.write_to(&mut out);
        String::from_utf8(out).expect("text")
    };
    let head = response("HTTP/1.1 404 Set-Cookie: a=b\r\na: 1\r\n\r\n", &Method::GET).expect("a head");
    assert_eq!(written(&head), "HTTP/1.1 404 Not Found\r\na: 1\r\n");
    let head = response("HTTP/1.0 799 x\r\n\r\n", &Method::GET).expect("a head");
    assert_eq!(written(&head), "HTTP/1.1 799 \r\n");
    let head = response("HTTP/1.1 204 x\r\nContent-Length: 0\r\na: 1\r\n\r\n", &Method::GET).expect("a head");
    assert_eq!((written(&head).as_str(), head.length), ("HTTP/1.1 204 No Content\r\na: 1\r\n", Length::None));
}

#[test]
fn a_request_of_our_own_is_written_in_one_form() {
    let mut head = RequestHead::get("/health", "h");
    let written = |head: &RequestHead| {
        let mut out = Vec::new();
        head.write_to(&mut out);
        String::from_utf8(out).expect("text")
    };
    assert_eq!(written(&head), "GET /health HTTP/1.1\r\nhost: h\r\n\r\n");
    head.length = Length::Chunked;
    head.takes_trailers = true;
    head.version = Version::HTTP_10;
    assert_eq!(
        written(&head),
        "GET /health HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nte: trailers\r\nconnection: te\r\n\r\n"
    );
}
