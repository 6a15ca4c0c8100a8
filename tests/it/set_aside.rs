//! API processes that hang or fail among others that do well, and a database that turns out to be read-only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

use crate::harness::{Ask, Gateway, Key, Peer, Setup, Upstream, eventually, holds};

const WELL: u8 = 0;
const HANGS: u8 = 1;
const FAILS: u8 = 2;
const READ_ONLY: u8 = 3;

/// A process whose conduct changes while it runs.
struct Process {
    upstream: Upstream,
    conduct: Arc<AtomicU8>,
}

impl Process {
    fn start() -> Self {
        let conduct = Arc::new(AtomicU8::new(WELL));
        let now = Arc::clone(&conduct);
        let upstream = Upstream::start(move |mut peer: Peer| {
            let now = Arc::clone(&now);
            async move {
                while let Some(seen) = peer.request().await {
                    let said = match now.load(SeqCst) {
                        HANGS => {
                            peer.wire.drain().await;
                            return;
                        }
                        FAILS => "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",
                        READ_ONLY if seen.head.start.starts_with("POST") => {
                            "HTTP/1.1 503 No\r\nresidency-fault: read-only\r\ncontent-length: 2\r\n\r\nno"
                        }
                        _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                    };
                    peer.say(said).await;
                }
            }
        });
        Self { upstream, conduct }
    }

    fn becomes(&self, conduct: u8) {
        self.conduct.store(conduct, SeqCst);
    }

    /// Clients' requests with this start line.
    fn got(&self, start: &str) -> usize {
        self.upstream.everything().iter().filter(|seen| seen.head.start.starts_with(start)).count()
    }
}

async fn two() -> ([Process; 2], Gateway) {
    let processes = [Process::start(), Process::start()];
    let setup = Setup::before(&[processes[0].upstream.address, processes[1].upstream.address]);
    let gateway = setup.with("[health]\nhang_after_ms = 150").start().await;
    for _ in 0..20 {
        gateway.send(&Ask::new("GET /first")).await.expect_ok();
    }
    (processes, gateway)
}

async fn set_aside(gateway: &Gateway) -> usize {
    gateway.metrics().await.value("residency_endpoint_set_aside_total", &[]).round() as usize
}

/// Sends requests until the one that was away has got some again.
async fn returns(process: &Process, gateway: &Gateway) {
    let before = process.got("GET /again");
    eventually("it is back", async || {
        gateway.send(&Ask::new("GET /again")).await.expect_ok();
        holds(process.got("GET /again") >= before + 3, || "nothing yet".to_owned())
    })
    .await;
    gateway.metric_becomes("residency_endpoint_up", &[], 2.0).await;
}

#[tokio::test]
async fn a_process_that_hangs_is_set_aside_and_nobody_waits_for_it() {
    let ([hangs, well], gateway) = two().await;
    hangs.becomes(HANGS);
    // Whoever reads is answered by the other one, though the first had the request already.
    eventually("it is set aside", async || {
        gateway.send(&Ask::new("GET /read")).await.expect_ok();
        holds(set_aside(&gateway).await == 1, || "not yet".to_owned())
    })
    .await;
    assert!(hangs.got("GET /read") >= 1 && hangs.got("OPTIONS *") >= 1, "it was asked before it was judged");
    let full = gateway.ask_admin("/health/full").await;
    assert_eq!(full.json()["status"], "warn");
    assert!(full.json().to_string().contains(&hangs.upstream.address.to_string()), "{:?}", full.json());
    let before = hangs.got("GET /read");
    for _ in 0..20 {
        gateway.send(&Ask::new("GET /read")).await.expect_ok();
    }
    assert_eq!(hangs.got("GET /read"), before, "it gets nothing while it is set aside");
    hangs.becomes(WELL);
    returns(&hangs, &gateway).await;

    // A write is never sent twice: whoever waits for it learns that nobody knows.
    for _ in 0..10 {
        gateway.send(&Ask::new("GET /read")).await.expect_ok();
    }
    hangs.becomes(HANGS);
    let token = Key::usual().token("me", "us");
    let mut sent = 0;
    eventually("a write meets it", async || {
        let answer = gateway.send(&Ask::new("POST /write").token(&token)).await;
        sent += 1;
        if answer.status() == 200 {
            return Err("another one took it".to_owned());
        }
        answer.expect_problem(504, "upstream-timeout");
        Ok(())
    })
    .await;
    assert_eq!(hangs.got("POST /write"), 1);
    assert_eq!(well.got("POST /write") + 1, sent);
    hangs.becomes(WELL);
}

