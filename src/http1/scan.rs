//! Finding the end of a head without reading any byte twice.

use super::fault::Malformed;

/// How far a head was looked at already.
#[derive(Debug, Default)]
pub(super) struct Scan {
    seen: usize,
}

impl Scan {
    /// The length of the lines that begin `bytes`, once the empty one that ends them is there. Only CR LF ends a line.
    pub(super) fn end_of_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        for at in memchr::memchr_iter(b'\n', &bytes[self.seen..]).map(|at| at + self.seen) {
            let line = bytes[..at].strip_suffix(b"\r").ok_or(Malformed::BareLineFeed)?;
            if line.is_empty() || line.ends_with(b"\r\n") {
                self.seen = 0;
                return Ok(Some(at + 1));
            }
        }
        self.seen = bytes.len();
        Ok(None)
    }
}
