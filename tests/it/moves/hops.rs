//! Two gateways of which one knows better.

use crate::harness::{Peer, Pki};
use crate::hop::{Plan, healthy};

use super::*;

/// `east`, home of `us`, and `frankfurt`, home of `eu` and replica of `us`. Neither reads its registers again unless it is asked to.
struct Pair {
    east: Gateway,
    frankfurt: Gateway,
    east_api: Upstream,
    frankfurt_api: Upstream,
    _pki: Pki,
}

const UNASKED: &str = "[register]\npoll_ms = 60000\nstale_after_ms = 600000\n[limits]\nreplay_bytes = 100\n";

impl Pair {
    async fn start(east: &[(&str, Value)], frankfurt: &[(&str, Value)]) -> Self {
        Self::start_with(Upstream::mirror(), east, frankfurt, UNASKED).await
    }

    /// What each of them finds in which register.
    async fn start_with(
        east_api: Upstream,
        east: &[(&str, Value)],
        frankfurt: &[(&str, Value)],
        piece: &str,
    ) -> Self {
        let pki = Pki::init(&["east", "frankfurt"]);
        let frankfurt_api = Upstream::mirror();
        let plan = Plan::new(east_api.address, frankfurt_api.address, &pki);
        let start = async |region, rows: &[(&str, Value)]| {
            let setup = with_registers(plan.setup(region)).with(piece);
            for (register, row) in rows {
                setup.write(&format!("{register}.jsonl"), &row.to_string());
            }
            setup.start().await
        };
        let (east, frankfurt) = tokio::join!(start("east", east), start("frankfurt", frankfurt));
        let pair = Self { east, frankfurt, east_api, frankfurt_api, _pki: pki };
        healthy(&pair.east).await;
        healthy(&pair.frankfurt).await;
        pair
    }

    fn delivered(&self) -> (usize, usize) {
        (self.east_api.requests().len(), self.frankfurt_api.requests().len())
    }
}

fn home(generation: u64) -> Value {
    json!({ "subject": "ann", "generation": generation })
}

fn gone(generation: u64) -> Value {
    json!({ "subject": "ann", "state": "gone", "generation": generation, "toward": "us" })
}

#[tokio::test]
async fn a_home_that_hears_of_a_newer_generation_asks_before_it_refuses() {
    let pair = Pair::start(&[("eu", home(3))], &[("us", home(2))]).await;
    // It was told in between, and has not looked.
    write(&pair.frankfurt, "eu", &[home(3)]);
    let answer = pair.east.send(&ask("POST /orders", "ann").body("an order")).await;
    answer.expect_ok();
    assert_eq!(answer.head.get("residency-served-by"), Some("frankfurt"));
    assert_eq!(pair.delivered(), (0, 1));
    let seen = pair.frankfurt_api.last().head;
    assert_eq!((seen.get("residency-generation"), seen.get("residency-hop")), (None, None));
}

#[tokio::test]
async fn an_edge_that_knows_less_is_told_asks_and_sends_once_more() {
    let pair = Pair::start(&[("eu", home(2))], &[("eu", gone(3)), ("us", home(3))]).await;
    let order = ask("POST /orders", "ann");
    // Nobody has told it of the new home either: it asks, and doesn't go on for ever.
    pair.east.send(&order.clone().body("an order")).await.expect_problem(503, "subject-moving");
    assert_eq!(pair.delivered(), (0, 0));
    write(&pair.east, "us", &[home(3)]);
    let answer = pair.east.send(&order.clone().body("an order")).await;
    answer.expect_ok();
    assert_eq!(answer.head.get("residency-served-by"), Some("east"));
    assert_eq!(pair.delivered(), (1, 0));
    assert_eq!(pair.east_api.last().body, b"an order");
}

#[tokio::test]
async fn what_can_not_be_kept_is_refused_and_not_sent_twice() {
    let pair = Pair::start(&[("eu", home(2))], &[("eu", gone(3)), ("us", home(3))]).await;
    let chunked = |words: &str| {
        let head = ask("POST /orders", "ann").header("transfer-encoding", "chunked");
        let mut bytes = head.bytes();
        bytes.extend_from_slice(words.as_bytes());
        bytes
    };
    write(&pair.east, "us", &[home(3)]);
    let mut wire = pair.east.connect().await;
    wire.send(chunked("5\r\norder\r\n0\r\n\r\n")).await;
    let answer = wire.answer(false).await;
    answer.expect_problem(503, "subject-moving");
    assert!(answer.head.get("retry-after").is_some());
    assert_eq!(pair.delivered(), (0, 0));
    // It has asked, so that the client's next attempt arrives.
    pair.east.send(&ask("POST /orders", "ann").body(vec![b'x'; 101])).await.expect_ok();
    assert_eq!(pair.delivered(), (1, 0));
}

