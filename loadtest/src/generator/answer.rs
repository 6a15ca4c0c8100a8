//! Whether an answer is the right one: the whole of it, or a verdict as soon as it cannot be.
//!
//! The usual case costs a prefix comparison, a search for the end of the head and a comparison of the body. Only an
//! answer that does not fit in length is parsed header by header.
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

fn content_length(head: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).ok()?;
    let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"))?;
    std::str::from_utf8(header.value).ok()?.trim().parse().ok()
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
