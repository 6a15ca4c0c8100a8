//! The users, and what they and others show for identity. What is true of each token is written beside it.
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::RSA_PKCS1_SHA256,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::world::{AUDIENCE, ISSUER, Jurisdiction, Signer};

/// Longer than any run, in seconds.
const LIFETIME_S: u64 = 24 * 3600;
/// Tokens that end during the run.
const EXPIRING: usize = 128;

/// A token and the truth about it.
#[derive(Debug)]
pub(super) struct Credential {
    pub(super) token: String,
    pub(super) truth: Truth,
}

#[derive(Debug)]
pub(super) enum Truth {
    /// The issuer vouches for this subject, until then, in Unix seconds.
    Subject { subject: String, jurisdiction: Jurisdiction, until: u64 },
    /// It says nothing that counts, for this reason. A client learns so by this status.
    Worthless { why: &'static str, status: u16 },
}

/// Everybody who asks.
#[derive(Debug)]
pub(super) struct Population {
    pub(super) us: Vec<Arc<Credential>>,
    pub(super) eu: Vec<Arc<Credential>>,
    /// Good at first, and no more later.
    pub(super) expiring: Vec<Arc<Credential>>,
    pub(super) worthless: Vec<Arc<Credential>>,
}

impl Population {
    /// `subjects` of each jurisdiction; some tokens expire within `run`.
    pub(super) fn new(signer: &Signer, kid: &str, subjects: usize, run: Duration) -> Result<Self> {
        let now = unix_s();
        let good = |jurisdiction: Jurisdiction, number: usize, until: u64| {
            let subject = format!("{jurisdiction}_user_{number:06}");
            let token = signer.sign(&claims(&subject, &json!(jurisdiction.name()), until))?;
            anyhow::Ok(Arc::new(Credential { token, truth: Truth::Subject { subject, jurisdiction, until } }))
        };
        let all = |jurisdiction| {
            (0..subjects)
                .map(move |number| good(jurisdiction, number, now + LIFETIME_S))
                .collect::<Result<_>>()
        };
        let expiring = (0..EXPIRING)
            .map(|number| {
                let until = now + run.as_secs() * (number as u64 + 1) / EXPIRING as u64;
                good(Jurisdiction::ALL[number % 2], number, until)
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            us: all(Jurisdiction::Us)?,
            eu: all(Jurisdiction::Eu)?,
            expiring,
            worthless: worthless(signer, kid, now)?,
        })
    }
}

fn claims(subject: &str, region: &Value, until: u64) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "region": region, "iat": until - LIFETIME_S, "exp": until,
    })
}

/// Tokens that lead nowhere, of every kind.
fn worthless(signer: &Signer, kid: &str, now: u64) -> Result<Vec<Arc<Credential>>> {
    let mut all = Vec::new();
    let mut add = |why, status, token| {
        all.push(Arc::new(Credential { token, truth: Truth::Worthless { why, status } }));
    };
    let until = now + LIFETIME_S;
    let stranger = KeyPair::generate(KeySize::Rsa2048).context("a stranger's key")?;
    for number in 0..8 {
        let subject = format!("nobody_{number}");
        let eu = claims(&subject, &json!("eu"), until);
        for region in ["uk", "EU", "Us", "us-east", "eu-frankfurt", "", " eu", "eu\u{0}", "us,eu", "*"] {
            add("the region is none", 403, signer.sign(&claims(&subject, &json!(region), until))?);
        }
        for region in [json!(null), json!(1), json!(true), json!(["eu"]), json!({"eu": true})] {
            add("the region is no text", 403, signer.sign(&claims(&subject, &region, until))?);
        }
        add("no region", 403, signer.sign(&without(&eu, "region"))?);
        add("expired", 401, signer.sign(&claims(&subject, &json!("eu"), now - 30 - number))?);
        add("not yet valid", 401, signer.sign(&with(&eu, "nbf", json!(until)))?);
        add("never expires", 401, signer.sign(&without(&eu, "exp"))?);
        add("expires in words", 401, signer.sign(&with(&eu, "exp", json!(until.to_string())))?);
        add("another issuer", 401, signer.sign(&with(&eu, "iss", json!("https://auth.example.org")))?);
        add("for another audience", 401, signer.sign(&with(&eu, "aud", json!("admin")))?);
        add("the subject is a number", 401, signer.sign(&with(&eu, "sub", json!(number)))?);
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": kid});
        add("a stranger's key", 401, sign_with(&stranger, &header, &eu)?);
        let unknown = json!({"alg": "RS256", "typ": "JWT", "kid": format!("stranger-{number}")});
        add("a stranger's key under its own name", 401, sign_with(&stranger, &unknown, &eu)?);
        let none = json!({"alg": "none", "typ": "JWT"});
        add("unsigned", 401, format!("{}.{}.", encoded(&none), encoded(&eu)));
        let moved = signer.sign(&claims(&subject, &json!("us"), until))?;
        add("changed after signing", 401, tampered(&moved, &eu)?);
        add("cut short", 401, moved[..moved.len() - 8].to_owned());
        add("no token", 401, format!("opaque-{number}"));
    }
    Ok(all)
}

fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[name] = value;
    claims
}

fn without(claims: &Value, name: &str) -> Value {
    let mut claims = claims.clone();
    claims.as_object_mut().expect("claims are an object").remove(name);
    claims
}

fn encoded(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn sign_with(key: &KeyPair, header: &Value, claims: &Value) -> Result<String> {
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
        .context("a stranger's signature")?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// A good token's signature under other claims.
fn tampered(token: &str, claims: &Value) -> Result<String> {
    let (head, rest) = token.split_once('.').context("a token has three parts")?;
    let (_, signature) = rest.split_once('.').context("a token has three parts")?;
    Ok(format!("{head}.{}.{signature}", encoded(claims)))
}

/// Seconds since 1970.
pub(super) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
