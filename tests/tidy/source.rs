//! Source files as text to judge: without comments, without what is in strings, and without tests.
//!
//! Invariants
//! - Blanking keeps every line where it is, so that a finding's line number is the file's.
//! - A file is a test if a `#[cfg(test)] mod name;` leads to it; an item under `#[cfg(test)]` is blanked.
//!
//! Absent by design: a parser. Macros that write code and names that are bent on hiding are what reviews are for.

use std::{collections::BTreeSet, fs, path::Path};

use super::root;

/// One Rust file.
pub(crate) struct Source {
    /// From the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and strings' contents blanked.
    pub(crate) plain: String,
    /// The same with test items blanked, too: what ships.
    pub(crate) code: String,
    pub(crate) is_test: bool,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let plain = without_comments_and_strings(text);
        let code = without_tests(&plain);
        Self { path: path.to_owned(), text: text.to_owned(), plain, code, is_test: false }
    }

    pub(crate) fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// `src/gateway/watch/board.rs` → `["gateway", "watch", "board"]`; the crate's root is empty.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.split_once("src/").map_or(self.path.as_str(), |(_, inside)| inside);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        if path == "lib" || path == "main" { Vec::new() } else { path.split('/').collect() }
    }

    /// `path:line` of a place in the code.
    pub(crate) fn place(&self, offset: usize) -> String {
        format!("{}:{}", self.path, self.code[..offset].matches('\n').count() + 1)
    }

    /// Where `word` stands in the code as a word of its own.
    pub(crate) fn find_word<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + word.len()..].chars().next();
            let joins = |edge: Option<char>, next: Option<char>| {
                edge.is_some_and(is_identifier) && next.is_some_and(is_identifier)
            };
            !joins(word.chars().next(), before) && !joins(word.chars().next_back(), after)
        })
    }
}

/// All Rust files below a folder, tests marked. The folder may be missing.
pub(crate) fn read_tree(folder: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    walk(&root().join(folder), &mut sources);
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    mark_tests(&mut sources);
    sources
}

fn walk(folder: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("the tree does not change while it is read").path();
        if path.is_dir() {
            walk(&path, sources);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let inside = path.strip_prefix(root()).expect("found below the root");
            sources.push(Source::new(&inside.to_string_lossy().replace('\\', "/"), &text));
        }
    }
}

pub(crate) fn mark_tests(sources: &mut [Source]) {
    let mut tests = BTreeSet::new();
    for source in sources.iter() {
        let path = source.path.strip_suffix(".rs").unwrap_or(&source.path);
        let folder = match path.rsplit_once('/') {
            Some((folder, "lib" | "main")) => folder,
            _ => path,
        };
        for (item, _, _) in test_items(&source.plain) {
            let words: Vec<&str> = item.trim_end_matches(';').split_whitespace().collect();
            if let [.., "mod", name] = words[..] {
                tests.insert(format!("{folder}/{name}"));
            }
        }
    }
    for source in sources {
        let path = source.path.strip_suffix(".rs").unwrap_or(&source.path);
        source.is_test = source.path.starts_with("tests/")
            || tests.iter().any(|test| path == test || path.starts_with(&format!("{test}/")));
    }
}

pub(crate) fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The items under `#[cfg(test)]`: their text after the attributes, and where attribute and item begin and end.
fn test_items(code: &str) -> Vec<(&str, usize, usize)> {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut items = Vec::new();
    let mut from = 0;
    while let Some(found) = code[from..].find(ATTRIBUTE) {
        let start = from + found;
        let mut item = start + ATTRIBUTE.len();
        loop {
            item += code[item..].len() - code[item..].trim_start().len();
            if !code[item..].starts_with("#[") {
                break;
            }
            item = end_of_brackets(code, item + 1);
        }
        let end = end_of_item(code, item);
        items.push((&code[item..end], start, end));
        from = end;
    }
    items
}

/// The end of the item that begins at `from`: its `;`, or the brace that closes it.
fn end_of_item(code: &str, from: usize) -> usize {
    let is_use = code[from..].starts_with("use ") || code[from..].starts_with("pub use ");
    let mut at = from;
    while let Some(character) = code[at..].chars().next() {
        match character {
            ';' => return at + 1,
            '{' if !is_use => return end_of_brackets(code, at),
            '(' | '[' | '{' => at = end_of_brackets(code, at),
            other => at += other.len_utf8(),
        }
    }
    code.len()
}

