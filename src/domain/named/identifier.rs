//! The identifier a request names (an e-mail address, an API key, a session), and with it the subject whose home it goes to:
//! for logins and for what carries no JWT.
//!
//! The register holds identifiers as the API has assigned them, and an API has a form of its own for each: most write addresses
//! in small letters, keys as they are. What a request names is looked for as it is written and then in small letters, so that
//! `Ada@Example.org` finds `ada@example.org`, and two keys that differ in their letters' case stay two. Whoever finds the wrong
//! one has been sent to a home and is refused there (R8).
//!
//! Who is not found goes where the rule says, and how long that takes and what it answers is as for one who is found: both
//! spellings are looked up whatever the first has come to.

use std::borrow::Cow;

use super::Named;

/// Longer ones are no identifiers: e-mail addresses have at most 254 bytes (RFC 5321 §4.5.3.1.3), keys and sessions less than
/// this, and nothing longer is ever assigned.
pub const MOST_BYTES: usize = 1024;

/// The ways in which a register may have it: as written, and in small letters.
pub fn spellings<'named>(named: &'named Named<'_>) -> Option<[Cow<'named, str>; 2]> {
    let Named::Texts(texts) = named else { return None };
    let mut texts = texts.iter().map(|text| text.trim());
    let first = texts.next()?;
    let known = is_identifier(first) && texts.all(|other| other == first);
    known.then(|| [Cow::Borrowed(first), Cow::Owned(first.to_lowercase())])
}

/// What can be assigned to a subject.
pub fn is_identifier(text: &str) -> bool {
    (1..=MOST_BYTES).contains(&text.len()) && text.trim() == text && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests;
