use super::*;

const NO_BODY: WholeBody<'_> = WholeBody { content_type: None, bytes: b"" };

fn texts(named: Named<'_>) -> Vec<String> {
    match named {
        Named::Texts(texts) => texts.into_iter().map(Cow::into_owned).collect(),
        Named::Nothing => Vec::new(),
        Named::Differently => panic!("no JSON"),
    }
}

#[test]
fn cookies() {
    let source = NameSource::Cookie("sid".to_owned());
    assert!(!source.reads_body());
    for (lines, expect) in [
        (&["sid=abc"][..], &["abc"][..]),
        (&["a=1; sid=abc; b=2"], &["abc"]),
        (&["a=1;sid = \"a c\" "], &["a c"]),
        (&["sid=abc; sid=abc", "sid=d"], &["abc", "abc", "d"]),
        (&["sid=a=b=="], &["a=b=="]),
        (&["sid=; SID=x; xsid=y; sid"], &[]),
        (&[""], &[]),
        (&[], &[]),
    ] {
        let found = source.find(&NO_BODY, None, |name| {
            assert_eq!(name, "cookie");
            lines.iter().map(|line| line.as_bytes())
        });
        assert_eq!(texts(found), expect, "{lines:?}");
    }
}

#[test]
fn parameters_of_the_path() {
    let source = NameSource::Path("key".to_owned());
    assert_eq!(source.parameter(), Some("key"));
    for (segment, expect) in [
        (Some("abc"), &["abc"][..]),
        (Some("a%40b%2Fc"), &["a@b/c"]),
        (Some("%ff"), &["\u{fffd}"]),
        (None, &[]),
    ] {
        let found = source.find(&NO_BODY, segment, |_| -> [&[u8]; 0] { panic!("no header is asked for") });
        assert_eq!(texts(found), expect, "{segment:?}");
    }
}
