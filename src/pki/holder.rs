//! Whom a certificate is for: a region's gateways, or a program that uses the control API of one region's gateway.
//!
//! Invariant: neither is ever taken for the other. Their names differ in their number of labels, their files in dots, and a
//! program's certificate can't be shown by a server.

use std::fmt;

use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::CertificateDer;

use super::directory::is_region_file_stem;
use crate::tls::{ControlClient, dns_name, is_region_label, region_of};

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    Gateway(String),
    Control(ControlClient),
}

/// Between region and name in the files of the second kind.
const CONTROL: &str = ".control.";

impl Holder {
    /// By the name of its files without `.crt` or `.key`; `None`: they are somebody else's.
    pub(super) fn of_stem(stem: &str) -> Option<Self> {
        let control = |(region, name): (&str, &str)| {
            (is_region_file_stem(region) && is_region_label(name))
                .then(|| Self::Control(ControlClient { region: region.to_owned(), name: name.to_owned() }))
        };
        match stem.split_once(CONTROL) {
            Some(parts) => control(parts),
            None => is_region_file_stem(stem).then(|| Self::Gateway(stem.to_owned())),
        }
    }

    pub(super) fn region(&self) -> &str {
        match self {
            Self::Gateway(region) => region,
            Self::Control(client) => &client.region,
        }
    }

    pub(super) fn certificate_file(&self) -> String {
        format!("{self}.crt")
    }

    pub(super) fn key_file(&self) -> String {
        format!("{self}.key")
    }

    /// Its one and only name.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Gateway(region) => dns_name(region),
            Self::Control(client) => client.dns_name(),
        }
    }

    pub(super) fn common_name(&self) -> String {
        match self {
            Self::Gateway(region) => format!("residency gateway {region}"),
            Self::Control(ControlClient { region, name }) => format!("residency control {region} {name}"),
        }
    }

    /// A gateway is called and calls; a program only calls.
    pub(super) fn usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::Gateway(_) => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Self::Control(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
    }

    /// Whether the certificate says it is this one's, and nobody else's.
    pub(super) fn is_named_by(&self, certificate: &CertificateDer<'_>) -> bool {
        match self {
            Self::Gateway(region) => region_of(certificate).as_ref() == Some(region),
            Self::Control(client) => ControlClient::of(certificate).as_ref() == Some(client),
        }
    }
}

/// As its files begin.
impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(region) => formatter.write_str(region),
            Self::Control(ControlClient { region, name }) => write!(formatter, "{region}{CONTROL}{name}"),
        }
    }
}
