use super::*;

fn kid_for(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es256 => "p256",
        Algorithm::Es384 => "p384",
        Algorithm::EdDsa => "ed",
        _ => "rsa",
    }
}

#[test]
fn every_algorithm_verifies_with_its_own_key() {
    for algorithm in Algorithm::ALL {
        let verifier = if algorithm.is_symmetric() {
            Verifier::new(vec![secret_policy()], None).unwrap()
        } else {
            verifier()
        };
        let token = verifier.verify(&sign(algorithm, kid_for(algorithm), &claims()), NOW);
        let token = token.unwrap_or_else(|fault| panic!("{algorithm}: {fault}"));
        assert_eq!(token.subject.as_deref(), Some("user-1"));
        assert_eq!(token.jurisdiction, ClaimValue::Text("eu".to_owned()));
        assert_eq!(token.expires_at, Some(NOW + 600));
        assert_eq!(token.not_before, Some(NOW - 5));
        assert_eq!(token.keys_version, verifier.ring().version());
    }
}

#[test]
fn rfc_9864_name_of_ed25519_verifies() {
    let token = sign_raw(Algorithm::EdDsa, r#"{"alg":"Ed25519","kid":"ed"}"#, &claims().to_string());
    assert!(verifier().verify(&token, NOW).is_ok());
}

#[test]
fn claims_that_hold() {
    let cases = [
        ("aud as an array", claims_with("aud", json!(["other", "api"]))),
        ("fractional exp still ahead", claims_with("exp", json!(NOW as f64 + 1.5))),
        ("exp beyond any integer", claims_with("exp", json!(1e300))),
        ("nbf now", claims_with("nbf", json!(NOW))),
        ("nbf before 1970", claims_with("nbf", json!(-5))),
        ("no nbf", claims_with("nbf", Value::Null)),
        ("no subject", claims_with("sub", Value::Null)),
    ];
    for (name, claims) in cases {
        let result = verifier().verify(&sign(Algorithm::EdDsa, "ed", &claims), NOW);
        assert!(result.is_ok(), "{name}: {result:?}");
    }
}

#[test]
fn typ_names_of_access_tokens() {
    for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT"] {
        let header = json!({"alg": "EdDSA", "kid": "ed", "typ": typ}).to_string();
        let token = sign_raw(Algorithm::EdDsa, &header, &claims().to_string());
        assert!(verifier().verify(&token, NOW).is_ok(), "{typ}");
    }
}

