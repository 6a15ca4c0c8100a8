use bytes::Bytes;
use http::Method;

use super::ends::LIMITS;
use crate::http1::fault::{HeadFault, Malformed};
use crate::http1::framing::Length;
use crate::http1::head::{RequestHead, ResponseHead};

const LENGTH: Malformed = Malformed::Length;
const CODING: Malformed = Malformed::Coding;
const BOTH: Malformed = Malformed::LengthAndCoding;
const PLACE: Malformed = Malformed::CodingOutOfPlace;

fn of_request(version: &str, lines: &str) -> Result<Length, Malformed> {
    let wire = Bytes::from(format!("POST / HTTP/{version}\r\n{lines}\r\n"));
    match RequestHead::parse(&wire, LIMITS) {
        Ok(head) => Ok(head.length),
        Err(HeadFault::Malformed(fault)) => Err(fault),
        Err(other) => panic!("{other:?}"),
    }
}

fn of_response(method: &Method, start: &str, lines: &str) -> Result<Length, Malformed> {
    let wire = Bytes::from(format!("HTTP/{start} x\r\n{lines}\r\n"));
    match ResponseHead::parse(&wire, LIMITS, method) {
        Ok(head) => Ok(head.length),
        Err(HeadFault::Malformed(fault)) => Err(fault),
        Err(other) => panic!("{other:?}"),
    }
}

/// Lines that say the same of requests and of responses in HTTP/1.1.
const EITHER: &[(&str, Result<Length, Malformed>)] = &[
    ("content-length: 0\r\n", Ok(Length::Exact(0))),
    ("content-length: 5\r\n", Ok(Length::Exact(5))),
    ("Content-Length:  5 \r\n", Ok(Length::Exact(5))),
    ("content-length: 999999999999999\r\n", Ok(Length::Exact(999_999_999_999_999))),
    ("content-length: 1000000000000000\r\n", Err(LENGTH)),
    ("content-length: 9223372036854775808\r\n", Err(LENGTH)),
    ("content-length: 18446744073709551616\r\n", Err(LENGTH)),
    ("content-length: 18446744073709551621\r\n", Err(LENGTH)),
    ("content-length: 007\r\n", Err(LENGTH)),
    ("content-length: 00\r\n", Err(LENGTH)),
    ("content-length:\r\n", Err(LENGTH)),
    ("content-length: +5\r\n", Err(LENGTH)),
    ("content-length: -5\r\n", Err(LENGTH)),
    ("content-length: 0x5\r\n", Err(LENGTH)),
    ("content-length: 5.0\r\n", Err(LENGTH)),
    ("content-length: 5e0\r\n", Err(LENGTH)),
    ("content-length: 5;\r\n", Err(LENGTH)),
    ("content-length: 5 5\r\n", Err(LENGTH)),
    ("content-length: 5,5\r\n", Err(LENGTH)),
    ("content-length: 5, 6\r\n", Err(LENGTH)),
    ("content-length: \"5\"\r\n", Err(LENGTH)),
    ("content-length: five\r\n", Err(LENGTH)),
    ("content-length: 5\r\ncontent-length: 5\r\n", Err(LENGTH)),
    ("content-length: 5\r\na: b\r\nContent-Length: 6\r\n", Err(LENGTH)),
    ("transfer-encoding: chunked\r\n", Ok(Length::Chunked)),
    ("Transfer-Encoding: ChUnKeD\r\n", Ok(Length::Chunked)),
    ("transfer-encoding:\r\n", Err(CODING)),
    ("transfer-encoding: identity\r\n", Err(CODING)),
    ("transfer-encoding: xchunked\r\n", Err(CODING)),
    ("transfer-encoding: \"chunked\"\r\n", Err(CODING)),
    ("transfer-encoding: chunked;q=1\r\n", Err(CODING)),
    ("transfer-encoding: chunked,\r\n", Err(CODING)),
    ("transfer-encoding: ,chunked\r\n", Err(CODING)),
    ("transfer-encoding: gzip, chunked\r\n", Err(CODING)),
    ("transfer-encoding: chunked, identity\r\n", Err(CODING)),
    ("transfer-encoding: chunked, chunked\r\n", Err(CODING)),
    ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", Err(CODING)),
    ("transfer-encoding: chunked\r\ntransfer-encoding: x\r\n", Err(CODING)),
    ("transfer-encoding: x\r\ntransfer-encoding: chunked\r\n", Err(CODING)),
    ("transfer-encoding: \x0bchunked\r\n", Err(Malformed::Field)),
    ("transfer-encoding: chunked\r\ncontent-length: 5\r\n", Err(BOTH)),
    ("content-length: 0\r\ntransfer-encoding: chunked\r\n", Err(BOTH)),
    ("content-length: x\r\ntransfer-encoding: chunked\r\n", Err(LENGTH)),
];

