//! GraphQL's tokens (specification of September 2025, §2.1), as far as the outline of a document needs them.
//!
//! What matters is what can hide a bracket or a keyword: strings, block strings and comments are told exactly. Numbers and most
//! punctuators are not told apart; they hide nothing.

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'text> {
    Name(&'text str),
    /// A string or a block string.
    Text,
    /// `(`, `[` or `{`; the byte is the bracket that closes it.
    Open(u8),
    Close(u8),
    /// `@`
    At,
    /// A part of a number, or any other punctuator.
    Other,
}

/// The text holds something that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoToken;

/// What is left of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lexer<'text> {
    rest: &'text str,
}

impl<'text> Lexer<'text> {
    pub(super) const fn new(text: &'text str) -> Self {
        Self { rest: text }
    }

    /// The next token, without taking it.
    pub(super) fn peek(self) -> Result<Option<Token<'text>>, NoToken> {
        let mut ahead = self;
        ahead.advance()
    }

    /// Takes the next token; `None` at the end.
    pub(super) fn advance(&mut self) -> Result<Option<Token<'text>>, NoToken> {
        self.skip_ignored();
        let Some(&first) = self.rest.as_bytes().first() else { return Ok(None) };
        let token = match first {
            b'(' => Token::Open(b')'),
            b'[' => Token::Open(b']'),
            b'{' => Token::Open(b'}'),
            b')' | b']' | b'}' => Token::Close(first),
            b'@' => Token::At,
            b'"' => {
                self.skip_text()?;
                return Ok(Some(Token::Text));
            }
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                let is_end = |byte: &u8| !(byte.is_ascii_alphanumeric() || *byte == b'_');
                let length = self.rest.bytes().position(|byte| is_end(&byte)).unwrap_or(self.rest.len());
                return Ok(Some(Token::Name(self.take(length))));
            }
            b'0'..=b'9' | b'!' | b'$' | b'&' | b'.' | b':' | b'=' | b'|' | b'-' | b'+' => Token::Other,
            _ => return Err(NoToken),
        };
        self.take(1);
        Ok(Some(token))
    }

    /// White space, commas, byte order marks and comments, which end with their line.
    fn skip_ignored(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches(['\u{feff}', ' ', '\t', '\n', '\r', ',']);
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = self.rest.find(['\n', '\r']).map_or("", |end| &self.rest[end..]);
        }
    }

    fn skip_text(&mut self) -> Result<(), NoToken> {
        if let Some(mut block) = self.rest.strip_prefix("\"\"\"") {
            loop {
                let end = block.find("\"\"\"").ok_or(NoToken)?;
                let escaped = block[..end].ends_with('\\');
                block = &block[end + 3..];
                if !escaped {
                    self.rest = block;
                    return Ok(());
                }
            }
        }
        let mut from = 1;
        loop {
            let found = self.rest[from..].find(['"', '\\', '\n', '\r']).ok_or(NoToken)?;
            from += found + 1;
            match self.rest.as_bytes()[from - 1] {
                b'"' => {
                    self.take(from);
                    return Ok(());
                }
                // What is escaped is one ASCII character, or the `u` of a longer escape; anything else is no string.
                b'\\' if self.rest[from..].starts_with(|one: char| "\"\\/bfnrtu".contains(one)) => from += 1,
                _ => return Err(NoToken),
            }
        }
    }

    fn take(&mut self, length: usize) -> &'text str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }
}
