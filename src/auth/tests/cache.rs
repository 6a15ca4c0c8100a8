use std::rc::Rc;

use super::*;

fn verified(verifier: &Verifier, token: &str) -> VerifiedToken {
    verifier.verify(token, NOW).unwrap()
}

fn token(subject: &str) -> String {
    sign(Algorithm::EdDsa, "ed", &claims_with("sub", json!(subject)))
}

#[test]
fn a_hit_is_the_same_value_for_the_whole_token_only() {
    let verifier = verifier();
    let version = verifier.ring().version();
    let mut cache = TokenCache::new(16);
    let (one, two) = (token("1"), token("2"));
    assert!(cache.get(one.as_bytes(), NOW, version).is_none());
    let value = Rc::new(1);
    cache.insert(one.as_bytes(), &verified(&verifier, &one), Rc::clone(&value));
    cache.insert(two.as_bytes(), &verified(&verifier, &two), Rc::new(2));
    assert!(Rc::ptr_eq(&cache.get(one.as_bytes(), NOW, version).unwrap(), &value));
    assert_eq!(cache.get(two.as_bytes(), NOW, version).as_deref(), Some(&2));
    for cut in [&one[..one.len() - 1], &one[1..], "", &format!("{one} ")] {
        assert!(cache.get(cut.as_bytes(), NOW, version).is_none());
    }
}

#[test]
fn exp_and_nbf_are_checked_on_each_hit() {
    let verifier = verifier_for(IssuerPolicy { leeway: Duration::from_secs(3), ..policy() }, &all_jwks());
    let version = verifier.ring().version();
    let token = token("1");
    let mut cache = TokenCache::new(16);
    cache.insert(token.as_bytes(), &verified(&verifier, &token), Rc::new(()));
    for (now, hit) in [(NOW, true), (NOW - 8, true), (NOW - 9, false), (NOW + 602, true), (NOW + 603, false)]
    {
        let found = cache.get(token.as_bytes(), now, version).is_some();
        assert_eq!(found, hit, "{now}");
        assert_eq!(found, verifier.verify(&token, now).is_ok(), "the cache and the verifier agree at {now}");
    }
    assert!(cache.is_empty(), "an expired entry goes at once");
}

#[test]
fn changed_keys_purge_at_once() {
    let verifier = verifier();
    let ring = verifier.ring();
    let token = token("1");
    let mut cache = TokenCache::new(16);
    let old = verified(&verifier, &token);
    cache.insert(token.as_bytes(), &old, Rc::new(()));
    assert!(cache.get(token.as_bytes(), NOW, ring.version()).is_some());

    ring.publish(0, key_set(&[rsa_jwk("rsa", &test_keys().rsa)]));
    assert!(cache.get(token.as_bytes(), NOW, ring.version()).is_none());
    assert!(cache.is_empty());
    // A verification that began before the change ends after it.
    cache.insert(token.as_bytes(), &old, Rc::new(()));
    assert!(cache.is_empty());
    assert_eq!(verifier.verify(&token, NOW), Err(TokenFault::KeyUnknown { issuer_index: 0 }));
}

/// A worker reads the version, the keys change, it verifies with the new ones and inserts.
#[test]
fn a_newer_verification_moves_the_cache_forward_never_back() {
    let verifier = verifier();
    let ring = verifier.ring();
    let (one, two) = (token("1"), token("2"));
    let mut cache = TokenCache::new(16);
    let before = ring.version();
    cache.insert(one.as_bytes(), &verified(&verifier, &one), Rc::new(()));
    assert!(cache.get(one.as_bytes(), NOW, before).is_some());
    ring.publish(0, key_set(&[ed_jwk("ed")]));
    cache.insert(two.as_bytes(), &verified(&verifier, &two), Rc::new(()));
    assert!(cache.get(one.as_bytes(), NOW, before).is_none(), "verified with the old keys");
    assert!(cache.get(two.as_bytes(), NOW, before).is_some());
    assert!(cache.get(two.as_bytes(), NOW, ring.version()).is_some());
}

#[test]
fn another_configurations_entries_do_not_count() {
    let (first, second) = (verifier(), verifier());
    let token = token("1");
    let mut cache = TokenCache::new(16);
    cache.insert(token.as_bytes(), &verified(&first, &token), Rc::new(()));
    assert!(cache.get(token.as_bytes(), NOW, second.ring().version()).is_none());
    cache.insert(token.as_bytes(), &verified(&first, &token), Rc::new(()));
    assert!(cache.is_empty(), "the cache belongs to the second one now");
    cache.insert(token.as_bytes(), &verified(&second, &token), Rc::new(()));
    assert!(cache.get(token.as_bytes(), NOW, second.ring().version()).is_some());
}

#[test]
fn bounded_by_entries_and_by_size() {
    let verifier = verifier();
    let template = verified(&verifier, &token("1"));
    for (bytes, at_most) in [(800, 100), (2048, 100), (2049, 50), (8192, 25)] {
        let mut cache = TokenCache::new(100);
        for n in 0..1000_u32 {
            let mut token = vec![b'x'; bytes];
            token[..4].copy_from_slice(&n.to_be_bytes());
            cache.insert(&token, &template, Rc::new(n));
            assert!(cache.len() <= at_most, "{} tokens of {bytes} bytes", cache.len());
        }
        assert!(cache.len() >= at_most / 2, "{} tokens of {bytes} bytes", cache.len());
    }
    let mut none = TokenCache::new(0);
    none.insert(b"token", &template, Rc::new(0));
    assert!(none.is_empty());
}
