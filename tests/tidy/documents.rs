//! Documents and code say the same: problem codes, invariants and their tests, the code map, links, commands.

use std::{collections::BTreeSet, ffi::OsStr, fs};

use super::{root, source::Source};

/// Every Markdown document of the project, from its root.
pub(crate) fn all() -> Vec<String> {
    let mut all = vec!["loadtest/express-api/README.md".to_owned()];
    for folder in ["", "docs/"] {
        for entry in fs::read_dir(root().join(folder)).into_iter().flatten() {
            let path = entry.expect("the tree does not change while it is read").path();
            if let (Some("md"), Some(name)) =
                (path.extension().and_then(OsStr::to_str), path.file_name().and_then(OsStr::to_str))
            {
                all.push(format!("{folder}{name}"));
            }
        }
    }
    all.sort();
    all
}

/// The codes a client can get: those of the decision's refusals, and those the gateway adds.
pub(crate) fn problem_codes(problem: &str, decide: &str) -> Vec<String> {
    let between = |text: &str, from: &str, to: &str| -> String {
        let inside = text.split_once(from).map(|(_, rest)| rest).unwrap_or_default();
        inside.split_once(to).map(|(inside, _)| inside.to_owned()).unwrap_or_default()
    };
    let codes = between(problem, "const CODES: &'static [&'static str] = &[", "];");
    let refusals = between(decide, "const fn code(self) -> &'static str {", "\n    }\n");
    [refusals, codes].iter().flat_map(|text| text.split('"').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// First columns of a document's tables against what the code has, both ways.
pub(crate) fn table_findings(document: &str, text: &str, wanted: &[String]) -> Vec<String> {
    if wanted.is_empty() {
        return vec![format!("{document}: nothing found in the code to compare it with")];
    }
    let rows: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name))
        .collect();
    let missing = wanted
        .iter()
        .filter(|name| rows.iter().filter(|row| row == name).count() != 1)
        .map(|name| format!("{document}: `{name}` has not exactly one row"));
    let stale = rows
        .iter()
        .filter(|row| !wanted.iter().any(|name| name == *row))
        .map(|row| format!("{document}: `{row}` is not in the code"));
    missing.chain(stale).collect()
}

/// Configuration keys and metrics that a document names are in the pages that list them.
pub(crate) fn name_findings(document: &str, text: &str, keys: &str, metrics: &str) -> Vec<String> {
    let (keys, metrics) = (first_columns(keys), first_columns(metrics));
    let sections: BTreeSet<&str> =
        keys.iter().filter_map(|key| key.split_once('.').map(|(section, _)| section)).collect();
    let plain =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || b"._0123456789".contains(&byte));
    let mut findings = Vec::new();
    for name in quoted(text).map(|name| name.split('{').next().unwrap_or(name)).filter(|name| plain(name)) {
        let is_key = name.split_once('.').is_some_and(|(section, key)| {
            sections.contains(section) && !["rs", "toml", "md", "js"].contains(&key)
        });
        let is_table = |key: &&str| key.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '[']));
        if is_key && !keys.contains(name) && !keys.iter().any(is_table) {
            findings.push(format!("{document}: `{name}` is no configuration key (docs/CONFIG.md)"));
        }
        if name.starts_with("residency_") && !metrics.contains(name) {
            findings.push(format!("{document}: `{name}` is no metric (docs/METRICS.md)"));
        }
    }
    findings
}

/// What stands between backquotes in the first columns of a document's tables.
fn first_columns(text: &str) -> BTreeSet<&str> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| row.split('|').next()).flat_map(quoted).collect()
}

/// The first two commands a reader sees are `make demo` and `make test`.
pub(crate) fn readme_findings(readme: &str, makefile: &str) -> Vec<String> {
    let mut inside = false;
    let mut commands = Vec::new();
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside && !line.trim().is_empty() {
            commands.push(line.split('#').next().unwrap_or_default().trim());
        }
    }
    let mut findings = Vec::new();
    if !commands.starts_with(&["make demo", "make test"]) {
        findings.push("README.md does not begin with `make demo` and `make test`".to_owned());
    }
    for target in ["demo", "test"] {
        if !targets(makefile).contains(target) {
            findings.push(format!("Makefile has no target `{target}`"));
        }
    }
    findings
}

/// Every `make …` in a document is a target.
pub(crate) fn target_findings(document: &str, text: &str, makefile: &str) -> Vec<String> {
    let targets = targets(makefile);
    let quoted = text.match_indices("`make ").map(|(at, _)| &text[at + "`make ".len()..]);
    let typed = text.lines().filter_map(|line| line.strip_prefix("make "));
    quoted
        .chain(typed)
        .map(|rest| rest.split(|one: char| !one.is_alphanumeric() && one != '-').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !targets.contains(target))
        .map(|target| format!("{document}: `make {target}` is no target of the Makefile"))
        .collect()
}

