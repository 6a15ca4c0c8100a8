//! From one region's gateway to another's: what crosses, what doesn't, and who may.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{
    AUDIENCE, Answer, Ask, Gateway, ISSUER, Key, Peer, Pki, Setup, Upstream, eventually, holds, jwks, vacant,
};

mod forgotten;
mod routes;
mod streams;
mod trailers;

/// `east`, home of `us`; `frankfurt`, home of `eu` and replica of `us`. Each before one API.
struct Pair {
    east: Gateway,
    frankfurt: Gateway,
    east_api: Upstream,
    frankfurt_api: Upstream,
    pki: Pki,
}

/// Where the internal listeners are, and the configuration that both share.
pub struct Plan {
    east: SocketAddr,
    frankfurt: SocketAddr,
    shared: String,
}

impl Plan {
    pub fn new(east_api: SocketAddr, frankfurt_api: SocketAddr, pki: &Pki) -> Self {
        let (east, frankfurt) = (vacant(), vacant());
        let shared = format!(
            "internal_tls = 'dir:{}'\n\
             [token]\nissuer = '{ISSUER}'\naudience = '{AUDIENCE}'\njwks = 'file:jwks.json'\n\
             [jurisdictions.us]\nhome = 'east'\nreplicas = ['frankfurt']\ncountries = ['*']\n\
             [jurisdictions.eu]\nhome = 'frankfurt'\ncountries = ['@eea']\n\
             [regions.east]\ngateway = '{east}'\nupstreams = {{ api = ['{east_api}'] }}\n\
             [regions.frankfurt]\ngateway = '{frankfurt}'\nupstreams = {{ api = ['{frankfurt_api}'] }}\n\
             [routes]\n'POST /signup' = {{ country = 'json:/country' }}\n\
             [timeouts]\nupstream_idle_ms = 200\n",
            pki.path().display()
        );
        Self { east, frankfurt, shared }
    }

    pub fn setup(&self, region: &str) -> Setup {
        let internal = if region == "east" { self.east } else { self.frankfurt };
        let setup = Setup::bare().with(&self.shared).env("RESIDENCY_REGION", region);
        setup.write("jwks.json", &jwks([Key::usual()]).to_string());
        setup.with(&format!("[listen]\ninternal = '{internal}'"))
    }

    async fn start(&self, region: &str, piece: &str) -> Gateway {
        self.setup(region).with(piece).start().await
    }
}

impl Pair {
    async fn start() -> Self {
        Self::start_with(Upstream::mirror(), Upstream::mirror(), "").await
    }

    async fn start_with(east_api: Upstream, frankfurt_api: Upstream, piece: &str) -> Self {
        let pki = Pki::init(&["east", "frankfurt"]);
        let plan = Plan::new(east_api.address, frankfurt_api.address, &pki);
        let (east, frankfurt) = tokio::join!(plan.start("east", piece), plan.start("frankfurt", piece));
        let pair = Self { east, frankfurt, east_api, frankfurt_api, pki };
        for gateway in [&pair.east, &pair.frankfurt] {
            healthy(gateway).await;
        }
        pair
    }

    /// As the gateway of `east` would reach `frankfurt`'s.
    async fn as_east(&self, ask: &Ask) -> Answer {
        let to = self.frankfurt.setup.door("internal").expect("it has one");
        let dialled = self.pki.dial(to, "frankfurt", Some((&self.pki, "east"))).await;
        dialled.expect("a region's certificate is welcome").exchange(ask).await
    }

    fn delivered(&self) -> (usize, usize) {
        (self.east_api.requests().len(), self.frankfurt_api.requests().len())
    }
}

/// It has heard of the other and found it alive.
pub async fn healthy(gateway: &Gateway) {
    eventually("the regions have met", async || {
        let document = gateway.ask_admin("/health/full").await.json();
        let looked = document["checks"]
            .as_object()
            .is_some_and(|checks| checks.keys().any(|name| name.starts_with("region")));
        holds(document["status"] == "pass" && looked, || document.to_string())
    })
    .await;
}

fn token(jurisdiction: &str) -> String {
    Key::usual().token("me", jurisdiction)
}

