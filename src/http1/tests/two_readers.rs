//! Bytes that are HTTP, or nearly: what of them is taken for a request is written such that readers of every habit find
//! the same request, and nothing behind it.

use std::future::poll_fn;

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;

use super::ends::{client, next, server, whole, within};
use crate::http1::framing::Length;
use crate::http1::head::RequestHead;
use crate::http1::name::Name;

/// A request as it was understood.
struct Understood {
    head: Box<RequestHead>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// How a reader differs from a strict one, as bits.
#[derive(Debug, Clone, Copy)]
struct Habits(u8);

/// A line feed alone ends a line, and a carriage return alone does.
const BARE_ENDS: u8 = 1;
/// The last of several lengths counts, not the first.
const LAST_LENGTH: u8 = 2;
/// A length counts more than chunks.
const LENGTH_FIRST: u8 = 4;
/// `_` is `-`, and white space around a name is none of it.
const LOOSE_NAMES: u8 = 8;

/// Names and values.
type Lines = Vec<(String, String)>;

/// A message as one reader sees it.
#[derive(Debug, PartialEq)]
struct Seen {
    start: String,
    lines: Lines,
    body: Vec<u8>,
    trailers: Lines,
    /// Bytes behind the message.
    behind: usize,
}

impl Habits {
    fn every() -> impl Iterator<Item = Self> {
        (0..16).map(Self)
    }

    const fn has(self, habit: u8) -> bool {
        self.0 & habit != 0
    }

    /// The next line and what is behind it.
    fn line(self, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let end = if self.has(BARE_ENDS) {
            bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?
        } else {
            memchr::memmem::find(bytes, b"\r\n")?
        };
        let width = if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 };
        Some((&bytes[..end], &bytes[end + width..]))
    }

    /// Lines up to an empty one.
    fn lines(self, mut bytes: &[u8]) -> Option<(Lines, &[u8])> {
        let mut lines = Vec::new();
        loop {
            let (line, rest) = self.line(bytes)?;
            bytes = rest;
            if line.is_empty() {
                return Some((lines, bytes));
            }
            let line = String::from_utf8_lossy(line);
            let (name, value) = line.split_once(':')?;
            let name = if self.has(LOOSE_NAMES) { name.trim().replace('_', "-") } else { name.to_owned() };
            lines.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    /// Reads one message to its end. `None`: there is none, or it goes on.
    fn read(self, bytes: &[u8]) -> Option<Seen> {
        let (start, rest) = self.line(bytes)?;
        let (lines, mut rest) = self.lines(rest)?;
        let mut lengths = lines.iter().filter(|(name, _)| name == "content-length").map(|(_, value)| value);
        let length = if self.has(LAST_LENGTH) { lengths.next_back() } else { lengths.next() };
        let chunked =
            lines.iter().any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
        let (mut body, mut trailers) = (Vec::new(), Vec::new());
        if let Some(length) = length.filter(|_| self.has(LENGTH_FIRST) || !chunked) {
            let length = length.parse().ok()?;
            body.extend_from_slice(rest.get(..length)?);
            rest = &rest[length..];
        } else if chunked {
            loop {
                let (line, behind) = self.line(rest)?;
                let size = usize::from_str_radix(std::str::from_utf8(line).ok()?, 16).ok()?;
                if size == 0 {
                    (trailers, rest) = self.lines(behind)?;
                    break;
                }
                body.extend_from_slice(behind.get(..size)?);
                let (empty, behind) = self.line(&behind[size..])?;
                if !empty.is_empty() {
                    return None;
                }
                rest = behind;
            }
        }
        let start = String::from_utf8_lossy(start).into_owned();
        Some(Seen { start, lines, body, trailers, behind: rest.len() })
    }
}

/// What the server's side takes from a connection that brings these bytes and ends, in pieces of `step` bytes.
async fn understand(bytes: &[u8], step: usize) -> Vec<Understood> {
    let (server, mut far) = server();
    let reading = async {
        let mut all = Vec::new();
        while let Ok(Some((head, incoming))) = next(&server).await {
            let Ok((body, trailers)) = whole(incoming).await else { break };
            all.push(Understood { head, body, trailers });
        }
        // As a connection does that is no longer read.
        drop(server);
        all
    };
    let sending = async {
        for piece in bytes.chunks(step) {
            if far.0.try_write(piece).is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        // It may be closed already.
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut far.0).await;
    };
    let (all, ()) = within(async { tokio::join!(reading, sending) }).await;
    all
}

/// What goes upstream for a request, its framing written anew, its body in pieces of `step` bytes.
async fn forward(request: &Understood, step: usize) -> Vec<u8> {
    let (mut client, mut far) = client();
    let mut head = request.head.clone();
    head.fields.retain(|field| field.name != Name::TransferEncoding);
    client.begin(&head);
    let flush = async |client: &mut crate::http1::ClientConnection| {
        within(poll_fn(|context| client.poll_flush(context))).await.expect("an open socket");
    };
    for piece in request.body.chunks(step) {
        client.queue(Bytes::copy_from_slice(piece));
        flush(&mut client).await;
    }
    client.queue_end(request.trailers.as_ref());
    flush(&mut client).await;
    drop(client);
    far.rest().await
}

/// The request, as every reader must see it.
fn as_understood(request: &Understood) -> Seen {
    let head = &request.head;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut lines: Vec<_> = head
        .fields
        .iter()
        .filter(|field| field.name != Name::TransferEncoding)
        .map(|field| (text(field.name_text).to_ascii_lowercase(), text(field.value)))
        .collect();
    if head.length == Length::Chunked {
        lines.push(("transfer-encoding".to_owned(), "chunked".to_owned()));
    }
    let trailers = request.trailers.iter().flat_map(HeaderMap::iter);
    Seen {
        start: format!("{} {} HTTP/1.1", head.method, head.target),
        lines,
        body: request.body.clone(),
        trailers: trailers.map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes()))).collect(),
        behind: 0,
    }
}

