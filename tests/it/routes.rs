//! What a route may say: which processes get its requests, where its country is, who may read its refusals.

use serde_json::json;
use tokio::net::{TcpStream, UnixListener};

use crate::harness::{Answer, Ask, Gateway, Key, Setup, Upstream, eventually, holds, vacant};

fn token(jurisdiction: &str) -> String {
    Key::usual().token("me", jurisdiction)
}

/// Passes what comes on a socket of this path on to an upstream.
pub fn relay(path: &std::path::Path, upstream: &Upstream) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(path).expect("the path is free");
    let to = upstream.address;
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut to) = TcpStream::connect(to).await {
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                }
            });
        }
    })
}

#[tokio::test]
async fn a_route_chooses_its_group_and_another_route_another() {
    let (api, web) = (Upstream::mirror(), Upstream::mirror());
    let setup = Setup::before(&[api.address]).with(&format!(
        "[regions.here]\nupstreams = {{ web = '{}' }}\n[routes]\n'/**' = {{ upstream = 'web' }}\n'/v1/**' = {{}}\n",
        web.address
    ));
    let gateway = setup.start().await;
    for (start, expect) in
        [("GET /", (0, 1)), ("GET /about", (0, 2)), ("POST /v1/orders", (1, 2)), ("GET /v1", (2, 2))]
    {
        let answer = gateway.send(&Ask::new(start).token(&token("us"))).await;
        answer.expect_ok();
        assert_eq!((api.requests().len(), web.requests().len()), expect, "{start}");
    }
    // The decision is the same for both; so is what they learn of it.
    let decided = |upstream: &Upstream| {
        let head = upstream.last().head;
        head.beginning_with("residency-")
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(decided(&api), decided(&web));
}

#[tokio::test]
async fn a_group_that_is_gone_refuses_its_own_routes_only_and_shows_in_health() {
    let api = Upstream::mirror();
    let gone = vacant();
    let setup = Setup::before(&[api.address]).with(&format!(
        "[regions.here]\nupstreams = {{ web = '{gone}' }}\n[routes]\n'/pages/**' = {{ upstream = 'web' }}\n"
    ));
    let gateway = setup.start().await;
    gateway
        .send(&Ask::new("GET /pages/a").token(&token("us")))
        .await
        .expect_problem(503, "no-lawful-replica");
    gateway.send(&Ask::new("GET /orders").token(&token("us"))).await.expect_ok();
    gateway.send(&Ask::new("POST /orders").token(&token("us"))).await.expect_ok();
    let health = eventually("health fails for the group", async || {
        let answer = gateway.ask_admin("/health/full").await;
        if answer.status() == 503 { Ok(answer.json()) } else { Err(answer.json().to_string()) }
    })
    .await;
    assert_eq!(health["checks"]["web:connections"][0]["status"], "fail", "{health}");
    assert_eq!(health["checks"]["api:connections"][0]["status"], "pass", "{health}");
    let metrics = gateway.metrics().await;
    let up = |group, endpoint: String| {
        metrics.value("residency_endpoint_up", &[("group", group), ("endpoint", &endpoint)])
    };
    assert!((up("web", gone.to_string()), up("api", api.address.to_string())) == (0.0, 1.0));
    // The data can be read and written as ever.
    gateway.send(&Ask::new("POST /orders").token(&token("us"))).await.expect_ok();
}

#[tokio::test]
async fn a_socket_takes_requests_and_is_looked_at_like_an_address() {
    let api = Upstream::mirror();
    let setup = Setup::before(&[api.address]);
    let path = setup.path("api.sock");
    let relay = relay(&path, &api);
    let setup = setup.with(&format!("[regions.here]\nupstreams = {{ api = 'unix:{}' }}\n", path.display()));
    let gateway = setup.start().await;
    let ask = Ask::new("POST /orders").token(&token("us")).body("some body");
    gateway.send(&ask).await.expect_ok();
    assert_eq!(api.last().body, b"some body");
    let endpoint = format!("unix:{}", path.display());
    gateway.metric_becomes("residency_endpoint_up", &[("group", "api"), ("endpoint", &endpoint)], 1.0).await;
    // Gone and back again.
    relay.abort();
    let _ = relay.await;
    std::fs::remove_file(&path).expect("it was there");
    gateway.metric_becomes("residency_endpoint_up", &[("group", "api"), ("endpoint", &endpoint)], 0.0).await;
    let again = self::relay(&path, &api);
    gateway.metric_becomes("residency_endpoint_up", &[("group", "api"), ("endpoint", &endpoint)], 1.0).await;
    eventually("it is served again", async || {
        let answer = gateway.send(&ask).await;
        holds(answer.status() == 200, || format!("{answer:?}"))
    })
    .await;
    drop(gateway);
    again.abort();
}

/// Where a sign-up goes shows in what the API is told.
async fn jurisdiction(gateway: &Gateway, upstream: &Upstream, ask: &Ask) -> Result<String, (u16, String)> {
    let before = upstream.requests().len();
    let answer = gateway.send(ask).await;
    if answer.status() == 200 {
        return Ok(upstream.last().head.get("residency-jurisdiction").expect("it is decided").to_owned());
    }
    assert_eq!(upstream.requests().len(), before, "what was refused reached the API");
    Err(answer.problem())
}

#[tokio::test]
async fn a_country_is_found_in_forms_and_headers() {
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[upstream.address]).with(
        "[routes]\n'POST /form' = { country = 'form:country' }\n'POST /header' = { country = 'header:X-Country' }\n\
         'POST /json' = { country = 'json:/country' }\n",
    );
    let gateway = setup.start().await;
    let unknown = || Err((422, "country-unknown".to_owned()));
    let missing = || Err((422, "country-missing".to_owned()));
    let form = |body: &str| {
        Ask::new("POST /form").header("content-type", "application/x-www-form-urlencoded").body(body)
    };
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let multipart = |parts: &[String]| {
        let body = format!("{}--b--\r\n", parts.concat());
        Ask::new("POST /form").header("content-type", "multipart/form-data; boundary=b").body(body)
    };
    for (what, ask, expect) in [
        ("a form", form("name=x&country=DE"), Ok("eu")),
        ("a form of elsewhere", form("country=US"), Ok("us")),
        ("a form with two", form("country=US&country=DE"), unknown()),
        ("a form without", form("name=x"), missing()),
        ("parts", multipart(&[part("name", "x"), part("country", "FR")]), Ok("eu")),
        ("parts with two", multipart(&[part("country", "US"), part("country", "FR")]), unknown()),
        ("parts without", multipart(&[part("name", "x")]), missing()),
        ("a header", Ask::new("POST /header").header("x-country", "NO").body("x"), Ok("eu")),
        ("a header's own spelling", Ask::new("POST /header").header("X-COUNTRY", " us "), Ok("us")),
        (
            "two headers",
            Ask::new("POST /header").header("x-country", "US").header("x-country", "DE"),
            unknown(),
        ),
        ("no header", Ask::new("POST /header"), missing()),
        ("a member twice", Ask::new("POST /json").body(r#"{"country":"US","country":"DE"}"#), unknown()),
        ("a member", Ask::new("POST /json").json(&json!({"country": "DE"})), Ok("eu")),
    ] {
        let expect = expect.map(str::to_owned);
        assert_eq!(jurisdiction(&gateway, &upstream, &ask).await, expect, "{what}");
    }
    // What was read ahead goes on as it came.
    let ask = multipart(&[part("country", "FR")]);
    gateway.send(&ask).await.expect_ok();
    assert!(upstream.last().body.ends_with(b"\r\n\r\nFR\r\n--b--\r\n"));
}

const APP: &str = "https://app.example.com";

fn from_app(start: &str) -> Ask {
    Ask::new(start).header("origin", APP)
}

fn readable_by(answer: &Answer) -> Option<&str> {
    answer.head.get("access-control-allow-origin")
}

#[tokio::test]
async fn a_script_of_a_known_origin_can_read_a_refusal() {
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[upstream.address]).with(&format!(
        "[cors]\norigins = ['{APP}', 'https://*.example.dev']\ncredentials = true\nexpose = ['x-request-id']\n\
         [routes]\n'/public' = {{ cors = {{ origins = ['*'], credentials = false }} }}\n'/own' = {{ cors = {{ origins = [] }} }}\n"
    ));
    let gateway = setup.start().await;
    let refused = gateway.send(&from_app("POST /orders")).await;
    refused.expect_problem(401, "token-missing");
    assert_eq!(readable_by(&refused), Some(APP));
    assert_eq!(refused.head.get("access-control-allow-credentials"), Some("true"));
    assert_eq!(
        refused.head.get("access-control-expose-headers"),
        Some("x-request-id, retry-after, residency-position")
    );
    assert_eq!(refused.head.get("vary"), Some("origin"));
    for (origin, path, expect) in [
        ("https://evil.com", "/orders", None),
        ("https://example.dev", "/orders", None),
        ("https://a.example.dev", "/orders", Some("https://a.example.dev")),
        ("null", "/orders", None),
        ("https://evil.com", "/public", Some("*")),
        (APP, "/own", None),
    ] {
        let refused = gateway.send(&Ask::new(&format!("POST {path}")).header("origin", origin)).await;
        refused.expect_problem(401, "token-missing");
        assert_eq!(readable_by(&refused), expect, "{origin} {path}");
    }
    // Two origins are none.
    let refused = gateway.send(&from_app("POST /orders").header("origin", "https://a.example.dev")).await;
    assert_eq!(readable_by(&refused), None);
    // What the API answers is the API's affair.
    let served = gateway.send(&from_app("POST /orders").token(&token("us"))).await;
    served.expect_ok();
    assert_eq!(served.head.beginning_with("access-control-"), []);
}

#[tokio::test]
async fn without_cors_nothing_is_added() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let refused = gateway.send(&from_app("POST /orders")).await;
    refused.expect_problem(401, "token-missing");
    assert_eq!(refused.head.beginning_with("access-control-"), []);
    assert_eq!(refused.head.get("vary"), None);
}

