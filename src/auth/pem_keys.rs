//! Public keys in a PEM file (RFC 7468 §13), for issuers that publish no JWKS: one or several `PUBLIC KEY` sections.
//!
//! Such a key has no name and no algorithm of its own. It answers to whatever `kid` a token gives, and with several keys it is
//! still exactly one that must fit the token's algorithm. The file is the operator's own, so that one bad section refuses it
//! whole.
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::jwks::{self, JwkRefusal};
use super::key_set::{KeyMaterial, VerificationKey};
use super::{KeySet, MAX_JWKS_BYTES};

/// Why a PEM file gives no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemFault {
    #[error("larger than {MAX_JWKS_BYTES} bytes")]
    TooLarge,
    #[error("no PEM, or broken")]
    Malformed,
    #[error("holds a private key; keep that with the issuer, and give the gateway the public one")]
    PrivateKey,
    #[error("holds something else than PUBLIC KEY sections")]
    OtherSection,
    #[error("holds no key")]
    Empty,
    #[error("a key is none of RSA, P-256, P-384 and Ed25519")]
    UnknownKind,
    #[error("a key can't be used: {0}")]
    Unusable(#[from] JwkRefusal),
}

/// Whether a file is PEM rather than JSON.
pub(super) fn is_pem(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"-----BEGIN ")
}

/// All keys of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<KeySet, PemFault> {
    if bytes.len() > MAX_JWKS_BYTES {
        return Err(PemFault::TooLarge);
    }
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|_| PemFault::Malformed)?;
        match kind {
            SectionKind::PublicKey => keys.push(read(&der)?),
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                return Err(PemFault::PrivateKey);
            }
            _ => return Err(PemFault::OtherSection),
        }
    }
    if keys.is_empty() { Err(PemFault::Empty) } else { Ok(KeySet::new(keys)) }
}

fn read(der: &[u8]) -> Result<VerificationKey, PemFault> {
    let malformed = PemFault::Unusable(JwkRefusal::Malformed);
    let (rest, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| malformed)?;
    if !rest.is_empty() {
        return Err(malformed);
    }
    let bits = &*info.subject_public_key.data;
    let algorithm = &info.algorithm.algorithm;
    let material = if *algorithm == OID_PKCS1_RSAENCRYPTION {
        let Ok(PublicKey::RSA(rsa)) = info.parsed() else { return Err(malformed) };
        jwks::rsa_of(rsa.modulus, rsa.exponent)?
    } else if *algorithm == OID_SIG_ED25519 && bits.len() == 32 {
        KeyMaterial::Ed25519(bits.to_vec())
    } else if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        match curve {
            Some(curve) if curve == OID_EC_P256 && is_uncompressed(bits, 32) => {
                KeyMaterial::P256(bits.to_vec())
            }
            Some(curve) if curve == OID_NIST_EC_P384 && is_uncompressed(bits, 48) => {
                KeyMaterial::P384(bits.to_vec())
            }
            Some(curve) if curve == OID_EC_P256 || curve == OID_NIST_EC_P384 => return Err(malformed),
            _ => return Err(PemFault::UnknownKind),
        }
    } else {
        return Err(PemFault::UnknownKind);
    };
    VerificationKey::nameless(material).ok_or(malformed)
}

/// SEC 1 §2.3.3: the form that JWKs have too.
fn is_uncompressed(point: &[u8], coordinate: usize) -> bool {
    point.len() == 1 + 2 * coordinate && point[0] == 4
}
