//! Who is asking: tokens that prove it, and tokens that don't.

use serde_json::{Value, json};

use crate::harness::{Ask, Gateway, ISSUER, Key, Setup, Upstream, claims, claims_with, jwks, now, unsigned};

const SECRET: &[u8; 40] = b"a shared secret of at least thirty-two b";

async fn gateway_with(upstream: &Upstream, keys: &[&Key]) -> Gateway {
    let setup = Setup::before(&[upstream.address]);
    setup.write("jwks.json", &jwks(keys.iter().copied()).to_string());
    setup.start().await
}

#[tokio::test]
async fn tokens_of_each_asymmetric_algorithm_are_verified_and_name_their_subject() {
    let upstream = Upstream::mirror();
    let keys = [Key::rs256("r"), Key::es256("e"), Key::eddsa("d")];
    let gateway = gateway_with(&upstream, &keys.each_ref()).await;
    for key in &keys {
        let subject = format!("user of {}", key.algorithm());
        for access in ["read", "write"] {
            let method = if access == "read" { "GET" } else { "POST" };
            let ask = Ask::new(&format!("{method} /orders")).token(&key.token(&subject, "eu"));
            gateway.send(&ask).await.expect_ok();
            let seen = upstream.last().head;
            assert_eq!(
                seen.beginning_with("residency-"),
                [
                    ("residency-served-by", "here"),
                    ("residency-access", access),
                    ("residency-jurisdiction", "eu"),
                    ("residency-database", "primary"),
                    ("residency-subject", subject.as_str()),
                ]
            );
        }
    }
}

