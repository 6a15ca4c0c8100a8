//! What a route says, where it decides between two regions.

use serde_json::json;

use super::*;

/// An API that has to write where a GET says so, and can't at a replica.
fn writing_api() -> Upstream {
    Upstream::start(|mut peer: Peer| async move {
        while let Some(seen) = peer.request().await {
            let at_replica = seen.head.get("residency-database") == Some("replica");
            let answer = if at_replica && seen.head.start.contains("/visits") {
                "HTTP/1.1 409 Conflict\r\nresidency-replay: home\r\ncontent-length: 0\r\n\r\n".to_owned()
            } else {
                let body = String::from_utf8_lossy(&seen.body).into_owned();
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            };
            if peer.say(answer).await.is_none() {
                return;
            }
        }
    })
}

#[tokio::test]
async fn reads_that_must_not_be_stale_go_to_the_home_and_nowhere_else() {
    let mut pair = Pair::start_with(
        Upstream::mirror(),
        Upstream::mirror(),
        "[routes]\n'/account' = { reads = 'home' }\n",
    )
    .await;
    let (account, other) =
        (Ask::new("GET /account").token(&token("us")), Ask::new("GET /orders").token(&token("us")));
    let answer = pair.frankfurt.send(&account).await;
    assert_eq!(answer.head.get("residency-served-by"), Some("east"));
    assert_eq!(pair.east_api.last().head.get("residency-database"), Some("primary"));
    assert_eq!(pair.east_api.last().head.get("residency-access"), Some("read"));
    assert_eq!(pair.frankfurt.send(&other).await.head.get("residency-served-by"), Some("frankfurt"));
    // Without a token nothing of anybody's is read, wherever.
    let answer = pair.frankfurt.send(&Ask::new("GET /account")).await;
    assert_eq!(answer.head.get("residency-served-by"), Some("frankfurt"));

    pair.east.signal(Signal::SIGTERM);
    assert!(pair.east.end().await.success());
    eventually("the home's end is noticed", async || {
        let (status, code) = pair.frankfurt.send(&account).await.problem();
        holds((status, code.as_str()) == (503, "home-unavailable"), || code)
    })
    .await;
    pair.frankfurt.send(&other).await.expect_ok();
}

#[tokio::test]
async fn queries_are_read_near_and_mutations_go_home() {
    let pair = Pair::start_with(
        Upstream::mirror(),
        Upstream::mirror(),
        "[routes]\n'/graphql' = { access = 'graphql' }\n",
    )
    .await;
    for (query, served_by) in
        [("{ orders }", "frankfurt"), ("mutation { pay }", "east"), ("{ broken", "east")]
    {
        let ask = Ask::new("POST /graphql").token(&token("us")).json(&json!({"query": query}));
        let answer = pair.frankfurt.send(&ask).await;
        answer.expect_ok();
        assert_eq!(answer.head.get("residency-served-by"), Some(served_by), "{query}");
    }
    assert_eq!(pair.delivered(), (2, 1));
}

#[tokio::test]
async fn a_get_that_must_write_after_all_is_replayed_at_its_home() {
    let pair = Pair::start_with(writing_api(), writing_api(), "[limits]\nreplay_bytes = 10\n").await;
    for start in ["GET /visits", "HEAD /visits"] {
        let answer = pair.frankfurt.send(&Ask::new(start).token(&token("us"))).await;
        answer.expect_ok();
        assert_eq!(answer.head.get("residency-served-by"), Some("east"), "{start}");
        assert_eq!(answer.head.get("residency-replay"), None);
    }
    assert_eq!(pair.delivered(), (2, 2));
    let seen = pair.east_api.last().head;
    assert_eq!(seen.get("residency-database"), Some("primary"));
    assert_eq!(seen.get("residency-access"), Some("write"), "that is what it was replayed for");
    assert_eq!((seen.get("residency-replay"), seen.get("residency-hop")), (None, None));
    // Nobody else can say so.
    let forged = Ask::new("GET /orders").token(&token("us")).header("residency-replay", "home");
    pair.east.send(&forged).await.expect_ok();
    assert_eq!(pair.east_api.last().head.get("residency-access"), Some("read"));
    // With the body it had, as far as it is kept.
    let answer = pair.frankfurt.send(&Ask::new("GET /visits").token(&token("us")).body("ten bytes.")).await;
    assert_eq!((answer.status(), answer.body.as_slice()), (200, b"ten bytes.".as_slice()));
    let answer = pair.frankfurt.send(&Ask::new("GET /visits").token(&token("us")).body("eleven byte")).await;
    assert_eq!(answer.status(), 409);
    assert_eq!(pair.delivered(), (4, 4));
    // Whoever is at home already has nothing to ask for, and other methods are sent once.
    pair.east.send(&Ask::new("GET /visits").token(&token("us"))).await.expect_ok();
    assert_eq!(pair.delivered(), (5, 4));
}

#[tokio::test]
async fn nothing_that_is_meant_to_change_something_is_sent_twice() {
    let pair =
        Pair::start_with(writing_api(), writing_api(), "[routes]\n'POST /visits' = { access = 'read' }\n")
            .await;
    let answer = pair.frankfurt.send(&Ask::new("POST /visits").token(&token("us")).body("x")).await;
    assert_eq!(answer.status(), 409, "the API's answer is the client's");
    assert_eq!(answer.head.get("residency-replay"), None);
    assert_eq!(pair.delivered(), (0, 1));
}

#[tokio::test]
async fn a_preflight_is_answered_where_it_arrives() {
    let pair = Pair::start_with(
        Upstream::mirror(),
        Upstream::mirror(),
        "[routes]\n'/signup' = { country = 'json:/country' }\n'/hooks' = { jurisdiction = 'eu' }\n",
    )
    .await;
    for path in ["/signup", "/hooks", "/orders"] {
        let preflight = Ask::new(&format!("OPTIONS {path}"))
            .header("origin", "https://app.example.com")
            .header("access-control-request-method", "POST");
        let answer = pair.east.send(&preflight).await;
        assert_eq!(answer.head.get("residency-served-by"), Some("east"), "{path}");
    }
    assert_eq!(pair.delivered(), (3, 0));
    // With an EU subject's token it goes where the EU's data may be.
    let answer = pair.east.send(&Ask::new("OPTIONS /orders").token(&token("eu"))).await;
    assert_eq!(answer.head.get("residency-served-by"), Some("frankfurt"));
    assert_eq!(pair.delivered(), (3, 1));
}