fn targets(makefile: &str) -> BTreeSet<&str> {
    let rules = makefile.lines().filter(|line| !line.starts_with(['\t', ' ', '#', '.']));
    rules
        .filter_map(|line| line.split_once(':'))
        .filter(|(_, rest)| !rest.starts_with('='))
        .flat_map(|(names, _)| names.split_whitespace())
        .collect()
}

/// R1…R9 each name tests that exist, or say with which part they come.
pub(crate) fn invariant_findings(architecture: &str, sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for number in 1..=9 {
        let start = format!("- **R{number} ");
        let Some((_, entry)) = architecture.split_once(&start) else {
            findings.push(format!("ARCHITECTURE.md: no entry `{start}…`"));
            continue;
        };
        let entry =
            entry.split("\n- **").next().unwrap_or_default().split("\n## ").next().unwrap_or_default();
        let tests: Vec<&str> = quoted(entry).filter(|name| is_test_name(name)).collect();
        if tests.is_empty() && !entry.contains("comes with") {
            findings.push(format!("ARCHITECTURE.md: R{number} names no test"));
        }
        let gone = tests.iter().filter(|name| !has_test(sources, name));
        findings.extend(gone.map(|name| format!("ARCHITECTURE.md: R{number}: there is no test `{name}`")));
    }
    findings
}

pub(crate) fn has_test(sources: &[Source], name: &str) -> bool {
    let definition = format!("fn {name}");
    sources.iter().any(|source| {
        source.plain.match_indices(&definition).any(|(at, _)| {
            source.plain[at + definition.len()..].starts_with('(')
                && source.plain[..at].trim_end().trim_end_matches("async").trim_end().ends_with(']')
        })
    })
}

/// What stands between backquotes on one line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Tests are sentences: at least three words.
fn is_test_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && name.matches('_').count() >= 2
}

/// Each of the crate's folders has its heading, and every path that is named is there.
pub(crate) fn code_map_findings(
    architecture: &str,
    sources: &[Source],
    exists: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let folders: BTreeSet<&str> =
        sources.iter().filter_map(|source| source.module().first().copied()).collect();
    let mut findings = Vec::new();
    for folder in folders {
        let heading = format!("### `src/{folder}`");
        match architecture.split_once(&heading) {
            None => findings.push(format!("ARCHITECTURE.md: the code map has no `{heading}`")),
            Some((_, section)) => {
                let section = section.split("\n#").next().unwrap_or_default();
                for line in ["*Invariant*", "*Boundary*"] {
                    if !section.contains(line) {
                        findings.push(format!("ARCHITECTURE.md: `src/{folder}` has no {line} line"));
                    }
                }
            }
        }
    }
    let roots = ["src/", "loadtest/", "tests/", "benches/", "docs/", "config/", "docker/"];
    let is_path = |name: &&str| {
        roots.iter().any(|root| name.starts_with(root)) && !name.contains([' ', '*', '<', '…', '{'])
    };
    let gone = quoted(architecture).filter(is_path).filter(|path| !exists(path));
    findings.extend(gone.map(|path| format!("ARCHITECTURE.md: there is no `{path}`")));
    findings
}

/// Relative links lead to files.
pub(crate) fn link_findings(document: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    text.match_indices("](")
        .filter_map(|(at, _)| text[at + 2..].split([')', ' ']).next())
        .filter(|target| !target.contains("://") && !target.starts_with(['#', '/']))
        .map(|target| target.split('#').next().unwrap_or_default())
        .filter(|target| !exists(&from_root(folder, target)))
        .map(|target| format!("{document}: the link to `{target}` leads nowhere"))
        .collect()
}

fn from_root(folder: &str, target: &str) -> String {
    if folder.is_empty() { target.to_owned() } else { format!("{folder}/{target}") }
}

#[test]
fn codes_are_read_from_the_code() {
    let problem = "pub const CODES: &'static [&'static str] = &[\n Refusal::A.code(),\n \"bad-request\",\n];\n\"other\"";
    let decide = "pub const fn code(self) -> &'static str {\n match self {\n Self::A => \"token-missing\",\n }\n    }\n\"x\"";
    assert_eq!(problem_codes(problem, decide), ["token-missing", "bad-request"]);
    assert_eq!(problem_codes("", ""), Vec::<String>::new());
}

