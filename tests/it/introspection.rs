//! Tokens only their issuer can read.

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{
    Ask, Gateway, IntrospectionServer, Key, Setup, Upstream, claims, claims_with, eventually, holds, now,
};

const SECRET: &str = "whispered-client-secret";

/// Beside the keys of the usual setup.
fn setup(upstream: &Upstream, issuer: &IntrospectionServer) -> Setup {
    Setup::before(&[upstream.address]).env("CLIENT_SECRET", SECRET).with(&format!(
        "[token]\nintrospection = '{}'\nclient_id = 'gateway'\nclient_secret = 'env:CLIENT_SECRET'",
        issuer.url()
    ))
}

async fn status_of(gateway: &Gateway, token: &str) -> u16 {
    gateway.send(&Ask::new("GET /me").token(token)).await.status()
}

#[tokio::test]
async fn an_opaque_token_means_what_its_issuer_says_and_is_seen_by_nobody_else() {
    let (upstream, issuer) = (Upstream::mirror(), IntrospectionServer::start());
    let token = "opaque-token-of-someone";
    issuer.activate(token, claims("someone", "eu"));
    let gateway = setup(&upstream, &issuer).with("[log]\nlevel = 'trace'").start().await;
    for _ in 0..3 {
        gateway.send(&Ask::new("POST /orders").token(token)).await.expect_ok();
        let seen = upstream.last().head;
        assert_eq!(seen.get("residency-subject"), Some("someone"));
        assert_eq!(seen.get("residency-jurisdiction"), Some("eu"));
        assert_eq!(seen.get("authorization"), Some(format!("Bearer {token}").as_str()));
    }
    let [question] = &issuer.questions()[..] else { panic!("{:?}", issuer.questions()) };
    assert_eq!(question.head.start, "POST /introspect HTTP/1.1");
    assert_eq!(question.head.get("content-type"), Some("application/x-www-form-urlencoded"));
    // `gateway:whispered-client-secret`.
    let basic = "Basic Z2F0ZXdheTp3aGlzcGVyZWQtY2xpZW50LXNlY3JldA==";
    assert_eq!(question.head.get("authorization"), Some(basic));
    assert_eq!(question.body, format!("token={token}&token_type_hint=access_token").into_bytes());

    let url = issuer.url();
    gateway
        .metric_becomes("residency_introspections_total", &[("issuer", &url), ("result", "active")], 1.0)
        .await;
    let metrics = gateway.metrics().await;
    let durations = metrics.value("residency_introspection_duration_seconds_count", &[("issuer", &url)]);
    assert!((durations - 1.0).abs() < 1e-9, "{durations}");
    let hits = metrics.value("residency_token_cache_lookups_total", &[("result", "hit")]);
    assert!((hits - 2.0).abs() < 1e-9, "{hits}");

    // Neither a good one, nor a refused one, nor one about which the issuer fails is written down.
    assert_eq!(status_of(&gateway, "opaque-token-of-nobody").await, 401);
    issuer.fail(true);
    assert_eq!(status_of(&gateway, "opaque-token-in-trouble").await, 503);
    gateway.access_lines(5).await;
    let exposed = String::from_utf8_lossy(&gateway.ask_admin("/metrics").await.body).into_owned();
    for written in [gateway.stderr(), gateway.read("access.log"), exposed] {
        assert!(!written.contains("opaque-token"), "{written}");
        assert!(!written.contains(SECRET) && !written.contains("Z2F0ZXdheTp3"), "{written}");
    }
}

