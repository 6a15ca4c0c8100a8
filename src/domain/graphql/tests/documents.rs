//! The outline of a document, by table and by grammar.

use proptest::prelude::*;

use super::super::document::{Kind, operations};
use super::reads;

/// What a document defines: `q`, `m` or `s`, each with its name.
fn outline(text: &str) -> Option<Vec<String>> {
    let kind = |kind| match kind {
        Kind::Query => "q",
        Kind::Mutation => "m",
        Kind::Subscription => "s",
    };
    let shown = |operations: smallvec::SmallVec<[super::super::document::Operation<'_>; 2]>| {
        operations.iter().map(|one| format!("{}:{}", kind(one.kind), one.name.unwrap_or_default())).collect()
    };
    operations(text).ok().map(shown)
}

#[test]
fn operations_are_found_whatever_is_around_them() {
    for (text, expect) in [
        ("{ me { id } }", vec!["q:"]),
        ("query { me }", vec!["q:"]),
        ("query Me { me }", vec!["q:Me"]),
        ("mutation { pay }", vec!["m:"]),
        ("subscription S { paid }", vec!["s:S"]),
        (
            "query Me($id: ID! = 1, $in: In = {a: [1, {b: 2}]}) @live(if: {x: 1}) @d { me(id: $id) }",
            vec!["q:Me"],
        ),
        ("query A { a } mutation B { b } query C { c }", vec!["q:A", "m:B", "q:C"]),
        ("fragment F on User { id } query A { ...F }", vec!["q:A"]),
        ("fragment F on User @d(a: 1) { id }", vec![]),
        ("", vec![]),
        ("# nothing\n", vec![]),
        // The word elsewhere.
        ("query mutation { mutation }", vec!["q:mutation"]),
        ("query query { query }", vec!["q:query"]),
        ("fragment mutation on mutation { mutation } { mutation }", vec!["q:"]),
        ("# mutation { pay }\n{ me }", vec!["q:"]),
        ("# {\r{ me }", vec!["q:"]),
        ("{ me(a: \"} mutation { pay }\") }", vec!["q:"]),
        ("{ me(a: \"\\\"} mutation { pay }\") }", vec!["q:"]),
        ("{ me(a: \"\\\\\") } mutation M { pay }", vec!["q:", "m:M"]),
        ("{ me(a: \"\") } mutation M { pay }", vec!["q:", "m:M"]),
        ("{ me(a: \"\"\"} mutation { pay }\n\"x\" \\\"\"\" } \"\"\") }", vec!["q:"]),
        ("{ me(a: \"\"\"\\\"\"\") } mutation { pay } \"\"\") }", vec!["q:"]),
        ("{ me(a: \"\"\"\\\\\"\"\") } mutation { pay } \"\"\") }", vec!["q:"]),
        ("{ me(a: \"#\") } mutation M { pay }", vec!["q:", "m:M"]),
        // What is between tokens and means nothing.
        ("\u{feff},,query\t,\u{feff}A\r\n# c\r{,me,}", vec!["q:A"]),
        ("query A{me}mutation B{pay}", vec!["q:A", "m:B"]),
        // Descriptions (September 2025).
        ("\"Who I am\" query Me { me } \"\"\"Pays\"\"\" mutation Pay { pay }", vec!["q:Me", "m:Pay"]),
    ] {
        let expect: Vec<String> = expect.into_iter().map(str::to_owned).collect();
        assert_eq!(outline(text), Some(expect), "{text}");
    }
}

#[test]
fn what_is_no_executable_document_is_none() {
    for text in [
        "me",
        "query",
        "query A",
        "query A B { a }",
        "query A { a",
        "query A ( { a }",
        "query A { a ) }",
        "query A { (a } ) }",
        "query A [ ] { a }",
        "query A @ { a }",
        "query A @d @ { a }",
        "query 7 { a }",
        "{ a } }",
        "} { a }",
        "{}",
        "query A {}",
        "{ \"query\": \"mutation { pay }\" }",
        "fragment on on User { id } { a }",
        "fragment F { id } { a }",
        "fragment F in User { id } { a }",
        "type Query { a: Int }",
        "schema { query: Q } { a }",
        "extend type Query { a: Int } { a }",
        "\"described\" { a }",
        "\"twice\" \"described\" query { a }",
        "query { a } \"described\"",
        "{ a(b: \"open) }",
        "{ a(b: \"line\nbreak\") }",
        "{ a(b: \"\\x\") }",
        "{ a(b: \"\\\u{fc}\") }",
        "{ a(b: \"\"\"open\") }",
        "{ \u{fc} }",
        "{ a\u{a0}b }",
        "{ a\0 }",
        "{ a; }",
        "{ a` }",
    ] {
        assert_eq!(outline(text), None, "{text}");
        assert!(!reads(text), "{text}");
    }
}

