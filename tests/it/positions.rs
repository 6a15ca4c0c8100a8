//! Positions in front of an upstream that the test writes byte by byte, where there is no database to ask: what an API says itself,
//! what pins, and what passes.

use crate::harness::{Answer, Ask, Gateway, Key, Seen, Setup, Upstream};

const TOKEN: &str = "residency-position";
const KEY: &str = "a key of positions that has 32 bytes or more";

/// Answers by path: what stands behind it in the table.
fn api() -> Upstream {
    Upstream::start(|mut peer| async move {
        while let Some(Seen { head, .. }) = peer.request().await {
            let path = head.start.split(' ').nth(1).expect("a target").to_owned();
            let answer = match path.as_str() {
                "/said" => {
                    "201 Created\r\nresidency-position: lsn=16/B374D848; timeline=3\r\ncontent-length: 2\r\n\r\nok"
                }
                "/garbled" => {
                    "201 Created\r\nresidency-position: lsn=16; timeline=3\r\ncontent-length: 2\r\n\r\nok"
                }
                "/forged" => "200 OK\r\nresidency-behind: 1\r\ncontent-length: 2\r\n\r\nok",
                "/streamed" => "200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                "/failed" => "500 Internal Server Error\r\ncontent-length: 2\r\n\r\nno",
                "/refused" => "422 Unprocessable Content\r\ncontent-length: 2\r\n\r\nno",
                "/scripted" => {
                    "201 Created\r\nresidency-position: lsn=16/1; timeline=3\r\naccess-control-allow-origin: https://app.test\r\n\
                     access-control-expose-headers: x-own\r\ncontent-length: 0\r\n\r\n"
                }
                "/lost" => return,
                _ => "200 OK\r\ncontent-length: 2\r\n\r\nok",
            };
            if peer.say(format!("HTTP/1.1 {answer}")).await.is_none() {
                return;
            }
        }
    })
}

async fn start(api: &Upstream, piece: &str) -> Gateway {
    let setup = Setup::before(&[api.address]).env("POSITION_KEY", KEY);
    setup.with("[position]\nkey = 'env:POSITION_KEY'\n").with(piece).start().await
}

fn ask(start: &str) -> Ask {
    Ask::new(start).token(&Key::usual().token("me", "eu"))
}

fn given(answer: &Answer) -> String {
    answer.head.get(TOKEN).unwrap_or_default().to_owned()
}

async fn counted(gateway: &Gateway, name: &str, label: (&str, &str)) -> u64 {
    gateway.metrics().await.value(&format!("residency_position_{name}_total"), &[label]) as u64
}

#[tokio::test]
async fn an_api_may_say_the_position_itself() {
    let api = api();
    let gateway = start(&api, "").await;
    let answer = gateway.send(&ask("POST /said")).await;
    let token = given(&answer);
    assert!(answer.status() == 201 && token.len() > 40 && !token.contains("lsn"), "{answer:?}");
    assert_eq!(
        answer.head.get("set-cookie").map(str::to_owned),
        Some(format!("residency_position={token}; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"))
    );
    assert_eq!(counted(&gateway, "writes", ("outcome", "api")).await, 1);
    // Garbled it is as if it had said nothing, and nobody else can say it here.
    let answer = gateway.send(&ask("POST /garbled")).await;
    assert!(!given(&answer).is_empty() && given(&answer) != token, "{answer:?}");
    assert_eq!(counted(&gateway, "faults", ("fault", "api")).await, 1);
    assert_eq!(counted(&gateway, "writes", ("outcome", "unknown")).await, 1);
    // What only gateways say to each other is no API's to say.
    let answer = gateway.send(&ask("GET /forged")).await;
    answer.expect_ok();
    assert_eq!(answer.head.get("residency-behind"), None);
}

#[tokio::test]
async fn no_token_reaches_an_api() {
    let api = api();
    let gateway = start(&api, "").await;
    let token = given(&gateway.send(&ask("POST /said")).await);
    let cookies = format!("a=1; residency_position={token}; b=\"2\"");
    let answer =
        gateway.send(&ask("GET /read").header("Residency-Position", &token).header("cookie", &cookies)).await;
    answer.expect_ok();
    let seen = api.last();
    assert_eq!((seen.head.get(TOKEN), seen.head.get("cookie")), (None, Some("a=1; b=\"2\"")));
    gateway
        .send(&ask("GET /read").header("cookie", &format!("residency_position={token}")))
        .await
        .expect_ok();
    assert_eq!(api.last().head.get("cookie"), None);
    // Another one's name may hold it.
    gateway.send(&ask("GET /read").header("cookie", "my_residency_position=1;x=2")).await.expect_ok();
    assert_eq!(api.last().head.get("cookie"), Some("my_residency_position=1;x=2"));
}

