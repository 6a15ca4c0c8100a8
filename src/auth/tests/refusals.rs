use super::*;

fn refused(token: &str) -> TokenFault {
    verifier().verify(token, NOW).expect_err("this token must be refused")
}

#[test]
fn claims_that_do_not_hold() {
    use RegisteredClaim::{Aud, Exp, Iss, Nbf, Sub};
    let missing = |name, claim| (name, Value::Null, TokenFault::ClaimMissing(claim));
    let wrong = |name, value, claim| (name, value, TokenFault::ClaimWrongType(claim));
    let cases = [
        missing("iss", Iss),
        missing("aud", Aud),
        missing("exp", Exp),
        wrong("iss", json!(1), Iss),
        wrong("iss", json!([ISSUER]), Iss),
        wrong("aud", json!(1), Aud),
        wrong("aud", json!({"api": true}), Aud),
        wrong("aud", json!(["api", 1]), Aud),
        wrong("aud", json!([["api"]]), Aud),
        wrong("exp", json!((NOW + 600).to_string()), Exp),
        wrong("exp", json!([NOW + 600]), Exp),
        wrong("exp", json!(true), Exp),
        wrong("nbf", json!(NOW.to_string()), Nbf),
        wrong("nbf", json!({}), Nbf),
        wrong("sub", json!(1), Sub),
        wrong("sub", json!(["user-1"]), Sub),
        ("iss", json!("https://auth.acme.example/"), TokenFault::IssuerUnknown),
        ("iss", json!(""), TokenFault::IssuerUnknown),
        ("aud", json!("API"), TokenFault::AudienceMismatch),
        ("aud", json!(["a", "b"]), TokenFault::AudienceMismatch),
        ("aud", json!([]), TokenFault::AudienceMismatch),
        ("exp", json!(NOW), TokenFault::Expired),
        ("exp", json!(-1), TokenFault::Expired),
        ("exp", json!(0.5), TokenFault::Expired),
        ("nbf", json!(NOW + 1), TokenFault::NotYetValid),
        ("nbf", json!(1e300), TokenFault::NotYetValid),
        ("sub", json!(""), TokenFault::SubjectWrongType),
    ];
    for (name, value, expected) in cases {
        // An unnamed single issuer leaves the choice of keys to nobody, so `iss` gets as far as the claims.
        let token = sign(Algorithm::EdDsa, "ed", &claims_with(name, value.clone()));
        assert_eq!(refused(&token), expected, "{name} = {value}");
    }
}

/// `null` is a value of the wrong type, not an absence, for every registered claim.
#[test]
fn null_is_not_absent() {
    for claim in ["iss", "sub", "aud", "exp", "nbf"] {
        let mut claims = claims();
        claims[claim] = Value::Null;
        let fault = refused(&sign(Algorithm::EdDsa, "ed", &claims));
        assert!(matches!(fault, TokenFault::ClaimWrongType(c) if c.name() == claim), "{claim}: {fault}");
    }
}

#[test]
fn required_nbf_is_required() {
    let required = RequiredClaims { nbf: true, ..policy().required };
    let verifier = verifier_for(IssuerPolicy { required, ..policy() }, &all_jwks());
    let token = sign(Algorithm::EdDsa, "ed", &claims_with("nbf", Value::Null));
    assert_eq!(verifier.verify(&token, NOW), Err(TokenFault::ClaimMissing(RegisteredClaim::Nbf)));
}

