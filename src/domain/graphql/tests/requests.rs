//! Requests as clients send them, and as attackers do.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn json_bodies() {
    let two = "query A { a } mutation B { b }";
    for (body, expect) in [
        (json!({"query": "{ me }"}), true),
        (json!({"query": "mutation { pay }"}), false),
        (json!({"query": "subscription { paid }"}), false),
        (json!({"query": two, "operationName": "A"}), true),
        (json!({"query": two, "operationName": "B"}), false),
        (json!({"query": two}), false),
        (json!({"query": two, "operationName": null}), false),
        (json!({"query": two, "operationName": "C"}), false),
        (json!({"query": two, "operationName": ""}), false),
        (json!({"query": two, "operationName": 7}), false),
        (json!({"query": "query A { a } query A { b }", "operationName": "A"}), false),
        (json!({"query": "{ a } query B { b }", "operationName": "B"}), true),
        // The only operation is the only one that can be carried out.
        (json!({"query": "query A { a }", "operationName": "B"}), true),
        (json!({"query": "{ me }", "operationName": ""}), true),
        (json!({"query": "mutation A { a }", "operationName": "query"}), false),
        (json!({"query": "{ me }", "variables": {"query": "mutation { pay }"}, "extensions": {}}), true),
        (
            json!({"query": "{ me }", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "x"}}}),
            true,
        ),
        // A stored document's text is unknown.
        (json!({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "x"}}}), false),
        (json!({"documentId": "sha256:x"}), false),
        (json!({"query": "{ me }", "documentId": "sha256:x"}), false),
        (json!({"query": "{ me }", "id": "x"}), false),
        (json!({"query": "{ me }", "doc_id": "x"}), false),
        (json!({"query": "{ me }", "documentId": null}), true),
        (json!({"query": null}), false),
        (json!({"query": ["{ me }"]}), false),
        (json!({"Query": "{ me }"}), false),
        (json!({}), false),
        (json!([]), false),
        (json!([{"query": "{ me }"}]), true),
        (json!([{"query": "{ me }"}, {"query": "query A { a }"}]), true),
        (json!([{"query": "{ me }"}, {"query": "mutation { pay }"}]), false),
        (json!([{"query": "mutation { pay }"}, {"query": "{ me }"}]), false),
        (json!([{"query": "{ me }"}, {}]), false),
        (json!([[{"query": "{ me }"}]]), false),
        (json!("{ me }"), false),
        (json!(null), false),
        (json!(true), false),
    ] {
        assert_eq!(is_read(&post(JSON, body.to_string().as_bytes())), expect, "{body}");
    }
}

