//! The users of the comparison: an issuer's key in the forms that each contender reads, and signed tokens.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Serialize;

pub(super) const ISSUER: &str = "https://auth.acme.example";
pub(super) const AUDIENCE: &str = "api";
/// Longer than any run.
const LIFETIME_S: u64 = 24 * 3600;
const KEY_ID: &str = "2026-11";

/// An RSA-2048 key that signs RS256 tokens.
pub(super) struct Issuer {
    signing: EncodingKey,
    public_pem: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    region: &'a str,
    iat: u64,
    exp: u64,
}

impl Issuer {
    pub(super) fn new() -> Result<Self> {
        let pair = KeyPair::generate(KeySize::Rsa2048).context("generating an RSA key")?;
        let private: Pkcs8V1Der<'_> = pair.as_der().context("the RSA key as PKCS#8")?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().context("the public key as SPKI")?;
        let signing = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes())?;
        Ok(Self { signing, public_pem: pem("PUBLIC KEY", public.as_ref()) })
    }

    /// The public key as a PEM file, for `jwt_verify`.
    pub(super) fn write_pem(&self, directory: &Path) -> Result<PathBuf> {
        let path = directory.join("issuer.pem");
        fs::write(&path, &self.public_pem)?;
        Ok(path)
    }

    /// The public key as a JWKS file, for the gateway.
    pub(super) fn write_jwks(&self, directory: &Path) -> Result<PathBuf> {
        let mut key = Jwk::from_encoding_key(&self.signing, Algorithm::RS256)?;
        key.common.key_id = Some(KEY_ID.to_owned());
        key.common.public_key_use = Some(jsonwebtoken::jwk::PublicKeyUse::Signature);
        let path = directory.join("jwks.json");
        fs::write(&path, serde_json::to_vec_pretty(&JwkSet { keys: vec![key] })?)?;
        Ok(path)
    }

    /// A token of the given user, whose jurisdiction is `us`.
    pub(super) fn token(&self, user: usize) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?.as_secs();
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::RS256) };
        let claims = Claims {
            iss: ISSUER,
            aud: AUDIENCE,
            sub: format!("usr_{:026}", user + 1),
            region: "us",
            iat: now,
            exp: now + LIFETIME_S,
        };
        encode(&header, &claims, &self.signing).context("signing a token")
    }
}

/// RFC 7468: base64 in lines of 64 between labels.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem + "-----END " + label + "-----\n"
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};
    use serde_json::Value;

    use super::*;

    #[test]
    fn tokens_verify_with_both_forms_of_the_key_and_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let issuer = Issuer::new().expect("a key");
        let pem = fs::read(issuer.write_pem(directory.path()).expect("a PEM")).expect("its bytes");
        let jwks = fs::read(issuer.write_jwks(directory.path()).expect("a JWKS")).expect("its bytes");
        let jwks: JwkSet = serde_json::from_slice(&jwks).expect("a key set");
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        let token = issuer.token(7).expect("a token");
        let keys = [
            DecodingKey::from_rsa_pem(&pem).expect("a key from PEM"),
            DecodingKey::from_jwk(jwks.find(KEY_ID).expect("the key by its id")).expect("a key from JWKS"),
        ];
        for key in &keys {
            let claims = decode::<Value>(&token, key, &validation).expect("a good token").claims;
            assert_eq!(claims["region"], "us");
        }
        let stranger = Issuer::new().expect("another key").token(7).expect("its token");
        assert!(decode::<Value>(&stranger, &keys[0], &validation).is_err());
    }
}