#[tokio::test]
async fn what_the_issuer_does_not_vouch_for_is_refused_and_reaches_no_api() {
    let (upstream, issuer) = (Upstream::mirror(), IntrospectionServer::start());
    let gateway = setup(&upstream, &issuer).start().await;
    let with = |name: &str, value| issuer.activate(&format!("bad-{name}"), claims_with(name, value));
    with("iss", json!("https://elsewhere.test"));
    with("aud", json!("another"));
    with("nbf", json!(now() + 600));
    with("sub", json!(7));
    with("token_use", json!("refresh_token"));
    let mut invalid =
        vec!["never-issued", "almost.a.jwt", "bad-iss", "bad-aud", "bad-nbf", "bad-sub", "bad-token_use"];
    issuer.activate("no-aud", json!({"sub": "someone", "region": "us", "exp": now() + 600}));
    invalid.push("no-aud");
    for token in invalid {
        for _ in 0..2 {
            let answer = gateway.send(&Ask::new("GET /me").token(token)).await;
            answer.expect_problem(401, "token-invalid");
        }
        assert_eq!(issuer.questions_about(token), 1, "{token}: the refusal is remembered");
    }
    issuer.activate("expired", claims_with("exp", json!(now() - 1)));
    gateway.send(&Ask::new("GET /me").token("expired")).await.expect_problem(401, "token-expired");
    assert_eq!(upstream.requests().len(), 0, "nothing of all this reached the API");
    let metrics = gateway.metrics().await;
    assert!(metrics.value("residency_token_faults_total", &[("fault", "inactive")]) >= 4.0);
    // A jurisdiction the answer doesn't name is missing, as it would be in a JWT.
    issuer.activate("nowhere", claims_with("region", json!(null)));
    gateway.send(&Ask::new("GET /me").token("nowhere")).await.expect_problem(403, "jurisdiction-missing");
}

#[tokio::test]
async fn without_an_answer_unknown_tokens_get_503_and_all_others_go_on() {
    let upstream = Upstream::mirror();
    let address = crate::harness::vacant();
    let setup = Setup::before(&[upstream.address])
        .with(&format!("[token]\nintrospection = 'http://{address}/introspect'"));
    let gateway = setup.start().await;
    let ask = Ask::new("GET /me").token("opaque");
    let answer = gateway.send(&ask).await;
    answer.expect_problem(503, "introspection-unavailable");
    assert!(answer.head.get("retry-after").is_some());
    gateway.logged("can't be asked about tokens").await;
    assert_eq!(status_of(&gateway, &Key::usual().token("someone", "us")).await, 200);

    let issuer = IntrospectionServer::start_at(address);
    issuer.activate("opaque", claims("someone", "us"));
    gateway.send(&ask).await.expect_ok();
    // What was believed stays so; what wasn't known stays unknown.
    issuer.fail(true);
    gateway.send(&ask).await.expect_ok();
    let unknown = gateway.send(&Ask::new("GET /me").token("another")).await;
    unknown.expect_problem(503, "introspection-unavailable");
}

#[tokio::test]
async fn a_silent_issuer_is_waited_for_only_so_long() {
    let (upstream, issuer) = (Upstream::mirror(), IntrospectionServer::start());
    issuer.hold();
    let gateway = setup(&upstream, &issuer).with("[token]\nintrospection_timeout_ms = 50").start().await;
    let answer = gateway.send(&Ask::new("GET /me").token("opaque")).await;
    answer.expect_problem(503, "introspection-unavailable");
    issuer.release();
}

#[tokio::test]
async fn one_question_for_all_workers_and_all_who_wait() {
    let (upstream, issuer) = (Upstream::mirror(), IntrospectionServer::start());
    issuer.activate("opaque", claims("someone", "us"));
    issuer.hold();
    let gateway = setup(&upstream, &issuer).with("[listen]\nworkers = 4").start().await;
    let mut waiting = Vec::new();
    for _ in 0..40 {
        let mut wire = gateway.connect().await;
        wire.send(Ask::new("GET /me").token("opaque").bytes()).await;
        waiting.push(wire);
    }
    gateway.metric_becomes("residency_token_cache_lookups_total", &[("result", "miss")], 40.0).await;
    issuer.release();
    for wire in &mut waiting {
        wire.answer(false).await.expect_ok();
    }
    assert_eq!(issuer.questions().len(), 1);
}