#[test]
fn json_that_is_read_in_two_ways_is_a_write() {
    for body in [
        r#"{"query":"mutation{pay}","query":"{me}"}"#,
        r#"{"query":"{me}","query":"{me}"}"#,
        r#"{"query":"{me}","qu\u0065ry":"mutation{pay}"}"#,
        r#"{"query":"query A{a} mutation B{b}","operationName":"A","operationName":"B"}"#,
        r#"[{"query":"{me}"},{"query":"{me}","query":"mutation{pay}"}]"#,
        r#"{"query":"{me}"} {"query":"mutation{pay}"}"#,
        r#"{"query":"{me}"}x"#,
        r#"{"query":"{me}""#,
        r#"[{"query":"{me}"}"#,
        r#"[{"query":"mutation{pay}"},"#,
        r#"{"query":"{me}",}"#,
        "\u{feff}{\"query\":\"{me}\"}",
        "{'query':'{me}'}",
        "",
    ] {
        assert!(!is_read(&post(JSON, body.as_bytes())), "{body}");
    }
    assert!(!is_read(&post(JSON, b"{\"query\":\"{me}\",\"x\":\"\xff\"}")), "not UTF-8");
    let deep = format!(r#"{{"query":"{{me}}","variables":{}{}}}"#, "[".repeat(500_000), "]".repeat(500_000));
    let _ = is_read(&post(JSON, deep.as_bytes()));
    let batch = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    assert!(!is_read(&post(JSON, batch.as_bytes())));
}

#[test]
fn only_what_the_content_type_says_is_read() {
    let (json, text) = (br#"{"query":"{ me }"}"#.as_slice(), b"{ me }".as_slice());
    for (content_type, body, expect) in [
        ("application/json", json, true),
        ("Application/JSON ; charset=UTF-8", json, true),
        ("application/json;charset=\"utf-8\"; x=y", json, true),
        ("application/json; charset=utf-16", json, false),
        ("application/graphql", text, true),
        ("application/graphql; charset=utf-8", text, true),
        ("application/graphql", json, false),
        ("application/json", text, false),
        ("application/graphql-response+json", json, false),
        ("text/plain", json, false),
        ("application/x-www-form-urlencoded", b"query={me}".as_slice(), false),
        ("multipart/form-data; boundary=x", json, false),
        ("", json, false),
    ] {
        assert_eq!(is_read(&post(content_type.as_bytes(), body)), expect, "{content_type}");
    }
    assert!(!is_read(&GraphQlRequest { content_type: None, ..post(JSON, json) }), "no type, or two");
    assert!(!is_read(&GraphQlRequest { body: None, ..post(JSON, json) }), "longer than what is read ahead");
    assert!(!is_read(&post(b"application/graphql", b"{ \xff }")), "not UTF-8");
}

#[test]
fn parameters_in_the_url() {
    let ask = |method, query| GraphQlRequest { method, query: Some(query), content_type: None, body: None };
    for (method, query, expect) in [
        ("GET", "query=%7B%20me%20%7D", true),
        ("HEAD", "query={me}&variables={}", true),
        ("GET", "query=query+A{a}mutation+B{b}&operationName=A", true),
        ("GET", "query=query+A{a}mutation+B{b}&operationName=B", false),
        // It must not be carried out, and nobody but the API says so.
        ("GET", "query=mutation{pay}", false),
        ("GET", "query={me}&query=mutation{pay}", false),
        ("GET", "query={me}&qu%65ry={me}", false),
        ("GET", "query={me}&id=x", false),
        ("GET", "extensions={\"persistedQuery\":{}}", false),
        ("GET", "query=subscription{paid}", false),
        ("GET", "", false),
        ("PUT", "query={me}", false),
        ("DELETE", "query={me}", false),
        ("QUERY", "query={me}", false),
        ("OPTIONS", "", true),
    ] {
        assert_eq!(is_read(&ask(method, query)), expect, "{method} {query}");
    }
    assert!(!is_read(&GraphQlRequest { query: None, ..ask("GET", "") }));

    let two = br#"{"query":"query A{a} mutation B{b}","operationName":"A"}"#;
    for (query, expect) in [
        ("op=A", true),
        ("operationName=A", true),
        ("operationName=B", false),
        ("operationName=A&operationName=B", false),
        ("query=mutation{pay}", false),
        ("query={me}", false),
        ("documentId=x", false),
    ] {
        let request = GraphQlRequest { query: Some(query), ..post(JSON, two) };
        assert_eq!(is_read(&request), expect, "POST {query}");
    }
    let text = b"query A{a} mutation B{b}";
    for (query, expect) in [("operationName=A", true), ("operationName=B", false), ("", false)] {
        let request = GraphQlRequest { query: Some(query), ..post(b"application/graphql", text) };
        assert_eq!(is_read(&request), expect, "POST {query}");
    }
}

#[test]
fn a_rule_may_say_that_subscriptions_read() {
    let rule = GraphQlRule { subscriptions: Access::Read };
    let ask = |text: &str| rule.access_of(&post(b"application/graphql", text.as_bytes()));
    assert_eq!(ask("subscription { paid }"), Access::Read);
    assert_eq!(ask("mutation { pay }"), Access::Write);
}

#[test]
fn only_a_post_needs_its_body() {
    let methods = ["GET", "HEAD", "OPTIONS", "POST", "PUT"];
    assert_eq!(methods.map(GraphQlRule::reads_body), [false, false, false, true, false]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// A mutation is never a read, whatever is done to its body: bytes cut off, doubled, or put in.
    #[test]
    fn no_damage_makes_a_read_of_a_mutation(
        batch in any::<bool>(),
        at in any::<prop::sample::Index>(),
        length in 0..12_usize,
        insertion in "[{}\\[\\]\",:# \\\\]{0,4}",
    ) {
        let one = json!({"query": "mutation M($a: Int) { pay(a: $a) { id } }", "variables": {"a": 1}});
        let text = if batch { json!([one, one]).to_string() } else { one.to_string() };
        let at = at.index(text.len());
        let end = (at + length).min(text.len());
        let damaged = format!("{}{insertion}{}", &text[..at], &text[end..]);
        // Damage can turn the keyword into another one only by cutting it, and then nothing is a query.
        prop_assert!(!is_read(&post(JSON, damaged.as_bytes())), "{}", damaged);
    }

    #[test]
    fn any_bytes_give_an_answer(
        body in prop::collection::vec(any::<u8>(), 0..64),
        url in "[ -~]{0,40}",
        method in prop::sample::select(vec!["GET", "POST", "OPTIONS", "X"]),
        content_type in prop::sample::select(vec!["application/json", "application/graphql", "\u{ff}"]),
    ) {
        let content_type = Some(content_type.as_bytes());
        let request = GraphQlRequest { method, query: Some(&url), content_type, body: Some(&body) };
        let _ = GraphQlRule::default().access_of(&request);
    }
}