#[tokio::test]
async fn what_no_position_covers_pins() {
    let api = api();
    let gateway = start(&api, "").await;
    for (path, outcome, status) in
        [("/streamed", "streamed", 200), ("/failed", "failed", 500), ("/lost", "lost", 502)]
    {
        let answer = gateway.send(&ask(&format!("POST {path}"))).await;
        assert_eq!(answer.status(), status, "{path}");
        assert!(!given(&answer).is_empty(), "{path}: {answer:?}");
        assert_eq!(counted(&gateway, "writes", ("outcome", outcome)).await, 1, "{path}");
    }
    // Nothing was written, or it was only read.
    for start in ["POST /refused", "GET /read", "GET /streamed"] {
        let user = Ask::new(start).token(&Key::usual().token("somebody else", "eu"));
        let answer = gateway.send(&user).await;
        assert_eq!((given(&answer).as_str(), answer.head.get("set-cookie")), ("", None), "{start}");
    }
}

#[tokio::test]
async fn a_script_may_read_its_position() {
    let api = api();
    let gateway = start(&api, "").await;
    let answer = gateway.send(&ask("POST /scripted").header("origin", "https://app.test")).await;
    assert!(!given(&answer).is_empty());
    assert_eq!(answer.head.get("access-control-expose-headers"), Some("x-own, residency-position"));
    let plain = gateway.send(&ask("POST /said")).await;
    assert_eq!(plain.head.get("access-control-expose-headers"), None);
}

#[tokio::test]
async fn the_cookie_is_as_configured_or_none() {
    let api = api();
    let gateway =
        start(&api, "[position]\ncookie = 'seen'\ncookie_domain = 'example.com'\nremember_s = 5").await;
    let answer = gateway.send(&ask("POST /said")).await;
    let wanted =
        format!("seen={}; Path=/; Max-Age=5; HttpOnly; SameSite=Lax; Domain=example.com", given(&answer));
    assert_eq!(answer.head.get("set-cookie"), Some(wanted.as_str()));
    drop(gateway);
    let gateway = start(&api, "[position]\ncookie = 'off'").await;
    let answer = gateway.send(&ask("POST /said")).await;
    assert_eq!((given(&answer).is_empty(), answer.head.get("set-cookie")), (false, None));
    drop(gateway);
    // Without a key there are no positions, and an API's own is still nobody's business.
    let gateway = Setup::before(&[api.address]).start().await;
    let answer = gateway.send(&ask("POST /said").header("cookie", "residency_position=x")).await;
    assert_eq!((given(&answer).as_str(), answer.head.get("set-cookie")), ("", None));
}

/// A register in files, read again only when somebody asks for it.
fn registers(api: &Upstream) -> Setup {
    let setup = Setup::before(&[api.address])
        .env("POSITION_KEY", KEY)
        .env("SUBJECT_KEY", "a key of subjects that has 32 bytes or more")
        .env("IDENTIFIER_KEY", "a key of identifiers with 32 bytes or more");
    setup.with(
        "[position]\nkey = 'env:POSITION_KEY'\n\
         [jurisdictions.us]\nregister_file = 'file:us.jsonl'\n[jurisdictions.eu]\nregister_file = 'file:eu.jsonl'\n\
         [register]\nsubject_key = 'env:SUBJECT_KEY'\nidentifier_key = 'env:IDENTIFIER_KEY'\npoll_ms = 60000\nstale_after_ms = 600000\n",
    )
}

fn moved(setup: &Setup, generation: u64) {
    setup.write("us.jsonl", &format!(r#"{{"subject":"me","generation":{generation}}}"#));
    let state = if generation > 1 { "gone" } else { "home" };
    setup.write(
        "eu.jsonl",
        &format!(r#"{{"subject":"me","state":"{state}","generation":{generation},"toward":"us"}}"#),
    );
}

/// Whoever has moved brings the news to a gateway that has not heard of it, whose own client never said a generation.
#[tokio::test]
async fn a_token_carries_the_generation_of_the_home_it_is_from() {
    let api = api();
    let (knows, late) = (registers(&api), registers(&api));
    moved(&knows, 5);
    late.write("us.jsonl", "[]");
    late.write("eu.jsonl", r#"{"subject":"me","generation":4}"#);
    let (knows, late) = (knows.start().await, late.start().await);
    let seen_in = || api.last().head.get("residency-jurisdiction").map(str::to_owned);
    let token = given(&knows.send(&ask("POST /said")).await);
    assert_eq!(seen_in().as_deref(), Some("us"));
    late.send(&ask("POST /said")).await;
    assert_eq!(seen_in().as_deref(), Some("eu"));
    // It happens, and the late one would not look for another minute.
    moved(&late.setup, 5);
    late.send(&ask("GET /read")).await.expect_ok();
    assert_eq!(seen_in().as_deref(), Some("eu"), "nobody has told it");
    late.send(&ask("GET /read").header("Residency-Position", &token)).await.expect_ok();
    assert_eq!(seen_in().as_deref(), Some("us"));
}