/// Each header is signed properly; the header itself is what is wrong.
#[test]
fn headers_that_do_not_hold() {
    let jwk = ed_jwk("mine");
    let unknown = TokenFault::KeyUnknown { issuer_index: 0 };
    let cases = [
        (json!({"alg": "EdDSA", "kid": "ed", "jwk": jwk}), TokenFault::EmbeddedKey),
        (json!({"alg": "EdDSA", "kid": "ed", "jwk": null}), TokenFault::EmbeddedKey),
        (json!({"alg": "EdDSA", "kid": "ed", "jku": "https://evil.example"}), TokenFault::EmbeddedKey),
        (json!({"alg": "EdDSA", "kid": "ed", "x5u": "https://evil.example"}), TokenFault::EmbeddedKey),
        (json!({"alg": "EdDSA", "kid": "ed", "x5c": ["MIIB"]}), TokenFault::EmbeddedKey),
        (json!({"alg": "EdDSA", "kid": "ed", "crit": ["exp"], "exp": 1}), TokenFault::CriticalExtension),
        (json!({"alg": "EdDSA", "kid": "ed", "crit": ["b64"], "b64": false}), TokenFault::CriticalExtension),
        (json!({"alg": "EdDSA", "kid": "ed", "crit": []}), TokenFault::CriticalExtension),
        (json!({"alg": "none", "kid": "ed"}), TokenFault::AlgorithmNone),
        (json!({"alg": "NoNe", "kid": "ed"}), TokenFault::AlgorithmNone),
        (json!({"alg": "HS512", "kid": "ed"}), TokenFault::AlgorithmUnknown),
        (json!({"alg": "eddsa", "kid": "ed"}), TokenFault::AlgorithmUnknown),
        (json!({"alg": "", "kid": "ed"}), TokenFault::AlgorithmUnknown),
        (json!({"alg": ["EdDSA"], "kid": "ed"}), TokenFault::HeaderMalformed),
        (json!({"alg": null, "kid": "ed"}), TokenFault::HeaderMalformed),
        (json!({"kid": "ed"}), TokenFault::HeaderMalformed),
        (json!({"alg": "EdDSA", "kid": 7}), TokenFault::HeaderMalformed),
        (json!({"alg": "EdDSA", "kid": null}), TokenFault::HeaderMalformed),
        (json!({"alg": "EdDSA", "kid": "ed", "typ": 1}), TokenFault::HeaderMalformed),
        (json!(["EdDSA"]), TokenFault::HeaderMalformed),
        (json!({"alg": "EdDSA", "kid": "ed", "typ": "logout+jwt"}), TokenFault::NotAnAccessToken),
        (
            json!({"alg": "EdDSA", "kid": "ed", "typ": "application/secevent+jwt"}),
            TokenFault::NotAnAccessToken,
        ),
        (json!({"alg": "EdDSA", "kid": "ED"}), unknown),
        (json!({"alg": "EdDSA", "kid": ""}), unknown),
        (json!({"alg": "EdDSA", "kid": "rsa"}), TokenFault::AlgorithmKeyMismatch),
        (json!({"alg": "RS256", "kid": "ed"}), TokenFault::AlgorithmKeyMismatch),
        (json!({"alg": "ES384", "kid": "p256"}), TokenFault::AlgorithmKeyMismatch),
        (json!({"alg": "HS256", "kid": "ed"}), TokenFault::AlgorithmNotAllowed),
        (json!({"alg": "RS256", "kid": "rsa"}), TokenFault::SignatureInvalid),
    ];
    for (header, expected) in cases {
        let token = sign_raw(Algorithm::EdDsa, &header.to_string(), &claims().to_string());
        assert_eq!(refused(&token), expected, "{header}");
    }
}