#[tokio::test]
async fn a_request_goes_to_its_home_and_its_answer_says_so() {
    let pair = Pair::start().await;
    let ask = Ask::new("POST /orders?x=1").token(&token("eu")).header("x-own", "1").body("some body");
    let answer = pair.east.send(&ask).await;
    answer.expect_ok();
    assert_eq!(answer.head.beginning_with("residency-"), [("residency-served-by", "frankfurt")]);
    assert_eq!(pair.delivered(), (0, 1));
    let seen = pair.frankfurt_api.last();
    assert_eq!(
        (seen.head.start.as_str(), seen.body.as_slice()),
        ("POST /orders?x=1 HTTP/1.1", b"some body".as_slice())
    );
    assert_eq!(
        seen.head.beginning_with("residency-"),
        [
            ("residency-served-by", "frankfurt"),
            ("residency-access", "write"),
            ("residency-jurisdiction", "eu"),
            ("residency-database", "primary"),
            ("residency-subject", "me"),
        ],
        "the hop itself is no business of the API's"
    );
    assert_eq!(seen.head.get("x-own"), Some("1"));
    assert_eq!(seen.head.get("host"), Some("api.test"));
    // Who asked is known from the edge; what the edge itself says is continued by nobody.
    assert_eq!(seen.head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.head.get("forwarded"), Some("for=127.0.0.1;host=\"api.test\";proto=http"));

    // A read of us data may be served by the replica in frankfurt, a write only by its home.
    let read = pair.frankfurt.send(&Ask::new("GET /orders").token(&token("us"))).await;
    assert_eq!(read.head.get("residency-served-by"), Some("frankfurt"));
    assert_eq!(pair.frankfurt_api.last().head.get("residency-database"), Some("replica"));
    let write = pair.frankfurt.send(&Ask::new("POST /orders").token(&token("us"))).await;
    assert_eq!(write.head.get("residency-served-by"), Some("east"));
    assert_eq!(pair.east_api.last().head.get("residency-database"), Some("primary"));
    // eu data is not in the east, not even to be read.
    let read = pair.east.send(&Ask::new("GET /orders").token(&token("eu"))).await;
    assert_eq!(read.head.get("residency-served-by"), Some("frankfurt"));
    // Without a token: reads are served here, sign-ups where their country belongs.
    let read = pair.east.send(&Ask::new("GET /products")).await;
    assert_eq!(read.head.get("residency-served-by"), Some("east"));
    for (country, region) in [("DE", "frankfurt"), ("US", "east")] {
        let body = json!({"country": country, "name": "someone"});
        for edge in [&pair.east, &pair.frankfurt] {
            let answer = edge.send(&Ask::new("POST /signup").json(&body)).await;
            assert_eq!(answer.head.get("residency-served-by"), Some(region), "{country}");
        }
        let api = if region == "east" { &pair.east_api } else { &pair.frankfurt_api };
        assert_eq!(api.last().body, body.to_string().into_bytes());
    }
    let metrics = pair.east.metrics().await;
    let hops = metrics.value("residency_requests_total", &[("decision", "hop"), ("jurisdiction", "eu")]);
    assert!((hops - 3.0).abs() < 1e-9, "{hops}");
}

#[tokio::test]
async fn the_internal_listener_takes_only_gateways_of_its_own_authority() {
    let pair = Pair::start().await;
    let stranger = Pki::init(&["east", "frankfurt", "elsewhere"]);
    let to = pair.frankfurt.setup.door("internal").expect("it has one");
    let ask = Ask::new("POST /orders").header("residency-hop", "east").token(&token("eu"));
    for (who, identity) in [
        ("nobody", None),
        ("a stranger who calls itself east", Some((&stranger, "east"))),
        ("a stranger of an unknown region", Some((&stranger, "elsewhere"))),
    ] {
        // A refusal shows at the handshake or at the first read; an answer in no case.
        if let Ok(mut wire) = pair.pki.dial(to, "frankfurt", identity).await {
            let _ = wire.try_send(ask.bytes()).await;
            assert_eq!(wire.head().await, None, "{who} got an answer");
        }
    }
    // Nor without TLS at all.
    let mut wire = crate::harness::Wire::connect(to).await;
    wire.send(ask.bytes()).await;
    let head = wire.head().await;
    assert_eq!(head, None);
    assert_eq!(pair.delivered(), (0, 0));
    // A certificate of the authority for a region the configuration doesn't know is nobody's.
    pair.pki.run(&["pki", "init", "--region", "elsewhere"]);
    if let Ok(mut wire) = pair.pki.dial(to, "frankfurt", Some((&pair.pki, "elsewhere"))).await {
        let _ = wire.try_send(ask.bytes()).await;
        assert_eq!(wire.head().await, None, "a region that isn't configured got an answer");
    }
    assert_eq!(pair.delivered(), (0, 0));
    pair.as_east(&ask).await.expect_ok();
    assert_eq!(pair.delivered(), (0, 1));
}