#[tokio::test]
async fn a_body_longer_than_may_be_kept_is_not_waited_for() {
    let pair = Pair::start(&[("eu", home(2))], &[("eu", gone(3)), ("us", home(3))]).await;
    write(&pair.east, "us", &[home(3)]);
    let answer = pair.east.send(&ask("POST /orders", "ann").body(vec![b'x'; 101])).await;
    answer.expect_problem(503, "subject-moving");
    assert_eq!(pair.delivered(), (0, 0));
}

#[tokio::test]
async fn an_upgrade_is_sent_once_more_too() {
    let granting = Upstream::start(|mut peer: Peer| async move {
        peer.request().await;
        peer.say(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
        )
        .await;
    });
    let before = [("eu", home(2))];
    let pair = Pair::start_with(granting, &before, &[("eu", gone(3)), ("us", home(3))], UNASKED).await;
    write(&pair.east, "us", &[home(3)]);
    let mut wire = pair.east.connect().await;
    let live = ask("GET /live", "ann").header("connection", "upgrade").header("upgrade", "websocket");
    wire.send(live.bytes()).await;
    let head = wire.head().await.expect("an answer");
    assert_eq!((head.status(), head.get("residency-served-by")), (101, Some("east")));
    assert_eq!(wire.exactly(5).await.expect("its words"), b"hello");
    assert_eq!(pair.delivered(), (1, 0));
}

#[tokio::test]
async fn a_write_that_meets_a_move_at_its_home_waits_where_it_arrived() {
    let moving = json!({ "subject": "ann", "state": "closing", "generation": 3, "toward": "us" });
    let pair = Pair::start(&[("eu", home(2))], &[("eu", moving.clone())]).await;
    write(&pair.east, "eu", &[moving, json!({ "subject": "cid", "state": "gone", "generation": 2 })]);
    let mut wire = pair.east.connect().await;
    wire.send(ask("POST /orders", "ann").body("an order").bytes()).await;
    waiting(&pair.east, 1).await;
    assert_eq!(pair.delivered(), (0, 0));
    write(&pair.east, "us", &[home(4)]);
    // Somebody else's request has the registers asked.
    pair.east.send(&ask("POST /orders", "cid")).await.expect_problem(503, "subject-moving");
    wire.answer(false).await.expect_ok();
    assert_eq!(pair.delivered(), (1, 0));
    assert_eq!(pair.east_api.last().body, b"an order");
}

#[tokio::test]
async fn a_client_can_not_speak_as_a_gateway_of_generations() {
    let pair = Pair::start(&[("eu", home(2))], &[("eu", home(2))]).await;
    let forged = |who| {
        ask("POST /orders", who).header("residency-generation", "99").header("residency-hop", "frankfurt")
    };
    write(&pair.east, "us", &[home(3)]);
    // It would have asked, had it believed.
    let answer = pair.east.send(&forged("ann")).await;
    assert_eq!(answer.head.get("residency-served-by"), Some("frankfurt"));
    pair.east.send(&forged("bob")).await.expect_ok();
    for api in [&pair.east_api, &pair.frankfurt_api] {
        let seen = api.last().head;
        assert_eq!((seen.get("residency-generation"), seen.get("residency-hop")), (None, None));
    }
}

#[tokio::test]
async fn with_a_register_that_is_not_heard_reads_go_home_while_there_is_one() {
    let piece = "[register]\npoll_ms = 50\nstale_after_ms = 600\n";
    let pair = Pair::start_with(Upstream::mirror(), &[], &[], piece).await;
    let Pair { mut east, frankfurt, .. } = pair;
    let read = async |who| {
        let answer = frankfurt.send(&ask("GET /orders", who)).await;
        answer.expect_ok();
        answer.head.get("residency-served-by").expect("somebody").to_owned()
    };
    assert_eq!(read("ann").await, "frankfurt");
    std::fs::remove_file(frankfurt.path("us.jsonl")).expect("it is there");
    eventually("its reads go home", async || holds(read("ann").await == "east", || "near".to_owned())).await;
    // The other jurisdiction's register is heard.
    say(&frankfurt, "eu", &[json!({ "subject": "bob", "generation": 2 })]).await;
    assert_eq!(read("bob").await, "frankfurt");
    east.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(east.end().await.success());
    eventually("its reads are answered near", async || {
        let answer = frankfurt.send(&ask("GET /orders", "ann")).await;
        holds(answer.head.get("residency-served-by") == Some("frankfurt"), || format!("{answer:?}"))
    })
    .await;
}