#[test]
fn bombs_are_bounded() {
    let nested = |depth: usize| format!("{}{}", "{a".repeat(depth), "}".repeat(depth));
    assert_eq!(outline(&nested(256)).map(|found| found.len()), Some(1));
    assert_eq!(outline(&nested(257)), None);
    for bomb in ["{", "(", "[", "{a(b:[", "query(", "\"\"\"", "@a", "fragment "] {
        assert_eq!(outline(&bomb.repeat(1_000_000)), None, "{bomb}");
    }
    assert_eq!(outline(&"{a}".repeat(64)).map(|found| found.len()), Some(64));
    assert_eq!(outline(&"{a}".repeat(65)), None);
}

/// What may stand between two tokens; never nothing, so that names stay apart.
fn ignored() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(" ".to_owned()),
        Just(",\t".to_owned()),
        Just("\r\n".to_owned()),
        Just("\u{feff} ".to_owned()),
        "#[ -~\u{e0}-\u{ff}]{0,20}\n",
        Just("# } mutation M { pay }\r".to_owned()),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[_A-Za-z][_0-9A-Za-z]{0,6}",
        prop::sample::select(vec!["mutation", "query", "subscription", "fragment", "null", "true"])
            .prop_map(str::to_owned),
    ]
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        name(),
        Just("-1.5e+3".to_owned()),
        name().prop_map(|name| format!("${name}")),
        "[ -!#-\\[\\]-~\u{e0}-\u{ff}]{0,12}".prop_map(|text| format!("\"{text}\"")),
        Just(r#""\" } mutation { \\""#.to_owned()),
        "[ -!#-\\[\\]-~\n\u{e0}-\u{ff}]{0,12}"
            .prop_map(|text| format!("\"\"\"{text} \\\"\"\" }} \" mutation \"\"\"")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[ {} ]", items.join(" "))),
            prop::collection::vec((name(), inner), 0..3).prop_map(|fields| {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name} : {value}")).collect();
                format!("{{ {} }}", fields.join(" "))
            }),
        ]
    })
}

fn arguments() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        (name(), value()).prop_map(|(name, value)| format!("( {name} : {value} )")),
    ]
}

fn selection() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (name(), arguments()).prop_map(|(name, arguments)| format!("{name} {arguments}")),
        name().prop_map(|name| format!("... {name}")),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        let nested = prop::collection::vec(inner, 1..4).prop_map(|fields| fields.join(" "));
        prop_oneof![
            (name(), arguments(), nested.clone())
                .prop_map(|(name, arguments, fields)| format!("{name} {arguments} {{ {fields} }}")),
            (name(), nested)
                .prop_map(|(name, fields)| format!("... on {name} @ skip ( if : true ) {{ {fields} }}")),
        ]
    })
}

/// A definition with its line in the outline; none for a fragment.
fn definition() -> impl Strategy<Value = (String, Option<String>)> {
    let header = prop_oneof![Just(String::new()), name()];
    let operation =
        (prop::sample::select(vec!["query", "mutation", "subscription"]), header, arguments(), selection())
            .prop_map(|(kind, name, arguments, selection)| {
                let line = format!("{}:{name}", &kind[..1]);
                (
                    format!("{kind} {name} ( $ v : [ Int ! ] = [ 1 ] ) @ d {arguments} {{ {selection} }}"),
                    Some(line),
                )
            });
    prop_oneof![
        3 => operation,
        1 => selection().prop_map(|selection| (format!("{{ {selection} }}"), Some("q:".to_owned()))),
        1 => (name().prop_filter("no fragment is called so", |name| name != "on"), name(), selection())
            .prop_map(|(name, on, selection)| (format!("fragment {name} on {on} {{ {selection} }}"), None)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Documents made by the grammar say what they were made of, whatever is put before and between their definitions.
    #[test]
    fn a_document_says_what_it_was_made_of(
        definitions in prop::collection::vec((ignored(), definition()), 0..5),
        last in ignored(),
    ) {
        let mut text = String::new();
        for (before, (definition, _)) in &definitions {
            text.push_str(before);
            text.push_str(definition);
        }
        text.push_str(&last);
        let expect: Vec<String> = definitions.into_iter().filter_map(|(_, (_, line))| line).collect();
        prop_assert_eq!(outline(&text), Some(expect), "{}", text);
    }

    /// However a mutation is cut off, nothing makes a read of it.
    #[test]
    fn no_part_of_a_mutation_is_a_read(selection in selection(), cut in any::<prop::sample::Index>()) {
        let text = format!("mutation M {{ {selection} }}");
        let mut cut = cut.index(text.len() + 1);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        prop_assert!(!reads(&text[..cut]), "{}", &text[..cut]);
    }

    /// Anything gives an answer, and one with nothing but queries in it when it is a read.
    #[test]
    fn any_text_gives_an_answer(text in "[{}()\\[\\]\"\\\\#@,:$ \na-z\u{feff}]{0,60}|\\PC{0,40}") {
        let found = outline(&text);
        prop_assert_eq!(reads(&text), found.is_some_and(|found| found.len() == 1 && found[0].starts_with('q')));
    }
}
