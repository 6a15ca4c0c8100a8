//! The shape of a file: one concept, named after it, with its theory first, short enough to be read at once.

use super::source::Source;

const MOST_LINES: usize = 500;
/// Tables of cases are long and read in pieces.
const MOST_LINES_OF_TESTS: usize = 800;
/// Arguments → run → exit code.
const MOST_LINES_OF_A_PROGRAM: usize = 40;

/// Names that say where something was put and not what it is.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "manager", "managers", "types", "misc", "mod"];

/// What unfinished work leaves behind, and what to write instead.
const UNFINISHED: &[(&str, &str)] = &[
    ("todo!", "finish it"),
    ("unimplemented!", "finish it"),
    ("#[ignore]", "say why: #[ignore = \"…\"]"),
    (".unwrap()", "write expect(\"why it can't fail\"), or return the error"),
];

pub(crate) fn findings(source: &Source) -> Vec<String> {
    let path = &source.path;
    let mut findings = Vec::new();
    let most = match source.module().first() {
        _ if source.is_test => MOST_LINES_OF_TESTS,
        Some(&"bin") if path.starts_with("src/") => MOST_LINES_OF_A_PROGRAM,
        _ => MOST_LINES,
    };
    if source.lines() > most {
        findings.push(format!("{path}: {} lines; at most {most}: split it by concept", source.lines()));
    }
    let empty = |name: &&str| name.split(['_', '-']).any(|word| EMPTY_NAMES.contains(&word));
    let names = path.split('/').map(|name| name.strip_suffix(".rs").unwrap_or(name));
    findings.extend(names.filter(empty).map(|name| format!("{path}: `{name}` names no concept")));
    if !source.is_test && !source.text.starts_with("//!") {
        findings.push(format!("{path}: opens without its theory (`//!`)"));
    }
    for (word, remedy) in UNFINISHED {
        // In tests a panic is a verdict.
        let code = if *word == ".unwrap()" { &source.code } else { &source.plain };
        if *word == ".unwrap()" && source.is_test {
            continue;
        }
        let places = code.match_indices(word).map(|(at, _)| source.place(at));
        findings.extend(places.map(|place| format!("{place}: `{word}`: {remedy}")));
    }
    findings
}

#[cfg(test)]
fn found(path: &str, text: &str) -> usize {
    findings(&Source::new(path, text)).len()
}

#[test]
fn sizes_are_bounded() {
    let lines = |count: usize| format!("//! Theory.\n{}", "// more\n".repeat(count - 1));
    for (path, fits) in
        [("src/auth/token.rs", MOST_LINES), ("src/bin/residency-gateway.rs", MOST_LINES_OF_A_PROGRAM)]
    {
        assert_eq!(found(path, &lines(fits)), 0, "{path}");
        assert_eq!(found(path, &lines(fits + 1)), 1, "{path}");
    }
    let test = |count: usize| Source { is_test: true, ..Source::new("src/auth/tests.rs", &lines(count)) };
    assert_eq!(findings(&test(MOST_LINES_OF_TESTS)).len(), 0);
    assert_eq!(findings(&test(MOST_LINES_OF_TESTS + 1)).len(), 1);
}

#[test]
fn names_and_openings_say_what_a_file_is() {
    for path in [
        "src/auth/mod.rs",
        "src/util.rs",
        "src/auth/string_helpers.rs",
        "src/common/token.rs",
        "src/types.rs",
    ] {
        assert_eq!(found(path, "//! Theory.\n"), 1, "{path}");
    }
    assert_eq!(found("src/auth/token.rs", "//! Theory.\n"), 0);
    assert_eq!(found("src/auth/model.rs", "use a::b;\n"), 1);
    assert_eq!(found("src/auth/modular.rs", "//! Theory.\n"), 0);
}

#[test]
fn unfinished_work_is_found() {
    for line in [
        "fn f() { todo!() }",
        "fn f() { unimplemented!() }",
        "#[ignore]\nfn t() {}",
        "fn f() { g().unwrap() }",
    ] {
        assert_eq!(found("src/auth/token.rs", &format!("//! Theory.\n{line}\n")), 1, "{line}");
    }
    for line in [
        "// todo!",
        "#[ignore = \"a measurement\"]\nfn t() {}",
        "fn f() { g().unwrap_or_default() }",
        "#[cfg(test)]\nmod tests { fn t() { g().unwrap() } }",
        "const A: &str = \".unwrap()\";",
    ] {
        assert_eq!(found("src/auth/token.rs", &format!("//! Theory.\n{line}\n")), 0, "{line}");
    }
    assert_eq!(found("src/a.rs", "//! T.\n#[cfg(test)]\nmod tests { #[ignore]\nfn t() {} }"), 1);
}
