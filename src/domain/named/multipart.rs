//! The values of a field of `multipart/form-data` (RFC 7578, in the framing of RFC 2046 §5.1.1).
//!
//! Libraries for it read streams and wait for them; here the body lies in memory and one field of it is wanted. Everything
//! doubtful makes it unreadable as a whole: a part without its end, a header that can't be split, a name given twice or with
//! escapes that readers understand differently. Files are no fields.

use memchr::memmem::{self, Finder};

use crate::domain::media_type::parameters;

/// The values of all parts with this name, in their order; `None` when the body can't be read in one way only.
pub(super) fn values<'body>(body: &'body [u8], boundary: &str, field: &str) -> Option<Vec<&'body [u8]>> {
    // RFC 2046 §5.1.1.
    if boundary.is_empty() || boundary.len() > 70 {
        return None;
    }
    let delimiter = format!("\r\n--{boundary}");
    let finder = Finder::new(&delimiter);
    let mut rest = match body.strip_prefix(&delimiter.as_bytes()[2..]) {
        Some(rest) => rest,
        // What stands before the first delimiter means nothing.
        None => &body[finder.find(body)? + delimiter.len()..],
    };
    let mut values = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(values);
        }
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        // Kept before the part: one without headers has its empty line right here.
        let part = rest.get(padding..).filter(|part| part.starts_with(b"\r\n"))?;
        let end = finder.find(part)?;
        let (whole, after) = (&part[..end], &part[end + delimiter.len()..]);
        let blank = memmem::find(whole, b"\r\n\r\n")?;
        if field_name(whole.get(2..blank).unwrap_or_default()).ok()?.as_deref() == Some(field) {
            values.push(&whole[blank + 4..]);
        }
        rest = after;
    }
}

/// The headers of a part can be read in two ways, or in none.
struct Unreadable;

/// The name in a part's headers; `None` for what is no field: a file, or a part of another kind.
fn field_name(headers: &[u8]) -> Result<Option<String>, Unreadable> {
    let text = std::str::from_utf8(headers).map_err(|_| Unreadable)?;
    let mut disposition = None;
    for line in text.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(Unreadable)?;
        if name.eq_ignore_ascii_case("content-disposition") && disposition.replace(value.trim()).is_some() {
            return Err(Unreadable);
        }
    }
    let Some((kind, rest)) = disposition.map(|value| value.split_once(';').unwrap_or((value, ""))) else {
        return Ok(None);
    };
    let mut name = None;
    let mut is_field = kind.trim().eq_ignore_ascii_case("form-data");
    for (key, value) in parameters(rest).ok_or(Unreadable)? {
        let key = key.to_ascii_lowercase();
        is_field &= !matches!(key.as_str(), "filename" | "filename*" | "name*");
        if key == "name" && name.replace(value).is_some() {
            return Err(Unreadable);
        }
    }
    Ok(name.filter(|_| is_field))
}
