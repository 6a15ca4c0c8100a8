//! The chunked transfer coding (RFC 9112 section 7.1), of which only the plain form is taken.
//!
//! Sizes are hexadecimal digits and nothing else, every line ends with CR LF, extensions are visible text within a bound and
//! end here. Trailers pass but for those that would change what was understood of the head (RFC 9110 section 6.5.1).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::fault::Malformed;
use super::name::Name;
use super::scan::Scan;

/// A size line: sixteen digits and some extensions.
const LONGEST_LINE: usize = 512;

/// Bytes of extensions in one body: a million chunks of one byte may not bring a hundred each.
const MOST_EXTENSIONS: usize = 16 * 1024;

/// Bytes and lines of trailers.
pub(super) const MOST_TRAILER_BYTES: usize = 16 * 1024;
const MOST_TRAILERS: usize = 64;

/// Where in a chunked body the next byte stands.
#[derive(Debug)]
pub(super) struct Chunked {
    at: At,
    extensions: usize,
    scan: Scan,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Size,
    Data(u64),
    /// The CR LF behind a chunk's data.
    DataEnd,
    Trailers,
}

/// What the bytes at hand are.
#[derive(Debug)]
pub(super) enum Step {
    /// Not enough of them.
    More,
    /// So many are of no use any more.
    Skip(usize),
    /// Up to so many are data.
    Data(u64),
    /// So many are trailers, and with them the body ends.
    End(usize, Option<HeaderMap>),
}

impl Default for Chunked {
    fn default() -> Self {
        Self { at: At::Size, extensions: 0, scan: Scan::default() }
    }
}

impl Chunked {
    /// Looks at the bytes that come next. Steps other than [`Step::More`] are taken by then.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        match self.at {
            At::Size => self.size(bytes),
            At::Data(left) => Ok(if bytes.is_empty() { Step::More } else { Step::Data(left) }),
            At::DataEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.at = At::Size;
                    Ok(Step::Skip(2))
                }
                [] | [b'\r'] => Ok(Step::More),
                _ => Err(Malformed::Chunk),
            },
            At::Trailers => self.trailers(bytes),
        }
    }

    /// `count` bytes of data were taken.
    pub(super) fn took(&mut self, count: u64) {
        if let At::Data(left) = self.at {
            self.at = if left == count { At::DataEnd } else { At::Data(left - count) };
        }
    }

    /// Of the current chunk, for the size of the next read.
    pub(super) fn expected(&self) -> u64 {
        if let At::Data(left) = self.at { left.saturating_add(2) } else { 0 }
    }

    fn size(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            // The line's CR may be there without its LF.
            let longest = LONGEST_LINE + 1;
            return if bytes.len() > longest { Err(Malformed::ChunkBound) } else { Ok(Step::More) };
        };
        let line = bytes[..end].strip_suffix(b"\r").ok_or(Malformed::BareLineFeed)?;
        if line.len() > LONGEST_LINE {
            return Err(Malformed::ChunkBound);
        }
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extensions = &line[digits..];
        if digits == 0 || digits > 16 || !is_extension(extensions) {
            return Err(Malformed::Chunk);
        }
        self.extensions += extensions.len();
        if self.extensions > MOST_EXTENSIONS {
            return Err(Malformed::ChunkBound);
        }
        let digit = |byte: &u8| u64::from(char::from(*byte).to_digit(16).expect("it is a hexadecimal digit"));
        let size = line[..digits].iter().fold(0, |size, byte| size << 4 | digit(byte));
        self.at = if size == 0 { At::Trailers } else { At::Data(size) };
        Ok(Step::Skip(end + 1))
    }

    fn trailers(&mut self, bytes: &[u8]) -> Result<Step, Malformed> {
        let Some(end) = self.scan.end_of_head(bytes)? else {
            return if bytes.len() > MOST_TRAILER_BYTES {
                Err(Malformed::ChunkBound)
            } else {
                Ok(Step::More)
            };
        };
        if end > MOST_TRAILER_BYTES {
            return Err(Malformed::ChunkBound);
        }
        Ok(Step::End(end, if end == 2 { None } else { parse(&bytes[..end])? }))
    }
}

/// Nothing, or what begins with `;` (white space before it is bad, but harmless) and is visible text.
fn is_extension(bytes: &[u8]) -> bool {
    let visible = |byte: &u8| matches!(byte, b'\t' | 0x20..=0x7e);
    bytes.is_empty() || (bytes.trim_ascii_start().starts_with(b";") && bytes.iter().all(visible))
}

/// Whether a trailer changes nothing of what was understood of the head: framing, routing, identity, the hop
/// (RFC 9110 section 6.5.1).
pub(super) fn may_trail(name: &[u8]) -> bool {
    Name::of(name) == Name::Other
}

fn parse(bytes: &[u8]) -> Result<Option<HeaderMap>, Malformed> {
    let mut room = [httparse::EMPTY_HEADER; MOST_TRAILERS];
    let parsed = match httparse::parse_headers(bytes, &mut room) {
        Ok(httparse::Status::Complete((_, parsed))) => parsed,
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::ChunkBound),
        _ => return Err(Malformed::Field),
    };
    let mut trailers = HeaderMap::with_capacity(parsed.len());
    for header in parsed.iter().filter(|header| may_trail(header.name.as_bytes())) {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Malformed::Field)?;
        let value = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(header.value));
        trailers.append(name, value.map_err(|_| Malformed::Field)?);
    }
    Ok(Some(trailers).filter(|trailers| !trailers.is_empty()))
}
