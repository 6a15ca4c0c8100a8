//! Request heads as HTTP/2 header blocks (HPACK, RFC 7541), made before the clock starts.
//!
//! As browsers do it: what all requests of a connection have in common enters the dynamic table with the first of
//! them and is an index from then on; the token, which differs from request to request, is a literal that enters no
//! table. Strings are Huffman-coded where that is shorter.
//!
//! Absent by design: decoding. The load needs the status of an answer, and [`status`] finds it without tables.
use anyhow::{Context, Result, bail};

use super::huffman::Huffman;

/// What a peer's decoder keeps unless it says otherwise (RFC 9113, section 6.5.2).
pub(super) const DEFAULT_TABLE_BYTES: u32 = 4096;

/// Entries of the static table before the dynamic one begins.
const STATIC_ENTRIES: usize = 61;

/// Fields that the static table holds with their value, and names that it holds.
const STATIC_FIELDS: [(&str, &str, usize); 2] = [(":method", "GET", 2), (":scheme", "https", 7)];
const STATIC_NAMES: [(&str, usize); 9] = [
    (":authority", 1),
    (":path", 4),
    ("accept-encoding", 16),
    ("accept-language", 17),
    ("accept", 19),
    ("authorization", 23),
    ("cache-control", 24),
    ("referer", 51),
    ("user-agent", 58),
];

/// One request in the forms that its place on a connection may ask for.
#[derive(Debug)]
pub(super) struct Blocks {
    /// The first on a connection: fills the dynamic table.
    pub(super) opening: Box<[u8]>,
    /// Any later one.
    pub(super) following: Box<[u8]>,
    /// Of literals alone, for a peer that keeps a smaller table than the default.
    pub(super) literal: Box<[u8]>,
}

/// Turns HTTP/1.1 request heads into header blocks.
#[derive(Debug)]
pub(super) struct Encoder {
    huffman: Huffman,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { huffman: Huffman::new() }
    }

    /// Fails for what is no complete GET, and for more common fields than the dynamic table holds.
    pub(super) fn blocks(&self, request: &[u8]) -> Result<Blocks> {
        let fields = fields(request)?;
        let common: Vec<_> = fields
            .iter()
            .filter(|(name, value)| name != "authorization" && static_field(name, value).is_none())
            .collect();
        let bytes: usize = common.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        if bytes > DEFAULT_TABLE_BYTES as usize {
            bail!("{bytes} bytes of header fields do not fit a dynamic table of {DEFAULT_TABLE_BYTES}");
        }
        let (mut opening, mut following, mut literal) = (Vec::new(), Vec::new(), Vec::new());
        let mut entered = 0;
        for (name, value) in &fields {
            if let Some(index) = static_field(name, value) {
                for block in [&mut opening, &mut following, &mut literal] {
                    integer(block, 0x80, 7, index);
                }
            } else if name == "authorization" {
                for block in [&mut opening, &mut following, &mut literal] {
                    self.field(block, 0x10, 4, name, value);
                }
            } else {
                self.field(&mut opening, 0x40, 6, name, value);
                // The newest entry comes right behind the static table, and the first of the common ones is the oldest.
                integer(&mut following, 0x80, 7, STATIC_ENTRIES + common.len() - entered);
                entered += 1;
                self.field(&mut literal, 0x00, 4, name, value);
            }
        }
        Ok(Blocks { opening: opening.into(), following: following.into(), literal: literal.into() })
    }

    fn field(&self, block: &mut Vec<u8>, pattern: u8, prefix: u8, name: &str, value: &str) {
        match STATIC_NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, index)) => integer(block, pattern, prefix, *index),
            None => {
                block.push(pattern);
                self.string(block, name.as_bytes());
            }
        }
        self.string(block, value.as_bytes());
    }

    fn string(&self, block: &mut Vec<u8>, text: &[u8]) {
        match self.huffman.encode(text).filter(|encoded| encoded.len() < text.len()) {
            Some(encoded) => {
                integer(block, 0x80, 7, encoded.len());
                block.extend_from_slice(&encoded);
            }
            None => {
                integer(block, 0x00, 7, text.len());
                block.extend_from_slice(text);
            }
        }
    }

    /// The status of an answer from its header block: the first field, since pseudo-header fields lead. `None` for
    /// spellings that only a dynamic table could explain.
    pub(super) fn status(&self, block: &[u8]) -> Option<u16> {
        let mut block = block;
        // Changes of the dynamic table's size, each in one byte or with a tail of seven bits a byte.
        while let [first, rest @ ..] = block
            && first & 0xe0 == 0x20
        {
            let tail =
                if first & 0x1f == 0x1f { rest.iter().position(|byte| byte & 0x80 == 0)? + 1 } else { 0 };
            block = &rest[tail..];
        }
        let (first, rest) = block.split_first()?;
        let indexed =
            [(0x88, 200), (0x89, 204), (0x8a, 206), (0x8b, 304), (0x8c, 400), (0x8d, 404), (0x8e, 500)];
        if let Some((_, status)) = indexed.iter().find(|(byte, _)| byte == first) {
            return Some(*status);
        }
        // A literal whose name is one of the static table's seven `:status`, whatever its form.
        let name = if first & 0xc0 == 0x40 { first & 0x3f } else { first & 0x0f };
        if first & 0x80 != 0 || !(8..=14).contains(&name) {
            return None;
        }
        let (length, text) = rest.split_first()?;
        let text = text.get(..usize::from(length & 0x7f))?;
        let status = if length & 0x80 == 0 {
            std::str::from_utf8(text).ok()?.parse().ok()?
        } else {
            self.huffman.decode_number(text)?
        };
        u16::try_from(status).ok()
    }
}

