//! Who may know whom: bin → applications → edges → domain, and the few edges that know another edge.
//!
//! Test files are free: a test may bring what it needs to set a scene.

use std::collections::BTreeSet;

use super::source::{Source, is_identifier};

/// What everyone but the domain itself may know.
const FOUNDATION: &[&str] = &["domain", "clock"];

/// The outside's doors, each with the other edges it may know and why.
const EDGES: &[(&str, &[&str])] = &[
    ("auth", &[]),
    ("tls", &[]),
    ("telemetry", &[]),
    ("http1", &[]),
    // TLS toward databases is made by the same provider.
    ("postgres", &["tls"]),
    // Registers are in databases; what becomes of following them is counted.
    ("routing_table", &["postgres", "telemetry"]),
    // A validated configuration is made of the edges' own validated parts: issuers' policies, database URLs, the names
    // that certificates answer for.
    ("config", &["auth", "postgres", "tls"]),
    // Who is dialled is configured; what became of it is counted; what is spoken is HTTP/1.1, or HTTP/2 in its terms.
    ("upstream", &["config", "telemetry", "http1"]),
];

/// Each uses any edge and no other application.
const APPLICATIONS: &[&str] = &["gateway", "pki", "promotion", "register"];

/// Whether code in `folder` may refer to `other`; both are modules of the crate's root.
fn may_know(folder: &str, other: &str) -> bool {
    let is_edge = |name: &str| EDGES.iter().any(|(edge, _)| *edge == name);
    if folder == other {
        return true;
    }
    match folder {
        "domain" | "clock" => false,
        _ if APPLICATIONS.contains(&folder) => FOUNDATION.contains(&other) || is_edge(other),
        _ => {
            let row = EDGES.iter().find(|(edge, _)| *edge == folder);
            row.is_some_and(|(_, others)| FOUNDATION.contains(&other) || others.contains(&other))
        }
    }
}

pub(crate) fn findings(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test) {
        let module = source.module();
        let Some(&folder) = module.first() else { continue };
        if folder == "bin" {
            for (other, at) in heads_after(source, "residency::") {
                if !APPLICATIONS.contains(&other.as_str()) {
                    findings.push(format!(
                        "{}: a program knows applications only, not `{other}`",
                        source.place(at)
                    ));
                }
            }
            continue;
        }
        for (other, at) in references(source) {
            if !may_know(folder, &other) {
                findings.push(format!(
                    "{}: `{folder}` may not know `{other}`; dependencies point down only (ARCHITECTURE.md)",
                    source.place(at)
                ));
            }
        }
    }
    findings
}

/// The table itself: every folder is in it, it has no ring, and no row that nobody needs.
pub(crate) fn findings_of_table(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    let mut folders = BTreeSet::new();
    for source in sources {
        if let [folder, ..] = source.module()[..] {
            folders.insert(folder.to_owned());
            if !source.is_test {
                used.extend(references(source).into_iter().map(|(other, _)| (folder.to_owned(), other)));
            }
        }
    }
    let known = |name: &str| {
        name == "bin"
            || FOUNDATION.contains(&name)
            || APPLICATIONS.contains(&name)
            || EDGES.iter().any(|(edge, _)| *edge == name)
    };
    findings.extend(
        folders
            .iter()
            .filter(|folder| !known(folder))
            .map(|folder| format!("src/{folder} has no place in the dependency table")),
    );
    for (index, (edge, others)) in EDGES.iter().enumerate() {
        for other in *others {
            if !used.contains(&((*edge).to_owned(), (*other).to_owned())) {
                findings.push(format!("`{edge}` no longer knows `{other}`: take it out of the table"));
            }
            // Each row refers to rows above it, so there is no ring.
            if !EDGES[..index].iter().any(|(above, _)| above == other) {
                findings
                    .push(format!("`{edge}` knows `{other}`, which does not stand above it in the table"));
            }
        }
    }
    findings
}