#[tokio::test]
async fn a_preflight_is_the_apis_unless_no_api_can_answer_it() {
    let upstream = Upstream::mirror();
    // Routes that would refuse anything without a token, or want a body.
    let setup = Setup::before(&[upstream.address]).with(&format!(
        "[cors]\norigins = ['{APP}']\nmax_age_s = 60\n[regions.here]\nupstreams = {{ web = '{}' }}\n[routes]\n\
         '/orders' = {{ access = 'write' }}\n'/signup' = {{ country = 'json:/country' }}\n'/graphql' = {{ access = 'graphql' }}\n\
         '/pages' = {{ upstream = 'web' }}\n",
        vacant()
    ));
    let gateway = setup.start().await;
    let preflight = |path: &str, origin: &str| {
        Ask::new(&format!("OPTIONS {path}"))
            .header("origin", origin)
            .header("access-control-request-method", "DELETE")
            .header("access-control-request-headers", "authorization")
    };
    for path in ["/orders", "/signup", "/graphql", "/any"] {
        let answer = gateway.send(&preflight(path, APP)).await;
        answer.expect_ok();
        assert_eq!(answer.head.beginning_with("access-control-"), [], "{path}: the API gave none");
        let seen = upstream.last().head;
        assert_eq!(seen.start, format!("OPTIONS {path} HTTP/1.1"));
        assert_eq!(seen.get("residency-jurisdiction"), None, "it is about nobody");
        assert_eq!(seen.get("access-control-request-method"), Some("DELETE"));
    }
    let answered = gateway.send(&preflight("/pages", APP)).await;
    assert_eq!((answered.status(), answered.body.len()), (204, 0));
    assert_eq!(readable_by(&answered), Some(APP));
    assert_eq!(answered.head.get("access-control-allow-methods"), Some("DELETE"));
    assert_eq!(
        answered.head.get("access-control-allow-headers"),
        Some("authorization, content-type, residency-position")
    );
    assert_eq!(answered.head.get("access-control-max-age"), Some("60"));
    // So that this comes, and can be read.
    let refused = gateway.send(&from_app("DELETE /pages").token(&token("us"))).await;
    refused.expect_problem(503, "home-unavailable");
    assert_eq!(readable_by(&refused), Some(APP));
    // A stranger's fails as it would have.
    let refused = gateway.send(&preflight("/pages", "https://evil.com")).await;
    refused.expect_problem(503, "upstream-unavailable");
    assert_eq!(readable_by(&refused), None);
    // With a token it is a request of its subject's, and good for what the token is.
    let refused = gateway.send(&Ask::new("OPTIONS /any").token("forged")).await;
    refused.expect_problem(401, "token-invalid");
}

