//! Tokens: keys of each kind, their public halves, and JSON Web Tokens signed as told, well formed or not.
//!
//! Signing goes to aws-lc directly, so that no mistake is shared with the library that verifies.

use std::sync::OnceLock;
use std::time::SystemTime;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaKeyPair, RsaSignatureEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://auth.test";
pub const AUDIENCE: &str = "api";

/// A signing key.
pub struct Key {
    kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair, &'static str, &'static RsaSignatureEncoding),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Secret(Vec<u8>),
}

impl Key {
    /// What RSA keys sign with, by JWA name.
    pub const RSA: [(&'static str, &'static RsaSignatureEncoding); 6] = [
        ("RS256", &RSA_PKCS1_SHA256),
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ];

    pub fn rs256(kid: &str) -> Self {
        Self::rsa(kid, Self::RSA[0])
    }

    pub fn rsa(kid: &str, (name, encoding): (&'static str, &'static RsaSignatureEncoding)) -> Self {
        Self::new(kid, Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"), name, encoding))
    }

    pub fn es384(kid: &str) -> Self {
        Self::new(kid, Pair::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key")))
    }

    pub fn es256(kid: &str) -> Self {
        Self::new(kid, Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")))
    }

    pub fn eddsa(kid: &str) -> Self {
        Self::new(kid, Pair::Ed25519(Ed25519KeyPair::generate().expect("a key")))
    }

    pub fn hs256(secret: &[u8]) -> Self {
        Self::new("", Pair::Secret(secret.to_vec()))
    }

    /// The key of every test that isn't about keys. The same in all of a run.
    pub fn usual() -> &'static Self {
        static USUAL: OnceLock<Key> = OnceLock::new();
        USUAL.get_or_init(|| Self::es256("usual"))
    }

    fn new(kid: &str, pair: Pair) -> Self {
        Self { kid: kid.to_owned(), pair }
    }

    pub fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Rsa(_, name, _) => name,
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Ed25519(_) => "EdDSA",
            Pair::Secret(_) => "HS256",
        }
    }

    /// The public half (RFC 7518 §6, RFC 8037 §2).
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair, ..) => {
                let n = pair.public_key().modulus().big_endian_without_leading_zero().to_vec();
                let e = pair.public_key().exponent().big_endian_without_leading_zero().to_vec();
                json!({"kty": "RSA", "n": encode(n), "e": encode(e)})
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if point.len() == 64 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())})
            }
            Pair::Secret(_) => panic!("a secret is not published"),
        };
        jwk["kid"] = json!(self.kid);
        jwk
    }

    /// The same, as `openssl rsa -pubout` writes it.
    pub fn public_pem(&self) -> String {
        let Pair::Rsa(pair, ..) = &self.pair else { panic!("only RSA keys are needed in PEM") };
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("a key has a form");
        let body = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// A good token of `subject`, valid for an hour.
    pub fn token(&self, subject: &str, region: &str) -> String {
        self.sign(&claims(subject, region))
    }

    /// A token with exactly these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let mut header = json!({"typ": "JWT", "alg": self.algorithm()});
        if !self.kid.is_empty() {
            header["kid"] = json!(self.kid);
        }
        self.sign_as(&header, claims)
    }

    /// A token with exactly this header and these claims, whatever they say.
    pub fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let bytes = message.as_bytes();
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair, _, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, bytes, &mut signature).expect("RSA signs");
                signature
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                pair.sign(&random, bytes).expect("ECDSA signs").as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(bytes).as_ref().to_vec(),
            Pair::Secret(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), bytes).as_ref().to_vec()
            }
        };
        format!("{message}.{}", encode(signature))
    }
}

/// A JWKS document of these keys.
pub fn jwks<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Value {
    json!({ "keys": keys.into_iter().map(Key::jwk).collect::<Vec<_>>() })
}

/// Claims that the usual setup accepts.
pub fn claims(subject: &str, region: &str) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "region": region, "exp": now() + 3600})
}

/// [`claims`] of someone in `us`, with one changed; null removes it.
pub fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims("someone", "us");
    if value.is_null() {
        claims.as_object_mut().expect("claims are an object").remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

/// A token that says it needs no signature (RFC 7515 §A.5).
pub fn unsigned(claims: &Value) -> String {
    format!("{}.{}.", encode(json!({"alg": "none"}).to_string()), encode(claims.to_string()))
}

/// Unix time, seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "tokens are valid at a time, and tests are no part of the program"
)]
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970").as_secs()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