/// Every algorithm there is, from the configuration to the API, and nothing that only looks like one of them.
#[tokio::test]
async fn every_configurable_algorithm_works_and_allows_no_other() {
    let upstream = Upstream::mirror();
    let mut keys = vec![Key::es256("ES256"), Key::es384("ES384"), Key::eddsa("EdDSA")];
    keys.extend(Key::RSA.map(|rsa| Key::rsa(rsa.0, rsa)));
    let setup = Setup::before(&[upstream.address]);
    setup.write("jwks.json", &jwks(&keys).to_string());
    let names: Vec<String> = keys.iter().map(|key| format!("'{}'", key.algorithm())).collect();
    let mut gateway = setup.with(&format!("[token]\nalgorithms = [{}]", names.join(", "))).start().await;
    let status =
        async |gateway: &Gateway, token: &str| gateway.send(&Ask::new("GET /me").token(token)).await.status();
    for key in &keys {
        let own = key.algorithm();
        let good = key.token("someone", "eu");
        assert_eq!(status(&gateway, &good).await, 200, "{own}");
        let (message, signature) = good.rsplit_once('.').expect("three parts");
        let others = key.token("another", "eu");
        let (others_message, others_signature) = others.rsplit_once('.').expect("three parts");
        let stranger = if let Some(rsa) = Key::RSA.into_iter().find(|rsa| rsa.0 == own) {
            Key::rsa(own, rsa)
        } else {
            match own {
                "ES256" => Key::es256(own),
                "ES384" => Key::es384(own),
                _ => Key::eddsa(own),
            }
        };
        let forged = [
            format!("{others_message}.{signature}"),
            format!("{message}.{others_signature}"),
            format!("{message}.{}", signature.to_ascii_uppercase()),
            stranger.token("someone", "eu"),
        ];
        for token in forged {
            assert_eq!(status(&gateway, &token).await, 401, "{own}: {token}");
        }
        // The same key, honestly used for what it doesn't say: RS256's signature is no PS256's.
        for alg in Key::RSA.map(|rsa| rsa.0).into_iter().filter(|alg| *alg != own) {
            let token = key.sign_as(&json!({"alg": alg, "kid": own}), &claims("someone", "eu"));
            assert_eq!(status(&gateway, &token).await, 401, "{own} called {alg}");
        }
    }
    for key in &keys {
        gateway.setup.lay(&format!("[token]\nalgorithms = ['{}']", key.algorithm()));
        gateway.reload().await;
        for other in &keys {
            let wanted = if other.algorithm() == key.algorithm() { 200 } else { 401 };
            crate::harness::eventually("the workers go by the new list", async || {
                let status = status(&gateway, &other.token("someone", "eu")).await;
                crate::harness::holds(status == wanted, || format!("{} is {status}", other.algorithm()))
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_shared_secret_counts_only_where_one_is_configured() {
    let upstream = Upstream::mirror();
    let secret = Key::hs256(SECRET);
    let by_secret = Ask::new("GET /me").token(&secret.token("someone", "us"));

    let published = Key::rs256("published");
    let gateway = gateway_with(&upstream, &[&published]).await;
    gateway.send(&by_secret).await.expect_problem(401, "token-invalid");
    // What everyone may know of the key is no secret to sign with, in whatever form it is taken.
    let jwk = published.jwk();
    for known in [jwk.to_string(), jwk["n"].as_str().expect("its modulus").to_owned()] {
        let confused = Key::hs256(known.as_bytes());
        let header = json!({"alg": "HS256", "kid": "published"});
        let ask = Ask::new("GET /me").token(&confused.sign_as(&header, &claims("someone", "us")));
        gateway.send(&ask).await.expect_problem(401, "token-invalid");
    }
    drop(gateway);

    let mut setup =
        Setup::before(&[upstream.address]).env("JWT_SECRET", std::str::from_utf8(SECRET).expect("ASCII"));
    setup.config["token"].as_table_mut().expect("a table").remove("jwks");
    let gateway = setup.with("[token]\nhs256_secret = 'env:JWT_SECRET'").start().await;
    gateway.send(&by_secret).await.expect_ok();
    let other = Key::hs256(b"another secret of thirty-two bytes or more");
    for refused in [other.token("someone", "us"), published.token("someone", "us")] {
        gateway.send(&Ask::new("GET /me").token(&refused)).await.expect_problem(401, "token-invalid");
    }
}

#[tokio::test]
async fn tokens_that_prove_nothing_are_refused_and_reach_no_api() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let key = Key::usual();
    let stranger = Key::es256("usual");
    let header = |extra: Value| {
        let mut header = json!({"alg": "ES256", "kid": "usual"});
        header.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        key.sign_as(&header, &claims("someone", "us"))
    };
    let embedded = json!({"alg": "ES256", "kid": "usual", "jwk": stranger.jwk()});
    let good = key.token("someone", "us");
    let (signed, signature) = good.rsplit_once('.').expect("three parts");
    let other_claims = key.token("someone else", "us");
    let swapped = format!("{}.{signature}", other_claims.rsplit_once('.').expect("three parts").0);
    let with = |name: &str, value: Value| key.sign(&claims_with(name, value));
    let invalid = [
        ("no signature, and says so", unsigned(&claims("someone", "us"))),
        ("signature left out", format!("{signed}.")),
        ("signature of other claims", swapped),
        ("a stranger's key under a known name", stranger.token("someone", "us")),
        ("a stranger's key embedded", stranger.sign_as(&embedded, &claims("someone", "us"))),
        ("its own key embedded", header(json!({"jwk": key.jwk()}))),
        ("keys to be fetched from elsewhere", header(json!({"jku": "http://127.0.0.1:1/"}))),
        ("an unknown critical extension", header(json!({"crit": ["b65"], "b65": true}))),
        ("unencoded payload", header(json!({"crit": ["b64"], "b64": false}))),
        ("another algorithm than the key's", header(json!({"alg": "RS256"}))),
        ("an algorithm in other letters", header(json!({"alg": "es256"}))),
        ("another issuer", with("iss", json!("https://elsewhere.test"))),
        ("no issuer", with("iss", Value::Null)),
        ("an issuer that is a list", with("iss", json!([ISSUER]))),
        ("another audience", with("aud", json!("another"))),
        ("other audiences", with("aud", json!(["another", "third"]))),
        ("no audience", with("aud", Value::Null)),
        ("an audience that is a number", with("aud", json!(1))),
        ("no expiry", with("exp", Value::Null)),
        ("an expiry that is text", with("exp", json!((now() + 3600).to_string()))),
        ("an expiry that is true", with("exp", json!(true))),
        ("not-before that is text", with("nbf", json!("0"))),
        ("not a token", "not-a-token".to_owned()),
        ("two parts", "e30.e30".to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("a trailing character", format!("{good}=")),
        ("not valid yet", with("nbf", json!(now() + 600))),
    ];
    for (what, token) in invalid {
        let answer = gateway.send(&Ask::new("GET /me").token(&token)).await;
        assert_eq!(answer.problem(), (401, "token-invalid".to_owned()), "{what}");
        assert!(
            answer.head.get("www-authenticate").is_some_and(|value| value.contains("invalid_token")),
            "{what}"
        );
    }
    for (what, token) in
        [("expired", with("exp", json!(now() - 1))), ("expired long ago", with("exp", json!(1)))]
    {
        let answer = gateway.send(&Ask::new("GET /me").token(&token)).await;
        assert_eq!(answer.problem(), (401, "token-expired".to_owned()), "{what}");
    }
    let twice = Ask::new("GET /me").token(&good).token(&good);
    gateway.send(&twice).await.expect_problem(401, "token-invalid");
    assert_eq!(upstream.requests().len(), 0, "nothing of all this reached the API");
    gateway.send(&Ask::new("GET /me").token(&good)).await.expect_ok();
}

/// As issuers without a JWKS have it: the public half of the key they sign with, in a file.
#[tokio::test]
async fn a_public_key_in_pem_verifies_and_a_private_one_is_not_taken() {
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[upstream.address]);
    let key = Key::rs256("whatever");
    setup.write("public.pem", &key.public_pem());
    let mut gateway = setup.with("[token]\njwks = 'file:public.pem'\njwks_refresh_s = 1").start().await;
    let good = Ask::new("GET /me").token(&key.token("someone", "us"));
    gateway.send(&good).await.expect_ok();
    let stranger = Key::rs256("whatever").token("someone", "us");
    gateway.send(&Ask::new("GET /me").token(&stranger)).await.expect_problem(401, "token-invalid");
    // It isn't looked at, whatever else is in the file; the last good key stays.
    let both = key.public_pem() + "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    gateway.setup.write("public.pem", &both);
    gateway.logged("holds a private key").await;
    gateway.send(&good).await.expect_ok();
    gateway.reload().await;
    gateway.send(&Ask::new("GET /me").token(&key.token("another", "us"))).await.expect_ok();
}

#[tokio::test]
async fn required_claims_are_as_configured() {
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[upstream.address]);
    let gateway = setup.with("[token]\nrequire = ['exp', 'nbf']\nleeway_s = 30").start().await;
    let send =
        async |claims: Value| gateway.send(&Ask::new("GET /me").token(&Key::usual().sign(&claims))).await;
    send(claims_with("x", json!(1))).await.expect_problem(401, "token-invalid");
    let mut valid = claims_with("nbf", json!(now() - 5));
    send(valid.clone()).await.expect_ok();
    // Not required, yet wrong when it is there.
    valid["aud"] = json!("another");
    send(valid.clone()).await.expect_problem(401, "token-invalid");
    valid.as_object_mut().expect("an object").remove("aud");
    send(valid.clone()).await.expect_ok();
    // Within the leeway, and beyond it.
    valid["exp"] = json!(now() - 5);
    send(valid.clone()).await.expect_ok();
    valid["exp"] = json!(now() - 60);
    send(valid).await.expect_problem(401, "token-expired");
}

#[tokio::test]
async fn a_cached_token_is_refused_from_the_second_it_expires() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let token = Key::usual().sign(&claims_with("exp", json!(now() + 3)));
    let ask = Ask::new("GET /me").token(&token);
    gateway.send(&ask).await.expect_ok();
    gateway.send(&ask).await.expect_ok();
    assert!(
        gateway.metrics().await.value("residency_token_cache_lookups_total", &[("result", "hit")]) >= 1.0
    );
    let refused = crate::harness::eventually("the token expires", async || {
        let answer = gateway.send(&ask).await;
        if answer.status() == 200 { Err("still taken".to_owned()) } else { Ok(answer) }
    })
    .await;
    refused.expect_problem(401, "token-expired");
}

#[tokio::test]
async fn the_token_may_be_in_a_configured_cookie() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address])
        .with("[token]\nfrom = ['bearer', 'cookie:access_token']")
        .start()
        .await;
    let (own, other) = (Key::usual().token("own", "us"), Key::usual().token("other", "us"));
    let subject_of = async |ask: Ask| {
        gateway.send(&ask).await.expect_ok();
        upstream.last().head.get("residency-subject").map(str::to_owned)
    };
    let cookie = format!("theme=dark; access_token={own}; lang=de");
    let ask = Ask::new("POST /orders").header("cookie", &cookie);
    assert_eq!(subject_of(ask.clone()).await.as_deref(), Some("own"));
    assert_eq!(
        upstream.last().head.get("cookie"),
        Some(cookie.as_str()),
        "the API gets the cookies as they were"
    );
    // The order of the configuration counts, not the request's.
    assert_eq!(subject_of(ask.token(&other)).await.as_deref(), Some("other"));

    let quoted = Ask::new("POST /orders").header("cookie", &format!("xaccess_token={own}"));
    gateway.send(&quoted).await.expect_problem(401, "token-missing");
    // Another cookie of that name could have been planted by a sibling domain.
    let planted = Ask::new("GET /me").header("cookie", &format!("access_token={own}; access_token={other}"));
    gateway.send(&planted).await.expect_problem(401, "token-invalid");
}

