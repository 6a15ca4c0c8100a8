//! Modes: what enforcing refuses, and what observing lets pass and counts.

use serde_json::{Value, json};

use crate::harness::{Ask, Key, Setup, Upstream, claims_with};

/// Tokens that verify and don't say where their subject is at home.
fn unplaced() -> [(&'static str, String, &'static str); 5] {
    let with = |value: Value| Key::usual().sign(&claims_with("region", value));
    [
        ("missing", with(Value::Null), "jurisdiction-missing"),
        ("unknown", with(json!("atlantis")), "jurisdiction-unknown"),
        ("of another case", with(json!("EU")), "jurisdiction-unknown"),
        ("a number", with(json!(1)), "jurisdiction-unknown"),
        ("a list", with(json!(["eu"])), "jurisdiction-unknown"),
    ]
}

#[tokio::test]
async fn enforcing_refuses_what_is_not_known() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    for (what, token, code) in unplaced() {
        for start in ["GET /me", "POST /orders"] {
            let answer = gateway.send(&Ask::new(start).token(&token)).await;
            assert_eq!(answer.problem(), (403, code.to_owned()), "{what}");
        }
    }
    gateway.send(&Ask::new("POST /orders")).await.expect_problem(401, "token-missing");
    assert_eq!(upstream.requests().len(), 0);
    let metrics = gateway.metrics().await;
    let refused = |code: &str| metrics.value("residency_refusals_total", &[("code", code)]);
    assert!((refused("jurisdiction-missing") - 2.0).abs() < 1e-9);
    assert!((refused("jurisdiction-unknown") - 8.0).abs() < 1e-9);
    assert!((refused("token-missing") - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_missing_or_unknown_claim_may_have_a_default() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address])
        .with("[token]\non_missing = 'us'\non_unknown = 'eu'")
        .start()
        .await;
    for (what, token, code) in unplaced() {
        gateway.send(&Ask::new("GET /me").token(&token)).await.expect_ok();
        let expected = if code == "jurisdiction-missing" { "us" } else { "eu" };
        assert_eq!(upstream.last().head.get("residency-jurisdiction"), Some(expected), "{what}");
    }
    // A token that doesn't verify has no claims at all.
    gateway.send(&Ask::new("GET /me").token("x.y.z")).await.expect_problem(401, "token-invalid");
    gateway.send(&Ask::new("POST /orders")).await.expect_problem(401, "token-missing");
}

#[tokio::test]
async fn claim_values_are_as_configured() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address])
        .with("[jurisdictions.eu]\nclaim_values = ['EU', 'europe']")
        .start()
        .await;
    for (value, jurisdiction) in
        [("EU", Some("eu")), ("europe", Some("eu")), ("us", Some("us")), ("eu", None)]
    {
        let answer = gateway.send(&Ask::new("GET /me").token(&Key::usual().token("me", value))).await;
        match jurisdiction {
            Some(_) => {
                assert_eq!(upstream.last().head.get("residency-jurisdiction"), jurisdiction, "{value}");
            }
            None => answer.expect_problem(403, "jurisdiction-unknown"),
        }
    }
}

#[tokio::test]
async fn observing_forwards_everything_and_counts_what_would_not_have_been() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).with("mode = 'observe'").start().await;
    let mut sent = 0;
    let requests = unplaced().map(|(_, token, _)| Ask::new("GET /me").token(&token));
    let anonymous = [Ask::new("POST /orders"), Ask::new("GET /me").token("x.y.z")];
    for ask in requests.into_iter().chain(anonymous) {
        gateway.send(&ask).await.expect_ok();
        sent += 1;
        let seen = upstream.last().head;
        assert_eq!(seen.get("residency-mode"), Some("observe"));
        assert_eq!(seen.get("residency-jurisdiction"), None);
        let observed = gateway.metrics().await.value("residency_unlawful_observed_total", &[]);
        assert!((observed - f64::from(sent)).abs() < 1e-9, "{observed} of {sent}");
    }
    // What enforcing would do as well is forwarded and not counted.
    gateway.send(&Ask::new("POST /orders").token(&Key::usual().token("me", "eu"))).await.expect_ok();
    let seen = upstream.last().head;
    assert_eq!(
        (seen.get("residency-mode"), seen.get("residency-jurisdiction")),
        (Some("observe"), Some("eu"))
    );
    let observed = gateway.metrics().await.value("residency_unlawful_observed_total", &[]);
    assert!((observed - f64::from(sent)).abs() < 1e-9);
    let lines = gateway.access_lines(8).await;
    assert!(lines.iter().all(|line| line["decision"] == "observed"), "{lines:?}");
    // What can't be understood is refused in any mode.
    gateway.send(&Ask::new("GET /a/../b")).await.expect_problem(400, "bad-request");
}

#[tokio::test]
async fn one_jurisdiction_may_be_observed_while_another_is_enforced() {
    let upstream = Upstream::mirror();
    let pki = crate::harness::Pki::init(&["here", "there"]);
    let setup = Setup::before(&[upstream.address]).with(&format!(
        "internal_tls = 'dir:{}'\n[listen]\ninternal = '{}'\n\
         [regions.there]\ngateway = '{}'\nupstreams = {{ api = ['127.0.0.1:1'] }}\n\
         [jurisdictions.us]\nhome = 'there'\nmode = 'observe'\n[jurisdictions.eu]\nhome = 'there'\n",
        pki.path().display(),
        crate::harness::vacant(),
        crate::harness::vacant()
    ));
    let gateway = setup.start().await;
    // Both are at home in a region that can't be reached.
    gateway.send(&Ask::new("POST /orders").token(&Key::usual().token("me", "us"))).await.expect_ok();
    let seen = upstream.last().head;
    assert_eq!(
        (seen.get("residency-mode"), seen.get("residency-jurisdiction")),
        (Some("observe"), Some("us"))
    );
    let answer = gateway.send(&Ask::new("POST /orders").token(&Key::usual().token("me", "eu"))).await;
    answer.expect_problem(503, "home-unavailable");
    assert_eq!(upstream.requests().len(), 1);
    let metrics = gateway.metrics().await;
    let observed = metrics.value("residency_unlawful_observed_total", &[("jurisdiction", "us")]);
    assert!((observed - 1.0).abs() < 1e-9, "{observed}");
}
