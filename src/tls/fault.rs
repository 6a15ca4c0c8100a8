//! What can be wrong with certificates and keys on disk, said so that the operator knows which file to look at.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem;

/// A certificate, key or authority that can't be used. Carries paths and causes, never key material.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    #[error("{path}: cannot be read as PEM: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: pem::Error },
    #[error("{path}: holds no certificate (expected -----BEGIN CERTIFICATE-----)", path = path.display())]
    NoCertificate { path: PathBuf },
    #[error("{path}: certificate cannot be parsed: {reason}", path = path.display())]
    BadCertificate { path: PathBuf, reason: String },
    #[error("{key} is not the key of the first certificate in {certificate}, or of no usable kind: {source}",
        key = key.display(), certificate = certificate.display())]
    KeyMismatch { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("{certificate} was not issued for other gateways to trust: {source} (by {authority})",
        certificate = certificate.display(), authority = authority.display())]
    NotOurs { certificate: PathBuf, authority: PathBuf, source: rustls::Error },
    #[error("{certificate} does not name region `{region}`; it names {named}", certificate = certificate.display())]
    WrongRegion { certificate: PathBuf, region: String, named: String },
    #[error(
        "`{0}` cannot be a region's name in certificates: a DNS label is at most 63 of a-z, 0-9 and inner `-`"
    )]
    RegionName(String),
    #[error(
        "{first} and {second} both answer for `{name}` with the same kind of key; say which by `names = [\"…\"]` for one \
         of them, or leave one out", first = first.display(), second = second.display()
    )]
    NameClaimedTwice { name: String, first: PathBuf, second: PathBuf },
    #[error("{certificate} names no host, so no client would ever get it; say for which by `names = [\"…\"]`",
        certificate = certificate.display())]
    NoName { certificate: PathBuf },
    #[error("TLS configuration refused: {0}")]
    Config(#[from] rustls::Error),
}

impl TlsFault {
    pub(super) fn bad_certificate(path: &Path, reason: &impl ToString) -> Self {
        Self::BadCertificate { path: path.to_owned(), reason: reason.to_string() }
    }
}
