use http::{Method, Request, Response, Version};

use super::ends::LIMITS;
use crate::http1::fault::{HeadFault, Malformed};
use crate::http1::framing::Length;
use crate::http1::head::{RequestHead, ResponseHead};

fn request(method: Method, target: &str, lines: &[(&str, &str)], ended: bool) -> Result<Length, Malformed> {
    let mut request = Request::builder().method(method).uri(target).version(Version::HTTP_2);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).expect("what `http` takes").into_parts();
    match RequestHead::of_http2(parts, ended, LIMITS) {
        Ok(head) => Ok(head.length),
        Err(HeadFault::Malformed(fault)) => Err(fault),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_request_of_http2_is_held_to_the_rules_of_the_one_it_becomes() {
    let post = Method::POST;
    let (length, ended) = (&[("content-length", "5")][..], true);
    for (method, target, lines, ended, expected) in [
        (Method::GET, "https://a.test/x?y", &[][..], ended, Ok(Length::None)),
        (Method::OPTIONS, "*", &[], ended, Ok(Length::None)),
        (Method::GET, "*", &[], ended, Err(Malformed::Target)),
        (post.clone(), "https://a.test/", &[], false, Ok(Length::Chunked)),
        (post.clone(), "https://a.test/", length, false, Ok(Length::Exact(5))),
        (post.clone(), "https://a.test/", length, ended, Err(Malformed::Length)),
        (post.clone(), "https://a.test/", &[("content-length", "0")], ended, Ok(Length::None)),
        (
            post.clone(),
            "https://a.test/",
            &[("content-length", "5"), ("content-length", "5")],
            false,
            Err(Malformed::Length),
        ),
        (post.clone(), "https://a.test/", &[("content_length", "5")], false, Err(Malformed::Alias)),
        (post.clone(), "https://a.test/", &[("transfer-encoding", "gzip")], false, Err(Malformed::Coding)),
    ] {
        assert_eq!(request(method.clone(), target, lines, ended), expected, "{method} {target} {lines:?}");
    }
}

#[test]
fn a_response_of_http2_is_held_to_the_rules_of_the_one_it_becomes() {
    let get = Method::GET;
    for (method, status, lines, expected) in [
        (&get, 200, &[][..], Ok(Length::Chunked)),
        (&get, 200, &[("content-length", "5")], Ok(Length::Exact(5))),
        (&Method::HEAD, 200, &[("content-length", "5")], Ok(Length::None)),
        (&get, 204, &[("content-length", "0")], Ok(Length::None)),
        (&get, 204, &[("content-length", "5")], Err(Malformed::Length)),
        (&get, 200, &[("content-length", "5"), ("content-length", "5")], Err(Malformed::Length)),
        (&get, 200, &[("content-length", "5"), ("content-length", "6")], Err(Malformed::Length)),
        (&Method::HEAD, 200, &[("content-length", "5"), ("content-length", "6")], Err(Malformed::Length)),
        (&get, 200, &[("content-length", "x")], Err(Malformed::Length)),
        (
            &get,
            200,
            &[("content-length", "5"), ("transfer-encoding", "chunked")],
            Err(Malformed::LengthAndCoding),
        ),
        (&get, 200, &[("content_length", "5")], Err(Malformed::Alias)),
    ] {
        let mut response = Response::builder().status(status).version(Version::HTTP_2);
        for (name, value) in lines {
            response = response.header(*name, *value);
        }
        let read = ResponseHead::of_http2(response.body(()).expect("what `http` takes"), method);
        if let Ok((head, ())) = &read {
            let lengths = head.fields.named("content-length").count();
            assert_eq!(
                lengths,
                usize::from(status != 204 && !lines.is_empty()),
                "{method} {status} {lines:?}"
            );
        }
        assert_eq!(read.map(|(head, ())| head.length), expected, "{method} {status} {lines:?}");
    }
}

#[test]
fn a_cookie_in_pieces_becomes_one() {
    let request = Request::builder()
        .uri("https://a.test/")
        .header("cookie", "a=1")
        .header("x", "y")
        .header("cookie", "b=2");
    let (parts, ()) = request.body(()).expect("what `http` takes").into_parts();
    let head = RequestHead::of_http2(parts, true, LIMITS).expect("a good request");
    assert_eq!(head.fields.named("cookie").collect::<Vec<_>>(), [b"a=1; b=2"]);
    assert_eq!(head.fields.len(), 2);
}
