use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use base64::engine::general_purpose::STANDARD;

use super::super::pem_keys::{is_pem, parse};
use super::*;

fn section(label: &str, der: impl AsRef<[u8]>) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// What `openssl … -pubout` writes.
fn public_key(key: &impl AsDer<PublicKeyX509Der<'static>>) -> String {
    section("PUBLIC KEY", key.as_der().unwrap().as_ref())
}

/// A verifier that reads its keys from a file with this text.
fn verifier_of(text: &str) -> Verifier {
    assert!(is_pem(text.as_bytes()));
    let verifier = Verifier::new(vec![policy()], None).unwrap();
    verifier.ring().publish(0, parse(text.as_bytes()).unwrap());
    verifier
}

#[test]
fn keys_of_each_kind_verify_under_any_name() {
    let keys = test_keys();
    let cases = [
        (public_key(keys.rsa.public_key()), vec![Algorithm::Rs256, Algorithm::Rs512, Algorithm::Ps384]),
        (public_key(keys.p256.public_key()), vec![Algorithm::Es256]),
        (public_key(keys.p384.public_key()), vec![Algorithm::Es384]),
        (public_key(keys.ed25519.public_key()), vec![Algorithm::EdDsa]),
    ];
    let every: String = cases.iter().map(|(pem, _)| pem.as_str()).collect();
    for (pem, algorithms) in &cases {
        for text in [pem, &every, &format!("\n{pem}")] {
            for algorithm in algorithms {
                let verifier = verifier_of(text);
                for kid in ["anything", ""] {
                    assert!(verifier.verify(&sign(*algorithm, kid, &claims()), NOW).is_ok(), "{algorithm}");
                }
                let unnamed = json!({"alg": algorithm.name()}).to_string();
                let token = sign_raw(*algorithm, &unnamed, &claims().to_string());
                assert!(verifier.verify(&token, NOW).is_ok(), "{algorithm}");
            }
        }
    }
    let verifier = verifier_of(&public_key(keys.other_rsa.public_key()));
    let strangers = sign(Algorithm::Rs256, "k", &claims());
    assert_eq!(verifier.verify(&strangers, NOW), Err(TokenFault::SignatureInvalid));
    let two = verifier_of(&(public_key(keys.rsa.public_key()) + &public_key(keys.other_rsa.public_key())));
    assert!(two.verify(&strangers, NOW).is_err(), "keys are not tried in turn");
    let hs =
        verifier_of(&public_key(keys.rsa.public_key())).verify(&sign(Algorithm::Hs256, "k", &claims()), NOW);
    assert_eq!(hs, Err(TokenFault::AlgorithmNotAllowed));
}

#[test]
fn files_that_give_no_keys() {
    let keys = test_keys();
    let der = |pem: &str| {
        STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
    };
    let (rsa, p256) = (public_key(keys.rsa.public_key()), public_key(keys.p256.public_key()));
    // 65537 ends the key; 65536 is even.
    let mut even_exponent = der(&rsa);
    *even_exponent.last_mut().unwrap() = 0;
    let mut off_curve = der(&p256);
    *off_curve.last_mut().unwrap() ^= 1;
    let mut trailing = der(&p256);
    trailing.push(0);
    let ed25519_private = keys.ed25519.to_pkcs8().unwrap();
    let mut x25519 = der(&public_key(keys.ed25519.public_key()));
    // 1.3.101.110 in place of 1.3.101.112.
    let oid = x25519.windows(3).position(|bytes| bytes == [0x2b, 0x65, 0x70]).unwrap();
    x25519[oid + 2] = 0x6e;
    let malformed = PemFault::Unusable(JwkRefusal::Malformed);
    let cases = [
        (section("PRIVATE KEY", ed25519_private.as_ref()), PemFault::PrivateKey),
        (rsa.clone() + &section("RSA PRIVATE KEY", [0x30, 0]), PemFault::PrivateKey),
        (section("CERTIFICATE", [0x30, 0]), PemFault::OtherSection),
        (section("PUBLIC KEY", [0x30, 0]), malformed),
        (section("PUBLIC KEY", off_curve), malformed),
        (section("PUBLIC KEY", trailing), malformed),
        (section("PUBLIC KEY", x25519), PemFault::UnknownKind),
        (section("PUBLIC KEY", even_exponent), PemFault::Unusable(JwkRefusal::RsaSize)),
        (rsa[..rsa.len() / 2].to_owned(), PemFault::Malformed),
        (section("SOMETHING ELSE", [0]), PemFault::Empty),
        (rsa.repeat(MAX_JWKS_BYTES / rsa.len() + 1), PemFault::TooLarge),
    ];
    for (text, expected) in cases {
        assert!(is_pem(text.as_bytes()));
        assert_eq!(parse(text.as_bytes()).unwrap_err(), expected, "{}", &text[..text.len().min(400)]);
    }
    assert!(!is_pem(&document(&all_jwks())));
}