/// Connections enough to meet every worker, each sending one invented token after the other.
fn flood(
    gateway: &Gateway,
    connections: usize,
    token: impl Fn(usize) -> String + Clone + Send + 'static,
) -> JoinSet<()> {
    let mut flood = JoinSet::new();
    for connection in 0..connections {
        let (address, token) = (gateway.http, token.clone());
        flood.spawn(async move {
            let mut wire = crate::harness::Wire::connect(address).await;
            for index in 0_usize.. {
                let ask = Ask::new("GET /me").token(&token(index * 1000 + connection));
                let status = wire.exchange(&ask).await.status();
                assert!([401, 503].contains(&status), "{status}");
            }
        });
    }
    flood
}

#[tokio::test]
async fn a_flood_of_invented_opaque_tokens_is_bounded_and_known_ones_are_served() {
    let (upstream, issuer) = (Upstream::mirror(), IntrospectionServer::start());
    issuer.activate("known", claims("someone", "us"));
    let gateway = setup(&upstream, &issuer)
        .with("[listen]\nworkers = 4\n[token]\nintrospection_per_s = 10\nintrospection_cache_s = 1\nintrospection_timeout_ms = 2000")
        .start()
        .await;
    assert_eq!(status_of(&gateway, "known").await, 200);
    let before = gateway.resident_kib();
    let began = Instant::now();
    let mut flooding = flood(&gateway, 60, |index| format!("invented-{index}"));
    // Its answer is believed for a second, so that it has to be asked about in the midst of the flood.
    let mut served = 0_usize;
    while issuer.questions_about("known") < 4 {
        assert_eq!(status_of(&gateway, "known").await, 200, "after {served}");
        served += 1;
        assert_eq!(status_of(&gateway, &Key::usual().token(&format!("{served}"), "us")).await, 200);
    }
    let asked = issuer.questions().len() - issuer.questions_about("known");
    let most = 10.0 * (began.elapsed().as_secs_f64() + 1.0);
    assert!(asked as f64 <= most, "{asked} questions, at most {most}");
    eventually("the flood is more than the issuer is asked", async || {
        let fault = [("fault", "introspection-limited")];
        let limited = gateway.metrics().await.value("residency_token_faults_total", &fault);
        holds(limited > 0.0, || "all have been asked about".to_owned())
    })
    .await;
    assert!(flooding.try_join_next().is_none(), "the flood went on all the time");
    flooding.shutdown().await;
    assert!(gateway.resident_kib() < before + 65_536, "{before} KiB, now {}", gateway.resident_kib());
    assert!(upstream.requests().iter().all(|seen| {
        let carried = seen.head.get("authorization").unwrap_or_default();
        !carried.contains("invented")
    }));
}

#[tokio::test]
async fn a_reload_forgets_what_other_settings_let_in() {
    let (upstream, issuer) = (Upstream::mirror(), IntrospectionServer::start());
    let other = IntrospectionServer::start();
    issuer.activate("opaque", claims("someone", "us"));
    let mut gateway = setup(&upstream, &issuer).start().await;
    assert_eq!(status_of(&gateway, "opaque").await, 200);
    assert_eq!(status_of(&gateway, "unknown").await, 401);
    let becomes = async |gateway: &Gateway, token: &str, wanted: u16| {
        eventually("the new settings", async || {
            let status = status_of(gateway, token).await;
            holds(status == wanted, || format!("{token}: {status}"))
        })
        .await;
    };
    // What changes nothing about the issuer changes nothing here.
    gateway.setup.lay("[timeouts]\nidle_ms = 50000");
    gateway.reload().await;
    for _ in 0..20 {
        assert_eq!(status_of(&gateway, "opaque").await, 200);
        assert_eq!(status_of(&gateway, "unknown").await, 401);
    }
    assert_eq!(issuer.questions().len(), 2);
    // The same endpoint, other rules.
    gateway.setup.lay("[token]\naudience = 'another'");
    gateway.reload().await;
    becomes(&gateway, "opaque", 401).await;
    // Another endpoint, which knows other tokens.
    other.activate("unknown", claims_with("aud", json!("another")));
    gateway.setup.lay(&format!("[token]\nintrospection = '{}'", other.url()));
    gateway.reload().await;
    becomes(&gateway, "unknown", 200).await;
    assert_eq!(status_of(&gateway, "opaque").await, 401);
    // None at all: an opaque token is none again.
    let token = gateway.setup.config["token"].as_table_mut().expect("a table");
    for key in ["introspection", "client_id", "client_secret"] {
        token.remove(key);
    }
    gateway.reload().await;
    becomes(&gateway, "unknown", 401).await;
}

