//! Headers: what a request loses and gains on its way, and an answer on its way back.

use aws_lc_rs::hmac;

use crate::harness::{Ask, Key, Setup, Upstream, Wire, now};

#[tokio::test]
async fn hop_by_hop_headers_end_at_the_gateway_in_both_directions() {
    let upstream = Upstream::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.say(
                "HTTP/1.1 200 OK\r\nconnection: x-private, keep-alive\r\nkeep-alive: timeout=5\r\nx-private: 1\r\n\
                 proxy-authenticate: Basic\r\ntrailer: x-later\r\nx-public: 2\r\nset-cookie: a=1\r\n\
                 set-cookie: b=2\r\ncontent-length: 2\r\n\r\nok",
            )
            .await;
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let ask = Ask::new("GET /products")
        .header("connection", "X-Secret, keep-alive")
        .header("connection", "x-other")
        .header("x-secret", "1")
        .header("x-other", "1")
        .header("x-kept", "1")
        .header("keep-alive", "timeout=9")
        .header("te", "gzip;q=0.5, trailers")
        .header("trailer", "x-later")
        .header("proxy-connection", "keep-alive")
        .header("proxy-authorization", "Basic c2VjcmV0")
        .header("upgrade", "h2c");
    let answer = gateway.send(&ask).await;
    let seen = upstream.last().head;
    for gone in ["x-secret", "x-other", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade"] {
        assert_eq!(seen.get(gone), None, "{gone} went upstream");
    }
    assert_eq!(seen.get("x-kept"), Some("1"));
    // Trailers pass, and with them what is said of them; other codings of a transfer are not taken.
    assert_eq!((seen.get("te"), seen.get("trailer")), (Some("trailers"), Some("x-later")));
    for gone in ["x-private", "keep-alive", "proxy-authenticate"] {
        assert_eq!(answer.head.get(gone), None, "{gone} came back");
    }
    assert_eq!(answer.head.get("x-public"), Some("2"));
    assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.body, b"ok");
}

#[tokio::test]
async fn forged_residency_headers_change_nothing() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let forged = |mut ask: Ask| {
        for name in [
            "Residency-Served-By",
            "residency-access",
            "RESIDENCY-JURISDICTION",
            "residency-database",
            "residency-subject",
            "residency-mode",
            "residency-signature",
            "residency-hop",
            "residency-position",
            "residency-anything",
        ] {
            ask = ask.header(name, "forged");
        }
        ask
    };
    gateway.send(&forged(Ask::new("GET /products"))).await.expect_ok();
    let anonymous = [("residency-served-by", "here"), ("residency-access", "read")];
    assert_eq!(upstream.last().head.beginning_with("residency-"), anonymous);

    let own = Ask::new("POST /orders").token(&Key::usual().token("me", "eu"));
    gateway.send(&forged(own.clone())).await.expect_ok();
    let decided = [
        ("residency-served-by", "here"),
        ("residency-access", "write"),
        ("residency-jurisdiction", "eu"),
        ("residency-database", "primary"),
        ("residency-subject", "me"),
    ];
    assert_eq!(upstream.last().head.beginning_with("residency-"), decided);

    // Nor can a client have the gateway's own headers, or what it decides by, dropped.
    let names = "residency-subject, Residency-Jurisdiction, residency-served-by, authorization, host, cookie, \
                 content-length, content-type, x-forwarded-for, forwarded";
    let ask = own
        .header("connection", names)
        .header("cookie", "a=1")
        .header("content-type", "text/plain")
        .body("12345");
    gateway.send(&ask).await.expect_ok();
    let seen = upstream.last();
    assert_eq!(seen.head.beginning_with("residency-"), decided);
    assert_eq!(seen.body, b"12345");
    for kept in
        ["authorization", "host", "cookie", "content-type", "content-length", "x-forwarded-for", "forwarded"]
    {
        assert!(seen.head.get(kept).is_some(), "{kept} was dropped");
    }
}

#[tokio::test]
async fn an_api_cannot_speak_for_the_gateway() {
    let upstream = Upstream::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.say(
                "HTTP/1.1 200 OK\r\nresidency-served-by: elsewhere\r\nresidency-subject: x\r\n\
                 residency-position: y\r\ncontent-length: 0\r\n\r\n",
            )
            .await;
        }
    });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let answer = gateway.send(&Ask::new("GET /products")).await;
    assert_eq!(answer.head.beginning_with("residency-"), [("residency-served-by", "here")]);
}

