//! What is run by hand: `check`, `explain`, and `residency-migrate pki`.

use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{AUDIENCE, ISSUER, Key, Pki, Setup, jwks, migrate};

fn gateway(words: &[&str], setup: &Setup) -> Output {
    let config = setup.save();
    let mut command = Command::new(env!("CARGO_BIN_EXE_residency-gateway"));
    command.env_clear().envs(setup.environment.iter().map(|(name, value)| (name, value)));
    let (word, rest) = words.split_first().expect("a command");
    command.arg(word).arg("--config").arg(config).args(rest).output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Three regions: the homes of both jurisdictions, and a replica of `us`.
fn three_regions(pki: &Pki) -> Setup {
    let setup = Setup::bare();
    setup.write("jwks.json", &jwks([Key::usual()]).to_string());
    setup.env("RESIDENCY_REGION", "us-east").with(&format!(
        "internal_tls = 'dir:{}'\n\
         [token]\nissuer = '{ISSUER}'\naudience = '{AUDIENCE}'\njwks = 'file:jwks.json'\n\
         [jurisdictions.us]\nhome = 'us-east'\nreplicas = ['ap-singapore']\ncountries = ['*']\n\
         [jurisdictions.eu]\nhome = 'eu-frankfurt'\ncountries = ['@eea']\n\
         [regions.us-east]\ngateway = '10.1.0.2:7443'\nupstreams = {{ api = ['10.1.0.11:3000'] }}\n\
         [regions.eu-frankfurt]\ngateway = '10.2.0.2:7443'\nupstreams = {{ api = ['10.2.0.11:3000'] }}\n\
         [regions.ap-singapore]\ngateway = '10.3.0.2:7443'\nupstreams = {{ api = ['10.3.0.11:3000'] }}\n\
         nearest = ['eu-frankfurt']\n\
         [routes]\n'POST /search' = {{ access = 'read' }}\n'POST /signup' = {{ country = 'json:/country' }}\n\
         'POST /hooks' = {{ jurisdiction = 'eu' }}\n",
        pki.path().display()
    ))
}

#[test]
fn check_accepts_a_good_file_and_says_what_it_found() {
    let pki = Pki::init(&["us-east", "eu-frankfurt", "ap-singapore"]);
    let output = gateway(&["check"], &three_regions(&pki));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("ok: region us-east, 3 regions, 2 jurisdictions, 3 routes"), "{said}");
}

#[test]
fn check_reports_every_error_at_once_with_key_and_remedy() {
    let pki = Pki::init(&["us-east"]);
    let setup = three_regions(&pki).with(
        "mode = 'strict'\nunknown_key = 1\n[listen]\nhttp = 'nowhere'\nworkers = 0\n\
         [token]\nalgorithms = ['RS257']\n[jurisdictions.eu]\nhome = 'eu-frankfrut'\n\
         [timeouts]\nheader_ms = '10s'\n[regions.us-east]\nredis = 'env:NOT_THERE'\n\
         [routes]\n'POST /search' = { access = 'reed' }\n'BAD' = { access = 'read' }\n",
    );
    let output = gateway(&["check"], &setup);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for expected in [
        "mode",
        "unknown_key",
        "listen.http",
        "listen.workers",
        "token.algorithms",
        "jurisdictions.eu.home",
        "eu-frankfurt",
        "timeouts.header_ms",
        "regions.us-east.redis",
        "NOT_THERE",
        "POST /search",
        "BAD",
    ] {
        assert!(said.contains(expected), "{expected} is not named in\n{said}");
    }
    let count = said.lines().filter(|line| line.starts_with("error: ")).count();
    assert!(count >= 10, "{count} errors in\n{said}");
    assert!(said.contains(&format!("{count} errors")), "{said}");
    // Each with its place, its key, what is wrong, and what to do.
    for block in said.split("\n\n").filter(|block| block.starts_with("error: ")) {
        assert_eq!(block.lines().count(), 3, "{block}");
        assert!(block.contains("residency.toml"), "{block}");
    }
    // The gateway itself says the same and serves nobody.
    let config = setup.save();
    let started = Command::new(env!("CARGO_BIN_EXE_residency-gateway"))
        .env_clear()
        .arg("--config")
        .arg(config)
        .output();
    assert_eq!(started.expect("it starts").status.code(), Some(2));
}

#[test]
fn check_finds_certificates_that_are_missing() {
    let pki = Pki::init(&["eu-frankfurt"]);
    let output = gateway(&["check"], &three_regions(&pki));
    let said = stderr(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("us-east.crt"), "{said}");
}

