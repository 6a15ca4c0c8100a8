//! The identifier a request names (an e-mail address, an API key, a session), and with it the subject whose home it goes to:
//! for logins and for what carries no JWT.
//!
//! Who is not found goes where the rule says, and how long that takes and what it answers is as for one who is found: a look-up
//! in memory either way. Whoever names another's has been sent to a home and is refused there (R8).

use super::Named;

/// Longer ones are no identifiers: e-mail addresses have at most 254 bytes (RFC 5321 §4.5.3.1.3), keys and sessions less than
/// this, and nothing longer is ever assigned.
pub const MOST_BYTES: usize = 1024;

/// The identifier, without white space around it. All values have to be the same.
pub fn only<'named>(named: &'named Named<'_>) -> Option<&'named str> {
    let Named::Texts(texts) = named else { return None };
    let mut texts = texts.iter().map(|text| text.trim());
    let first = texts.next()?;
    (is_identifier(first) && texts.all(|other| other == first)).then_some(first)
}

/// What can be assigned to a subject.
pub fn is_identifier(text: &str) -> bool {
    (1..=MOST_BYTES).contains(&text.len()) && text.trim() == text && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests;
