//! Environment variables that stand over the file: `RESIDENCY_TOKEN__ISSUER` over `token.issuer`.
//!
//! `__` separates tables; case doesn't count, and `_` stands for `-` too, so `RESIDENCY_REGIONS__US_EAST__GATEWAY` is the
//! gateway of `us-east`. A variable can name regions, jurisdictions and the like only where they exist.
//!
//! Invariants
//! - A variable that names no key is a fault: a misspelt override must not go unnoticed.
//! - Not overrides: variables the file names with `env:`, and the links Kubernetes makes for a service called `residency-…`.
//!
//! Absent by design: overrides within lists of tables and of routes, whose keys a variable can't spell.

use std::collections::HashSet;

use super::document::{Node, Origin, Value};
use super::environment::{Environment, NotUnicode};
use super::known_keys::KnownKey;
use super::reader::REFERENCE;
use super::suggest::nearest;

const PREFIX: &str = "RESIDENCY_";

/// A variable that can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OverrideFault {
    pub(super) variable: String,
    pub(super) what: String,
    pub(super) remedy: String,
}

/// Puts every override in its place in the tree.
pub(super) fn lay_over(root: &mut Node, environment: &Environment, known: &[KnownKey]) -> Vec<OverrideFault> {
    let mut referenced = HashSet::new();
    references(root, &mut referenced);
    for (_, value) in environment.starting_with(PREFIX) {
        referenced.extend(value.ok().and_then(|value| value.strip_prefix(REFERENCE)).map(str::to_owned));
    }
    let mut faults = Vec::new();
    for (variable, value) in environment.starting_with(PREFIX) {
        let name = &variable[PREFIX.len()..];
        if referenced.contains(variable) || is_service_link(name) {
            continue;
        }
        let fault = |what, remedy| OverrideFault { variable: variable.to_owned(), what, remedy };
        match (locate(root, name, known), value) {
            (Ok(keys), Ok(value)) => {
                let origin = Origin::Variable(variable.to_owned());
                put(root, &keys, Node { value: Value::Variable(value.to_owned()), origin });
            }
            (Ok(_), Err(NotUnicode)) => {
                faults.push(fault("isn't UTF-8".to_owned(), "set it to text, or unset it".to_owned()));
            }
            (Err((what, remedy)), _) => faults.push(fault(what, remedy)),
        }
    }
    faults
}

/// Names of all variables the file refers to.
fn references(node: &Node, found: &mut HashSet<String>) {
    match &node.value {
        Value::Text(text) => found.extend(text.strip_prefix(REFERENCE).map(str::to_owned)),
        Value::List(items) => items.iter().for_each(|item| references(item, found)),
        Value::Table(entries) => entries.iter().for_each(|(_, entry)| references(entry, found)),
        Value::Integer(_) | Value::Boolean(_) | Value::Variable(_) | Value::Other(_) => {}
    }
}

/// The key a variable means, as it is written in the file; or what is wrong, and a remedy.
fn locate(root: &Node, name: &str, known: &[KnownKey]) -> Result<Vec<String>, (String, String)> {
    let segments: Vec<&str> = name.split("__").collect();
    let mut unknown_name = None;
    for key in known.iter().filter(|key| !key.pattern.contains("[]")) {
        match follow(root, &key.pattern, &segments) {
            Follow::Key(keys) => return Ok(keys),
            Follow::UnknownName { table, name, choices } => {
                unknown_name = Some((table, name, choices));
            }
            Follow::Elsewhere => {}
        }
    }
    if let Some((table, name, choices)) = unknown_name {
        let remedy = if choices.is_empty() {
            format!("the file has no [{table}] table; write it there")
        } else {
            format!("write one of {} (`-` as `_`)", choices.join(", "))
        };
        return Err((format!("`{name}` is no name in `{table}`"), remedy));
    }
    let spelled = known.iter().filter(|key| !key.pattern.contains("[]")).map(|key| spell(&key.pattern));
    let spelled: Vec<String> = spelled.collect();
    let remedy = match nearest(&format!("{PREFIX}{name}"), spelled.iter().map(String::as_str)) {
        Some(likely) => format!("did you mean {likely}? Unset it if it isn't meant for the gateway"),
        None => "write RESIDENCY_<TABLE>__<KEY>, or unset it if it isn't meant for the gateway".to_owned(),
    };
    Err(("names no key of the configuration".to_owned(), remedy))
}

enum Follow {
    Key(Vec<String>),
    /// The pattern fits, but what stands for `*` is not there.
    UnknownName {
        table: String,
        name: String,
        choices: Vec<String>,
    },
    Elsewhere,
}

fn follow(root: &Node, pattern: &str, segments: &[&str]) -> Follow {
    let steps: Vec<&str> = pattern.split('.').collect();
    let fits = |(step, segment): (&&str, &&str)| *step == "*" || alike(step, segment);
    if steps.len() != segments.len() || !steps.iter().zip(segments).all(fits) {
        return Follow::Elsewhere;
    }
    let mut node = Some(root);
    let mut keys: Vec<String> = Vec::with_capacity(steps.len());
    for (step, segment) in steps.iter().zip(segments) {
        let key = if *step == "*" {
            // A database may be added by a variable; its name is a jurisdiction's.
            let also = keys.last().filter(|table| *table == "databases").and(root.get("jurisdictions"));
            let names: Vec<&str> = node.into_iter().chain(also).flat_map(Node::keys).collect();
            let Some(name) = names.iter().find(|name| alike(name, segment)) else {
                let choices = names.into_iter().map(str::to_owned).collect();
                let (table, name) = (keys.join("."), (*segment).to_owned());
                return Follow::UnknownName { table, name, choices };
            };
            (*name).to_owned()
        } else {
            (*step).to_owned()
        };
        node = node.and_then(|node| node.get(&key));
        keys.push(key);
    }
    Follow::Key(keys)
}

/// Equal but for case and `-` against `_`.
fn alike(left: &str, right: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    plain(left) == plain(right)
}

fn spell(pattern: &str) -> String {
    format!("{PREFIX}{}", pattern.to_ascii_uppercase().replace('-', "_").replace('.', "__"))
}

/// Sets the key, making the tables around it. Where the file has something else than a table, nothing is set: reading
/// will say what is wrong there.
fn put(node: &mut Node, keys: &[String], value: Node) {
    let Some((key, rest)) = keys.split_first() else {
        *node = value;
        return;
    };
    let Value::Table(entries) = &mut node.value else { return };
    let position = entries.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
        let table = Node { value: Value::Table(Vec::new()), origin: value.origin.clone() };
        entries.push((key.clone(), table));
        entries.len() - 1
    });
    put(&mut entries[position].1, rest, value);
}

/// Kubernetes gives every container variables named after the services around it: for one called `residency-gateway`,
/// `RESIDENCY_GATEWAY_SERVICE_HOST`, `RESIDENCY_GATEWAY_PORT_8080_TCP_ADDR` and the like.
fn is_service_link(name: &str) -> bool {
    let of_port = |tail: &str| {
        let port = tail.trim_start_matches(|digit: char| digit.is_ascii_digit());
        port.len() < tail.len() && (port.starts_with("_TCP") || port.starts_with("_UDP"))
    };
    !name.contains("__")
        && (name.contains("_SERVICE_HOST")
            || name.contains("_SERVICE_PORT")
            || name.ends_with("_PORT")
            || name.split("_PORT_").skip(1).any(of_port))
}
