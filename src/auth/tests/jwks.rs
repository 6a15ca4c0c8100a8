use super::*;

fn edited(mut jwk: Value, name: &str, value: Value) -> Value {
    if value.is_null() {
        jwk.as_object_mut().unwrap().remove(name);
    } else {
        jwk[name] = value;
    }
    jwk
}

#[test]
fn keys_left_out_do_not_take_others_with_them() {
    let rsa = || rsa_jwk("k", &test_keys().rsa);
    let ec = || ec_jwk("k", "P-256", &test_keys().p256);
    let modulus = |bytes: usize| b64([vec![0x80], vec![1; bytes - 1]].concat());
    let short_x = URL_SAFE_NO_PAD.decode(ec()["x"].as_str().unwrap()).unwrap();
    let refused = [
        ("symmetric", json!({"kty": "oct", "kid": "k", "k": b64(SECRET)}), JwkRefusal::Symmetric),
        ("symmetric for signing", json!({"kty": "oct", "use": "sig", "alg": "HS256"}), JwkRefusal::Symmetric),
        ("private RSA", edited(rsa(), "d", json!("AQAB")), JwkRefusal::PrivatePart),
        ("private EC", edited(ec(), "d", json!("AQAB")), JwkRefusal::PrivatePart),
        ("RSA 1024", edited(rsa(), "n", json!(modulus(128))), JwkRefusal::RsaSize),
        (
            "RSA 2047",
            edited(rsa(), "n", json!(b64([vec![0x7f], vec![1; 255]].concat()))),
            JwkRefusal::RsaSize,
        ),
        (
            "RSA 1024 padded",
            edited(rsa(), "n", json!(b64([vec![0; 128], vec![0x81; 128]].concat()))),
            JwkRefusal::RsaSize,
        ),
        ("RSA 8200", edited(rsa(), "n", json!(modulus(1025))), JwkRefusal::RsaSize),
        ("e = 1", edited(rsa(), "e", json!("AQ")), JwkRefusal::RsaSize),
        ("e = 2", edited(rsa(), "e", json!("Ag")), JwkRefusal::RsaSize),
        ("e = 0", edited(rsa(), "e", json!("AA")), JwkRefusal::RsaSize),
        ("e of 40 bits", edited(rsa(), "e", json!(b64([1, 0, 0, 0, 1]))), JwkRefusal::RsaSize),
        ("no n", edited(rsa(), "n", Value::Null), JwkRefusal::Malformed),
        ("n a number", edited(rsa(), "n", json!(5)), JwkRefusal::Malformed),
        ("n padded base64", edited(rsa(), "n", json!("AQAB=")), JwkRefusal::Malformed),
        ("no kty", edited(rsa(), "kty", Value::Null), JwkRefusal::Malformed),
        ("use a list", edited(rsa(), "use", json!(["sig"])), JwkRefusal::Malformed),
        ("key_ops a string", edited(rsa(), "key_ops", json!("verify")), JwkRefusal::Malformed),
        ("alg a number", edited(rsa(), "alg", json!(256)), JwkRefusal::Malformed),
        ("kid a number", edited(rsa(), "kid", json!(1)), JwkRefusal::Malformed),
        ("RSA for ES256", edited(rsa(), "alg", json!("ES256")), JwkRefusal::AlgorithmMismatch),
        ("RSA for HS256", edited(rsa(), "alg", json!("HS256")), JwkRefusal::AlgorithmMismatch),
        ("P-256 for ES384", edited(ec(), "alg", json!("ES384")), JwkRefusal::AlgorithmMismatch),
        ("off the curve", edited(ec(), "y", json!(b64([7; 32]))), JwkRefusal::Malformed),
        ("x too short", edited(ec(), "x", json!(b64(&short_x[1..]))), JwkRefusal::Malformed),
        ("EC without crv", edited(ec(), "crv", Value::Null), JwkRefusal::Malformed),
        ("Ed25519 of 31 bytes", edited(ed_jwk("k"), "x", json!(b64([1; 31]))), JwkRefusal::Malformed),
    ];
    for (name, jwk, expected) in refused {
        let parsed = JwksDocument::parse(&document(&[jwk, ed_jwk("good")])).unwrap();
        assert_eq!(parsed.refused.iter().map(|r| r.1).collect::<Vec<_>>(), [expected], "{name}");
        assert_eq!(parsed.keys.len(), 1, "{name}");
    }
}

