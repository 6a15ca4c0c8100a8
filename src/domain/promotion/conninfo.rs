//! `primary_conninfo` as a list of members, and turning that list.
//!
//! A receiver tries the hosts of its list in order and has no deadline of its own for each (libpq's `connect_timeout`
//! does not count for it): behind a host that is silent it waits. Another order takes it past that host.

/// The same connection string with its first host and port put last; `None` if it is no list of several hosts.
pub fn first_last(conninfo: &str) -> Option<String> {
    let pairs = pairs(conninfo)?;
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let hosts = value("host")?.split(',').count();
    if hosts < 2 {
        return None;
    }
    let turned: Vec<_> = pairs
        .iter()
        .map(|(key, value)| match key.as_str() {
            // One port may stand for all hosts.
            "host" | "hostaddr" | "port" if value.split(',').count() == hosts => {
                let (first, rest) = value.split_once(',').expect("there are several");
                (key, format!("{rest},{first}"))
            }
            _ => (key, value.clone()),
        })
        .map(|(key, value)| format!("{key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'")))
        .collect();
    Some(turned.join(" "))
}

/// The same with this host and port first; `None` if they are not in it, or are already.
pub fn beginning_with(conninfo: &str, host: &str, port: &str) -> Option<String> {
    let first = |conninfo: &str| {
        let pairs = pairs(conninfo)?;
        let value = |name: &str| {
            let listed = pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.split(',').next());
            listed.flatten().unwrap_or_default().to_owned()
        };
        Some(value("host") == host && value("port") == port)
    };
    let mut turned = conninfo.to_owned();
    for turns in 0..=conninfo.matches(',').count() {
        if first(&turned)? {
            return (turns > 0).then_some(turned);
        }
        turned = first_last(&turned)?;
    }
    None
}

/// Whether a standby with this string finds the primary by itself among `others`: that many hosts, and only one that takes
/// writes will do.
pub fn is_list(conninfo: &str, others: usize) -> bool {
    let pairs = pairs(conninfo).unwrap_or_default();
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    value("host").is_some_and(|hosts| hosts.split(',').count() >= others)
        && value("target_session_attrs").is_some_and(|wanted| ["read-write", "primary"].contains(&wanted))
}

/// Keys and values as libpq reads them: values bare or quoted, `\` escaping either way. `None`: it would not.
fn pairs(conninfo: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = conninfo.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let mut characters = after.trim_start().chars();
        let quoted = characters.as_str().starts_with('\'');
        if quoted {
            characters.next();
        }
        let mut value = String::new();
        let mut closed = !quoted;
        while let Some(character) = characters.next() {
            match character {
                '\\' => value.push(characters.next()?),
                '\'' if quoted => {
                    closed = true;
                    break;
                }
                space if !quoted && space.is_whitespace() => break,
                other => value.push(other),
            }
        }
        if !closed || key.trim().is_empty() {
            return None;
        }
        pairs.push((key.trim().to_owned(), value));
        rest = characters.as_str().trim_start();
    }
    Some(pairs)
}
