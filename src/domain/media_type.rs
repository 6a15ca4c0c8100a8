//! `Content-Type`, and parameters in general (RFC 9110 §8.3.1, §5.6.6), read strictly: what has two readings has none.

/// A media type with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MediaType<'text> {
    essence: &'text str,
    parameters: Vec<(&'text str, String)>,
}

impl<'text> MediaType<'text> {
    pub(super) fn parse(value: &'text [u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (essence, rest) = text.split_once(';').unwrap_or((text, ""));
        Some(Self { essence: essence.trim(), parameters: parameters(rest)? })
    }

    /// The type is this one; case doesn't count.
    pub(super) fn is(&self, essence: &str) -> bool {
        self.essence.eq_ignore_ascii_case(essence)
    }

    /// The parameter's value, if it is there once.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let mut found = self.parameters.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let (_, value) = found.next()?;
        found.next().is_none().then_some(value)
    }

    /// It says nothing about its characters, or that they are UTF-8.
    pub(super) fn is_utf8(&self) -> bool {
        let mut charsets = self.parameters.iter().filter(|(key, _)| key.eq_ignore_ascii_case("charset"));
        charsets.all(|(_, value)| value.eq_ignore_ascii_case("utf-8"))
    }
}

/// `name=value` and `name="value"` between semicolons. Backslashes are refused: browsers and libraries disagree about them.
pub(super) fn parameters(text: &str) -> Option<Vec<(&str, String)>> {
    let mut parameters = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(next) = rest.strip_prefix(';') {
            rest = next.trim_start();
            continue;
        }
        let (name, value) = rest.split_once('=')?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => {
                let (token, after) = value.split_at(value.find(';').unwrap_or(value.len()));
                (token.trim_end(), after)
            }
        };
        let after = after.trim_start();
        let is_token = |text: &str| !text.is_empty() && !text.contains([' ', '\t', '"', ';', ',']);
        if !is_token(name) || value.contains(['\\', '"']) || !(after.is_empty() || after.starts_with(';')) {
            return None;
        }
        parameters.push((name, value.to_owned()));
        rest = after;
    }
    Some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_in_one_way_or_not_at_all() {
        let read = |text: &'static str| {
            parameters(text)
                .map(|all| all.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>())
        };
        for (text, expect) in [
            ("", vec![]),
            (" ; ", vec![]),
            ("charset=utf-8", vec!["charset=utf-8"]),
            ("a=b; c=\"d; e=f\" ;;g=h", vec!["a=b", "c=d; e=f", "g=h"]),
            ("name=\"\"", vec!["name="]),
            ("a=b ;c=\" d \" ", vec!["a=b", "c= d "]),
        ] {
            assert_eq!(read(text), Some(expect.into_iter().map(str::to_owned).collect()), "{text}");
        }
        for text in ["a", "a; b=c", "=b", "a=\"b", "a=\"b\\\"c\"", "a=\"b\"c", "a b=c", "a=b\\"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_type_is_itself_in_any_case() {
        let media = MediaType::parse(b" Text/HTML ; Charset=UTF-8;x=y; x=z").expect("a type");
        assert!(media.is("text/html") && media.is_utf8());
        assert_eq!((media.parameter("charset"), media.parameter("x")), (Some("UTF-8"), None));
        assert!(!MediaType::parse(b"text/html;charset=latin1").expect("a type").is_utf8());
        assert_eq!(MediaType::parse(b"text/\xff"), None);
    }
}