/// Whatever is taken from these bytes, and forwarded, is one request to every reader. How many were taken.
fn one_meaning(bytes: &[u8], step: usize) -> Result<usize, TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let all = understand(bytes, step).await;
        for request in &all {
            let written = forward(request, step).await;
            let expected = as_understood(request);
            for habits in Habits::every() {
                let mut expected = as_understood(request);
                if habits.has(LOOSE_NAMES) {
                    expected.lines.iter_mut().for_each(|(name, _)| *name = name.replace('_', "-"));
                    expected.trailers.iter_mut().for_each(|(name, _)| *name = name.replace('_', "-"));
                }
                let seen = habits.read(&written);
                prop_assert_eq!(
                    seen.as_ref(),
                    Some(&expected),
                    "{:?} of {:?}",
                    habits,
                    String::from_utf8_lossy(&written)
                );
            }
            // And to a parser that others use.
            let mut room = [httparse::EMPTY_HEADER; 128];
            let mut parsed = httparse::Request::new(&mut room);
            prop_assert!(matches!(parsed.parse(&written), Ok(httparse::Status::Complete(_))));
            let start = format!(
                "{} {} HTTP/1.{}",
                parsed.method.unwrap_or(""),
                parsed.path.unwrap_or(""),
                parsed.version.unwrap_or(9)
            );
            prop_assert_eq!(start, expected.start);
            prop_assert_eq!(parsed.headers.len(), expected.lines.len());
        }
        Ok(all.len())
    })
}

/// Pieces that heads and bodies are made of, good ones and such as have been used to smuggle.
const PIECES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /x?y HTTP/1.1\r\n",
    "POST /x HTTP/1.0\r\n",
    "GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n",
    "GET http://a/ HTTP/1.1\r\n",
    "CONNECT a:1 HTTP/1.1\r\n",
    "host: h\r\n",
    "content-length: 0\r\n",
    "content-length: 5\r\n",
    "Content-Length:5 \r\n",
    "content-length: 5, 5\r\n",
    "content-length : 5\r\n",
    "content_length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding:\tChunked\r\n",
    "transfer-encoding : chunked\r\n",
    "transfer_encoding: chunked\r\n",
    "transfer-encoding: x\r\n",
    "transfer-encoding\r\n: chunked\r\n",
    "x: y\r\n",
    "x_y: \t z \r\n",
    "x:\r\n",
    "connection: content-length, transfer-encoding\r\n",
    "upgrade: h2c\r\n",
    " folded: yes\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "\n\n",
    "5\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    "5;a\nb\r\nhello\r\n",
    "05 \r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "0\r\nx-t: 1\r\nhost: evil\r\n\r\n",
    "hello",
    "\0",
    "\x0b",
    "\u{e4}",
];