#[test]
fn requests() {
    for (lines, expected) in EITHER {
        assert_eq!(of_request("1.1", lines), *expected, "{lines:?}");
    }
    assert_eq!(of_request("1.1", "a: b\r\n"), Ok(Length::None));
    assert_eq!(of_request("1.0", "a: b\r\n"), Ok(Length::None));
    assert_eq!(of_request("1.0", "content-length: 5\r\n"), Ok(Length::Exact(5)));
    assert_eq!(of_request("1.0", "transfer-encoding: chunked\r\n"), Err(PLACE));
    assert_eq!(of_request("1.0", "transfer-encoding: chunked\r\ncontent-length: 5\r\n"), Err(BOTH));
    assert_eq!(of_request("1.0", "transfer-encoding: identity\r\n"), Err(CODING));
}

#[test]
fn responses() {
    let get = Method::GET;
    for (lines, expected) in EITHER {
        assert_eq!(of_response(&get, "1.1 200", lines), *expected, "{lines:?}");
        // What has no body is held to the same: its head may be stored, and read by others.
        let bodiless = expected.map(|_| Length::None);
        assert_eq!(of_response(&Method::HEAD, "1.1 200", lines), bodiless, "{lines:?} to HEAD");
        assert_eq!(of_response(&get, "1.1 304", lines), bodiless, "{lines:?} in 304");
    }
    let chunked = "transfer-encoding: chunked\r\n";
    for (method, start, lines, expected) in [
        (&get, "1.1 200", "a: b\r\n", Ok(Length::UntilClose)),
        (&get, "1.0 200", "a: b\r\n", Ok(Length::UntilClose)),
        (&get, "1.0 200", "content-length: 5\r\n", Ok(Length::Exact(5))),
        (&get, "1.0 200", chunked, Err(PLACE)),
        (&Method::HEAD, "1.0 200", chunked, Err(PLACE)),
        (&get, "1.0 304", chunked, Err(PLACE)),
        (&get, "1.1 204", "", Ok(Length::None)),
        (&get, "1.1 204", "content-length: 0\r\n", Ok(Length::None)),
        (&get, "1.1 204", "content-length: 5\r\n", Err(LENGTH)),
        (&Method::HEAD, "1.1 204", "content-length: 5\r\n", Err(LENGTH)),
        (&get, "1.1 204", chunked, Err(PLACE)),
        (&get, "1.1 100", "", Ok(Length::None)),
        (&get, "1.1 103", "content-length: 5\r\n", Err(LENGTH)),
        (&get, "1.1 101", "content-length: 5\r\n", Err(LENGTH)),
        (&get, "1.1 101", "content-length: 0\r\n", Ok(Length::None)),
        (&get, "1.1 101", chunked, Err(PLACE)),
        (&get, "1.1 205", "content-length: 5\r\n", Ok(Length::Exact(5))),
        (&get, "1.1 500", chunked, Ok(Length::Chunked)),
        (&Method::POST, "1.1 201", "content-length: 0\r\n", Ok(Length::Exact(0))),
    ] {
        assert_eq!(of_response(method, start, lines), expected, "{method} {start} {lines:?}");
    }
}