#[test]
fn no_secret_of_the_environment_is_repeated_in_a_report() {
    let pki = Pki::init(&["us-east", "eu-frankfurt", "ap-singapore"]);
    let setup = three_regions(&pki)
        .with("[api]\nsigning_secret = 'env:SIGNING'\n[regions.us-east]\ndatabases = { us = 'env:PG', eu = 'env:PG' }\nredis = 'env:REDIS'\n")
        .env("SIGNING", "whisper-short")
        .env("PG", "postgres://user:whisper-password@/?x=y&whisper=1")
        .env("REDIS", "http://:whisper-redis@10.0.0.1/");
    let output = gateway(&["check"], &setup);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("whisper"), "{said}");
}

#[test]
fn explain_tells_the_decision_at_each_region_and_why() {
    let pki = Pki::init(&["us-east", "eu-frankfurt", "ap-singapore"]);
    let setup = three_regions(&pki);
    let (eu, us) = (Key::usual().token("me", "eu"), Key::usual().token("me", "us"));
    let explain = |token: Option<&str>, method: &str, path: &str, at: Option<&str>| {
        let mut words = vec!["explain", "--method", method, "--path", path];
        words.extend(token.iter().flat_map(|token| ["--token", token]));
        words.extend(at.iter().flat_map(|at| ["--at", at]));
        let output = gateway(&words, &setup);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (token, method, path, at, expected) in [
        (Some(&eu), "POST", "/orders", None, "forward to eu-frankfurt (primary)"),
        (Some(&eu), "POST", "/orders", Some("ap-singapore"), "forward to eu-frankfurt (primary)"),
        (Some(&eu), "GET", "/orders", Some("ap-singapore"), "forward to eu-frankfurt (primary)"),
        (Some(&eu), "GET", "/orders", Some("eu-frankfurt"), "forward to eu-frankfurt (primary)"),
        (Some(&us), "GET", "/orders", Some("ap-singapore"), "forward to ap-singapore (replica)"),
        (Some(&us), "GET", "/orders", None, "forward to us-east (primary)"),
        (Some(&us), "POST", "/orders", Some("ap-singapore"), "forward to us-east (primary)"),
        (Some(&us), "POST", "/search?q=x", Some("ap-singapore"), "forward to ap-singapore (replica)"),
        (None, "GET", "/products", Some("eu-frankfurt"), "forward to eu-frankfurt (no database)"),
        (None, "POST", "/orders", None, "refuse: 401 token-missing"),
        (None, "POST", "/hooks", Some("ap-singapore"), "forward to eu-frankfurt (primary)"),
        (None, "GET", "/a/../b", None, "refuse: bad-request"),
    ] {
        let said = explain(token.map(String::as_str), method, path, at);
        assert!(said.contains(&format!("decision      {expected}")), "{method} {path} at {at:?}:\n{said}");
    }
    let said = explain(Some(&eu), "POST", "/orders", Some("ap-singapore"));
    for expected in [
        "request       POST /orders at ap-singapore",
        "access        write",
        "subject me",
        "jurisdiction  eu (claim region=\"eu\")",
        "writes of eu go to its home eu-frankfurt",
    ] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    assert!(explain(None, "POST", "/signup", None).contains("country"));
    assert!(said.contains("upstream      api"), "{said}");
    let said = explain(Some("x.y.z"), "GET", "/orders", None);
    assert!(said.contains("refuse: 401 token-invalid"), "{said}");

    let nowhere = gateway(&["explain", "--at", "atlantis"], &setup);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(stderr(&nowhere).contains("ap-singapore"), "{}", stderr(&nowhere));
}

#[test]
fn explain_looks_into_headers_and_bodies() {
    let pki = Pki::init(&["us-east", "eu-frankfurt", "ap-singapore"]);
    let setup = three_regions(&pki).with(
        "[regions.us-east]\nupstreams = { api = ['10.1.0.11:3000'], web = 'unix:/run/web.sock' }\n\
         [routes]\n'/graphql' = { access = 'graphql' }\n'/account' = { reads = 'home', upstream = 'web' }\n\
         '/start' = { country = 'json:/country' }\n'POST /join' = { country = 'form:country' }\n'POST /trial' = { country = 'header:X-Country' }\n\
         [cors]\norigins = ['https://app.acme.com']\n",
    );
    let us = Key::usual().token("me", "us");
    let json = "Content-Type: application/json";
    let form = "content-type: application/x-www-form-urlencoded";
    let query = r#"{"query":"query A { a } mutation B { b }","operationName":"A"}"#;
    let mutation = r#"{"query":"query A { a } mutation B { b }","operationName":"B"}"#;
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["--token", &us, "--method", "POST", "--path", "/graphql", "--body", query, "--header", json],
            &["access        read (by the GraphQL operation)", "forward to ap-singapore (replica)"],
        ),
        (
            &["--token", &us, "--method", "POST", "--path", "/graphql", "--body", mutation],
            &["access        write (by the GraphQL operation)", "forward to us-east (primary)"],
        ),
        (
            &["--token", &us, "--method", "POST", "--path", "/graphql"],
            &["access        write", "give --body"],
        ),
        (
            &["--token", &us, "--path", "/graphql?query={a}"],
            &["access        read", "forward to ap-singapore"],
        ),
        (
            &["--token", &us, "--path", "/account"],
            &[
                "upstream      web",
                "reads         at the home, by its primary",
                "forward to us-east (primary)",
                "this route's reads of us go to its home us-east",
            ],
        ),
        (
            &["--method", "POST", "--path", "/signup", "--body", r#"{"country":"DE"}"#],
            &["jurisdiction  eu (of the country the request names)", "forward to eu-frankfurt (primary)"],
        ),
        (
            &["--method", "POST", "--path", "/join", "--body", "country=US", "--header", form],
            &["forward to us-east"],
        ),
        (
            &["--method", "POST", "--path", "/join", "--body", "country=US&country=DE", "--header", form],
            &["refuse: 422 country-unknown"],
        ),
        (
            &["--method", "POST", "--path", "/trial", "--header", "x-country: FR"],
            &["forward to eu-frankfurt"],
        ),
        (
            &["--method", "POST", "--path", "/trial", "--header", "Origin: https://app.acme.com"],
            &["refuse: 422 country-missing", "cors          a script of https://app.acme.com may read this"],
        ),
        (
            &["--method", "POST", "--path", "/orders", "--header", "origin: https://evil.com"],
            &["refuse: 401 token-missing", "cors          a script of https://evil.com may not read this"],
        ),
        (
            &["--method", "OPTIONS", "--path", "/start"],
            &["access        read", "forward to ap-singapore (no database)"],
        ),
    ];
    for (words, expected) in cases {
        let words: Vec<&str> = ["explain", "--at", "ap-singapore"].iter().chain(*words).copied().collect();
        let output = gateway(&words, &setup);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
        let said = String::from_utf8_lossy(&output.stdout);
        for line in *expected {
            assert!(said.contains(line), "{line} is not in what {words:?} gives:\n{said}");
        }
    }
}