#[test]
fn a_table_that_differs_from_the_code_is_found() {
    let wanted = ["a-b".to_owned(), "c-d".to_owned()];
    let findings = |text: &str| table_findings("docs/X.md", text, &wanted).len();
    assert_eq!(findings("| `a-b` | 1 |\n| `c-d` | 2 |\n"), 0);
    assert_eq!(findings("| `a-b` | 1 |\n"), 1);
    assert_eq!(findings("| `a-b` | 1 |\n| `a-b` | 1 |\n| `c-d` | 2 |\n"), 1);
    assert_eq!(findings("| `a-b` | 1 |\n| `c-d` | 2 |\n| `e-f` | 3 |\n"), 1);
    assert_eq!(table_findings("docs/X.md", "| `a-b` | 1 |\n", &[]).len(), 1);
}

#[test]
fn a_key_or_a_metric_that_is_not_there_is_found() {
    let keys = "| Key | Default |\n| `health.list[].name` | — |\n| `limits.headers`, `limits.peek_bytes` | `1` |\n| `region` | — |\n";
    let metrics = "| `residency_requests_total` | counter |\n";
    let findings = |text: &str| name_findings("a.md", text, keys, metrics).len();
    assert_eq!(
        findings("`limits.headers` `residency_requests_total{code=\"x\"}` `region` `limits.rs` `other.key`"),
        0
    );
    assert_eq!(findings("`limits.header`"), 1);
    assert_eq!(findings("`residency_request_total`"), 1);
}

#[test]
fn a_readme_that_begins_otherwise_is_found() {
    let makefile = "TARGET := x\n.PHONY: demo\ndemo: build\n\t./demo\ntest lint: build\n";
    let findings = |readme: &str| readme_findings(readme, makefile).len();
    assert_eq!(findings("# x\n```sh\nmake demo   # shows it\nmake test\n```\n"), 0);
    assert_eq!(findings("# x\n```sh\nmake test\nmake demo\n```\n"), 1);
    assert_eq!(readme_findings("```\nmake demo\nmake test\n```\n", "demo:\n").len(), 1);
    assert_eq!(target_findings("a.md", "`make lint`, `make demo ONCE=1`\nmake test\n", makefile).len(), 0);
    assert_eq!(target_findings("a.md", "`make bench`\nmake TARGET\n", makefile).len(), 2);
}

#[test]
fn an_invariant_without_a_test_that_exists_is_found() {
    let sources = [Source::new(
        "src/a.rs",
        "#[test]\nfn one_two_three() {}\n#[tokio::test]\nasync fn four_five_six() {}\nfn no_test_at_all() {}\n",
    )];
    let page = |seven: &str| -> String {
        let entry = |number: usize| match number {
            7 => format!("- **R7 Name.** Text: {seven}\n"),
            _ => format!("- **R{number} Name.** Text: `one_two_three`.\n"),
        };
        (1..=9).map(entry).collect::<String>() + "\n## Next\n`gone_gone_gone`\n"
    };
    let findings = |seven: &str| invariant_findings(&page(seven), &sources).len();
    assert_eq!(findings("`four_five_six`, `not a test`"), 0);
    assert_eq!(findings("comes with the register"), 0);
    assert_eq!(findings("nothing"), 1);
    assert_eq!(findings("`gone_gone_gone`"), 1);
    assert_eq!(findings("`no_test_at_all`"), 1);
    assert_eq!(invariant_findings("", &sources).len(), 9);
}

#[test]
fn a_folder_or_a_path_that_the_map_gets_wrong_is_found() {
    let sources = [Source::new("src/tls/pem.rs", "")];
    let findings = |map: &str| {
        code_map_findings(map, &sources, &|path| ["src/tls/pem.rs", "src/tls", "src/pki"].contains(&path))
            .len()
    };
    let section = "### `src/tls`: certificates\n*Invariant* a. *Boundary* b.\n";
    assert_eq!(findings(&format!("{section}`src/tls/pem.rs`\n")), 0);
    assert_eq!(findings(&format!("{section}`src/tls/gone.rs`\n")), 1);
    assert_eq!(findings("### `src/tls`\n*Invariant* a.\n### `src/pki`\n*Boundary* b.\n"), 1);
    assert_eq!(findings(""), 1);
}

#[test]
fn links_to_nowhere_are_found() {
    let exists = |path: &str| path == "docs/METRICS.md" || path == "README.md" || path == "docs/../README.md";
    let findings = |document: &str, text: &str| link_findings(document, text, &exists).len();
    assert_eq!(findings("README.md", "[a](docs/METRICS.md#b) [c](https://example.com) [d](#e)"), 0);
    assert_eq!(findings("docs/METRICS.md", "[a](../README.md)"), 0);
    assert_eq!(findings("README.md", "[a](docs/GONE.md)"), 1);
}