/// The request's fields as HTTP/2 has them: pseudo-header fields first, names in lower case, nothing hop-by-hop.
fn fields(request: &[u8]) -> Result<Vec<(String, String)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    if !parsed.parse(request).context("a request of the workload")?.is_complete() {
        bail!("a request of the workload has no end");
    }
    let (method, path) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    if method != "GET" {
        bail!("over HTTP/2 the load sends GET, and not {method}");
    }
    let mut authority = String::new();
    let mut others = Vec::new();
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).context("a header value of the workload")?.to_owned();
        match header.name.to_ascii_lowercase() {
            name if name == "host" => authority = value,
            name if name == "connection" => {}
            name => others.push((name, value)),
        }
    }
    let pseudo =
        [(":method", method), (":scheme", "https"), (":authority", authority.as_str()), (":path", path)];
    let pseudo = pseudo.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(pseudo.chain(others).collect())
}

fn static_field(name: &str, value: &str) -> Option<usize> {
    let known = STATIC_FIELDS.iter().find(|(n, v, _)| *n == name && *v == value)?;
    Some(known.2)
}

/// An integer with a prefix of the given bits (RFC 7541, section 5.1).
fn integer(out: &mut Vec<u8>, pattern: u8, prefix: u8, value: usize) {
    let most = (1_usize << prefix) - 1;
    if value < most {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_as_in_the_specification() {
        // RFC 7541, Appendix C.1.
        for (prefix, value, bytes) in [(5, 10, &[0x0a][..]), (5, 1337, &[0x1f, 0x9a, 0x0a]), (8, 42, &[0x2a])]
        {
            let mut out = Vec::new();
            integer(&mut out, 0, prefix, value);
            assert_eq!(out, bytes, "{value}");
        }
    }

    #[test]
    fn the_status_is_found_in_every_spelling() {
        let encoder = Encoder::new();
        let cases: [(&[u8], Option<u16>); 9] = [
            (&[0x88], Some(200)),
            (&[0x20, 0x88, 0x40], Some(200)),
            (&[0x3f, 0xe1, 0x1f, 0x8e], Some(500)),
            // 401 as nginx writes it, and Huffman-coded with and without an entry in the dynamic table.
            (&[0x08, 0x03, b'4', b'0', b'1'], Some(401)),
            (&[0x48, 0x82, 0x68, 0x01], Some(401)),
            (&[0x08, 0x82, 0x64, 0x02], Some(302)),
            (&[0xbe], None),
            (&[0x08, 0x03, b'4'], None),
            (&[], None),
        ];
        for (block, status) in cases {
            assert_eq!(encoder.status(block), status, "{block:x?}");
        }
    }

    #[test]
    fn later_requests_are_indices_and_a_token() {
        let request = |token: &str| {
            format!(
                "GET /x HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nAccept: a/b\r\nAuthorization: {token}\r\n\r\n"
            )
        };
        let blocks = Encoder::new().blocks(request("!").as_bytes()).expect("a GET");
        // :method, :scheme, :authority, :path, accept, then the token, never to be indexed (23 needs two bytes).
        assert_eq!(*blocks.following, [0x82, 0x87, 0xc0, 0xbf, 0xbe, 0x1f, 0x08, 0x01, b'!']);
        assert!(blocks.opening.len() > blocks.following.len());
        assert!(Encoder::new().blocks(b"POST /x HTTP/1.1\r\nHost: h\r\n\r\n").is_err());
        assert!(Encoder::new().blocks(b"GET /x HTTP/1.1\r\n").is_err());
    }
}
