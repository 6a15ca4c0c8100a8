//! The files in `config/` and the page in `docs/` say what the parser says.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::config::document::{self, Node, Value};
use crate::config::known_keys::known_keys;

const SIDECAR: &str = include_str!("../../../config/sidecar.toml");
const THREE_REGIONS: &str = include_str!("../../../config/three-regions.toml");
const REFERENCE: &str = include_str!("../../../config/residency.toml");
const PAGE: &str = include_str!("../../../docs/CONFIG.md");

#[test]
fn the_sidecar_is_five_lines_without_a_warning() {
    let keys = SIDECAR.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    assert_eq!(keys.count(), 5);
    let loaded = parse(SIDECAR, &Environment::default()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
}

#[test]
fn the_three_regions_work_everywhere() {
    for region in ["us-east", "eu-frankfurt", "eu-nuremberg", "ap-singapore"] {
        let variables = [
            ("RESIDENCY_REGION", region),
            ("PG_US", "postgres://127.0.0.1/us"),
            ("PG_EU", "postgres://127.0.0.1/eu"),
        ];
        let loaded =
            parse(THREE_REGIONS, &environment(&variables)).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(loaded.warnings, [], "{region}");
    }
}

#[test]
fn the_reference_works_as_it_is() {
    let loaded = parse(REFERENCE, &complete_environment()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
}

#[test]
fn the_reference_has_every_key_and_no_other_with_its_default() {
    let uncommented: Vec<&str> = REFERENCE.lines().map(|line| key_in_comment(line).unwrap_or(line)).collect();
    let root = document::parse(&uncommented.join("\n")).expect("commented keys are TOML too");
    let known = known_keys();
    let patterns: Vec<String> = known.iter().map(|key| key.pattern.clone()).collect();
    let mut written = BTreeMap::new();
    collect(&root, "", &patterns, &mut written);
    let sorted: BTreeSet<&String> = patterns.iter().collect();
    assert_eq!(written.keys().collect::<Vec<_>>(), sorted.into_iter().collect::<Vec<_>>());
    for key in known {
        let values = &written[&key.pattern];
        assert!(
            key.default.iter().all(|default| values.contains(default)),
            "{key:?} is written as {values:?}"
        );
    }
}

#[test]
fn the_page_has_every_key_and_no_other_with_default_and_range() {
    let rows: Vec<Vec<&str>> = PAGE
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let codes = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut documented: Vec<String> = rows.iter().flat_map(|row| codes(row[0])).collect();
    documented.sort();
    let mut known: Vec<String> = known_keys().into_iter().map(|key| key.pattern).collect();
    known.sort();
    assert_eq!(documented, known);
    for key in known_keys() {
        let row = rows.iter().find(|row| codes(row[0]).contains(&key.pattern)).expect("compared above");
        if let Some(default) = &key.default {
            assert!(codes(row[1]).contains(default), "{}: {default} isn't in {row:?}", key.pattern);
        }
        if let Some((_, range)) = key.takes.split_once(" from ") {
            let range = range.replace(" to ", "–");
            assert!(row[2].contains(&range), "{}: {range} isn't in {row:?}", key.pattern);
        }
    }
}

/// `#key = value` and `#[table]` are keys, `# words` are words.
fn key_in_comment(line: &str) -> Option<&str> {
    line.strip_prefix('#')
        .filter(|rest| rest.starts_with(|first: char| first.is_alphabetic() || "[\"".contains(first)))
}

/// The patterns of all keys in the tree, with the values they have.
fn collect(node: &Node, pattern: &str, known: &[String], found: &mut BTreeMap<String, BTreeSet<String>>) {
    match &node.value {
        Value::Table(entries) => {
            for (key, entry) in entries {
                let exact = if pattern.is_empty() { key.clone() } else { format!("{pattern}.{key}") };
                let any = format!("{pattern}.*");
                let open = known.iter().any(|known| *known == any || known.starts_with(&format!("{any}.")));
                collect(entry, if open { &any } else { &exact }, known, found);
            }
        }
        Value::List(items) if items.iter().any(|item| matches!(item.value, Value::Table(_))) => {
            for item in items {
                collect(item, &format!("{pattern}[]"), known, found);
            }
        }
        _ => {
            found.entry(pattern.to_owned()).or_default().insert(as_toml(node));
        }
    }
}

fn as_toml(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(as_toml).collect::<Vec<_>>().join(", ")),
        other => format!("{other:?}"),
    }
}
