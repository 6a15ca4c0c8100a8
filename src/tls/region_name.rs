//! Which region a gateway's certificate stands for: `<region>.gateway.residency.internal`, its one and only name.

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
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let [GeneralName::DNSName(name)] = names.value.general_names.as_slice() else { return None };
    let region = name.strip_suffix(DOMAIN)?.strip_suffix('.')?;
    is_region_label(region).then(|| region.to_owned())
}