#[test]
fn pki_makes_shows_and_renews_the_certificates() {
    let pki = Pki::init(&["us-east", "eu-frankfurt"]);
    for (file, private) in
        [("ca.crt", false), ("ca.key", true), ("us-east.crt", false), ("eu-frankfurt.key", true)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(pki.path().join(file)).expect(file).permissions().mode();
        assert!(!private || mode.trailing_zeros() >= 6, "{file} has mode {mode:o}");
    }
    let status = || -> Value { serde_json::from_str(&pki.run(&["pki", "status", "--json"])).expect("JSON") };
    let fingerprint = |status: &Value, file: &str| {
        let all = status["certificates"].as_array().expect("a list");
        let own = all.iter().find(|entry| entry["file"] == file).expect(file);
        own["fingerprint_sha256"].as_str().expect("a fingerprint").to_owned()
    };
    let first = status();
    assert_eq!(first["problems"].as_array().map(Vec::len), Some(0));
    // What is there is not overwritten.
    let again = migrate(&["pki", "init", "--region", "us-east"], pki.path());
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("us-east.crt"), "{}", stderr(&again));
    assert_eq!(status(), first);

    pki.run(&["pki", "rotate", "--region", "us-east"]);
    let second = status();
    assert_ne!(fingerprint(&second, "us-east.crt"), fingerprint(&first, "us-east.crt"));
    assert_eq!(fingerprint(&second, "eu-frankfurt.crt"), fingerprint(&first, "eu-frankfurt.crt"));

    // A problem is an exit code, too.
    std::fs::remove_file(pki.path().join("us-east.key")).expect("it was there");
    let broken = migrate(&["pki", "status"], pki.path());
    assert_eq!(broken.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&broken.stdout).contains("us-east"));
    let nowhere = migrate(&["pki", "status"], &pki.path().join("nowhere"));
    assert_eq!(nowhere.status.code(), Some(1));
}
