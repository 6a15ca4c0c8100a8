//! What an issuer's word is worth, how often it is asked, and what is remembered of it.
mod admission;
mod answers;
mod memory;
mod server;
mod service;

use serde_json::{Value, json};

use super::*;
use crate::auth::tests::{ISSUER, NOW, all_jwks, b64, claims, key_set, policy, sign};
use crate::auth::*;

fn introspection(url: &str) -> Introspection {
    Introspection {
        url: url.to_owned(),
        client: Some(ClientCredentials {
            id: "gateway of ours".to_owned(),
            secret: Secret::new("a:secret/with&signs"),
        }),
        tokens: IntrospectedTokens::Opaque,
        keep: Duration::from_mins(1),
        keep_refused: Duration::from_secs(10),
        timeout: Duration::from_secs(10),
        per_second: 100_000,
    }
}

/// The usual policy, of an issuer that has no keys and is asked at `url`.
fn keyless(url: &str) -> IssuerPolicy {
    IssuerPolicy {
        algorithms: vec![],
        keys: KeySource::None,
        introspection: Some(introspection(url)),
        ..policy()
    }
}
