use proptest::prelude::*;

use super::*;

/// Every byte of a token is under the signature or is the signature: whatever changes, it no longer verifies.
fn never_verifies(algorithm: Algorithm, kid: &str, verifier: &Verifier, edits: &[(usize, u8)]) {
    let good = sign(algorithm, kid, &claims());
    let mut bytes = good.clone().into_bytes();
    for (place, byte) in edits {
        let place = place % bytes.len();
        bytes[place] = *byte;
    }
    if let Ok(mutated) = String::from_utf8(bytes)
        && mutated != good
    {
        assert!(verifier.verify(&mutated, NOW).is_err(), "{mutated}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn changed_bytes(edits in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4), which in 0..9_usize) {
        let (algorithm, kid) = [
            (Algorithm::Rs256, "rsa"), (Algorithm::Rs384, "rsa"), (Algorithm::Rs512, "rsa"),
            (Algorithm::Ps256, "rsa"), (Algorithm::Ps384, "rsa"), (Algorithm::Ps512, "rsa"),
            (Algorithm::Es256, "p256"), (Algorithm::Es384, "p384"), (Algorithm::EdDsa, "ed"),
        ][which];
        never_verifies(algorithm, kid, &verifier(), &edits);
    }

    /// Base64url characters only, so that the mutation reaches the signature check.
    #[test]
    fn changed_characters(
        edits in prop::collection::vec(
            (any::<usize>(), prop::sample::select(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".to_vec())),
            1..3,
        ),
        symmetric in any::<bool>(),
    ) {
        if symmetric {
            never_verifies(Algorithm::Hs256, "any", &Verifier::new(vec![secret_policy()], None).unwrap(), &edits);
        } else {
            never_verifies(Algorithm::EdDsa, "ed", &verifier(), &edits);
        }
    }

    #[test]
    fn cut_doubled_and_spliced(from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let token = sign(Algorithm::EdDsa, "ed", &claims());
        let other = sign(Algorithm::EdDsa, "ed", &claims_with("sub", json!("user-2")));
        let (a, b) = (from.index(token.len()), to.index(token.len()));
        let (start, end) = (a.min(b), a.max(b) + 1);
        let removed = format!("{}{}", &token[..start], &token[end..]);
        let doubled = format!("{}{}", &token[..end], &token[start..]);
        let spliced = format!("{}{}", &token[..start], &other[start.min(other.len())..]);
        for mutated in [removed, doubled, spliced] {
            if mutated != token && mutated != other {
                prop_assert!(verifier().verify(&mutated, NOW).is_err(), "{}", mutated);
            }
        }
    }

    /// Anything at all: an error, never a panic.
    #[test]
    fn noise(token in "\\PC{0,200}", parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..5)) {
        prop_assert!(verifier().verify(&token, NOW).is_err());
        let dotted = parts.iter().map(b64).collect::<Vec<_>>().join(".");
        prop_assert!(verifier().verify(&dotted, NOW).is_err());
        let _ = JwksDocument::parse(token.as_bytes());
    }
}