#[tokio::test]
async fn a_cookie_is_no_token_unless_configured() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let cookie = format!("access_token={}", Key::usual().token("own", "us"));
    gateway
        .send(&Ask::new("POST /orders").header("cookie", &cookie))
        .await
        .expect_problem(401, "token-missing");
}

#[tokio::test]
async fn each_issuer_has_its_own_keys_audience_and_claims() {
    let upstream = Upstream::mirror();
    let (first, second) = (Key::es256("k"), Key::eddsa("k"));
    let setup = Setup::before(&[upstream.address]);
    setup.write("jwks.json", &jwks([&first]).to_string());
    setup.write("second.json", &jwks([&second]).to_string());
    let gateway = setup
        .with(
            "[[token.issuers]]\nissuer = 'https://second.test'\naudience = 'second'\njwks = 'file:second.json'\n\
             algorithms = ['EdDSA']\njurisdiction_claim = 'https://second.test/where'\nsubject_claim = 'org.id'\n",
        )
        .start()
        .await;
    let send = async |token: String| gateway.send(&Ask::new("POST /orders").token(&token)).await;
    send(first.token("of the first", "eu")).await.expect_ok();
    assert_eq!(upstream.last().head.get("residency-subject"), Some("of the first"));

    let of_second = json!({
        "iss": "https://second.test", "aud": ["x", "second"], "exp": now() + 600, "sub": "not this",
        "org": {"id": "of the second"}, "https://second.test/where": "eu", "region": "us",
    });
    send(second.sign(&of_second)).await.expect_ok();
    let seen = upstream.last().head;
    assert_eq!(seen.get("residency-subject"), Some("of the second"));
    assert_eq!(seen.get("residency-jurisdiction"), Some("eu"));

    // Neither issuer's key speaks for the other.
    send(first.sign(&of_second)).await.expect_problem(401, "token-invalid");
    send(second.token("of the first", "eu")).await.expect_problem(401, "token-invalid");
    let mut mixed = of_second;
    mixed["aud"] = json!("api");
    send(second.sign(&mixed)).await.expect_problem(401, "token-invalid");
}
