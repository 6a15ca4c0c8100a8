//! The domain decides; others look and act. So none of it waits, reads a clock, touches the outside or logs.

use super::source::Source;

/// What the domain may not say, and why not.
const FORBIDDEN: &[(&str, &str)] = &[
    ("async", "nothing in the domain waits"),
    (".await", "nothing in the domain waits"),
    ("Instant::now", "time comes in as an argument"),
    ("SystemTime", "time comes in as an argument"),
    ("tokio", "the domain has no runtime"),
    ("hyper", "the domain knows no HTTP library"),
    ("tracing", "the domain returns what happened; callers log it"),
    ("println!", "the domain returns what happened; callers say it"),
    ("eprintln!", "the domain returns what happened; callers say it"),
    ("print!", "the domain returns what happened; callers say it"),
    ("eprint!", "the domain returns what happened; callers say it"),
    ("net::Tcp", "the domain opens nothing"),
    ("std::net", "the domain opens nothing"),
    ("std::fs", "the domain reads no files"),
    ("std::io", "the domain does no input or output"),
    ("std::env", "the environment is read by `config`"),
    ("std::process", "the domain starts nothing"),
    ("std::thread", "the domain has no threads"),
    ("Mutex", "the domain shares nothing"),
    ("RwLock", "the domain shares nothing"),
    ("rand", "chance comes in as an argument"),
];

pub(crate) fn findings(source: &Source) -> Vec<String> {
    if source.is_test || source.module().first() != Some(&"domain") {
        return Vec::new();
    }
    let std_group = "std::{";
    let in_groups = source.code.match_indices(std_group).flat_map(|(at, _)| {
        let group = source.code[at + std_group.len()..].split(';').next().unwrap_or_default();
        ["net", "fs", "io", "env", "process", "thread"]
            .into_iter()
            .filter(move |module| group.split(|one: char| !one.is_alphanumeric()).any(|word| word == *module))
            .map(move |module| format!("{}: `std::{module}` in the domain", source.place(at)))
    });
    FORBIDDEN
        .iter()
        .flat_map(|(word, why)| {
            source.find_word(word).map(move |at| format!("{}: `{word}`: {why}", source.place(at)))
        })
        .chain(in_groups)
        .collect()
}

#[test]
fn what_is_impure_is_found() {
    for text in [
        "pub async fn decide() {}",
        "fn f() { let now = Instant::now(); }",
        "use std::time::SystemTime;",
        "use tokio::sync::watch;",
        "fn f() { tracing::info!(\"decided\"); }",
        "fn f() { println!(); }",
        "use std::{collections::HashMap, fs};",
        "use std::net::TcpStream;",
        "use std::sync::Mutex;",
    ] {
        assert_eq!(findings(&Source::new("src/domain/decide.rs", text)).len(), 1, "{text}");
    }
}

#[test]
fn what_is_pure_or_lies_elsewhere_is_not() {
    for (path, text) in [
        ("src/domain/decide.rs", "use std::{collections::HashMap, time::Duration};\n// tokio\nfn brand() {}"),
        (
            "src/domain/topology.rs",
            "fn f() { operand(\"async\") }\n#[cfg(test)]\nmod tests { fn t() { println!() } }",
        ),
        ("src/gateway/control.rs", "use tokio::net::TcpListener; async fn f() {}"),
    ] {
        assert_eq!(findings(&Source::new(path, text)), Vec::<String>::new(), "{path}: {text}");
    }
}
