//! Which certificate answers for which name: exact names, and `*.` for one label (RFC 6125 §6.4.3).
//!
//! Invariants
//! - Names are in lower case and ASCII, as TLS carries them; the table compares bytes.
//! - An exact name beats a wildcard, and a wildcard stands for one label only.
//!
//! Absent by design: what is shown when nobody answers for a name.

use std::collections::HashMap;

use rustls::pki_types::{CertificateDer, DnsName};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

const WILDCARD: &str = "*.";

/// By name, all that answer for it, in the order they were added.
#[derive(Debug)]
pub(super) struct ServedNames<T> {
    exact: HashMap<Box<str>, Vec<T>>,
    /// By what follows the first label.
    wildcard: HashMap<Box<str>, Vec<T>>,
}

impl<T> Default for ServedNames<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new() }
    }
}

impl<T> ServedNames<T> {
    /// All that answer for exactly this entry, so far and to be.
    pub(super) fn entry(&mut self, name: &str) -> &mut Vec<T> {
        match name.strip_prefix(WILDCARD) {
            Some(parent) => self.wildcard.entry(parent.into()).or_default(),
            None => self.exact.entry(name.into()).or_default(),
        }
    }

    /// The same names with something else behind them.
    pub(super) fn map<U>(self, mut each: impl FnMut(T) -> U) -> ServedNames<U> {
        let mut side = |names: HashMap<Box<str>, Vec<T>>| {
            let entry = |(name, all): (Box<str>, Vec<T>)| (name, all.into_iter().map(&mut each).collect());
            names.into_iter().map(entry).collect()
        };
        ServedNames { exact: side(self.exact), wildcard: side(self.wildcard) }
    }

    /// All that answer for a name in lower case; none when it is unknown.
    pub(super) fn find(&self, name: &str) -> &[T] {
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(wildcard).map_or(&[], Vec::as_slice)
    }
}

/// A name as the table has it; `None` when TLS can't carry it or it has a `*` other than as its whole first label.
pub fn served_name(written: &str) -> Option<String> {
    let name = written.to_ascii_lowercase();
    let host = name.strip_prefix(WILDCARD).unwrap_or(&name);
    // `DnsName` takes a final dot, which names in TLS never have (RFC 6066 §3).
    let is_name = DnsName::try_from(host).is_ok() && !host.ends_with('.');
    // A wildcard above a single label would answer for a whole top-level domain.
    let is_broad = host.len() < name.len() && !host.contains('.');
    (is_name && !is_broad).then_some(name)
}

/// The DNS names of a certificate that a table can have.
pub(super) fn names_in(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => served_name(name),
        _ => None,
    };
    let mut found: Vec<String> = names.value.general_names.iter().filter_map(name).collect();
    found.sort();
    found.dedup();
    found
}
