use super::*;

fn spelled(texts: &[&str]) -> Option<[String; 2]> {
    let named = Named::Texts(texts.iter().map(|text| Cow::Borrowed(*text)).collect());
    spellings(&named).map(|both| both.map(Cow::into_owned))
}

#[test]
fn it_is_looked_for_as_written_and_in_small_letters() {
    let longest = "x".repeat(MOST_BYTES);
    for (texts, expect) in [
        (&["ada@example.org"][..], Some(["ada@example.org", "ada@example.org"])),
        (&[" Ada@Example.ORG\t"], Some(["Ada@Example.ORG", "ada@example.org"])),
        (&["ÄDA@example.org"], Some(["ÄDA@example.org", "äda@example.org"])),
        (&["sk_live_AbC"], Some(["sk_live_AbC", "sk_live_abc"])),
        (&["a", " a"], Some(["a", "a"])),
        (&[&longest], Some([longest.as_str(); 2])),
        // Whoever reads the request next might take the other one.
        (&["a", "b"], None),
        (&["a", "A"], None),
        (&[""], None),
        (&["  "], None),
        (&["a\0b"], None),
        (&["a\nb"], None),
        (&[&format!("{longest}x")], None),
    ] {
        assert_eq!(spelled(texts), expect.map(|both| both.map(str::to_owned)), "{texts:?}");
    }
    assert_eq!(spellings(&Named::Nothing), None);
    assert_eq!(spellings(&Named::Differently), None);
}