/// One past the bracket that closes the one at `from`.
fn end_of_brackets(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, character) in code[from..].char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth -= 1;
                if depth == 0 {
                    return from + at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

fn without_tests(code: &str) -> String {
    let mut blanked = code.to_owned();
    for (_, start, end) in test_items(code) {
        blanked.replace_range(start..end, &blank(&code[start..end]));
    }
    blanked
}

/// Spaces as long as the text, byte for byte, with its line ends.
fn blank(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let after_name = code.chars().next_back().is_some_and(is_identifier);
        let (kept, blanked) = if rest.starts_with("//") {
            (0, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (0, length_of_comment(rest))
        } else if character == '"' {
            (1, length_of_string(rest) - 1)
        } else if let Some(raw) = length_of_raw_string(rest).filter(|_| !after_name) {
            (0, raw)
        } else if character == '\'' {
            match length_of_character(rest) {
                Some(length) => (0, length),
                None => (1, 0),
            }
        } else {
            (character.len_utf8(), 0)
        };
        code.push_str(&rest[..kept]);
        code.push_str(&blank(&rest[kept..kept + blanked]));
        rest = &rest[kept + blanked..];
    }
    code
}

/// Comments nest.
fn length_of_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// With both quotes.
fn length_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn length_of_raw_string(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let hashes = inside.len() - inside.trim_start_matches('#').len();
    let inside = inside[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(text.len() - inside.len() + length)
}

/// `None` for a lifetime.
fn length_of_character(text: &str) -> Option<usize> {
    let inside = &text[1..];
    if let Some(escape) = inside.strip_prefix('\\') {
        let escaped = escape.chars().next()?.len_utf8();
        return escape[escaped..].find('\'').map(|end| 1 + 1 + escaped + end + 1);
    }
    let length = inside.chars().next()?.len_utf8();
    inside[length..].starts_with('\'').then_some(1 + length + 1)
}

#[test]
fn comments_strings_and_tests_are_blanked_and_lines_stay() {
    let source = Source::new(
        "src/domain/decide.rs",
        r##"//! tracing in a theory
use a::b; // tracing
/* tracing /* nested */ tracing */
const TEXT: &str = "tracing \" tracing"; const RAW: &str = r#"tracing " tracing"#;
fn f<'a>(x: &'a str) -> char { '"' }
fn g() -> char { '\'' } fn h() { kept() }
#[cfg(test)]
#[allow(dead_code, reason = "x")]
mod tests { fn t() { tracing } }
#[cfg(test)]
use crate::{tracing};
fn last() {}
"##,
    );
    assert!(!source.code.contains("tracing"), "{}", source.code);
    for kept in ["use a::b;", "fn f<'a>(x: &'a str)", "fn h() { kept() }", "fn last() {}"] {
        assert!(source.code.contains(kept), "{kept} in {}", source.code);
    }
    assert_eq!(source.code.len(), source.text.len());
    let last = source.find_word("last").next().expect("the last function is found");
    assert_eq!(source.place(last), "src/domain/decide.rs:12");
}

#[test]
fn tests_are_found_by_who_names_them() {
    let mut sources = [
        Source::new(
            "src/tls.rs",
            "mod pem;\n#[cfg(test)]\npub(crate) mod handshake;\n#[cfg(test)]\nmod tests;\n",
        ),
        Source::new("src/tls/pem.rs", ""),
        Source::new("src/tls/handshake.rs", ""),
        Source::new("src/tls/tests.rs", ""),
        Source::new("src/tls/tests/cluster.rs", ""),
        Source::new("src/tls/tests_of_none.rs", ""),
    ];
    mark_tests(&mut sources);
    let marked: Vec<bool> = sources.iter().map(|source| source.is_test).collect();
    assert_eq!(marked, [false, false, true, true, true, false]);
}

#[test]
fn words_are_whole_words() {
    let source = Source::new("src/a.rs", "tokio::spawn(); my_tokio(); tokios; tokio");
    assert_eq!(source.find_word("tokio").count(), 2);
    assert_eq!(source.find_word("tokio::").count(), 1);
}