/// A request that waits for its issuer's answer when the configuration is replaced still gets it.
#[tokio::test]
async fn a_reload_leaves_nobody_without_an_answer() {
    let (upstream, issuer) = (Upstream::mirror(), IntrospectionServer::start());
    issuer.activate("opaque", claims("someone", "us"));
    issuer.hold();
    let mut gateway =
        setup(&upstream, &issuer).with("[token]\nintrospection_timeout_ms = 30000").start().await;
    let mut wire = gateway.connect().await;
    wire.send(Ask::new("GET /me").token("opaque").bytes()).await;
    eventually("the question is put", async || holds(issuer.questions().len() == 1, || "not yet".to_owned()))
        .await;
    gateway.reload().await;
    issuer.release();
    wire.answer(false).await.expect_ok();
}

#[tokio::test]
async fn signed_tokens_are_shown_to_their_issuer_only_where_all_are() {
    let (upstream, issuer) = (Upstream::mirror(), IntrospectionServer::start());
    let mut gateway = setup(&upstream, &issuer).start().await;
    let (kept, withdrawn) = (Key::usual().token("kept", "us"), Key::usual().token("withdrawn", "us"));
    let forged = Key::es256("usual").token("kept", "us");
    for (token, status) in [(&kept, 200), (&withdrawn, 200), (&forged, 401)] {
        assert_eq!(status_of(&gateway, token).await, status);
    }
    assert_eq!(issuer.questions().len(), 0);

    issuer.activate(&kept, json!({"sub": "kept"}));
    gateway.setup.lay("[token]\nintrospect = 'all'\nintrospection_cache_s = 1");
    gateway.reload().await;
    eventually("the workers ask", async || {
        let status = status_of(&gateway, &withdrawn).await;
        holds(status == 401, || format!("{status}"))
    })
    .await;
    assert_eq!(status_of(&gateway, &kept).await, 200);
    assert_eq!(upstream.last().head.get("residency-subject"), Some("kept"));
    assert_eq!(status_of(&gateway, &forged).await, 401);
    assert_eq!(issuer.questions_about(&forged), 0, "a forgery ends at its signature");
    // Withdrawn while it is in the cache: in time it is noticed.
    issuer.withdraw(&kept);
    eventually("the withdrawal is noticed", async || {
        let status = status_of(&gateway, &kept).await;
        holds(status == 401, || format!("{status}"))
    })
    .await;
}

#[tokio::test]
async fn introspection_needs_no_keys_beside_it_and_explain_asks_too() {
    let (upstream, issuer) = (Upstream::mirror(), IntrospectionServer::start());
    issuer.activate("opaque", claims("someone", "eu"));
    let mut setup = setup(&upstream, &issuer);
    setup.config["token"].as_table_mut().expect("a table").remove("jwks");
    let gateway = setup.start().await;
    assert_eq!(status_of(&gateway, "opaque").await, 200);
    assert_eq!(status_of(&gateway, &Key::usual().token("someone", "eu")).await, 401);
    // No keys are no fault of health.
    let health = gateway.ask_admin("/health/full").await;
    assert_eq!(health.json()["status"], "pass", "{}", health.json());

    let explain = |token: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_residency-gateway"))
            .args(["explain", "--token", token, "--config"])
            .arg(gateway.path("residency.toml"))
            .env("CLIENT_SECRET", SECRET)
            .output()
            .expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = explain("opaque");
    assert!(said.contains("subject someone") && said.contains("jurisdiction  eu"), "{said}");
    assert!(explain("unknown").contains("refuse: 401 token-invalid"));
}