/// (claim, value, leeway in s, now) → the outcome; each boundary from both sides.
#[test]
fn exp_and_nbf_boundaries() {
    let cases = [
        ("exp", json!(NOW), 0, NOW - 1, Ok(())),
        ("exp", json!(NOW), 0, NOW, Err(TokenFault::Expired)),
        ("exp", json!(NOW), 10, NOW + 9, Ok(())),
        ("exp", json!(NOW), 10, NOW + 10, Err(TokenFault::Expired)),
        ("exp", json!(NOW as f64 + 0.5), 0, NOW - 1, Ok(())),
        ("exp", json!(NOW as f64 + 0.5), 0, NOW, Err(TokenFault::Expired)),
        ("exp", json!(u64::MAX), 10, NOW, Ok(())),
        ("nbf", json!(NOW), 0, NOW, Ok(())),
        ("nbf", json!(NOW), 0, NOW - 1, Err(TokenFault::NotYetValid)),
        ("nbf", json!(NOW), 10, NOW - 10, Ok(())),
        ("nbf", json!(NOW), 10, NOW - 11, Err(TokenFault::NotYetValid)),
        ("nbf", json!(NOW as f64 - 0.5), 0, NOW, Ok(())),
        ("nbf", json!(NOW as f64 - 0.5), 0, NOW - 1, Err(TokenFault::NotYetValid)),
        ("nbf", json!(5), 10, NOW, Ok(())),
    ];
    for (claim, value, leeway_s, now, expected) in cases {
        let policy = IssuerPolicy { leeway: Duration::from_secs(leeway_s), ..policy() };
        let claims = claims_with(claim, value.clone());
        let claims = if claim == "nbf" { claims } else { without(claims, "nbf") };
        let result = verifier_for(policy, &all_jwks()).verify(&sign(Algorithm::EdDsa, "ed", &claims), now);
        assert_eq!(result.map(drop), expected, "{claim} {value} leeway {leeway_s} now {now}");
    }
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[test]
fn claim_places() {
    let text = |t: &str| ClaimValue::Text(t.to_owned());
    let cases = [
        ("region", json!({"region": "eu"}), text("eu")),
        ("region", json!({}), ClaimValue::Missing),
        ("region", json!({"region": ""}), text("")),
        ("region", json!({"region": 1}), ClaimValue::WrongType),
        ("region", json!({"region": ["eu"]}), ClaimValue::WrongType),
        ("region", json!({"region": null}), ClaimValue::WrongType),
        ("app.data.region", json!({"app": {"data": {"region": "eu"}}}), text("eu")),
        ("app.data.region", json!({"app": {"data": "eu"}}), ClaimValue::Missing),
        ("app.data.region", json!({"app": {"data": {"region": {}}}}), ClaimValue::WrongType),
        ("https://acme.com/region", json!({"https://acme.com/region": "us"}), text("us")),
        ("https://acme.com/app.region", json!({"https://acme.com/app": {"region": "us"}}), text("us")),
        // The exact name beats the path, whatever it holds.
        ("a.b", json!({"a.b": "exact", "a": {"b": "path"}}), text("exact")),
        ("a.b", json!({"a.b": 7, "a": {"b": "path"}}), ClaimValue::WrongType),
        // The longest existing name beats shorter ones.
        ("a.b.c", json!({"a.b": {"c": "long"}, "a": {"b": {"c": "short"}}}), text("long")),
    ];
    for (path, extra, expected) in cases {
        let names = ClaimNames { jurisdiction: ClaimPath::new(path).unwrap(), ..policy().claims };
        let mut claims = without(claims(), "region");
        claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let verifier = verifier_for(IssuerPolicy { claims: names, ..policy() }, &all_jwks());
        let token = verifier.verify(&sign(Algorithm::EdDsa, "ed", &claims), NOW).unwrap();
        assert_eq!(token.jurisdiction, expected, "{path} in {extra}");
    }
    assert_eq!(ClaimPath::new(""), Err(ClaimPathFault::Empty));
    assert_eq!(ClaimPath::new("a.".repeat(9)), Err(ClaimPathFault::TooLong));
}

#[test]
fn subject_from_a_nested_claim() {
    let names = ClaimNames { subject: ClaimPath::new("org.id").unwrap(), ..policy().claims };
    let verifier = verifier_for(IssuerPolicy { claims: names, ..policy() }, &all_jwks());
    let subject = |org: Value| verifier.verify(&sign(Algorithm::EdDsa, "ed", &claims_with("org", org)), NOW);
    assert_eq!(subject(json!({"id": "acme"})).unwrap().subject.as_deref(), Some("acme"));
    assert_eq!(subject(json!({})).unwrap().subject, None);
    assert_eq!(subject(json!({"id": 42})), Err(TokenFault::SubjectWrongType));
    assert_eq!(subject(json!({"id": ""})), Err(TokenFault::SubjectWrongType));
}

#[test]
fn without_kid_exactly_one_fitting_key() {
    let token = sign_raw(Algorithm::Rs256, r#"{"alg":"RS256"}"#, &claims().to_string());
    let keys = test_keys();
    assert!(verifier().verify(&token, NOW).is_ok(), "one RSA key among keys of other kinds");
    let two = [rsa_jwk("a", &keys.rsa), rsa_jwk("b", &keys.other_rsa)];
    assert_eq!(verifier_for(policy(), &two).verify(&token, NOW), Err(TokenFault::KeyAmbiguous));
    let none = [ed_jwk("ed")];
    assert_eq!(verifier_for(policy(), &none).verify(&token, NOW), Err(TokenFault::KeyAmbiguous));
    // The other RSA key says it is for PS256, which leaves one.
    let mut other = rsa_jwk("b", &keys.other_rsa);
    other["alg"] = json!("PS256");
    assert!(verifier_for(policy(), &[rsa_jwk("a", &keys.rsa), other]).verify(&token, NOW).is_ok());
}

/// Each issuer's tokens verify with its own keys only, even where another issuer knows the same `kid`.
#[test]
fn issuers_do_not_share_keys() {
    let keys = test_keys();
    let other = IssuerPolicy { issuer: Some("https://other.example".to_owned()), ..policy() };
    let verifier = Verifier::new(vec![policy(), other], None).unwrap();
    verifier.ring().publish(0, key_set(&[rsa_jwk("k", &keys.rsa)]));
    verifier.ring().publish(1, key_set(&[rsa_jwk("k", &keys.other_rsa)]));
    let verify =
        |claims: &Value| verifier.verify(&sign(Algorithm::Rs256, "k", claims), NOW).map(|t| t.issuer_index);
    assert_eq!(verify(&claims()), Ok(0));
    assert_eq!(
        verify(&claims_with("iss", json!("https://other.example"))),
        Err(TokenFault::SignatureInvalid)
    );
    assert_eq!(verify(&claims_with("iss", json!("https://third.example"))), Err(TokenFault::IssuerUnknown));
    assert_eq!(verify(&claims_with("iss", Value::Null)), Err(TokenFault::ClaimMissing(RegisteredClaim::Iss)));
}

#[test]
fn an_unnamed_issuer_takes_any_iss() {
    let required = RequiredClaims { iss: false, ..policy().required };
    let verifier = verifier_for(IssuerPolicy { issuer: None, required, ..policy() }, &all_jwks());
    for iss in [json!(ISSUER), json!("anyone"), Value::Null] {
        assert!(verifier.verify(&sign(Algorithm::EdDsa, "ed", &claims_with("iss", iss)), NOW).is_ok());
    }
}

#[test]
fn audience_is_free_when_none_is_configured() {
    let required = RequiredClaims { aud: false, ..policy().required };
    let verifier = verifier_for(IssuerPolicy { audiences: vec![], required, ..policy() }, &all_jwks());
    for aud in [json!("anything"), json!(["a", "b"]), Value::Null] {
        assert!(verifier.verify(&sign(Algorithm::EdDsa, "ed", &claims_with("aud", aud)), NOW).is_ok());
    }
}
