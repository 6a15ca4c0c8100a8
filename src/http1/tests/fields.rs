use bytes::Bytes;
use proptest::prelude::*;

use super::ends::LIMITS;
use crate::http1::fields::Fields;
use crate::http1::head::RequestHead;
use crate::http1::name::Name;

/// The fields of a request with these lines.
fn fields(lines: &str) -> Fields {
    let wire = Bytes::from(format!("GET / HTTP/1.1\r\n{lines}\r\n"));
    RequestHead::parse(&wire, LIMITS).expect("a good head").fields
}

fn written(fields: &Fields) -> String {
    let mut out = Vec::new();
    fields.write_to(&mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn lines_are_written_in_one_form_whatever_white_space_they_came_with() {
    for (came, goes) in [
        ("", ""),
        ("a: 1\r\n", "a: 1\r\n"),
        ("A:1\r\n", "A: 1\r\n"),
        ("a:\t1\r\n", "a: 1\r\n"),
        ("a:  1\r\n", "a: 1\r\n"),
        ("a: 1 \r\n", "a: 1\r\n"),
        ("a: 1\t \r\nb: 2\r\n", "a: 1\r\nb: 2\r\n"),
        ("a:\r\n", "a: \r\n"),
        ("a: \r\n", "a: \r\n"),
        ("a:   \r\nb: 2\r\n", "a: \r\nb: 2\r\n"),
        ("a: 1\r\nb:2\r\nc: 3\r\nd: 4\r\n", "a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\n"),
        ("a: b: c\r\n", "a: b: c\r\n"),
        ("a: b\tc  d\r\n", "a: b\tc  d\r\n"),
    ] {
        assert_eq!(written(&fields(came)), goes, "{came:?}");
    }
}

#[test]
fn lines_taken_out_between_neighbours_are_not_copied_with_them() {
    let mut some = fields("a: 1\r\nconnection: x\r\nb: 2\r\nc: 3\r\n");
    some.retain(|field| field.name != Name::Connection);
    some.add("d", b"4");
    some.retain(|field| field.name_text != b"c");
    some.add("e", b"5");
    assert_eq!(written(&some), "a: 1\r\nb: 2\r\nd: 4\r\ne: 5\r\n");
    assert_eq!(some.len(), 4);
    some.retain(|field| field.name_text != b"d");
    assert_eq!(written(&some), "a: 1\r\nb: 2\r\ne: 5\r\n");
    some.retain(|_| false);
    assert_eq!((written(&some).as_str(), some.is_empty()), ("", true));
}

#[test]
fn replacing_takes_out_every_line_of_that_name_and_none_of_another() {
    let all = "x-forwarded-for: 1\r\nX-Forwarded-For: 2\r\nx-forwarded-port: 3\r\nx-forwarded-by: 4\r\n\
               access-control-max-age: 5\r\naccess-control-allow-origin: 6\r\na: 7\r\nb: 8\r\nhost: 9\r\n";
    for (name, gone) in [
        ("x-forwarded-for", &["1", "2"][..]),
        ("x-forwarded-port", &["3"]),
        ("access-control-max-age", &["5"]),
        ("A", &["7"]),
        ("host", &["9"]),
        ("new", &[]),
    ] {
        let mut fields = fields(all);
        fields.replace(name, b"0");
        let values: Vec<_> =
            fields.iter().map(|field| String::from_utf8_lossy(field.value).into_owned()).collect();
        let mut expected: Vec<_> = (1..10).map(|value: u8| value.to_string()).collect();
        expected.retain(|value| !gone.contains(&value.as_str()));
        expected.push("0".to_owned());
        assert_eq!(values, expected, "{name}");
        assert_eq!(fields.named(name).collect::<Vec<_>>(), [b"0"], "{name}");
    }
}

/// What may be done to fields.
#[derive(Debug, Clone)]
enum Change {
    Add(String, String),
    Replace(String, String),
    /// Keeps the lines whose place's bit is set.
    Keep(u32),
}

fn change() -> impl Strategy<Value = Change> {
    let name = || prop::sample::select(&["a", "B", "x-forwarded-for", "host", "residency-x", "cookie"][..]);
    prop_oneof![
        3 => (name(), "[ -~]{0,6}").prop_map(|(name, value)| Change::Add(name.to_owned(), value)),
        1 => (name(), "[!-~]{0,3}").prop_map(|(name, value)| Change::Replace(name.to_owned(), value)),
        2 => any::<u32>().prop_map(Change::Keep),
    ]
}

proptest! {
    /// What is written is what was understood, line by line, after whatever was done to it.
    #[test]
    fn what_is_written_is_what_was_understood(
        lines in prop::collection::vec(
            ("[a-cA-C]|host|Cookie|residency-x", "[ \t]{0,2}", "([!-~]([ -~]{0,5}[!-~])?)?", "[ \t]{0,2}"),
            0..8,
        ),
        changes in prop::collection::vec(change(), 0..8),
    ) {
        let lines_of = |(name, before, value, after): &(String, String, String, String)| format!("{name}:{before}{value}{after}\r\n");
        let text = lines.iter().map(lines_of).collect::<Vec<_>>().concat();
        let mut model: Vec<(String, String)> =
            lines.into_iter().map(|(name, _, value, _)| (name, value)).collect();
        let mut fields = fields(&text);
        for change in changes {
            match change {
                Change::Add(name, value) => {
                    fields.add(&name, value.as_bytes());
                    model.push((name, value));
                }
                Change::Replace(name, value) => {
                    fields.replace(&name, value.as_bytes());
                    model.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
                    model.push((name, value));
                }
                Change::Keep(mask) => {
                    let mut at = 0;
                    let mut keep = || { at += 1; mask & (1 << (at % 32)) != 0 };
                    fields.retain(|_| keep());
                    at = 0;
                    let mut keep = || { at += 1; mask & (1 << (at % 32)) != 0 };
                    model.retain(|_| keep());
                }
            }
        }
        let expected: Vec<_> = model.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        prop_assert_eq!(written(&fields), expected.concat());
        let understood: Vec<(String, String)> = fields
            .iter()
            .map(|field| (field.name_text, field.value))
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()))
            .collect();
        prop_assert_eq!(&understood, &model);
        let hosts = model.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host")).count();
        prop_assert_eq!(fields.all(Name::Host).count(), hosts);
        prop_assert_eq!(fields.has(Name::Host), hosts > 0);
    }
}
