//! What identifying a request costs: a verified token met again, and one met for the first time.
//!
//! The token is 800 bytes and RS256, the size and kind identity providers issue.
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use residency::auth::{
    Algorithm, ClaimNames, ClaimPath, IssuerPolicy, KeyRefresher, KeySource, RefreshOptions, RequiredClaims,
    TokenCache, TokenSource, VerifiedToken, Verifier, extract,
};
use residency::http1::{Fields, Name};
use serde_json::json;

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

const NOW: u64 = 1_800_000_000;
const TOKEN_BYTES: usize = 800;

fn main() {
    divan::main();
}

struct Identity {
    pair: RsaKeyPair,
    verifier: Verifier,
}

impl Identity {
    fn new() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("key generation needs nothing");
        let n = pair.public_key().modulus().big_endian_without_leading_zero();
        let document =
            json!({"keys": [{"kty": "RSA", "kid": "2026-01", "n": URL_SAFE_NO_PAD.encode(n), "e": "AQAB"}]});
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("jwks.json");
        std::fs::write(&path, document.to_string()).expect("a writable temporary directory");
        let policy = IssuerPolicy {
            issuer: Some("https://auth.acme.example".to_owned()),
            audiences: vec!["api".to_owned()],
            algorithms: Algorithm::DEFAULT.to_vec(),
            keys: KeySource::File(path),
            required: RequiredClaims { iss: true, aud: true, exp: true, nbf: false },
            leeway: Duration::ZERO,
            introspection: None,
            claims: ClaimNames {
                jurisdiction: ClaimPath::new("region").expect("a plain name"),
                subject: ClaimPath::new("sub").expect("a plain name"),
            },
        };
        let verifier = Verifier::new(vec![policy], None).expect("a valid policy");
        let options = RefreshOptions { refresh_every: Duration::from_mins(5), ca_file: None };
        let refresher = KeyRefresher::new(Arc::clone(verifier.ring()), &options).expect("system authorities");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        assert!(runtime.block_on(refresher.load_once()).is_empty(), "the file is a key set");
        Self { pair, verifier }
    }

    fn token(&self, subject: usize) -> String {
        let encode = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let header = encode(json!({"alg": "RS256", "typ": "JWT", "kid": "2026-01"}));
        let payload = |pad: usize| {
            encode(json!({
                "iss": "https://auth.acme.example", "aud": "api", "sub": format!("user-{subject:06}"),
                "exp": NOW + 900, "iat": NOW, "region": "eu", "scope": "x".repeat(pad),
            }))
        };
        let signature_bytes = self.pair.public_modulus_len() * 4 / 3 + 1;
        let pad = (0..TOKEN_BYTES)
            .find(|pad| header.len() + payload(*pad).len() + signature_bytes + 2 >= TOKEN_BYTES)
            .expect("padding grows the token");
        let message = format!("{header}.{}", payload(pad));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .expect("a valid key signs");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A cache that holds these tokens.
    fn cache(&self, entries: usize, tokens: &[String]) -> TokenCache<VerifiedToken> {
        let mut cache = TokenCache::new(entries);
        for token in tokens {
            let verified = self.verifier.verify(token, NOW).expect("a good token");
            cache.insert(token.as_bytes(), &verified, Rc::new(verified.clone()));
        }
        cache
    }
}

/// One token over and over: everything in the processor's cache.
#[divan::bench]
fn hit_hot(bencher: divan::Bencher) {
    let identity = Identity::new();
    let token = identity.token(0);
    let mut cache = identity.cache(65_536, std::slice::from_ref(&token));
    let ring = identity.verifier.ring();
    bencher.bench_local(|| {
        cache.get(black_box(token.as_bytes()), NOW, ring.version()).expect("a hit").issuer_index
    });
}

/// 2,000 users in turn: the tokens no longer fit the first-level cache.
#[divan::bench(sample_size = 2000)]
fn hit_among_2000(bencher: divan::Bencher) {
    let identity = Identity::new();
    let tokens: Vec<_> = (0..2000).map(|subject| identity.token(subject)).collect();
    let mut cache = identity.cache(65_536, &tokens);
    let ring = identity.verifier.ring();
    let mut turn = tokens.iter().cycle();
    bencher.bench_local(|| {
        let token = turn.next().expect("a cycle");
        cache.get(black_box(token.as_bytes()), NOW, ring.version()).expect("a hit").issuer_index
    });
}

/// Signature, claims, insertion.
#[divan::bench]
fn miss(bencher: divan::Bencher) {
    let identity = Identity::new();
    let token = identity.token(0);
    let mut cache = TokenCache::new(65_536);
    bencher.bench_local(|| {
        let verified = identity.verifier.verify(black_box(&token), NOW).expect("a good token");
        let value = Rc::new(verified.clone());
        cache.insert(token.as_bytes(), &verified, value);
    });
}

/// Finding the token in the request's headers.
#[divan::bench]
fn extract_bearer(bencher: divan::Bencher) {
    let identity = Identity::new();
    let mut fields = Fields::default();
    fields.add("authorization", format!("Bearer {}", identity.token(0)).as_bytes());
    let from = [TokenSource::Bearer];
    bencher.bench_local(|| {
        let fields = black_box(&fields);
        extract(fields.all(Name::Authorization), &fields.all(Name::Cookie), &from)
            .expect("well formed")
            .expect("present")
            .bytes()
            .len()
    });
}