#[test]
fn keys_that_are_simply_not_for_us() {
    let rsa = || rsa_jwk("k", &test_keys().rsa);
    let skipped = [
        json!({"kty": "AKP", "kid": "post-quantum", "alg": "ML-DSA-44", "pub": "AA"}),
        edited(rsa(), "use", json!("enc")),
        edited(rsa(), "key_ops", json!(["encrypt"])),
        edited(rsa(), "key_ops", json!([])),
        edited(rsa(), "alg", json!("RSA-OAEP")),
        json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
    ];
    for jwk in skipped {
        let parsed = JwksDocument::parse(&document(&[jwk.clone(), ed_jwk("good")])).unwrap();
        assert_eq!((parsed.keys.len(), parsed.refused.len()), (1, 0), "{jwk}");
    }
}

#[test]
fn keys_that_are_for_us() {
    let rsa = || rsa_jwk("k", &test_keys().rsa);
    let padded = URL_SAFE_NO_PAD.decode(rsa()["n"].as_str().unwrap()).unwrap();
    let used = [
        edited(rsa(), "use", Value::Null),
        edited(rsa(), "kid", Value::Null),
        edited(rsa(), "key_ops", json!(["verify"])),
        edited(rsa(), "alg", json!("RS512")),
        edited(rsa(), "x5c", json!(["ignored"])),
        edited(rsa(), "n", json!(b64([vec![0], padded].concat()))),
    ];
    for jwk in used.into_iter().chain(all_jwks()) {
        assert_eq!(key_set(std::slice::from_ref(&jwk)).len(), 1, "{jwk}");
    }
}

#[test]
fn documents_that_are_no_key_sets() {
    let duplicate = format!(r#"{{"keys":[],"keys":[{}]}}"#, ed_jwk("k"));
    let inner = r#"{"keys":[{"kty":"RSA","kty":"oct"}]}"#;
    let large = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(MAX_JWKS_BYTES));
    let cases = [
        ("", JwksFault::Malformed),
        ("<html>", JwksFault::Malformed),
        ("[]", JwksFault::Malformed),
        ("{}", JwksFault::NoKeys),
        (r#"{"keys":{}}"#, JwksFault::NoKeys),
        (r#"{"keys":["a"]}"#, JwksFault::NoKeys),
        (&duplicate, JwksFault::DuplicateName),
        (inner, JwksFault::DuplicateName),
        (&large, JwksFault::TooLarge),
    ];
    for (text, expected) in cases {
        assert_eq!(JwksDocument::parse(text.as_bytes()).unwrap_err(), expected);
    }
}

#[test]
fn order_does_not_make_a_new_set_but_content_does() {
    let mut keys = all_jwks();
    let verifier = verifier_for(policy(), &keys);
    let version = verifier.ring().version();
    keys.reverse();
    assert!(!verifier.ring().publish(0, key_set(&keys)));
    assert_eq!(verifier.ring().version(), version);
    for changed in [
        vec![ed_jwk("ed")],
        vec![ed_jwk("renamed")],
        vec![edited(ed_jwk("renamed"), "alg", json!("EdDSA"))],
        vec![rsa_jwk("rsa", &test_keys().rsa)],
        vec![rsa_jwk("rsa", &test_keys().other_rsa)],
        vec![],
    ] {
        let before = verifier.ring().version();
        assert!(verifier.ring().publish(0, key_set(&changed)));
        assert!(verifier.ring().version().is_after(before));
    }
}
