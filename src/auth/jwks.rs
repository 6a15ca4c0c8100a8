//! A JWKS document (RFC 7517 §5) read into a [`KeySet`].
//!
//! A document that can't be read is an error, and the caller keeps what it had. A key in a readable document that we
//! must not or can't use is left out and reported, so that one exotic key does not take the others with it. A readable
//! document without usable keys is an empty set: that is how an issuer withdraws everything.
use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::key_set::{KeyMaterial, VerificationKey};
use super::strict_json::{JsonFault, parse_object};
use super::{Algorithm, KeySet, MAX_JWKS_BYTES};

/// RFC 7518 §3.3 asks for 2048 bits; past 8192 one verification costs too much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Longer exponents make verification slow for no gain; real ones are 65537.
const MAX_EXPONENT_BYTES: usize = 4;

/// A document's usable keys and what was left out.
#[derive(Debug)]
pub struct JwksDocument {
    /// The keys to verify with.
    pub keys: KeySet,
    /// Keys left out, each with its `kid`, in the document's order. Unknown `kty` and `use` other than `sig` are not faults
    /// and not listed.
    pub refused: Vec<(Option<String>, JwkRefusal)>,
}

/// Why a document is no key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwksFault {
    #[error("larger than {MAX_JWKS_BYTES} bytes")]
    TooLarge,
    #[error("not a JSON object")]
    Malformed,
    #[error("a JSON name occurs twice")]
    DuplicateName,
    #[error("no `keys` array of objects")]
    NoKeys,
}

/// Why a key in a document is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwkRefusal {
    #[error("a symmetric key has no place in a published document")]
    Symmetric,
    #[error("its private part is published")]
    PrivatePart,
    #[error("RSA below 2048 or above 8192 bits, or an exponent that is even, 1 or above 32 bits")]
    RsaSize,
    #[error("a member is missing, of the wrong type, length or encoding, or not on the curve")]
    Malformed,
    #[error("`alg` does not belong to this kind of key")]
    AlgorithmMismatch,
}

impl JwksDocument {
    /// Reads a whole document of at most [`MAX_JWKS_BYTES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, JwksFault> {
        if bytes.len() > MAX_JWKS_BYTES {
            return Err(JwksFault::TooLarge);
        }
        let document = parse_object(bytes).map_err(|fault| match fault {
            JsonFault::DuplicateName => JwksFault::DuplicateName,
            JsonFault::Malformed | JsonFault::NotAnObject => JwksFault::Malformed,
        })?;
        let Some(Value::Array(entries)) = document.get("keys") else { return Err(JwksFault::NoKeys) };
        let mut keys = Vec::new();
        let mut refused = Vec::new();
        for entry in entries {
            let Value::Object(jwk) = entry else { return Err(JwksFault::NoKeys) };
            match read(jwk) {
                Ok(key) => keys.extend(key),
                Err(refusal) => refused.push((text(jwk, "kid").ok().flatten().map(str::to_owned), refusal)),
            }
        }
        Ok(Self { keys: KeySet::new(keys), refused })
    }
}

/// None for a key that is simply not for us.
fn read(jwk: &Map<String, Value>) -> Result<Option<VerificationKey>, JwkRefusal> {
    let kty = text(jwk, "kty")?.ok_or(JwkRefusal::Malformed)?;
    match kty {
        "oct" => return Err(JwkRefusal::Symmetric),
        "RSA" | "EC" | "OKP" => {}
        _ => return Ok(None),
    }
    if jwk.contains_key("d") {
        return Err(JwkRefusal::PrivatePart);
    }
    if text(jwk, "use")?.is_some_and(|usage| usage != "sig") || !may_verify(jwk)? {
        return Ok(None);
    }
    let only = match text(jwk, "alg")?.map(Algorithm::from_str) {
        None => None,
        Some(Ok(algorithm)) => Some(algorithm),
        Some(Err(())) => return Ok(None),
    };
    let material = match (kty, text(jwk, "crv")?) {
        ("RSA", _) => rsa(jwk)?,
        ("EC", Some("P-256")) => KeyMaterial::P256(point(jwk, 32)?),
        ("EC", Some("P-384")) => KeyMaterial::P384(point(jwk, 48)?),
        ("OKP", Some("Ed25519")) => KeyMaterial::Ed25519(sized(jwk, "x", 32)?),
        (_, Some(_)) => return Ok(None),
        (_, None) => return Err(JwkRefusal::Malformed),
    };
    if only.is_some_and(|algorithm| !material.fits(algorithm)) {
        return Err(JwkRefusal::AlgorithmMismatch);
    }
    let kid = text(jwk, "kid")?.map(str::to_owned);
    VerificationKey::new(kid, only, material).map(Some).ok_or(JwkRefusal::Malformed)
}

/// `key_ops`, when present, is a list of strings with `verify` in it (RFC 7517 §4.3).
fn may_verify(jwk: &Map<String, Value>) -> Result<bool, JwkRefusal> {
    match jwk.get("key_ops") {
        None => Ok(true),
        Some(Value::Array(operations)) if operations.iter().all(Value::is_string) => {
            Ok(operations.iter().any(|operation| operation == "verify"))
        }
        Some(_) => Err(JwkRefusal::Malformed),
    }
}

fn rsa(jwk: &Map<String, Value>) -> Result<KeyMaterial, JwkRefusal> {
    rsa_of(&bytes(jwk, "n")?, &bytes(jwk, "e")?)
}

/// An RSA key by its numbers, big-endian.
pub(super) fn rsa_of(modulus: &[u8], exponent: &[u8]) -> Result<KeyMaterial, JwkRefusal> {
    let (modulus, exponent) = (unpadded(modulus), unpadded(exponent));
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    let odd = exponent.last().is_some_and(|last| last % 2 == 1);
    if !RSA_BITS.contains(&bits) || !odd || exponent == [1] || exponent.len() > MAX_EXPONENT_BYTES {
        return Err(JwkRefusal::RsaSize);
    }
    Ok(KeyMaterial::Rsa { modulus, exponent })
}

/// SEC 1 §2.3.3 uncompressed; RFC 7518 §6.2.1.2 fixes each coordinate's length.
fn point(jwk: &Map<String, Value>, length: usize) -> Result<Vec<u8>, JwkRefusal> {
    let mut point = vec![4];
    point.extend(sized(jwk, "x", length)?);
    point.extend(sized(jwk, "y", length)?);
    Ok(point)
}

fn sized(jwk: &Map<String, Value>, name: &str, length: usize) -> Result<Vec<u8>, JwkRefusal> {
    bytes(jwk, name).and_then(|b| if b.len() == length { Ok(b) } else { Err(JwkRefusal::Malformed) })
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, JwkRefusal> {
    let encoded = text(jwk, name)?.ok_or(JwkRefusal::Malformed)?;
    URL_SAFE_NO_PAD.decode(encoded).map_err(|_| JwkRefusal::Malformed)
}

/// Some issuers prepend a zero byte to `n`, against RFC 7518 §6.3.1.1; the number is the same.
fn unpadded(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    bytes[zeros..].to_vec()
}

fn text<'j>(jwk: &'j Map<String, Value>, name: &str) -> Result<Option<&'j str>, JwkRefusal> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(value)) => Ok(Some(value)),
        Some(_) => Err(JwkRefusal::Malformed),
    }
}