/// Modules of the crate's root that the code refers to, by `crate::` or by enough `super::`, with the places.
fn references(source: &Source) -> Vec<(String, usize)> {
    let mut references = heads_after(source, "crate::");
    let depth = source.module().len();
    let code = &source.code;
    let mut from = 0;
    while let Some(found) = code[from..].find("super::") {
        let start = from + found;
        let mut end = start;
        let mut supers = 0;
        while code[end..].starts_with("super::") {
            end += "super::".len();
            supers += 1;
        }
        from = end;
        if supers == depth && !follows_path(code, start) {
            references.extend(heads(&code[end..]).into_iter().map(|head| (head, start)));
        }
    }
    references
}

fn heads_after(source: &Source, prefix: &str) -> Vec<(String, usize)> {
    let code = &source.code;
    code.match_indices(prefix)
        .filter(|(at, _)| !follows_path(code, *at))
        .flat_map(|(at, _)| heads(&code[at + prefix.len()..]).into_iter().map(move |head| (head, at)))
        .collect()
}

/// What stands at `at` is the rest of a longer name or path.
fn follows_path(code: &str, at: usize) -> bool {
    code[..at].ends_with("::") || code[..at].chars().next_back().is_some_and(is_identifier)
}

/// `a::b` → a; `{a::{x, y}, b, c::*}` → a, b, c.
fn heads(path: &str) -> Vec<String> {
    let name =
        |text: &str| text.trim_start().chars().take_while(|&one| is_identifier(one)).collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut heads = vec![name(group)];
    let mut depth = 1_usize;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => heads.push(name(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

#[cfg(test)]
fn found(path: &str, text: &str) -> usize {
    findings(&[Source::new(path, text)]).len()
}

#[test]
fn what_points_up_or_sideways_is_found() {
    for (path, text) in [
        ("src/domain/decide.rs", "use crate::telemetry::Metrics;"),
        ("src/domain/decide.rs", "use super::super::clock;"),
        ("src/domain.rs", "use super::auth;"),
        ("src/auth/token.rs", "fn f() { crate::tls::provider() }"),
        ("src/auth/token.rs", "use crate::{domain::names::{RegionId, JurisdictionId}, config::Config};"),
        ("src/tls/pem.rs", "use crate::gateway::Gateway;"),
        ("src/gateway/watch/board.rs", "use crate::pki;"),
        ("src/pki/status.rs", "use crate::gateway::Gateway;"),
        ("src/clock.rs", "use crate::config::Timeouts;"),
        ("src/new_folder/a.rs", "use crate::domain::names::RegionId;"),
        ("src/bin/residency-gateway.rs", "use residency::config::Config;"),
    ] {
        assert_eq!(found(path, text), 1, "{path}: {text}");
    }
}

#[test]
fn what_points_down_is_not() {
    for (path, text) in [
        ("src/domain/decide.rs", "use super::names::RegionId; use crate::domain::topology;"),
        (
            "src/gateway/watch/board.rs",
            "use super::super::health; use crate::{auth, config::Config, upstream};",
        ),
        ("src/postgres/tls.rs", "use crate::tls::provider;"),
        ("src/auth/token.rs", "#[cfg(test)] mod tests { use crate::gateway; }"),
        ("src/auth/token.rs", "// crate::gateway\nconst A: &str = \"crate::gateway\";"),
        ("src/bin/residency-gateway.rs", "use residency::gateway::command::Arguments;"),
        ("src/lib.rs", "pub mod auth;"),
    ] {
        assert_eq!(found(path, text), 0, "{path}: {text}");
    }
}

#[test]
fn a_row_that_nobody_needs_and_a_folder_without_a_row_are_found() {
    let used = [
        Source::new("src/postgres/tls.rs", "use crate::tls::provider;"),
        Source::new(
            "src/config.rs",
            "use crate::{auth::IssuerPolicy, postgres::DatabaseUrl, tls::served_name};",
        ),
        Source::new("src/upstream.rs", "use crate::{config::Endpoint, http1::RequestHead, telemetry};"),
        Source::new("src/routing_table/follow.rs", "use crate::{postgres::DatabaseUrl, telemetry::Metrics};"),
    ];
    assert_eq!(findings_of_table(&used), Vec::<String>::new());
    assert_eq!(findings_of_table(&used[1..]).len(), 1);
    let homeless = [Source::new("src/nowhere/union.rs", "")];
    assert!(findings_of_table(&homeless).iter().any(|finding| finding.contains("nowhere")));
}