#[tokio::test]
async fn forwarded_headers_are_made_anew_for_strangers() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let ask = Ask::new("GET /products")
        .header("x-forwarded-for", "203.0.113.7")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "evil.test")
        .header("x-forwarded-port", "443")
        .header("forwarded", "for=203.0.113.7;proto=https");
    gateway.send(&ask).await.expect_ok();
    let seen = upstream.last().head;
    let peer = "127.0.0.1";
    assert_eq!(seen.get("forwarded"), Some(format!("for={peer};host=\"api.test\";proto=http").as_str()));
    assert_eq!(seen.get("x-forwarded-for"), Some(peer));
    assert_eq!(seen.get("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.get("x-forwarded-host"), Some("api.test"));
    assert_eq!(seen.get("x-forwarded-port"), None);
}

#[tokio::test]
async fn forwarded_headers_of_trusted_proxies_are_continued() {
    let upstream = Upstream::mirror();
    let setup = Setup::before(&[upstream.address]).with("trusted_proxies = ['127.0.0.0/8']");
    let gateway = setup.start().await;
    let ask = Ask::new("GET /products")
        .header("x-forwarded-for", "203.0.113.7")
        .header("x-forwarded-for", "198.51.100.1")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "public.test")
        .header("forwarded", "for=203.0.113.7;proto=https");
    gateway.send(&ask).await.expect_ok();
    let seen = upstream.last().head;
    let peer = "127.0.0.1";
    assert_eq!(
        seen.get("forwarded"),
        Some(format!("for=203.0.113.7;proto=https, for={peer};host=\"api.test\";proto=http").as_str())
    );
    assert_eq!(seen.get("x-forwarded-for"), Some(format!("203.0.113.7, 198.51.100.1, {peer}").as_str()));
    assert_eq!(seen.get("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.get("x-forwarded-host"), Some("public.test"));
}

#[tokio::test]
async fn the_decision_is_signed_where_a_secret_is_configured() {
    let upstream = Upstream::mirror();
    let secret = "a signing secret of thirty-two bytes or more";
    let gateway = Setup::before(&[upstream.address])
        .with("[api]\nsigning_secret = 'env:SIGNING'")
        .env("SIGNING", secret)
        .start()
        .await;
    let check = |access: &str, jurisdiction: &str, database: &str, subject: &str| {
        let seen = upstream.last().head;
        let signature = seen.get("residency-signature").expect("it is signed");
        let (time, mac) =
            signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("its form");
        assert!(now().abs_diff(time.parse().expect("a time")) < 60);
        let signed = format!("{time}\nhere\n{access}\n{jurisdiction}\n{database}\n{subject}");
        let mac: Vec<u8> = (0..mac.len() / 2)
            .map(|index| u8::from_str_radix(&mac[2 * index..2 * index + 2], 16).expect("hex"))
            .collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        hmac::verify(&key, signed.as_bytes(), &mac).expect("the API can verify it");
    };
    gateway.send(&Ask::new("GET /products")).await.expect_ok();
    check("read", "", "", "");
    gateway.send(&Ask::new("POST /orders").token(&Key::usual().token("me", "eu"))).await.expect_ok();
    check("write", "eu", "primary", "me");
}

#[tokio::test]
async fn the_request_line_is_written_anew_from_what_was_understood() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    // An absolute target's host is the header's, or the request can be read in two ways (RFC 9112 section 3.2.2).
    gateway.send(&Ask::new("GET http://other.test/a")).await.expect_problem(400, "bad-request");
    // No target has a fragment, and servers disagree about what to do with one.
    gateway.send(&Ask::new("GET /a#f")).await.expect_problem(400, "bad-request");
    let answer = gateway.send(&Ask::new("GET http://API.test/a%2Fb?x=%20y")).await;
    answer.expect_ok();
    let seen = upstream.last().head;
    assert_eq!(seen.start, "GET /a%2Fb?x=%20y HTTP/1.1");
    assert_eq!(seen.get("host"), Some("api.test"));
    assert_eq!(seen.get("x-forwarded-host"), Some("api.test"));

    // HTTP/1.0 goes up as 1.1, and its client gets an answer it understands.
    let mut wire: Wire = gateway.connect().await;
    wire.send("GET /old HTTP/1.0\r\nhost: api.test\r\n\r\n").await;
    let answer = wire.answer(false).await;
    answer.expect_ok();
    assert_eq!(answer.head.get("transfer-encoding"), None);
    assert_eq!(upstream.last().head.start, "GET /old HTTP/1.1");
    wire.ended().await;
}

#[tokio::test]
async fn a_route_may_name_the_subject_the_country_and_the_access() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address])
        .with(
            "[routes]\n'POST /search' = { access = 'read' }\n'GET /live' = { access = 'write' }\n\
             '/orgs/{org}/**' = { subject = 'path:org' }\n\
             'POST /signup' = { country = 'json:/billing/country' }\n'POST /webhooks/**' = { jurisdiction = 'us' }\n",
        )
        .start()
        .await;
    let decided = async |ask: Ask| {
        let answer = gateway.send(&ask).await;
        assert_eq!(answer.status(), 200, "{:?}", String::from_utf8_lossy(&answer.body));
        let seen = upstream.last().head;
        ["access", "jurisdiction", "database", "subject"]
            .map(|name| seen.get(&format!("residency-{name}")).unwrap_or("-").to_owned())
            .join(" ")
    };
    let token = Key::usual().token("me", "eu");
    assert_eq!(decided(Ask::new("POST /search").token(&token)).await, "read eu primary me");
    assert_eq!(decided(Ask::new("GET /live").token(&token)).await, "write eu primary me");
    assert_eq!(decided(Ask::new("GET /orgs/acme%20inc/x").token(&token)).await, "read eu primary acme inc");
    assert_eq!(decided(Ask::new("POST /webhooks/stripe").body("{}")).await, "write us primary -");
    for (country, jurisdiction) in [("DE", "eu"), ("NO", "eu"), ("GB", "us"), ("US", "us"), ("JP", "us")] {
        let body = serde_json::json!({"name": "x", "billing": {"country": country}});
        let ask = Ask::new("POST /signup").json(&body);
        assert_eq!(decided(ask).await, format!("write {jurisdiction} primary -"), "{country}");
        assert_eq!(
            upstream.last().body,
            body.to_string().into_bytes(),
            "what was read ahead goes up unchanged"
        );
    }
    let problem = async |body: &str| gateway.send(&Ask::new("POST /signup").body(body)).await.problem();
    assert_eq!(problem(r#"{"billing":{}}"#).await, (422, "country-missing".to_owned()));
    assert_eq!(problem("not json").await, (422, "country-missing".to_owned()));
    assert_eq!(problem(r#"{"billing":{"country":1}}"#).await, (422, "country-missing".to_owned()));
    assert_eq!(problem(r#"{"billing":{"country":"Germany"}}"#).await, (422, "country-unknown".to_owned()));
    assert_eq!(problem(r#"{"billing":{"country":"ZZ"}}"#).await, (422, "country-unknown".to_owned()));
}