#[tokio::test]
async fn a_gateway_that_is_not_the_one_meant_gets_no_request() {
    // Frankfurt's address leads to a gateway of the same authority, but of another region.
    let pki = Pki::init(&["east", "frankfurt"]);
    let (east_api, frankfurt_api) = (Upstream::mirror(), Upstream::mirror());
    let plan = Plan::new(east_api.address, frankfurt_api.address, &pki);
    let _other = plan.start("east", "").await;
    let own = vacant();
    let wrong = Plan { east: own, shared: plan.shared.clone(), ..plan };
    let piece =
        format!("[regions.east]\ngateway = '{own}'\n[regions.frankfurt]\ngateway = '{}'\n", plan.east);
    let misled = wrong.start("east", &piece).await;
    let answer = misled.send(&Ask::new("POST /orders").token(&token("eu")).body("secret")).await;
    assert_eq!(answer.problem().0, 503);
    assert_eq!((east_api.requests().len(), frankfurt_api.requests().len()), (0, 0));
}

#[tokio::test]
async fn a_hop_that_is_not_lawful_here_is_misdirected_and_goes_nowhere() {
    let pair = Pair::start().await;
    let hop = |start: &str| Ask::new(start).header("residency-hop", "east");
    // A write whose home is elsewhere: refused, not sent on, not even to where it belongs.
    pair.as_east(&hop("POST /orders").token(&token("us"))).await.expect_problem(421, "misdirected");
    pair.as_east(&hop("POST /signup").json(&json!({"country": "US"})))
        .await
        .expect_problem(421, "misdirected");
    // Identity is proved anew: a peer's word is not enough.
    pair.as_east(
        &hop("POST /orders").header("residency-subject", "me").header("residency-jurisdiction", "eu"),
    )
    .await
    .expect_problem(401, "token-missing");
    pair.as_east(&hop("POST /orders").token("forged")).await.expect_problem(401, "token-invalid");
    // Without the header it is no hop, and nothing else is served there.
    pair.as_east(&Ask::new("POST /orders").token(&token("eu"))).await.expect_problem(404, "not-found");
    pair.as_east(&Ask::new("GET /products")).await.expect_problem(404, "not-found");
    assert_eq!(pair.delivered(), (0, 0));
    // What is lawful here is served.
    pair.as_east(&hop("GET /orders").token(&token("us"))).await.expect_ok();
    pair.as_east(&hop("POST /orders").token(&token("eu"))).await.expect_ok();
    assert_eq!(pair.delivered(), (0, 2));

    // Reads of data that may not be in a region at all.
    let to = pair.east.setup.door("internal").expect("it has one");
    let mut wire = pair.pki.dial(to, "east", Some((&pair.pki, "frankfurt"))).await.expect("welcome");
    let ask = Ask::new("GET /orders").header("residency-hop", "frankfurt").token(&token("eu"));
    wire.exchange(&ask).await.expect_problem(421, "misdirected");
    assert_eq!(pair.delivered(), (0, 2));
    let refused =
        pair.frankfurt.metrics().await.value("residency_refusals_total", &[("code", "misdirected")]);
    assert!((refused - 2.0).abs() < 1e-9, "{refused}");
}

#[tokio::test]
async fn a_client_cannot_make_its_request_a_hop() {
    let pair = Pair::start().await;
    let forged = Ask::new("POST /orders").token(&token("eu")).header("residency-hop", "frankfurt");
    let answer = pair.east.send(&forged).await;
    answer.expect_ok();
    assert_eq!(answer.head.get("residency-served-by"), Some("frankfurt"));
    assert_eq!(pair.delivered(), (0, 1));
    let forged = Ask::new("GET /products").header("residency-hop", "frankfurt");
    pair.east.send(&forged).await.expect_ok();
    assert!(pair.east_api.last().head.get("residency-hop").is_none());
}

#[tokio::test]
async fn a_home_that_is_gone_is_named_and_nothing_of_its_data_is_served_elsewhere() {
    let Pair { east, mut frankfurt, east_api, frankfurt_api, pki: _pki } = Pair::start().await;
    frankfurt.signal(Signal::SIGTERM);
    assert!(frankfurt.end().await.success());
    for start in ["POST /orders", "GET /orders"] {
        let code = if start.starts_with("POST") { "home-unavailable" } else { "no-lawful-replica" };
        let answer = eventually("the region's end is noticed", async || {
            let answer = east.send(&Ask::new(start).token(&token("eu"))).await;
            let (status, found) = answer.problem();
            assert_eq!(status, 503, "{found}");
            if found == code { Ok(answer) } else { Err(found) }
        })
        .await;
        assert!(answer.head.get("retry-after").is_some());
    }
    assert_eq!((east_api.requests().len(), frankfurt_api.requests().len()), (0, 0));
    // The others don't notice.
    east.send(&Ask::new("POST /orders").token(&token("us"))).await.expect_ok();
    eventually("health warns of the other region", async || {
        let health = east.ask_admin("/health/full").await;
        assert_eq!(health.status(), 200);
        holds(health.json()["status"] == "warn", || health.json().to_string())
    })
    .await;
    assert_eq!(east.ask_admin("/health/full?jurisdiction=us").await.status(), 200);
}

