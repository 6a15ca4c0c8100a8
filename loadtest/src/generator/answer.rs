//! Whether an answer is the right one: the whole of it, or a verdict as soon as it cannot be.
//!
//! The usual case costs a prefix comparison, a search for the end of the head and a comparison of the body. Only an
//! answer that does not come in one read is parsed header by header; its body is compared as it comes, and not kept.
use anyhow::{Context, Result};
use memchr::memmem;

const HEADERS: usize = 64;

/// What an answer amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    WrongStatus,
    WrongBody,
}

/// Judges what has arrived of one answer; `None` while more is to come.
pub(super) fn judge(received: &[u8], body: &[u8]) -> Option<Verdict> {
    const GOOD: &[u8] = b"HTTP/1.1 200";
    if received.len() < GOOD.len() {
        return None;
    }
    if !received.starts_with(GOOD) {
        return Some(Verdict::WrongStatus);
    }
    let head = memmem::find(received, b"\r\n\r\n")? + 4;
    let arrived = &received[head..];
    if arrived.len() == body.len() {
        return Some(if arrived == body { Verdict::Right } else { Verdict::WrongBody });
    }
    if arrived.len() > body.len() || content_length(&received[..head]) != Some(body.len()) {
        return Some(Verdict::WrongBody);
    }
    None
}

/// An answer that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// What arrived of a head without its end.
    head: Vec<u8>,
    /// How much of the body has arrived; none before the head is whole.
    arrived: Option<usize>,
}

impl Judge {
    /// Takes the next piece; the verdict as soon as there is one, after which the next answer begins.
    pub(super) fn feed(&mut self, piece: &[u8], body: &[u8]) -> Option<Verdict> {
        let verdict = match self.arrived {
            Some(arrived) => self.compare(arrived, piece, body),
            None if self.head.is_empty() => judge(piece, body).or_else(|| self.begin(piece, body)),
            None => {
                let mut whole = std::mem::take(&mut self.head);
                whole.extend_from_slice(piece);
                judge(&whole, body).or_else(|| self.begin(&whole, body))
            }
        };
        if verdict.is_some() {
            *self = Self::default();
        }
        verdict
    }

    /// Called for what [`judge`] leaves open: a head without its end, or a right one whose body is still to come.
    fn begin(&mut self, received: &[u8], body: &[u8]) -> Option<Verdict> {
        match memmem::find(received, b"\r\n\r\n") {
            Some(end) => self.compare(0, &received[end + 4..], body),
            None => {
                self.head.extend_from_slice(received);
                None
            }
        }
    }

    fn compare(&mut self, arrived: usize, piece: &[u8], body: &[u8]) -> Option<Verdict> {
        let end = arrived + piece.len();
        if body.get(arrived..end) != Some(piece) {
            return Some(Verdict::WrongBody);
        }
        self.arrived = Some(end);
        (end == body.len()).then_some(Verdict::Right)
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).ok()?;
    length_among(response.headers)
}

fn length_among(headers: &[httparse::Header<'_>]) -> Option<usize> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    std::str::from_utf8(header.value).ok()?.trim().parse().ok()
}

/// The length that a request announces for its body; `None` without one.
pub(super) fn content_length_of_request(head: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).ok()?;
    length_among(request.headers)
}

/// An answer in full, for checks outside the measured loop.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The status line and header fields as they came.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of a header field, by case-insensitive name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// `None` while the answer is incomplete. An answer without a length counts as complete with its head.
    pub(super) fn parse(received: &[u8]) -> Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = response.parse(received).context("not an HTTP/1.1 answer")?
        else {
            return Ok(None);
        };
        let status = response.code.context("an answer without a status")?;
        let length = content_length(&received[..head]).unwrap_or(0);
        let Some(body) = received[head..].get(..length) else { return Ok(None) };
        let head = String::from_utf8_lossy(&received[..head]).into_owned();
        Ok(Some(Self { status, head, body: body.to_vec() }))
    }
}