#[tokio::test]
async fn one_long_request_is_no_reason_to_set_a_process_aside() {
    let slow = |mut peer: Peer| async move {
        while let Some(seen) = peer.request().await {
            if seen.head.start.starts_with("GET /poll") {
                tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
            }
            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    };
    let upstreams = [Upstream::start(slow), Upstream::start(slow)];
    let setup = Setup::before(&[upstreams[0].address, upstreams[1].address]);
    let gateway = setup.with("[health]\nhang_after_ms = 150").start().await;
    for _ in 0..20 {
        gateway.send(&Ask::new("GET /first")).await.expect_ok();
    }
    gateway.send(&Ask::new("GET /poll")).await.expect_ok();
    let asked = |upstream: &Upstream| {
        upstream.everything().iter().filter(|seen| seen.head.start.starts_with("OPTIONS *")).count()
    };
    assert!(upstreams.iter().map(asked).sum::<usize>() >= 1, "it was asked");
    assert_eq!(set_aside(&gateway).await, 0);
}

#[tokio::test]
async fn a_process_that_fails_is_set_aside_while_another_does_well() {
    let ([fails, well], gateway) = two().await;
    fails.becomes(FAILS);
    eventually("it is set aside", async || {
        let answer = gateway.send(&Ask::new("GET /read")).await;
        assert!([200, 500].contains(&answer.status()), "{answer:?}");
        holds(set_aside(&gateway).await == 1, || "not yet".to_owned())
    })
    .await;
    assert_eq!(fails.got("GET /read"), 5, "five in a row are no accident, four may be");
    fails.becomes(WELL);
    returns(&fails, &gateway).await;

    // When all fail it is the application, and setting one aside would only make the others slow.
    fails.becomes(FAILS);
    well.becomes(FAILS);
    for _ in 0..40 {
        assert_eq!(gateway.send(&Ask::new("GET /read")).await.status(), 500);
    }
    assert_eq!(set_aside(&gateway).await, 1);
}

#[tokio::test]
async fn a_database_an_api_finds_read_only_gets_no_more_writes_for_now() {
    let process = Process::start();
    let setup = Setup::before(&[process.upstream.address]);
    let gateway = setup.with("[health]\ninterval_ms = 20\ndead_after_ms = 1000").start().await;
    let token = Key::usual().token("me", "us");
    let write = Ask::new("POST /write").token(&token);
    gateway.send(&write).await.expect_ok();
    process.becomes(READ_ONLY);
    let answer = gateway.send(&write).await;
    assert_eq!((answer.status(), answer.body.as_slice()), (503, &b"no"[..]), "the API's own words pass");
    assert_eq!(answer.head.get("residency-fault"), None);
    eventually("writes are refused here", async || {
        let answer = gateway.send(&write).await;
        assert_eq!(answer.status(), 503);
        holds(answer.body != b"no" && answer.problem().1 == "home-unavailable", || format!("{answer:?}"))
    })
    .await;
    // Reads go on, and so do the other jurisdiction's writes.
    gateway.send(&Ask::new("GET /read").token(&token)).await.expect_ok();
    process.becomes(WELL);
    gateway.send(&Ask::new("POST /write").token(&Key::usual().token("me", "eu"))).await.expect_ok();
    // Nobody can be asked whether it still is; so it is tried again after a while.
    eventually("writes go on", async || {
        let answer = gateway.send(&write).await;
        holds(answer.status() == 200, || format!("{answer:?}"))
    })
    .await;
}
