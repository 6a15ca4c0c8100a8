//! Keeping personal data and secrets out of the operational log (R7).
//!
//! The rule, in order of weight:
//! 1. Types. Whatever is secret or personal is in a type that does not print it; an error that a request can cause
//!    carries a code, a position or a keyed hash, never what the client sent. This is what reviews look at.
//! 2. Levels. Only this program's own messages follow the configured level. Libraries are heard from `warn` up, because
//!    some print headers, statements or tokens below that ([`log`](super::log)).
//! 3. [`redact`], on every line, for messages written by others: a constraint violation quotes the row
//!    (`Key (email)=(a@b.c) already exists`), a bad connection string its password. It knows e-mail addresses, JSON Web
//!    Tokens, credentials after `Bearer` or `Basic`, passwords in URLs and `password=` in connection strings.
//!
//! What 3 can't know: names, postal and network addresses, opaque keys. So it is a net under the rope, not the rope.

use std::borrow::Cow;

/// What is printed in place of something that must not be.
pub const REDACTED: &str = "[redacted]";

/// `text` without what looks like an e-mail address, a token or a password.
pub fn redact(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut clean = String::new();
    let mut kept = 0;
    let mut at = 0;
    while at < bytes.len() {
        match secret_at(bytes, kept, at) {
            Some((start, end)) => {
                clean.push_str(&text[kept..start]);
                clean.push_str(REDACTED);
                kept = end;
                at = end;
            }
            None => at += 1,
        }
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[kept..]);
    Cow::Owned(clean)
}

/// The same for a line of JSON, which stays the JSON it was: escapes are stepped over, and what goes holds no quote.
pub(super) fn redact_json(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(backslash) = rest.find('\\') {
        clean.push_str(&redact(&rest[..backslash]));
        let escape = if rest[backslash + 1..].starts_with('u') { 6 } else { 2 };
        let end = rest.len().min(backslash + escape);
        clean.push_str(&rest[backslash..end]);
        rest = &rest[end..];
    }
    clean.push_str(&redact(rest));
    clean
}

/// The range of the secret that the byte at `at` gives away; it starts at `kept` or later. Ranges begin and end beside
/// ASCII bytes or at the text's ends, hence on character boundaries.
fn secret_at(bytes: &[u8], kept: usize, at: usize) -> Option<(usize, usize)> {
    match bytes[at] {
        b'@' => at_sign(bytes, kept, at),
        b'e' if bytes[at..].starts_with(b"eyJ") && !word_before(bytes, at) => {
            let end = run(bytes, at, |byte| is_base64(byte) || byte == b'.');
            bytes[at..end].contains(&b'.').then_some((at, end))
        }
        b' ' => ["bearer", "basic"].iter().find_map(|scheme| {
            let named =
                at >= scheme.len() && bytes[at - scheme.len()..at].eq_ignore_ascii_case(scheme.as_bytes());
            let end = run(bytes, at + 1, |byte| is_base64(byte) || byte == b'.' || byte == b'~');
            // Shorter ones are words: "basic functions", "the bearer of".
            (named && end - at > 12).then_some((at + 1, end))
        }),
        b'=' => {
            let named = ["password", "passwd", "secret"].iter().any(|name| {
                at >= name.len() && bytes[at - name.len()..at].eq_ignore_ascii_case(name.as_bytes())
            });
            let end = run(bytes, at + 1, |byte| !byte.is_ascii_whitespace() && !b"\"'&,;)\\".contains(&byte));
            (named && end > at + 1).then_some((at + 1, end))
        }
        _ => None,
    }
}

/// An e-mail address around the sign, or the user and password of a URL before it.
fn at_sign(bytes: &[u8], kept: usize, at: usize) -> Option<(usize, usize)> {
    let start = at - bytes[kept..at].iter().rev().take_while(|&&byte| !ends_url_user(byte)).count();
    if bytes[kept..start].ends_with(b"//") && start < at {
        return Some((start, at));
    }
    let start = at - bytes[kept..at].iter().rev().take_while(|&&byte| is_local_part(byte)).count();
    let end = run(bytes, at + 1, is_domain);
    (start < at && end > at + 1).then_some((start, end))
}

fn run(bytes: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    from + bytes[from..].iter().take_while(|&&byte| belongs(byte)).count()
}

fn word_before(bytes: &[u8], at: usize) -> bool {
    at > 0 && is_base64(bytes[at - 1])
}

/// base64 and base64url.
fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_+/=".contains(&byte)
}

/// RFC 5321's unquoted local part, and any byte of a character beyond ASCII (RFC 6531).
fn is_local_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".!#$%&'*+-/=?^_`{|}~".contains(&byte) || !byte.is_ascii()
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-' || !byte.is_ascii()
}

fn ends_url_user(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"/\"'<>\\".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_looks_personal_or_secret_goes() {
        for (text, expected) in [
            ("Key (email)=(alice@example.com) already exists.", "Key (email)=([redacted]) already exists."),
            ("to ü.müller+x@bücher.example, cc b@c", "to [redacted], cc [redacted]"),
            ("mailto:a@b.example@c", "mailto:[redacted]@c"),
            ("postgres://app:s3cr%40t@10.0.0.1:5432/us", "postgres://[redacted]@10.0.0.1:5432/us"),
            ("postgres://app@db/us and x@y.example", "postgres://[redacted]@db/us and [redacted]"),
            ("host=db user=app password=hunter2 port=1", "host=db user=app password=[redacted] port=1"),
            ("bad token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln, refused", "bad token [redacted], refused"),
            ("Authorization: Bearer 0123456789abcdef", "Authorization: Bearer [redacted]"),
            ("authorization: basic dXNlcjpwYXNzd29yZA==", "authorization: basic [redacted]"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(expected), expected, "redacting twice changes nothing");
        }
    }

    #[test]
    fn what_operators_need_stays() {
        for text in [
            "connect to 10.1.0.11:3000: connection refused (os error 111)",
            "config/gateway.toml: token.issuers[0].jwks: https://auth.acme.com/keys is no key set",
            "@eea has 30 countries; an address is a @ b",
            "the bearer of this has basic rights; password= is empty; keyJar.key",
            "",
        ] {
            assert!(
                matches!(redact(text), Cow::Borrowed(same) if same == text),
                "{text} became {}",
                redact(text)
            );
        }
    }

    proptest! {
        #[test]
        fn addresses_and_tokens_never_survive_whatever_is_around_them(
            before in any::<String>(), after in any::<String>(), user in "[a-z]{8,12}",
        ) {
            let mail = format!("{user}@example.com");
            let text = format!("{before}{mail}{after}");
            prop_assert!(!redact(&text).contains(&mail));
            let token = format!("eyJ{user}.eyJ{user}.{user}");
            let text = format!("{before} {token}{after}");
            prop_assert!(!redact(&text).contains(&token));
        }

        #[test]
        fn json_stays_json(text in any::<String>(), mail in "[\\n\"\\\\u0001 ]{0,3}[a-z]{1,5}@[a-z]{1,5}[\\n\"\\\\]{0,2}") {
            let line = serde_json::json!({ "message": format!("{text}{mail}{text}"), "n": 1 }).to_string();
            let redacted = redact_json(&line);
            let parsed: serde_json::Value = serde_json::from_str(&redacted).expect("still JSON");
            prop_assert!(parsed["message"].as_str().is_some_and(|message| message.contains(REDACTED)));
            prop_assert_eq!(&parsed["n"], 1);
        }
    }
}
