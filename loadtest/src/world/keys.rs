//! The token-signing keys of a world, and tokens for any claims.
//!
//! The key file is the Express API's: `{"active": kid, "keys": [private JWK, …]}`. It is read anew for each signer,
//! so a signer made after a rotation signs with the new key, and one made before keeps the old one.
use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    api::{AUDIENCE, ISSUER},
    region::Jurisdiction,
};

/// A world's key file.
#[derive(Clone, Debug)]
pub struct Keys {
    file: PathBuf,
}

/// Signs tokens with one key.
#[derive(Clone)]
pub struct Signer {
    key: EncodingKey,
    header: Header,
}

#[derive(Deserialize)]
struct KeyFile {
    active: String,
    keys: Vec<PrivateKey>,
}

/// An RSA private JWK (RFC 7518 section 6.3), as it is needed to write PKCS#1.
#[derive(Deserialize)]
struct PrivateKey {
    kid: String,
    n: String,
    e: String,
    d: String,
    p: String,
    q: String,
    dp: String,
    dq: String,
    qi: String,
}

impl Keys {
    pub(crate) fn at(file: PathBuf) -> Self {
        Self { file }
    }

    /// Where it is.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The id of the key that the API signs with now.
    pub fn active(&self) -> Result<String> {
        Ok(self.read()?.active)
    }

    /// A signer with the active key.
    pub fn signer(&self) -> Result<Signer> {
        let KeyFile { active, keys } = self.read()?;
        let key = keys.into_iter().find(|key| key.kid == active).context("the active key is in the file")?;
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(key.kid.clone());
        Ok(Signer { key: EncodingKey::from_rsa_der(&key.pkcs1()?), header })
    }

    /// The public halves, as the API publishes them.
    pub fn jwks(&self) -> Result<serde_json::Value> {
        let public = |key: PrivateKey| json!({"kty": "RSA", "n": key.n, "e": key.e, "kid": key.kid, "alg": "RS256", "use": "sig"});
        Ok(json!({ "keys": self.read()?.keys.into_iter().map(public).collect::<Vec<_>>() }))
    }

    fn read(&self) -> Result<KeyFile> {
        let text = fs::read(&self.file).with_context(|| format!("reading {}", self.file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("parsing {}", self.file.display()))
    }
}

impl Signer {
    /// A token for `subject` with the claim `region`, valid for an hour.
    pub fn token(&self, subject: &str, jurisdiction: Jurisdiction) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
        self.sign(&json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "region": jurisdiction.name(),
            "iat": now, "exp": now + 3600,
        }))
    }

    /// A token with exactly these claims.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String> {
        jsonwebtoken::encode(&self.header, claims, &self.key).context("signing a token")
    }
}

impl PrivateKey {
    /// `RSAPrivateKey` of RFC 8017 appendix A.1.2, DER.
    fn pkcs1(&self) -> Result<Vec<u8>> {
        let mut body = integer(&[0]);
        for part in [&self.n, &self.e, &self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi] {
            body.extend(integer(&URL_SAFE_NO_PAD.decode(part).context("a key's number")?));
        }
        Ok(element(0x30, &body))
    }
}

/// A DER INTEGER from an unsigned big-endian number.
fn integer(number: &[u8]) -> Vec<u8> {
    let digits = &number[number.iter().position(|byte| *byte != 0).unwrap_or(number.len())..];
    let mut content = Vec::with_capacity(digits.len() + 1);
    // The sign bit must not be set, and zero has one octet.
    if digits.first().is_none_or(|first| *first >= 0x80) {
        content.push(0);
    }
    content.extend(digits);
    element(0x02, &content)
}

/// A DER element: tag, length, content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut bytes = vec![tag];
    if content.len() >= 0x80 {
        bytes.push(0x80 | length.len() as u8);
    }
    bytes.extend(length);
    bytes.extend(content);
    bytes
}
