//! Each algorithm with real signatures: its own hold, and whatever else is put in their place doesn't.
use super::*;

/// Every algorithm with published keys, and the `kid` of a key for it.
const PUBLISHED: [(Algorithm, &str); 9] = [
    (Algorithm::Rs256, "rsa"),
    (Algorithm::Rs384, "rsa"),
    (Algorithm::Rs512, "rsa"),
    (Algorithm::Ps256, "rsa"),
    (Algorithm::Ps384, "rsa"),
    (Algorithm::Ps512, "rsa"),
    (Algorithm::Es256, "p256"),
    (Algorithm::Es384, "p384"),
    (Algorithm::EdDsa, "ed"),
];

fn header(algorithm: Algorithm, kid: &str) -> String {
    json!({"alg": algorithm.name(), "kid": kid}).to_string()
}

/// A token that says `alg`, with a signature made as `signed_as`.
fn mislabelled(alg: Algorithm, kid: &str, signed_as: Algorithm) -> String {
    sign_raw(signed_as, &header(alg, kid), &claims().to_string())
}

#[test]
fn none_is_left_out() {
    let published: Vec<Algorithm> = PUBLISHED.iter().map(|(algorithm, _)| *algorithm).collect();
    let all: Vec<Algorithm> = Algorithm::ALL.into_iter().filter(|one| !one.is_symmetric()).collect();
    assert_eq!(published, all);
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.name().parse(), Ok(algorithm));
        assert_eq!(algorithm.name().to_lowercase().parse::<Algorithm>(), Err(()));
    }
}

/// Above all RSA's six, which share a key: the same `kid`, another one's signature.
#[test]
fn no_algorithms_signature_passes_for_anothers() {
    let verifier = verifier();
    for (alg, kid) in PUBLISHED {
        for (signed_as, _) in PUBLISHED {
            let outcome = verifier.verify(&mislabelled(alg, kid, signed_as), NOW).map(drop);
            let expected = if alg == signed_as { Ok(()) } else { Err(TokenFault::SignatureInvalid) };
            assert_eq!(outcome, expected, "{alg} signed as {signed_as}");
        }
    }
}

#[test]
fn no_kind_of_tampering_passes_whatever_the_algorithm() {
    let verifier = verifier();
    for (algorithm, kid) in PUBLISHED {
        let good = sign(algorithm, kid, &claims());
        assert!(verifier.verify(&good, NOW).is_ok(), "{algorithm}");
        let (message, encoded) = good.rsplit_once('.').unwrap();
        let (head, payload) = message.split_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(encoded).unwrap();
        let with = |signature: &[u8]| format!("{message}.{}", b64(signature));
        let mut flipped = signature.clone();
        flipped[0] ^= 1;
        let mut last_flipped = signature.clone();
        *last_flipped.last_mut().unwrap() ^= 0x80;
        let others_claims = b64(claims_with("sub", json!("user-2")).to_string());
        let others_header = b64(json!({"alg": algorithm.name(), "kid": kid, "x": 1}).to_string());
        let of_others = sign(algorithm, kid, &claims_with("sub", json!("user-2")));
        let tampered = [
            ("payload", format!("{head}.{others_claims}.{encoded}")),
            ("header", format!("{others_header}.{payload}.{encoded}")),
            ("signature of another token", format!("{message}.{}", of_others.rsplit_once('.').unwrap().1)),
            ("first bit", with(&flipped)),
            ("last bit", with(&last_flipped)),
            ("cut", with(&signature[..signature.len() - 1])),
            ("cut in front", with(&signature[1..])),
            ("longer", with(&[&signature[..], &[0]].concat())),
            ("longer in front", with(&[&[0], &signature[..]].concat())),
            ("doubled", with(&signature.repeat(2))),
            ("zeros", with(&vec![0; signature.len()])),
            ("ones", with(&vec![0xff; signature.len()])),
            ("one byte", with(&[0])),
        ];
        for (what, token) in tampered {
            assert_eq!(
                verifier.verify(&token, NOW),
                Err(TokenFault::SignatureInvalid),
                "{algorithm}: {what}"
            );
        }
    }
}