#[tokio::test]
async fn a_request_that_reached_the_other_region_is_not_repeated() {
    let breaker = Upstream::start(|mut peer: Peer| async move {
        peer.request().await;
    });
    let pair = Pair::start_with(Upstream::mirror(), breaker, "").await;
    let answer = pair.east.send(&Ask::new("POST /orders").token(&token("eu"))).await;
    answer.expect_problem(502, "upstream-failed");
    assert_eq!(pair.delivered(), (0, 1));
    // A read is not taken elsewhere either once it may have been answered.
    pair.frankfurt
        .send(&Ask::new("GET /orders").token(&token("us")))
        .await
        .expect_problem(502, "upstream-failed");
    assert_eq!(pair.delivered(), (0, 2));
}

#[tokio::test]
async fn bodies_stream_through_a_hop_and_break_as_they_broke() {
    let api = Upstream::start(|mut peer: Peer| async move {
        let Some(head) = peer.wire.head().await else { return };
        if head.start.starts_with("GET /broken") {
            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nthe beginning").await;
            return;
        }
        peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while let Ok(Some(part)) = peer.wire.part(&head, 0).await {
            peer.say(format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(&part))).await;
        }
        peer.say("0\r\n\r\n").await;
    });
    let pair = Pair::start_with(Upstream::mirror(), api, "").await;
    let mut wire = pair.east.connect().await;
    wire.send(format!(
        "POST /echo HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n",
        token("eu")
    ))
    .await;
    let head = wire.head().await.expect("the head comes before the request's end");
    for word in ["one", "two"] {
        wire.send(format!("3\r\n{word}\r\n")).await;
        assert_eq!(wire.part(&head, 0).await.expect("more").expect("not the end"), word.as_bytes());
    }
    wire.send("0\r\n\r\n").await;
    assert_eq!(wire.part(&head, 0).await.expect("an end"), None);

    let mut wire = pair.east.connect().await;
    wire.send(Ask::new("GET /broken").token(&token("eu")).bytes()).await;
    if let Some(head) = wire.head().await {
        let body = wire.body(&head).await;
        assert!(head.status() == 502 || body.is_err(), "the client takes {body:?} for the whole");
    }
}

#[tokio::test]
async fn an_upgrade_crosses_the_hop() {
    let echo = Upstream::start(|mut peer: Peer| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        if peer.request().await.is_none() {
            return;
        }
        peer.say("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            .await;
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = peer.wire.stream.read(&mut bytes).await {
            if peer.wire.stream.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    });
    let pair = Pair::start_with(Upstream::mirror(), echo, "").await;
    let mut wire = pair.east.connect().await;
    let ask = Ask::new("GET /live")
        .token(&token("eu"))
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    wire.send(ask.bytes()).await;
    let head = wire.head().await.expect("an answer");
    assert_eq!((head.status(), head.get("residency-served-by")), (101, Some("frankfurt")));
    wire.send("hello").await;
    assert_eq!(wire.exactly(5).await.expect("an echo"), b"hello");
    drop(wire);
    eventually("the other end closes", async || holds(pair.frankfurt_api.open() == 0, || "open".to_owned()))
        .await;
}

#[tokio::test]
async fn connections_between_gateways_are_used_again() {
    let pair = Pair::start().await;
    let mut wire = pair.east.connect().await;
    for _ in 0..100 {
        wire.exchange(&Ask::new("POST /orders").token(&token("eu")).body("x")).await.expect_ok();
    }
    let metrics = pair.east.metrics().await;
    let reused = metrics.value("residency_upstream_connections_reused_total", &[("region", "frankfurt")]);
    assert!(reused >= 99.0, "{reused}");
}

#[tokio::test]
async fn certificates_are_replaced_while_requests_go_on() {
    let pair = Pair::start().await;
    let send = async || pair.east.send(&Ask::new("POST /orders").token(&token("eu"))).await.expect_ok();
    send().await;
    // Each step reaches one gateway after the other, as files do.
    for words in [&["pki", "rotate"][..], &["pki", "rotate", "--ca"], &["pki", "rotate", "--retire-old-ca"]] {
        pair.pki.run(words);
        for gateway in [&pair.frankfurt, &pair.east] {
            let before = gateway.metrics().await.value("residency_config_generation", &[]);
            gateway.signal(Signal::SIGHUP);
            gateway.metric_becomes("residency_config_generation", &[], before + 1.0).await;
            send().await;
        }
    }
    let status = pair.pki.run(&["pki", "status"]);
    assert!(status.contains("frankfurt"), "{status}");
    assert_eq!(pair.delivered().0, 0);
}
