//! What a certificate says about itself, and who issued it.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use crate::domain::hexadecimal::hexadecimal;

/// One certificate, parsed as far as this command needs.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) der: CertificateDer<'static>,
    pub(super) subject: String,
    pub(super) issuer: String,
    /// DNS names only; internal certificates have no others.
    pub(super) names: Vec<String>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// The raw public key, to match it with a private one.
    pub(super) public_key: Vec<u8>,
}

impl Facts {
    /// All certificates in PEM text, or what is wrong with it.
    pub(super) fn read_all(pem: &str) -> Result<Vec<Self>, String> {
        let found = CertificateDer::pem_slice_iter(pem.as_bytes())
            .map(|der| der.map_err(|error| error.to_string()).and_then(|der| Self::read(&der)))
            .collect::<Result<Vec<_>, _>>()?;
        if found.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(found) }
    }

    fn read(der: &CertificateDer<'static>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let timestamp = |seconds| Timestamp::from_second(seconds).map_err(|error| error.to_string());
        let names = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
        let names = names.into_iter().flat_map(|names| names.value.general_names.iter());
        Ok(Self {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            names: names
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some((*name).to_owned()),
                    _ => None,
                })
                .collect(),
            not_before: timestamp(parsed.validity().not_before.timestamp())?,
            not_after: timestamp(parsed.validity().not_after.timestamp())?,
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
            der: der.clone(),
        })
    }

    /// Whether `issuer`'s key signed this certificate.
    pub(super) fn issued_by(&self, issuer: &Self) -> bool {
        let (Ok((_, own)), Ok((_, other))) =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(&issuer.der))
        else {
            return false;
        };
        own.issuer() == other.subject() && own.verify_signature(Some(other.public_key())).is_ok()
    }

    /// The certificate in PEM.
    pub(super) fn pem(&self) -> String {
        let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
        let encoded = STANDARD.encode(&self.der);
        // Base64 is ASCII, so any byte may start a line; 64 to a line (RFC 7468 §2).
        for line in encoded.as_bytes().chunks(64) {
            text.extend(line.iter().copied().map(char::from));
            text.push('\n');
        }
        text + "-----END CERTIFICATE-----\n"
    }

    /// SHA-256 of the whole certificate, in the lower-case hexadecimal of `openssl x509 -fingerprint -sha256`
    /// without colons.
    pub(super) fn fingerprint(&self) -> String {
        hexadecimal(digest(&SHA256, &self.der).as_ref())
    }
}
