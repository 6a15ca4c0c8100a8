use std::borrow::Cow;

use super::*;

#[test]
fn one_that_is_named_once_or_alike() {
    let longest = "x".repeat(MOST_BYTES);
    for (texts, expect) in [
        (&["ada@example.org"][..], Some("ada@example.org")),
        (&[" Ada@Example.ORG\t"], Some("Ada@Example.ORG")),
        (&["a", " a"], Some("a")),
        (&[&longest], Some(longest.as_str())),
        // Whoever reads the request next might take the other one.
        (&["a", "b"], None),
        (&["a", "A"], None),
        (&["a", ""], None),
        (&[""], None),
        (&["  "], None),
        (&["a\0b"], None),
        (&["a\nb"], None),
        (&[&format!("{longest}x")], None),
    ] {
        let named = Named::Texts(texts.iter().map(|text| Cow::Borrowed(*text)).collect());
        assert_eq!(only(&named), expect, "{texts:?}");
    }
    assert_eq!(only(&Named::Nothing), None);
    assert_eq!(only(&Named::Differently), None);
}