/// A stranger with a key of the same kind and the name of the issuer's.
#[test]
fn no_other_key_passes_whatever_the_algorithm() {
    let (random, keys) = (SystemRandom::new(), test_keys());
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    for (algorithm, kid) in PUBLISHED {
        let message = format!("{}.{}", b64(header(algorithm, kid)), b64(claims().to_string()));
        let bytes = message.as_bytes();
        let signature = match algorithm {
            Algorithm::Rs256 => rsa_signature(&keys.other_rsa, &RSA_PKCS1_SHA256, bytes),
            Algorithm::Rs384 => rsa_signature(&keys.other_rsa, &RSA_PKCS1_SHA384, bytes),
            Algorithm::Rs512 => rsa_signature(&keys.other_rsa, &RSA_PKCS1_SHA512, bytes),
            Algorithm::Ps256 => rsa_signature(&keys.other_rsa, &RSA_PSS_SHA256, bytes),
            Algorithm::Ps384 => rsa_signature(&keys.other_rsa, &RSA_PSS_SHA384, bytes),
            Algorithm::Ps512 => rsa_signature(&keys.other_rsa, &RSA_PSS_SHA512, bytes),
            Algorithm::Es256 => p256.sign(&random, bytes).unwrap().as_ref().to_vec(),
            Algorithm::Es384 => p384.sign(&random, bytes).unwrap().as_ref().to_vec(),
            Algorithm::EdDsa => ed25519.sign(bytes).as_ref().to_vec(),
            Algorithm::Hs256 => unreachable!("it is not among the published"),
        };
        let outcome = verifier().verify(&format!("{message}.{}", b64(signature)), NOW);
        assert_eq!(outcome, Err(TokenFault::SignatureInvalid), "{algorithm}");
    }
}

/// JWS has r and s in a row (RFC 7518 §3.4); the ASN.1 form of everywhere else is a second spelling.
#[test]
fn ecdsa_signatures_have_one_form() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING};
    let random = SystemRandom::new();
    let cases = [
        (Algorithm::Es256, "P-256", &ECDSA_P256_SHA256_ASN1_SIGNING),
        (Algorithm::Es384, "P-384", &ECDSA_P384_SHA384_ASN1_SIGNING),
    ];
    for (algorithm, curve, asn1) in cases {
        let pair = EcdsaKeyPair::generate(asn1).unwrap();
        let verifier = verifier_for(policy(), &[ec_jwk("k", curve, &pair)]);
        let message = format!("{}.{}", b64(header(algorithm, "k")), b64(claims().to_string()));
        let signature = pair.sign(&random, message.as_bytes()).unwrap();
        let outcome = verifier.verify(&format!("{message}.{}", b64(signature)), NOW);
        assert_eq!(outcome, Err(TokenFault::SignatureInvalid), "{algorithm}");
    }
}

/// A key that names its algorithm is for that one, whichever it is.
#[test]
fn a_keys_own_alg_is_the_only_one_it_verifies() {
    for (own, kid) in PUBLISHED {
        let mut jwk = all_jwks().into_iter().find(|jwk| jwk["kid"] == kid).unwrap();
        jwk["alg"] = json!(own.name());
        let verifier = verifier_for(policy(), &[jwk]);
        for (algorithm, _) in PUBLISHED {
            let outcome = verifier.verify(&sign(algorithm, kid, &claims()), NOW).map(drop);
            let expected = if algorithm == own { Ok(()) } else { Err(TokenFault::AlgorithmKeyMismatch) };
            assert_eq!(outcome, expected, "{algorithm} with a key for {own}");
        }
    }
}

/// Each of the algorithms as the only one an issuer may use.
#[test]
fn an_allowed_algorithm_allows_no_other() {
    for (own, _) in PUBLISHED {
        let verifier = verifier_for(IssuerPolicy { algorithms: vec![own], ..policy() }, &all_jwks());
        for (algorithm, kid) in PUBLISHED {
            let outcome = verifier.verify(&sign(algorithm, kid, &claims()), NOW).map(drop);
            let expected = if algorithm == own { Ok(()) } else { Err(TokenFault::AlgorithmNotAllowed) };
            assert_eq!(outcome, expected, "{algorithm} where {own} is allowed");
        }
    }
}

/// Whatever is public of any key, in whatever form, is no secret to sign with.
#[test]
fn no_public_key_is_a_shared_secret() {
    let verifier = verifier();
    for jwk in all_jwks() {
        let kid = jwk["kid"].as_str().unwrap().to_owned();
        let members = jwk.as_object().unwrap().values().filter_map(Value::as_str).map(str::to_owned);
        let decoded = members.clone().filter_map(|member| URL_SAFE_NO_PAD.decode(member).ok());
        let secrets =
            members.clone().map(String::into_bytes).chain(decoded).chain([jwk.to_string().into_bytes()]);
        for secret in secrets {
            let message = format!("{}.{}", b64(header(Algorithm::Hs256, &kid)), b64(claims().to_string()));
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
            let outcome = verifier.verify(&format!("{message}.{}", b64(mac)), NOW);
            assert_eq!(outcome, Err(TokenFault::AlgorithmNotAllowed), "{kid}");
        }
    }
}