#[test]
fn json_that_can_be_read_two_ways() {
    let good = claims().to_string();
    let header = r#"{"alg":"EdDSA","kid":"ed"}"#;
    let payload_tail = &good[1..];
    let cases = [
        (r#"{"alg":"EdDSA","kid":"ed","kid":"ed"}"#.to_owned(), good.clone(), TokenFault::DuplicateName),
        (r#"{"alg":"none","kid":"ed","alg":"EdDSA"}"#.to_owned(), good.clone(), TokenFault::DuplicateName),
        // The same name, once escaped.
        (header.to_owned(), format!(r#"{{"r\u0065gion":"us",{payload_tail}"#), TokenFault::DuplicateName),
        (header.to_owned(), format!(r#"{{"region":"us",{payload_tail}"#), TokenFault::DuplicateName),
        (
            header.to_owned(),
            format!(r#"{{"app":[{{"a":1,"a":2}}],{payload_tail}"#),
            TokenFault::DuplicateName,
        ),
        (header.to_owned(), format!("{good}{good}"), TokenFault::PayloadMalformed),
        (header.to_owned(), format!("{good},"), TokenFault::PayloadMalformed),
        (header.to_owned(), format!("[{good}]"), TokenFault::PayloadMalformed),
        (header.to_owned(), format!("\u{feff}{good}"), TokenFault::PayloadMalformed),
        (header.to_owned(), format!(r#"{{"x":1e999,{payload_tail}"#), TokenFault::PayloadMalformed),
        (header.to_owned(), format!(r#"{{"x":NaN,{payload_tail}"#), TokenFault::PayloadMalformed),
        (header.to_owned(), String::new(), TokenFault::PayloadMalformed),
        (
            header.to_owned(),
            format!(r#"{{"x":{}1{},{payload_tail}"#, "[".repeat(500), "]".repeat(500)),
            TokenFault::PayloadMalformed,
        ),
        (format!("{header}x"), good.clone(), TokenFault::HeaderMalformed),
    ];
    for (header, payload, expected) in cases {
        let fault = refused(&sign_raw(Algorithm::EdDsa, &header, &payload));
        assert_eq!(fault, expected, "{header} {payload}");
    }
}

#[test]
fn invalid_utf8_in_the_payload() {
    let message = format!("{}.{}", b64(r#"{"alg":"EdDSA","kid":"ed"}"#), b64(b"{\"sub\":\"\xff\"}"));
    let token = format!("{message}.{}", b64(signature(Algorithm::EdDsa, message.as_bytes())));
    assert_eq!(refused(&token), TokenFault::PayloadMalformed);
}

#[test]
fn spellings_that_are_not_compact_jws() {
    let token = sign(Algorithm::EdDsa, "ed", &claims());
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { unreachable!() };
    let none = b64(r#"{"alg":"none"}"#);
    let cases = [
        (String::new(), TokenFault::Malformed),
        ("..".to_owned(), TokenFault::HeaderMalformed),
        (header.to_owned(), TokenFault::Malformed),
        (format!("{header}.{payload}"), TokenFault::Malformed),
        (format!("{header}.{payload}."), TokenFault::Malformed),
        (format!("{none}.{payload}."), TokenFault::AlgorithmNone),
        (format!("{token}."), TokenFault::Malformed),
        (format!("{token}.x"), TokenFault::Malformed),
        (format!("a.b.{token}"), TokenFault::Malformed),
        (format!("{token}="), TokenFault::Malformed),
        (format!("{token}=="), TokenFault::Malformed),
        (format!(" {token}"), TokenFault::Malformed),
        (format!("{token}\n"), TokenFault::Malformed),
        (format!("{header}.{payload} .{signature}"), TokenFault::Malformed),
        (format!("{header}.{payload}.+{}", &signature[1..]), TokenFault::Malformed),
        (format!("{header}.{payload}.é{}", &signature[2..]), TokenFault::Malformed),
        (format!("{header}.{payload}.{}", b64([0_u8; 64])), TokenFault::SignatureInvalid),
        (format!("{header}.{payload}.{}", b64([0_u8; 63])), TokenFault::SignatureInvalid),
        ("a".repeat(MAX_TOKEN_BYTES + 1), TokenFault::TooLong),
    ];
    for (token, expected) in cases {
        assert_eq!(refused(&token), expected, "{token}");
    }
}

/// 64 bytes are 86 characters, the last of which has four unused bits: set, they spell the same signature again.
#[test]
fn stray_trailing_bits_are_a_second_spelling() {
    let token = sign(Algorithm::EdDsa, "ed", &claims());
    assert!(verifier().verify(&token, NOW).is_ok());
    let (rest, last) = token.split_at(token.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.find(last).unwrap();
    assert_eq!(place % 16, 0);
    for stray in 1..16 {
        let spelled = format!("{rest}{}", &alphabet[place + stray..=place + stray]);
        assert_eq!(refused(&spelled), TokenFault::Malformed);
    }
}

#[test]
fn size_bound_is_exact() {
    let fits = |pad: usize| sign(Algorithm::EdDsa, "ed", &claims_with("pad", json!("x".repeat(pad))));
    let pad = (1..MAX_TOKEN_BYTES).rev().find(|pad| fits(*pad).len() <= MAX_TOKEN_BYTES).unwrap();
    assert!(verifier().verify(&fits(pad), NOW).is_ok());
    assert_eq!(refused(&fits(pad + 2)), TokenFault::TooLong);
}

/// The classic: an RSA issuer's public key, which everybody has, used as an HMAC secret.
#[test]
fn algorithm_confusion() {
    let jwk = rsa_jwk("rsa", &test_keys().rsa);
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let document = document(std::slice::from_ref(&jwk));
    for secret in [modulus.as_slice(), jwk["n"].as_str().unwrap().as_bytes(), &document] {
        let message = format!("{}.{}", b64(r#"{"alg":"HS256","kid":"rsa"}"#), b64(claims().to_string()));
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        let token = format!("{message}.{}", b64(mac));
        assert_eq!(refused(&token), TokenFault::AlgorithmNotAllowed);
        // Nor where somebody else configured a secret.
        let hs = Verifier::new(vec![secret_policy()], None).unwrap();
        assert_eq!(hs.verify(&token, NOW), Err(TokenFault::SignatureInvalid));
    }
}

#[test]
fn only_the_policys_algorithms() {
    let verifier = verifier_for(IssuerPolicy { algorithms: vec![Algorithm::Ps256], ..policy() }, &all_jwks());
    assert!(verifier.verify(&sign(Algorithm::Ps256, "rsa", &claims()), NOW).is_ok());
    for algorithm in [Algorithm::Rs256, Algorithm::Ps384, Algorithm::Es256, Algorithm::EdDsa] {
        let result = verifier.verify(&sign(algorithm, "rsa", &claims()), NOW);
        assert_eq!(result, Err(TokenFault::AlgorithmNotAllowed), "{algorithm}");
    }
}

/// A key's own `alg` is honoured even where the policy would allow more.
#[test]
fn only_the_keys_algorithm() {
    let mut jwk = rsa_jwk("rsa", &test_keys().rsa);
    jwk["alg"] = json!("PS256");
    let verifier = verifier_for(policy(), &[jwk]);
    assert!(verifier.verify(&sign(Algorithm::Ps256, "rsa", &claims()), NOW).is_ok());
    let result = verifier.verify(&sign(Algorithm::Rs256, "rsa", &claims()), NOW);
    assert_eq!(result, Err(TokenFault::AlgorithmKeyMismatch));
}

#[test]
fn two_keys_of_one_name_and_kind() {
    let keys = test_keys();
    let verifier = verifier_for(policy(), &[rsa_jwk("k", &keys.rsa), rsa_jwk("k", &keys.other_rsa)]);
    let result = verifier.verify(&sign(Algorithm::Rs256, "k", &claims()), NOW);
    assert_eq!(result, Err(TokenFault::KeyAmbiguous));
    // The same key twice is one key.
    let verifier = verifier_for(policy(), &[rsa_jwk("k", &keys.rsa), rsa_jwk("k", &keys.rsa)]);
    assert!(verifier.verify(&sign(Algorithm::Rs256, "k", &claims()), NOW).is_ok());
}

#[test]
fn before_any_key_is_known() {
    let verifier = Verifier::new(vec![policy()], None).unwrap();
    let fault = verifier.verify(&sign(Algorithm::EdDsa, "ed", &claims()), NOW).unwrap_err();
    assert_eq!(fault, TokenFault::KeysUnavailable { issuer_index: 0 });
    assert_eq!((fault.class(), fault.refetch()), (FaultClass::KeysUnavailable, Some(0)));
}

#[test]
fn an_issuer_that_withdrew_everything() {
    let verifier = verifier_for(policy(), &[]);
    let fault = verifier.verify(&sign(Algorithm::EdDsa, "ed", &claims()), NOW).unwrap_err();
    assert_eq!(fault, TokenFault::KeyUnknown { issuer_index: 0 });
    assert_eq!((fault.class(), fault.refetch()), (FaultClass::Invalid, Some(0)));
}

/// A claim nobody could have signed is not looked at: the signature comes first.
#[test]
fn unsigned_claims_are_not_judged() {
    let token = sign(Algorithm::EdDsa, "ed", &claims_with("exp", json!(1)));
    let (message, _) = token.rsplit_once('.').unwrap();
    assert_eq!(refused(&format!("{message}.{}", b64([1_u8; 64]))), TokenFault::SignatureInvalid);
    assert_eq!(refused(&token), TokenFault::Expired);
    assert_eq!(TokenFault::Expired.class(), FaultClass::Expired);
}
