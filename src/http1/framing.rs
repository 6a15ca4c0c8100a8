//! Where a message's body ends (RFC 9112 section 6), or that nobody can say for sure.

use http::{Method, StatusCode, Version};

use super::fault::Malformed;
use super::fields::Fields;
use super::name::Name;

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// There is none.
    None,
    Exact(u64),
    Chunked,
    /// To the connection's end; responses only.
    UntilClose,
}

/// The framing of a request's body.
pub(super) fn of_request(version: Version, fields: &Fields) -> Result<Length, Malformed> {
    match (content_length(fields)?, chunked(fields)?) {
        (Some(_), true) => Err(Malformed::LengthAndCoding),
        (_, true) if version == Version::HTTP_10 => Err(Malformed::CodingOutOfPlace),
        (None, true) => Ok(Length::Chunked),
        (Some(length), false) => Ok(Length::Exact(length)),
        (None, false) => Ok(Length::None),
    }
}

/// The framing of the response to a request with `method`.
pub(super) fn of_response(
    method: &Method,
    status: StatusCode,
    version: Version,
    fields: &Fields,
) -> Result<Length, Malformed> {
    let (length, chunked) = (content_length(fields)?, chunked(fields)?);
    match (length, chunked) {
        (Some(_), true) => return Err(Malformed::LengthAndCoding),
        (None, true)
            if version == Version::HTTP_10 || has_no_body(status) && status != StatusCode::NOT_MODIFIED =>
        {
            return Err(Malformed::CodingOutOfPlace);
        }
        // Whoever goes by the length waits for bytes, or takes the next response for them.
        (Some(1..), false) if has_no_length(status) => return Err(Malformed::Length),
        _ => {}
    }
    if *method == Method::HEAD || has_no_body(status) {
        return Ok(Length::None);
    }
    Ok(match (length, chunked) {
        (_, true) => Length::Chunked,
        (Some(length), false) => Length::Exact(length),
        (None, false) => Length::UntilClose,
    })
}

/// Statuses whose responses end with the head, whatever it says (RFC 9112 section 6.3).
pub(super) fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// Enough for a thousand terabytes. Some readers can't count exactly to all numbers of sixteen digits (JavaScript's end at
/// 2^53), and some not to all of nineteen.
const MOST_DIGITS: usize = 15;

/// One line of nothing but digits. The RFC lets a recipient take several equal ones for one; who sits behind may not. A
/// zero in front makes an octal number of it for some.
fn content_length(fields: &Fields) -> Result<Option<u64>, Malformed> {
    let mut values = fields.all(Name::ContentLength);
    let Some(value) = values.next() else { return Ok(None) };
    let digits = (1..=MOST_DIGITS).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    if values.next().is_some() || !digits || (value.len() > 1 && value[0] == b'0') {
        return Err(Malformed::Length);
    }
    Ok(Some(value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))))
}

/// Statuses whose responses have no length either (RFC 9110 section 8.6). One of zero is common, and left out.
pub(super) fn has_no_length(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT
}

/// One line that says `chunked` and nothing else.
fn chunked(fields: &Fields) -> Result<bool, Malformed> {
    let mut values = fields.all(Name::TransferEncoding);
    let Some(value) = values.next() else { return Ok(false) };
    if values.next().is_some() || !value.eq_ignore_ascii_case(b"chunked") {
        return Err(Malformed::Coding);
    }
    Ok(true)
}
