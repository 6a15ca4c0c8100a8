use http::HeaderMap;
use proptest::prelude::*;

use crate::http1::chunked::{Chunked, MOST_TRAILER_BYTES, Step};
use crate::http1::fault::Malformed;

/// What a body came to: its bytes, its trailers, and how many bytes came behind it. `None`: it has not ended.
#[derive(Debug, PartialEq)]
struct Decoded {
    data: Vec<u8>,
    end: Option<(Option<HeaderMap>, usize)>,
}

/// Decodes pieces one after the other, as they would be read.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Decoded, (Malformed, Vec<u8>)> {
    let (mut chunked, mut buffer) = (Chunked::default(), Vec::new());
    let mut decoded = Decoded { data: Vec::new(), end: None };
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            if decoded.end.is_some() {
                break;
            }
            match chunked.step(&buffer) {
                Err(fault) => return Err((fault, decoded.data)),
                Ok(Step::More) => break,
                Ok(Step::Skip(count)) => drop(buffer.drain(..count)),
                Ok(Step::Data(left)) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    decoded.data.extend(buffer.drain(..count));
                    chunked.took(count as u64);
                }
                Ok(Step::End(count, trailers)) => {
                    buffer.drain(..count);
                    decoded.end = Some((trailers, 0));
                }
            }
        }
    }
    if let Some((_, behind)) = &mut decoded.end {
        *behind = buffer.len();
    }
    Ok(decoded)
}

fn whole(text: &str) -> Result<Decoded, Malformed> {
    decode([text.as_bytes()]).map_err(|(fault, _)| fault)
}

#[test]
fn good_bodies() {
    for (text, data, behind) in [
        ("0\r\n\r\n", "", 0),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", 0),
        ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET", "hello world", 3),
        ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", 0),
        ("0000000000000005\r\nhello\r\n0000\r\n\r\n", "hello", 0),
        ("5;a=b;c=\"d e\"\r\nhello\r\n0;last\r\n\r\n", "hello", 0),
        ("5 ;a\r\nhello\r\n0\t;a\r\n\r\n", "hello", 0),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", 0),
    ] {
        let decoded = whole(text).expect("a good body");
        assert_eq!(decoded.data, data.as_bytes(), "{text:?}");
        assert_eq!(decoded.end, Some((None, behind)), "{text:?}");
    }
}

#[test]
fn bad_bodies() {
    use Malformed::{BareLineFeed, Chunk, ChunkBound, Field};
    let long = |count: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(count));
    for (text, fault) in [
        ("\r\n", Chunk),
        (" 5\r\nhello\r\n0\r\n\r\n", Chunk),
        ("5 \r\nhello\r\n0\r\n\r\n", Chunk),
        ("+5\r\nhello\r\n0\r\n\r\n", Chunk),
        ("-5\r\nhello\r\n0\r\n\r\n", Chunk),
        ("0x5\r\nhello\r\n0\r\n\r\n", Chunk),
        ("5_0\r\nhello\r\n0\r\n\r\n", Chunk),
        ("5.0\r\nhello\r\n0\r\n\r\n", Chunk),
        ("5,5\r\nhello\r\n0\r\n\r\n", Chunk),
        ("g\r\nhello\r\n0\r\n\r\n", Chunk),
        (";a\r\nhello\r\n0\r\n\r\n", Chunk),
        ("00000000000000005\r\nhello\r\n0\r\n\r\n", Chunk),
        ("10000000000000005\r\nhello\r\n0\r\n\r\n", Chunk),
        ("5\r\nhello0\r\n\r\n", Chunk),
        ("5\r\nhello!\r\n0\r\n\r\n", Chunk),
        ("5\r\nhello\n0\r\n\r\n", Chunk),
        ("5\r\nhello\r0\r\n\r\n", Chunk),
        ("5\nhello\r\n0\r\n\r\n", BareLineFeed),
        ("5;a\nhello\r\n0\r\n\r\n", BareLineFeed),
        ("5;a\"\n0\r\n\r\nGET / HTTP/1.1\"\r\nhello", BareLineFeed),
        ("5;a\rb\r\nhello\r\n0\r\n\r\n", Chunk),
        ("5;a\0\r\nhello\r\n0\r\n\r\n", Chunk),
        ("5;\x7f\r\nhello\r\n0\r\n\r\n", Chunk),
        ("5;\u{e4}\r\nhello\r\n0\r\n\r\n", Chunk),
        ("5\r;a\r\nhello\r\n0\r\n\r\n", Chunk),
        ("0\n\n", BareLineFeed),
        ("0\r\n\n", BareLineFeed),
        ("0\r\na: 1\n\r\n", BareLineFeed),
        ("0\r\na : 1\r\n\r\n", Field),
        ("0\r\n a: 1\r\n\r\n", Field),
        ("0\r\na: 1\r\n 2\r\n\r\n", Field),
        ("0\r\na\r\n\r\n", Field),
        ("0\r\na: \0\r\n\r\n", Field),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", Field),
        (&long(511), ChunkBound),
        (&format!("0\r\n{}\r\n", "a: 1\r\n".repeat(65)), ChunkBound),
        (&format!("0\r\na: {}\r\n\r\n", "x".repeat(MOST_TRAILER_BYTES)), ChunkBound),
    ] {
        assert_eq!(whole(text).err(), Some(fault), "{text:?}");
    }
    assert!(whole(&long(510)).is_ok());
    assert!(whole(&format!("0\r\n{}\r\n", "a: 1\r\n".repeat(64))).is_ok());
}

