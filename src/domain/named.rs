//! What a request without a token names: a [country](country), whose jurisdiction is its home, or an
//! [identifier](identifier), whose subject's home a register knows.
//!
//! Invariants
//! - It chooses a home and nothing else (R8).
//! - What is named twice and differently is not known: whoever reads the request next might take the other one.
//! - Time and memory are linear in what was read ahead, which `limits.peek_bytes` bounds.
//!
//! Absent by design: reading bodies, and guessing. A body that isn't whole, or isn't what its type says, names nothing.

use std::borrow::Cow;

use super::media_type::MediaType;

pub mod country;
pub mod identifier;
mod multipart;
mod pointer;

/// Where a request says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameSource {
    /// A JSON pointer (RFC 6901) into the body.
    Json(String),
    /// A field of a form, URL-encoded or multipart.
    Form(String),
    /// A header, its name in lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A parameter of the route's pattern.
    Path(String),
}

/// A body that was read to its end.
#[derive(Debug, Clone, Copy)]
pub struct WholeBody<'body> {
    /// The value of the only such header line; `None` when there are several.
    pub content_type: Option<&'body [u8]>,
    pub bytes: &'body [u8],
}

/// Everything that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named<'request> {
    /// Nothing, or nothing that can be read.
    Nothing,
    /// One thing by the one way through the body and another by the other.
    Differently,
    /// In the order of the request, at least one.
    Texts(Vec<Cow<'request, str>>),
}

impl NameSource {
    /// It can't be found without the body.
    pub fn reads_body(&self) -> bool {
        matches!(self, Self::Json(_) | Self::Form(_))
    }

    /// The parameter of the pattern it is.
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Self::Path(parameter) => Some(parameter),
            _ => None,
        }
    }

    /// What the request names here. `header` gives the values of all lines of a header, whose name is in lower case; `body` is
    /// looked at only if the source [reads it](NameSource::reads_body); `parameter` is the path's, percent-encoded as it came.
    pub fn find<'source, 'request, Values>(
        &'source self,
        body: &WholeBody<'request>,
        parameter: Option<&'request str>,
        header: impl FnOnce(&'source str) -> Values,
    ) -> Named<'request>
    where
        Values: IntoIterator<Item = &'request [u8]>,
    {
        let texts: Vec<_> = match self {
            Self::Json(pointer) => match pointer::text_at(body.bytes, pointer) {
                pointer::Pointed::Nothing => return Named::Nothing,
                pointer::Pointed::Differently => return Named::Differently,
                pointer::Pointed::Text(text) => vec![Cow::Owned(text)],
            },
            Self::Form(field) => of_form(field, body),
            Self::Header(name) => header(name).into_iter().map(|value| as_text(value.trim_ascii())).collect(),
            Self::Cookie(name) => {
                header("cookie").into_iter().flat_map(|line| of_cookies(line, name)).collect()
            }
            Self::Path(_) => parameter
                .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy())
                .into_iter()
                .collect(),
        };
        if texts.is_empty() { Named::Nothing } else { Named::Texts(texts) }
    }
}

fn of_form<'body>(field: &str, body: &WholeBody<'body>) -> Vec<Cow<'body, str>> {
    let media_type = body.content_type.and_then(MediaType::parse);
    match media_type {
        Some(media) if media.is("application/x-www-form-urlencoded") => {
            let fields = form_urlencoded::parse(body.bytes).filter(|(name, _)| name == field);
            fields.map(|(_, value)| value).collect()
        }
        Some(media) if media.is("multipart/form-data") => {
            let boundary = media.parameter("boundary");
            let values = boundary.and_then(|boundary| multipart::values(body.bytes, boundary, field));
            values.unwrap_or_default().into_iter().map(as_text).collect()
        }
        _ => Vec::new(),
    }
}

/// The values of one cookie in one header line. An empty one is what logging out leaves behind, and counts as none.
fn of_cookies<'line>(line: &'line [u8], name: &str) -> impl Iterator<Item = Cow<'line, str>> {
    line.split(|byte| *byte == b';').filter_map(move |pair| {
        let equals = memchr::memchr(b'=', pair)?;
        let value = match pair[equals + 1..].trim_ascii() {
            [b'"', inner @ .., b'"'] => inner,
            value => value,
        };
        let is_it = pair[..equals].trim_ascii() == name.as_bytes() && !value.is_empty();
        is_it.then(|| as_text(value))
    })
}

/// What isn't UTF-8 names nothing that anyone knows.
fn as_text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests;
