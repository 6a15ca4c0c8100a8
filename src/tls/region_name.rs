//! Whom an internal certificate stands for, by its one and only name: a region's gateways, `<region>.gateway.residency.internal`,
//! or a program that uses the control API of one of them, `<name>.control.<region>.gateway.residency.internal`.
//!
//! Neither form can be read as the other: names of regions and of programs are single labels.

use rustls::pki_types::CertificateDer;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// The domain under which gateways are named in internal certificates. Never resolved; `.internal` is reserved for
/// private use, so no public authority issues below it.
pub(crate) const DOMAIN: &str = "gateway.residency.internal";

/// The name in the certificate of `region`'s gateways.
pub fn dns_name(region: &str) -> String {
    format!("{region}.{DOMAIN}")
}

/// Whether `region` can stand in such a name: one lower-case DNS label (RFC 1123 §2.1).
pub fn is_region_label(region: &str) -> bool {
    (1..=63).contains(&region.len())
        && region.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !region.starts_with('-')
        && !region.ends_with('-')
}

/// The region a certificate names. `None` unless it names exactly one: a certificate good for two regions, for a
/// wildcard or for anything else besides is nobody's.
///
/// Says nothing about who issued it.
pub fn region_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let region = only_name(certificate)?;
    is_region_label(&region).then_some(region)
}

/// A program that uses the control API of one region's gateways.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ControlClient {
    pub region: String,
    pub name: String,
}

impl ControlClient {
    /// The program a certificate names. `None` unless it names exactly one, and nothing else.
    ///
    /// Says nothing about who issued it.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let named = only_name(certificate)?;
        let (name, region) = named.split_once(CONTROL)?;
        (is_region_label(name) && is_region_label(region))
            .then(|| Self { region: region.to_owned(), name: name.to_owned() })
    }

    /// The name in its certificate.
    pub fn dns_name(&self) -> String {
        format!("{}{CONTROL}{}", self.name, dns_name(&self.region))
    }
}

/// Between the names of a program and its region.
const CONTROL: &str = ".control.";

/// The certificate's name below [`DOMAIN`], if that is all it names.
fn only_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let [GeneralName::DNSName(name)] = names.value.general_names.as_slice() else { return None };
    Some(name.strip_suffix(DOMAIN)?.strip_suffix('.')?.to_owned())
}