#[test]
fn extensions_are_bounded_for_the_whole_body() {
    // Each within its line's bound; the body has 16 KiB for all of them.
    let chunk = format!("1;{}\r\na\r\n", "x".repeat(255));
    assert!(whole(&format!("{}0\r\n\r\n", chunk.repeat(64))).is_ok());
    assert_eq!(whole(&format!("{}0\r\n\r\n", chunk.repeat(65))).err(), Some(Malformed::ChunkBound));
    // A line that never ends is not waited for.
    let endless = "1".repeat(514);
    assert_eq!(whole(&endless).err(), Some(Malformed::ChunkBound));
    let endless = format!("0\r\na: {}", "x".repeat(MOST_TRAILER_BYTES));
    assert_eq!(whole(&endless).err(), Some(Malformed::ChunkBound));
}

#[test]
fn trailers_that_would_change_what_the_head_said_do_not_pass() {
    let forbidden = "content-length: 1\r\ntransfer-encoding: chunked\r\nhost: a\r\nauthorization: b\r\n\
                     cookie: c\r\nresidency-subject: d\r\nResidency_Subject: d\r\nconnection: e\r\nupgrade: f\r\n\
                     te: g\r\ntrailer: h\r\nx-forwarded-for: i\r\nforwarded: j\r\nexpect: k\r\ncontent-type: l\r\n\
                     Content_Length: m\r\nkeep-alive: n\r\n";
    let decoded = whole(&format!("0\r\n{forbidden}x-checksum: 1\r\nX-Checksum: 2\r\n\r\n")).expect("a body");
    let (trailers, _) = decoded.end.expect("it ended");
    let trailers = trailers.expect("some may pass");
    assert_eq!(trailers.len(), 2, "{trailers:?}");
    assert_eq!(trailers.get_all("x-checksum").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(whole(&format!("0\r\n{forbidden}\r\n")).expect("a body").end, Some((None, 0)));
}

/// Bytes that are chunks, or nearly.
fn nearly_chunks() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-z\r\n0-9]{1,40}".prop_map(|data| format!("{:x}\r\n{data}\r\n", data.len())),
        1 => ("[a-z]{1,20}", "[ -~]{0,20}").prop_map(|(data, ext)| format!("{:X};{ext}\r\n{data}\r\n", data.len())),
        1 => Just("0\r\n".to_owned()),
        1 => Just("\r\n".to_owned()),
        1 => "[a-z-]{1,8}: [ -~]{0,8}\r\n",
        1 => "[0-9a-fx;\r\n ]{1,4}",
        1 => (505usize..520).prop_map(|count| format!("1;{}\r\na\r\n", "x".repeat(count))),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    /// However the bytes are cut by the network, they mean the same.
    #[test]
    fn in_whatever_pieces_a_body_comes_it_is_the_same(
        bytes in nearly_chunks(),
        ended in any::<bool>(),
        mut cuts in prop::collection::vec(0usize..600, 0..12),
    ) {
        let mut bytes = bytes;
        if ended {
            bytes.extend_from_slice(b"0\r\nx: 1\r\n\r\nbehind");
        }
        cuts.retain(|cut| *cut < bytes.len());
        cuts.sort_unstable();
        let mut from = 0;
        let mut pieces = Vec::new();
        for cut in cuts.into_iter().chain([bytes.len()]) {
            pieces.push(&bytes[from..cut]);
            from = cut;
        }
        prop_assert_eq!(decode(pieces), decode([&bytes[..]]));
        prop_assert_eq!(decode(bytes.chunks(1)), decode([&bytes[..]]));
    }

    /// What we write is read back as it was.
    #[test]
    fn what_is_written_in_chunks_is_read_back(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6)) {
        let mut text = Vec::new();
        for piece in &pieces {
            text.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            text.extend_from_slice(piece);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"0\r\n\r\n");
        let expected = Decoded { data: pieces.concat(), end: Some((None, 0)) };
        prop_assert_eq!(decode([&text[..]]), Ok(expected));
    }
}
