use super::*;

fn rule(pattern: &str) -> RouteRule {
    RouteRule { pattern: pattern.to_owned(), ..RouteRule::default() }
}

#[test]
fn the_most_specific_pattern_wins() {
    let mut org = rule("/orgs/{org}/**");
    org.subject = Some("org".to_owned());
    let table = RouteTable::new(vec![
        rule("POST /search"),
        org,
        rule("/orgs/{org}/public"),
        rule("GET /orgs/{org}/**"),
        rule("/files/**"),
    ])
    .expect("valid");
    let find =
        |method, path| table.find(method, path).map(|found| (found.rule.pattern.as_str(), found.subject));
    assert_eq!(find("POST", "/search"), Some(("POST /search", None)));
    assert_eq!(find("GET", "/search"), None);
    assert_eq!(find("POST", "/orgs/acme"), Some(("/orgs/{org}/**", Some("acme"))));
    assert_eq!(find("POST", "/orgs/acme/a/b"), Some(("/orgs/{org}/**", Some("acme"))));
    assert_eq!(find("POST", "/orgs/acme/public"), Some(("/orgs/{org}/public", None)));
    assert_eq!(find("GET", "/orgs/acme/a"), Some(("GET /orgs/{org}/**", None)));
    assert_eq!(find("GET", "/files"), Some(("/files/**", None)));
    assert_eq!(find("GET", "/files/x"), Some(("/files/**", None)));
    assert_eq!(find("GET", "/other"), None);
}

#[test]
fn bad_patterns_are_named() {
    let mut no_parameter = rule("/orgs/{id}/**");
    no_parameter.subject = Some("org".to_owned());
    let faults = RouteTable::new(vec![
        rule("search"),
        rule("post /search"),
        rule("/a/**/b"),
        no_parameter,
        rule("/same/{a}"),
        rule("/same/{b}"),
    ])
    .expect_err("each but one is wrong");
    let indices: Vec<usize> = faults.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, [0, 1, 2, 3, 5], "{faults:?}");
}

#[test]
fn paths_that_read_two_ways_are_told() {
    for path in ["/a/../b", "/a/./b", "/..", "/a/%2e%2E/b", "/a/.%2e", "/%2e"] {
        assert!(!is_unambiguous(path), "{path}");
    }
    for path in ["/", "/a/b", "/a.b", "/.well-known/jwks.json", "/a/...", "/a%20b/c", "/a/..b", "/%2e%2e%2e"]
    {
        assert!(is_unambiguous(path), "{path}");
    }
}
