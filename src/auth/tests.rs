//! Real keys, real signatures, real documents. Signing here goes to aws-lc directly, so that a mistake in the library
//! the verifier uses can't cancel itself out.
mod accepted;
mod algorithms;
mod cache;
mod extract;
mod flight;
mod jwks;
mod mutation;
mod pem_keys;
mod policy;
mod refresh;
mod refusals;

use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;

pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const ISSUER: &str = "https://auth.acme.example";
const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// One key pair for each kind, made once: RSA generation is slow.
struct TestKeys {
    rsa: RsaKeyPair,
    other_rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

fn test_keys() -> &'static TestKeys {
    static KEYS: OnceLock<TestKeys> = OnceLock::new();
    KEYS.get_or_init(|| TestKeys {
        rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        other_rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
        ed25519: Ed25519KeyPair::generate().unwrap(),
    })
}

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa_signature(pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

fn signature(algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
    let keys = test_keys();
    let random = SystemRandom::new();
    match algorithm {
        Algorithm::Rs256 => rsa_signature(&keys.rsa, &RSA_PKCS1_SHA256, message),
        Algorithm::Rs384 => rsa_signature(&keys.rsa, &RSA_PKCS1_SHA384, message),
        Algorithm::Rs512 => rsa_signature(&keys.rsa, &RSA_PKCS1_SHA512, message),
        Algorithm::Ps256 => rsa_signature(&keys.rsa, &RSA_PSS_SHA256, message),
        Algorithm::Ps384 => rsa_signature(&keys.rsa, &RSA_PSS_SHA384, message),
        Algorithm::Ps512 => rsa_signature(&keys.rsa, &RSA_PSS_SHA512, message),
        Algorithm::Es256 => keys.p256.sign(&random, message).unwrap().as_ref().to_vec(),
        Algorithm::Es384 => keys.p384.sign(&random, message).unwrap().as_ref().to_vec(),
        Algorithm::EdDsa => keys.ed25519.sign(message).as_ref().to_vec(),
        Algorithm::Hs256 => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message).as_ref().to_vec(),
    }
}

/// Header and payload as raw JSON text, so that tests can write what no serializer would.
fn sign_raw(algorithm: Algorithm, header: &str, payload: &str) -> String {
    let message = format!("{}.{}", b64(header), b64(payload));
    let signature = signature(algorithm, message.as_bytes());
    format!("{message}.{}", b64(signature))
}

pub(super) fn sign(algorithm: Algorithm, kid: &str, claims: &Value) -> String {
    let header = json!({"typ": "JWT", "alg": algorithm.name(), "kid": kid});
    sign_raw(algorithm, &header.to_string(), &claims.to_string())
}

/// Claims every default policy here accepts.
pub(super) fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "api", "sub": "user-1", "exp": NOW + 600, "nbf": NOW - 5, "region": "eu"})
}

/// `claims()` with one changed; `null` removes it.
fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

fn rsa_jwk(kid: &str, pair: &RsaKeyPair) -> Value {
    let key = pair.public_key();
    let n = key.modulus().big_endian_without_leading_zero().to_vec();
    let e = key.exponent().big_endian_without_leading_zero().to_vec();
    json!({"kty": "RSA", "kid": kid, "use": "sig", "n": b64(n), "e": b64(e)})
}

fn ec_jwk(kid: &str, curve: &str, pair: &EcdsaKeyPair) -> Value {
    let point = pair.public_key().as_ref();
    let (x, y) = point[1..].split_at(point.len() / 2);
    json!({"kty": "EC", "kid": kid, "crv": curve, "x": b64(x), "y": b64(y)})
}

fn ed_jwk(kid: &str) -> Value {
    json!({"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": b64(test_keys().ed25519.public_key())})
}

/// One key of each kind: `rsa`, `p256`, `p384`, `ed`.
pub(super) fn all_jwks() -> Vec<Value> {
    let keys = test_keys();
    vec![
        rsa_jwk("rsa", &keys.rsa),
        ec_jwk("p256", "P-256", &keys.p256),
        ec_jwk("p384", "P-384", &keys.p384),
        ed_jwk("ed"),
    ]
}

fn document(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

pub(super) fn key_set(keys: &[Value]) -> KeySet {
    JwksDocument::parse(&document(keys)).unwrap().keys
}

pub(super) fn policy() -> IssuerPolicy {
    IssuerPolicy {
        issuer: Some(ISSUER.to_owned()),
        audiences: vec!["api".to_owned()],
        algorithms: Algorithm::ALL.into_iter().filter(|a| !a.is_symmetric()).collect(),
        keys: KeySource::File("/nowhere/jwks.json".into()),
        required: RequiredClaims { iss: true, aud: true, exp: true, nbf: false },
        leeway: Duration::ZERO,
        introspection: None,
        claims: ClaimNames {
            jurisdiction: ClaimPath::new("region").unwrap(),
            subject: ClaimPath::new("sub").unwrap(),
        },
    }
}

fn secret_policy() -> IssuerPolicy {
    IssuerPolicy {
        algorithms: vec![Algorithm::Hs256],
        keys: KeySource::Secret(HmacSecret::new(*SECRET).unwrap()),
        ..policy()
    }
}

/// A verifier for one issuer that has published these keys.
fn verifier_for(policy: IssuerPolicy, keys: &[Value]) -> Verifier {
    let verifier = Verifier::new(vec![policy], None).unwrap();
    verifier.ring().publish(0, key_set(keys));
    verifier
}

fn verifier() -> Verifier {
    verifier_for(policy(), &all_jwks())
}