#[tokio::test]
async fn the_graphql_operation_decides_and_the_body_goes_on_as_it_came() {
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[upstream.address])
        .with("[routes]\n'/graphql' = { access = 'graphql' }\n[limits]\npeek_bytes = 1024\n");
    let gateway = setup.start().await;
    let long = format!("query Long {{ {} }}", "field ".repeat(1000));
    for (text, expect) in [
        ("{ orders { id } }", "read"),
        ("mutation { pay }", "write"),
        ("subscription { paid }", "write"),
        ("# mutation\nquery mutation { mutation }", "read"),
        ("not GraphQL", "write"),
        (long.as_str(), "write"),
    ] {
        let body = json!({"query": text, "variables": {}});
        gateway.send(&Ask::new("POST /graphql").token(&token("us")).json(&body)).await.expect_ok();
        let seen = upstream.last();
        assert_eq!(seen.head.get("residency-access"), Some(expect), "{text}");
        assert_eq!(seen.body, body.to_string().into_bytes());
    }
    // In pieces, behind a head that promises no length.
    let mut wire = gateway.connect().await;
    wire.send(format!(
        "POST /graphql HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-type: application/graphql\r\n\
         transfer-encoding: chunked\r\n\r\n4\r\n{{ or\r\n",
        token("us")
    ))
    .await;
    wire.send("6\r\nders }\r\n0\r\n\r\n").await;
    wire.answer(false).await.expect_ok();
    assert_eq!(upstream.last().head.get("residency-access"), Some("read"));
    assert_eq!(upstream.last().body, b"{ orders }");
    drop(wire);
    gateway.send(&Ask::new("GET /graphql?query=%7Bme%7D").token(&token("us"))).await.expect_ok();
    assert_eq!(upstream.last().head.get("residency-access"), Some("read"));
    gateway.send(&Ask::new("GET /graphql?query=mutation%7Bpay%7D").token(&token("us"))).await.expect_ok();
    assert_eq!(upstream.last().head.get("residency-access"), Some("write"));
}