/// A good request, as its start line, its other lines, and its body.
fn good() -> impl Strategy<Value = Vec<String>> {
    let method = prop::sample::select(&["GET", "POST", "PUT", "OPTIONS", "x"][..]);
    let lines = prop::collection::vec("(x|a-b|Cookie|accept|x_y):[ \t]?[!-~]{0,8}[ \t]?\r\n", 0..4);
    let chunk = "[a-z\r\n]{1,12}".prop_map(|data| format!("{:x}\r\n{data}\r\n", data.len()));
    let body = prop_oneof![
        Just(("\r\n".to_owned(), String::new())),
        "[ -~\r\n]{0,30}".prop_map(|body| (format!("content-length: {}\r\n\r\n", body.len()), body)),
        (prop::collection::vec(chunk, 0..3), prop::sample::select(&["", "x-t: 1\r\n", "Host: evil\r\n"][..]))
            .prop_map(|(chunks, trailer)| {
                (
                    "Transfer-Encoding: Chunked\r\n\r\n".to_owned(),
                    format!("{}0\r\n{trailer}\r\n", chunks.concat()),
                )
            }),
    ];
    (method, "/[a-z/.?=%]{0,8}", lines, body).prop_map(|(method, path, lines, (last, body))| {
        let start = [format!("{method} {path} HTTP/1.1\r\n"), "host: h\r\n".to_owned()];
        start.into_iter().chain(lines).chain([last, body]).collect()
    })
}

/// One thing done to bytes.
#[derive(Debug, Clone)]
enum Mutation {
    Insert(&'static str),
    Byte(u8),
    Delete,
    /// Writes so many bytes again behind themselves.
    Repeat(usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => prop::sample::select(PIECES).prop_map(Mutation::Insert),
        3 => prop_oneof![any::<u8>(), prop::sample::select(&b"\r\n \t:;,_-\0#\\0"[..])].prop_map(Mutation::Byte),
        2 => Just(Mutation::Delete),
        1 => (1usize..30).prop_map(Mutation::Repeat),
    ]
}

fn mutate(bytes: &mut Vec<u8>, place: usize, mutation: &Mutation) {
    match mutation {
        Mutation::Insert(text) => drop(bytes.splice(place..place, text.bytes())),
        Mutation::Byte(byte) => bytes[place] = *byte,
        Mutation::Delete => drop(bytes.remove(place)),
        Mutation::Repeat(count) => {
            let again = bytes[place..(place + count).min(bytes.len())].to_vec();
            drop(bytes.splice(place..place, again));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_good_request_is_taken_and_means_the_same_behind(parts in good(), step in 1usize..200) {
        let bytes = parts.concat().into_bytes();
        prop_assert_eq!(one_meaning(&bytes, step)?, 1);
        let twice = [&bytes[..], &bytes[..]].concat();
        prop_assert_eq!(one_meaning(&twice, step)?, 2);
    }

    #[test]
    fn a_request_with_something_wrong_is_refused_or_means_the_same_behind(
        parts in good(),
        // Lines are where the trouble is: half of the changes happen at a line's start.
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), mutation()), 1..4),
        step in 1usize..200,
    ) {
        let mut bytes = parts.concat().into_bytes();
        bytes.extend_from_slice(b"GET /next HTTP/1.1\r\nhost: h\r\n\r\n");
        for (place, at_line, mutation) in &changes {
            if bytes.is_empty() {
                break;
            }
            let mut place = place.index(bytes.len());
            if *at_line {
                place = bytes[..place].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            }
            mutate(&mut bytes, place, mutation);
        }
        one_meaning(&bytes, step)?;
    }

    #[test]
    fn whatever_comes_nothing_is_forwarded_behind_a_request(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..14),
        start in any::<bool>(),
        step in 1usize..200,
    ) {
        let start = if start { "POST /x HTTP/1.1\r\nhost: h\r\n" } else { "" };
        one_meaning(format!("{start}{}", pieces.concat()).as_bytes(), step)?;
    }
}
