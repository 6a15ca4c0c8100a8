//! PEM files to certificates and keys, with the file named in each fault.

use std::path::Path;

use jiff::Timestamp;
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{TlsFault, provider};

/// All certificates in a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let unreadable = |source| TlsFault::Unreadable { path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    if found.is_empty() {
        return Err(TlsFault::NoCertificate { path: path.to_owned() });
    }
    Ok(found)
}

/// A certificate chain with the private key of its first certificate (PKCS #8, SEC 1 or PKCS #1).
pub(super) fn certified_key(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsFault> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|source| TlsFault::Unreadable { path: key.to_owned(), source })?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|source| TlsFault::KeyMismatch {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        source,
    })
}

/// From when and until when a certificate is valid.
pub(super) fn validity(
    path: &Path,
    certificate: &CertificateDer<'_>,
) -> Result<(Timestamp, Timestamp), TlsFault> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| TlsFault::bad_certificate(path, &error))?;
    let timestamp =
        |seconds| Timestamp::from_second(seconds).map_err(|error| TlsFault::bad_certificate(path, &error));
    let validity = parsed.validity();
    Ok((timestamp(validity.not_before.timestamp())?, timestamp(validity.not_after.timestamp())?))
}
