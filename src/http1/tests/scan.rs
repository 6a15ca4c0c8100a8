use proptest::prelude::*;

use crate::http1::fault::Malformed;
use crate::http1::scan::Scan;

/// What a scan says that gets the bytes up to each of `cuts`, then all.
fn scan(bytes: &[u8], cuts: &[usize]) -> Result<Option<usize>, Malformed> {
    let mut scan = Scan::default();
    for cut in cuts.iter().copied().filter(|cut| *cut < bytes.len()) {
        if let Some(end) = scan.end_of_head(&bytes[..cut])? {
            return Ok(Some(end));
        }
    }
    scan.end_of_head(bytes)
}

#[test]
fn a_head_ends_with_its_empty_line_and_lines_with_both_their_bytes() {
    for (bytes, expected) in [
        ("", Ok(None)),
        ("GET / HTTP/1.1\r\n", Ok(None)),
        ("GET / HTTP/1.1\r\n\r", Ok(None)),
        ("GET / HTTP/1.1\r\n\r\n", Ok(Some(18))),
        ("GET / HTTP/1.1\r\na: b\r\n\r\nbody\n", Ok(Some(24))),
        ("\r\n", Ok(Some(2))),
        ("a\r\r\n\r\n", Ok(Some(6))),
        ("a\r\n\n", Err(Malformed::BareLineFeed)),
        ("a\n\r\n", Err(Malformed::BareLineFeed)),
        ("a\n\n", Err(Malformed::BareLineFeed)),
        ("\n", Err(Malformed::BareLineFeed)),
    ] {
        assert_eq!(scan(bytes.as_bytes(), &[]), expected, "{bytes:?}");
        for cut in 0..bytes.len() {
            assert_eq!(scan(bytes.as_bytes(), &[cut]), expected, "{bytes:?} cut at {cut}");
        }
    }
}

proptest! {
    #[test]
    fn in_whatever_pieces_a_head_comes_it_ends_at_one_place(
        bytes in prop::collection::vec(prop::sample::select(&b"ab\r\n\r\n"[..]), 0..40),
        mut cuts in prop::collection::vec(0usize..40, 0..6),
    ) {
        cuts.sort_unstable();
        // Without the bytes behind the end, which a reader in pieces doesn't look at.
        prop_assert_eq!(scan(&bytes, &cuts), scan(&bytes, &[]));
    }
}
