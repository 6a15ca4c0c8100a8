use super::*;

#[test]
fn faults_are_reported_all_at_once() {
    let unnamed = IssuerPolicy { issuer: None, ..policy() };
    let hs_with_keys =
        IssuerPolicy { issuer: Some("b".to_owned()), algorithms: vec![Algorithm::Hs256], ..policy() };
    let rs_with_secret = IssuerPolicy {
        issuer: Some("c".to_owned()),
        keys: secret_policy().keys,
        algorithms: vec![Algorithm::Rs256],
        ..policy()
    };
    let empty = IssuerPolicy {
        issuer: Some("d".to_owned()),
        algorithms: vec![],
        audiences: vec![String::new()],
        ..policy()
    };
    let faults =
        Verifier::new(vec![policy(), policy(), unnamed, hs_with_keys, rs_with_secret, empty], None).err();
    let expected = vec![
        PolicyFault::DuplicateIssuer(ISSUER.to_owned()),
        PolicyFault::UnnamedAmongOthers { index: 2 },
        PolicyFault::AlgorithmWithoutKey { index: 3, algorithm: Algorithm::Hs256 },
        PolicyFault::AlgorithmWithoutKey { index: 4, algorithm: Algorithm::Rs256 },
        PolicyFault::EmptyName { index: 5 },
        PolicyFault::NoAlgorithm { index: 5 },
    ];
    assert_eq!(faults, Some(expected));
    assert_eq!(Verifier::new(vec![], None).err(), Some(vec![PolicyFault::NoIssuer]));
}

#[test]
fn urls_that_can_be_fetched() {
    for (url, good) in [
        ("https://auth.acme.com/jwks", true),
        ("http://127.0.0.1:8080/jwks", true),
        ("http://[::1]:8080/jwks", true),
        ("ftp://auth.acme.com/jwks", false),
        ("https://user:pass@auth.acme.com/jwks", false),
        ("auth.acme.com", false),
        ("/jwks", false),
        ("https://", false),
        ("", false),
    ] {
        let faults =
            Verifier::new(vec![IssuerPolicy { keys: KeySource::Url(url.to_owned()), ..policy() }], None);
        assert_eq!(faults.is_ok(), good, "{url}");
    }
}

#[test]
fn introspection_fits_the_rest_of_the_list() {
    let asked_at = |url: &str| {
        Some(Introspection {
            url: url.to_owned(),
            client: None,
            tokens: IntrospectedTokens::Opaque,
            keep: Duration::from_mins(1),
            keep_refused: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            per_second: 100,
        })
    };
    for (url, good) in [
        ("https://auth.acme.com/introspect", true),
        ("http://127.0.0.1:8080/introspect", true),
        ("http://[::1]:8080/introspect", true),
        ("http://localhost/introspect", true),
        ("http://auth.acme.com/introspect", false),
        ("http://127.0.0.1.acme.com/introspect", false),
        ("https://user:pass@auth.acme.com/introspect", false),
        ("auth.acme.com", false),
        ("", false),
    ] {
        let policy = IssuerPolicy { introspection: asked_at(url), ..policy() };
        let faults = Verifier::new(vec![policy], None).err();
        let expected = (!good).then(|| vec![PolicyFault::BadIntrospectionUrl { index: 0 }]);
        assert_eq!(faults, expected, "{url}");
    }
    let good = asked_at("https://auth.acme.com/introspect");
    let named = |name: &str| Some(name.to_owned());
    let keyless = IssuerPolicy { keys: KeySource::None, algorithms: vec![], issuer: named("a"), ..policy() };
    let with_algorithm = IssuerPolicy {
        issuer: named("b"),
        algorithms: vec![Algorithm::Rs256],
        introspection: good.clone(),
        ..keyless.clone()
    };
    let beside_secret = IssuerPolicy { issuer: named("c"), introspection: good.clone(), ..secret_policy() };
    let fine = IssuerPolicy { introspection: good, ..keyless.clone() };
    assert!(Verifier::new(vec![fine], None).is_ok());
    assert_eq!(
        Verifier::new(vec![keyless, with_algorithm, beside_secret], None).err(),
        Some(vec![
            PolicyFault::NothingToGoBy { index: 0 },
            PolicyFault::AlgorithmWithoutKey { index: 1, algorithm: Algorithm::Rs256 },
            PolicyFault::SeveralIntrospect { index: 2 },
            PolicyFault::IntrospectionBesideSecret { index: 2 },
        ])
    );
}

#[test]
fn secrets_are_long_and_silent() {
    assert_eq!(HmacSecret::new(&SECRET[1..]), Err(SecretTooShort));
    let policy = secret_policy();
    let shown = format!("{policy:?} {:#?} {}", policy.keys, policy.keys);
    assert!(!shown.contains("0123"), "{shown}");
    assert!(!shown.contains("48, 49"), "{shown}");
}

#[test]
fn a_reload_keeps_the_keys_of_sources_that_stay() {
    let first = verifier();
    let renamed = IssuerPolicy { issuer: Some("other".to_owned()), ..policy() };
    let moved = IssuerPolicy { keys: KeySource::File("/elsewhere".into()), ..policy() };
    let token = sign(Algorithm::EdDsa, "ed", &claims());

    let same_source = Verifier::new(vec![renamed.clone(), moved.clone()], Some(&first)).unwrap();
    let other = sign(Algorithm::EdDsa, "ed", &claims_with("iss", json!("other")));
    assert!(same_source.verify(&other, NOW).is_ok());
    assert_eq!(same_source.verify(&token, NOW), Err(TokenFault::KeysUnavailable { issuer_index: 1 }));
    assert_ne!(same_source.ring().version(), first.ring().version());
}

#[test]
fn fault_labels_are_distinct() {
    let claim = RegisteredClaim::Iss;
    let faults = [
        TokenFault::SeveralAuthorizations,
        TokenFault::BearerMalformed,
        TokenFault::CookieMalformed,
        TokenFault::CookieAmbiguous,
        TokenFault::TooLong,
        TokenFault::Malformed,
        TokenFault::HeaderMalformed,
        TokenFault::PayloadMalformed,
        TokenFault::DuplicateName,
        TokenFault::EmbeddedKey,
        TokenFault::CriticalExtension,
        TokenFault::NotAnAccessToken,
        TokenFault::AlgorithmNone,
        TokenFault::AlgorithmUnknown,
        TokenFault::AlgorithmNotAllowed,
        TokenFault::AlgorithmKeyMismatch,
        TokenFault::IssuerUnknown,
        TokenFault::KeyUnknown { issuer_index: 0 },
        TokenFault::KeyAmbiguous,
        TokenFault::KeysUnavailable { issuer_index: 0 },
        TokenFault::SignatureInvalid,
        TokenFault::ClaimMissing(claim),
        TokenFault::ClaimWrongType(claim),
        TokenFault::SubjectWrongType,
        TokenFault::AudienceMismatch,
        TokenFault::Expired,
        TokenFault::NotYetValid,
        TokenFault::Inactive,
        TokenFault::AnswerDiffers,
        TokenFault::IntrospectionUnavailable,
        TokenFault::IntrospectionLimited,
    ];
    let codes: std::collections::BTreeSet<_> = faults.iter().map(TokenFault::code).collect();
    assert_eq!(codes.len(), faults.len());
    assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
}
