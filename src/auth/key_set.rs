//! An issuer's keys, prepared for verification, and the choice of the one that must fit a token.
//!
//! Invariants
//! - A key is usable only with algorithms of its own type and curve, and only with its own `alg` if it names one.
//! - Exactly one key fits, or the token is refused. Keys are never tried in turn.
use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RsaPublicKeyComponents,
};
use jsonwebtoken::DecodingKey;

use super::{Algorithm, HmacSecret, TokenFault};

/// What the mathematics of a key are, and its numbers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KeyMaterial {
    /// Big-endian without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// Uncompressed point.
    P256(Vec<u8>),
    /// Uncompressed point.
    P384(Vec<u8>),
    /// The 32 bytes of RFC 8032.
    Ed25519(Vec<u8>),
    /// A shared secret.
    Hmac(Vec<u8>),
}

/// One verification key.
#[derive(Clone)]
pub(super) struct VerificationKey {
    kid: Option<String>,
    /// It has no name where it comes from, so a token may call it what it likes.
    nameless: bool,
    /// The key's own `alg`.
    only: Option<Algorithm>,
    material: KeyMaterial,
    prepared: DecodingKey,
}

/// All verification keys of one issuer. Two sets are equal when they hold the same keys, in whatever order they came.
#[derive(Clone, Default)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
}

impl KeySet {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether every key has been withdrawn.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn new(mut keys: Vec<VerificationKey>) -> Self {
        keys.sort_by(|a, b| a.identity().cmp(&b.identity()));
        keys.dedup_by(|a, b| a.identity() == b.identity());
        Self { keys }
    }

    pub(super) fn of_secret(secret: &HmacSecret) -> Self {
        let material = KeyMaterial::Hmac(secret.expose().to_vec());
        Self { keys: VerificationKey::nameless(material).into_iter().collect() }
    }

    /// The key that must verify a token with this `kid` and `alg`.
    pub(super) fn select(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        issuer_index: usize,
    ) -> Result<&VerificationKey, TokenFault> {
        let named = |key: &&VerificationKey| kid.is_none_or(|kid| key.answers_to(kid));
        if !self.keys.iter().any(|key| named(&key)) {
            return Err(TokenFault::KeyUnknown { issuer_index });
        }
        let mut fitting = self.keys.iter().filter(named).filter(|key| key.fits(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (None, _) if kid.is_some() => Err(TokenFault::AlgorithmKeyMismatch),
            _ => Err(TokenFault::KeyAmbiguous),
        }
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.keys.iter().map(VerificationKey::identity).eq(other.keys.iter().map(VerificationKey::identity))
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.kid)).finish()
    }
}

impl VerificationKey {
    /// None when the numbers are no valid public key: a point off its curve, an RSA key the library won't use.
    pub(super) fn new(kid: Option<String>, only: Option<Algorithm>, material: KeyMaterial) -> Option<Self> {
        let nameless = false;
        material.is_valid().then(|| Self { kid, nameless, only, prepared: material.prepare(), material })
    }

    /// A configured secret, or a key from a PEM file. None as above.
    pub(super) fn nameless(material: KeyMaterial) -> Option<Self> {
        Self::new(None, None, material).map(|key| Self { nameless: true, ..key })
    }

    /// Whether the signature (base64url) over the message holds.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        self.fits(algorithm)
            && jsonwebtoken::crypto::verify(signature, message, &self.prepared, algorithm.of_crate())
                .unwrap_or(false)
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.only.is_none_or(|only| only == algorithm) && self.material.fits(algorithm)
    }

    fn answers_to(&self, kid: &str) -> bool {
        self.nameless || self.kid.as_deref() == Some(kid)
    }

    fn identity(&self) -> (Option<&str>, bool, Option<&'static str>, &KeyMaterial) {
        (self.kid.as_deref(), self.nameless, self.only.map(Algorithm::name), &self.material)
    }
}

impl KeyMaterial {
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => matches!(self, Self::Rsa { .. }),
            Algorithm::Es256 => matches!(self, Self::P256(_)),
            Algorithm::Es384 => matches!(self, Self::P384(_)),
            Algorithm::EdDsa => matches!(self, Self::Ed25519(_)),
            Algorithm::Hs256 => matches!(self, Self::Hmac(_)),
        }
    }

    fn is_valid(&self) -> bool {
        match self {
            Self::Rsa { modulus, exponent } => {
                // The hash does not matter for parsing a key.
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
                    .is_ok()
            }
            Self::P256(point) => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok(),
            Self::P384(point) => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).is_ok(),
            Self::Ed25519(bytes) => ParsedPublicKey::new(&ED25519, bytes).is_ok(),
            Self::Hmac(_) => true,
        }
    }

    fn prepare(&self) -> DecodingKey {
        match self {
            Self::Rsa { modulus, exponent } => DecodingKey::from_rsa_raw_components(modulus, exponent),
            Self::P256(point) | Self::P384(point) => DecodingKey::from_ec_der(point),
            Self::Ed25519(bytes) => DecodingKey::from_ed_der(bytes),
            Self::Hmac(secret) => DecodingKey::from_secret(secret),
        }
    }
}
