//! Keys that come and go at the issuer while the gateway runs.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::Notify;

use crate::harness::{Ask, Gateway, Key, Setup, Upstream, claims, eventually, holds, jwks, vacant};

/// An issuer's key server: what it publishes can be changed, held back and made to fail.
struct KeyServer {
    server: Upstream,
    published: Arc<Mutex<Option<Value>>>,
    held: Arc<AtomicBool>,
    release: Arc<Notify>,
}

impl KeyServer {
    fn start(keys: &[&Key]) -> Self {
        Self::start_at(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), keys)
    }

    fn start_at(address: std::net::SocketAddr, keys: &[&Key]) -> Self {
        let published = Arc::new(Mutex::new(Some(jwks(keys.iter().copied()))));
        let (held, release) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let shared = (Arc::clone(&published), Arc::clone(&held), Arc::clone(&release));
        let server = Upstream::start_at(address, move |mut peer| {
            let (published, held, release) = shared.clone();
            async move {
                while peer.request().await.is_some() {
                    if held.load(SeqCst) {
                        release.notified().await;
                    }
                    let document = published.lock().expect("no panic").clone();
                    let (status, body) = match document {
                        Some(keys) => ("200 OK", keys.to_string()),
                        None => ("500 Internal Server Error", "{}".to_owned()),
                    };
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                    if peer.say(answer + &body).await.is_none() {
                        return;
                    }
                }
            }
        });
        Self { server, published, held, release }
    }

    fn publish(&self, keys: &[&Key]) {
        *self.published.lock().expect("no panic") = Some(jwks(keys.iter().copied()));
    }

    fn fail(&self) {
        *self.published.lock().expect("no panic") = None;
    }

    fn fetches(&self) -> usize {
        self.server.requests().len()
    }

    fn setup(&self, upstream: &Upstream) -> Setup {
        let url = format!("http://{}/keys", self.server.address);
        // Long enough that no fetch by timer comes in between.
        Setup::before(&[upstream.address]).with(&format!("[token]\njwks = '{url}'\njwks_refresh_s = 3600"))
    }
}

async fn status_of(gateway: &Gateway, token: &str) -> u16 {
    gateway.send(&Ask::new("GET /me").token(token)).await.status()
}

/// Fetches are limited to one a second, so the first ask may come too early.
async fn becomes(gateway: &Gateway, token: &str, wanted: u16) {
    eventually("the new keys", async || {
        let status = status_of(gateway, token).await;
        holds(status == wanted, || format!("{status}"))
    })
    .await;
}

#[tokio::test]
async fn an_unknown_key_id_triggers_one_fetch_however_many_ask() {
    let upstream = Upstream::mirror();
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let keys = KeyServer::start(&[&old]);
    let gateway = keys.setup(&upstream).start().await;
    assert_eq!(status_of(&gateway, &old.token("someone", "us")).await, 200);
    assert_eq!(keys.fetches(), 1, "one at the start, none for a known key");

    keys.publish(&[&old, &new]);
    becomes(&gateway, &new.token("someone", "us"), 200).await;
    assert_eq!(keys.fetches(), 2, "the first unknown id that was not too early fetched, and no other");

    // While one fetch is under way, everybody waits for it.
    let newest = Key::es256("newest");
    keys.publish(&[&newest]);
    keys.held.store(true, SeqCst);
    let mut waiting = Vec::new();
    eventually("a fetch begins", async || {
        let mut wire = gateway.connect().await;
        let ask = Ask::new("GET /me").token(&newest.token(&format!("{}", waiting.len()), "us"));
        wire.send(ask.bytes()).await;
        waiting.push(wire);
        holds(keys.fetches() == 3, || "none yet".to_owned())
    })
    .await;
    let early = waiting.len();
    for index in 0..20 {
        let mut wire = gateway.connect().await;
        wire.send(Ask::new("GET /me").token(&newest.token(&format!("late {index}"), "us")).bytes()).await;
        waiting.push(wire);
    }
    let all = waiting.len() as f64;
    gateway.metric_becomes("residency_downstream_connections_active", &[], all).await;
    keys.held.store(false, SeqCst);
    keys.release.notify_waiters();
    let mut answered = Vec::new();
    for wire in &mut waiting {
        answered.push(wire.answer(false).await.status());
    }
    assert!(
        answered[early..].iter().all(|status| *status == 200),
        "all who waited got the new keys: {answered:?}"
    );
    assert_eq!(keys.fetches(), 3, "one fetch for all");
}

#[tokio::test]
async fn invented_key_ids_cost_at_most_a_fetch_a_second() {
    let upstream = Upstream::mirror();
    let keys = KeyServer::start(&[Key::usual()]);
    let gateway = keys.setup(&upstream).start().await;
    let began = tokio::time::Instant::now();
    let mut wire = gateway.connect().await;
    for index in 0..300 {
        let token = Key::eddsa(&format!("invented {index}")).token("someone", "us");
        wire.exchange(&Ask::new("GET /me").token(&token)).await.expect_problem(401, "token-invalid");
    }
    // The time it took bounds how many were due; how long that is doesn't matter.
    let due = 2 + began.elapsed().as_secs() as usize;
    assert!(keys.fetches() <= due, "{} fetches in {:?}", keys.fetches(), began.elapsed());
    assert_eq!(upstream.requests().len(), 0);
}

/// Several issuers, several workers, many connections, all at once.
#[tokio::test]
async fn invented_key_ids_cost_each_issuer_at_most_a_fetch_a_second_whatever_the_workers() {
    let upstream = Upstream::mirror();
    let issuers = ["first", "second", "third"];
    let keys: Vec<Key> = issuers.iter().map(|name| Key::es256(name)).collect();
    let servers: Vec<KeyServer> = keys.iter().map(|key| KeyServer::start(&[key])).collect();
    let mut setup = servers[0].setup(&upstream).with("[listen]\nworkers = 4\n[token]\nissuer = 'first'");
    let tables = [1, 2].map(|index| {
        format!(
            "[[token.issuers]]\nissuer = '{}'\njwks = 'http://{}/keys'\n",
            issuers[index], servers[index].server.address
        )
    });
    setup.lay(&tables.concat());
    let gateway = setup.start().await;
    let token_of = |key: &Key, issuer: &str, subject: &str| {
        let mut claims = claims(subject, "us");
        claims["iss"] = issuer.into();
        key.sign(&claims)
    };
    for (key, issuer) in keys.iter().zip(issuers) {
        assert_eq!(status_of(&gateway, &token_of(key, issuer, "at the start")).await, 200);
    }
    let before: Vec<usize> = servers.iter().map(KeyServer::fetches).collect();
    let began = tokio::time::Instant::now();
    let mut flood = tokio::task::JoinSet::new();
    for connection in 0..24_usize {
        let (address, issuer) = (gateway.http, issuers[connection % 3]);
        flood.spawn(async move {
            let mut wire = crate::harness::Wire::connect(address).await;
            for index in 0_usize.. {
                let mut claims = claims("someone", "us");
                claims["iss"] = issuer.into();
                let invented = Key::eddsa(&format!("invented {connection} {index}")).sign(&claims);
                let answer = wire.exchange(&Ask::new("GET /me").token(&invented)).await;
                answer.expect_problem(401, "token-invalid");
            }
        });
    }
    let fetches = || servers.iter().zip(&before).map(|(server, before)| server.fetches() - before);
    let mut served = 0_usize;
    while fetches().min() < Some(3) {
        for (key, issuer) in keys.iter().zip(issuers) {
            // Never seen before, so that it takes the keys and not the cache.
            let token = token_of(key, issuer, &format!("subject {served}"));
            assert_eq!(status_of(&gateway, &token).await, 200, "{issuer} after {served}");
            served += 1;
        }
    }
    let counted: Vec<usize> = fetches().collect();
    let most = began.elapsed().as_secs() as usize + 1;
    assert!(counted.iter().all(|count| *count <= most), "{counted:?} fetches in {:?}", began.elapsed());
    let faults = gateway.metrics().await.value("residency_token_faults_total", &[("fault", "key-unknown")]);
    assert!(faults > 3.0 * most as f64, "{faults} invented ids are no flood");
    assert!(flood.try_join_next().is_none(), "the flood went on all the time");
    flood.shutdown().await;
}

#[tokio::test]
async fn a_failed_fetch_keeps_the_last_good_keys() {
    let upstream = Upstream::mirror();
    let keys = KeyServer::start(&[Key::usual()]);
    let gateway = keys.setup(&upstream).start().await;
    keys.fail();
    let unknown = Key::es256("unknown").token("someone", "us");
    eventually("a fetch fails", async || {
        assert_eq!(status_of(&gateway, &unknown).await, 401);
        holds(keys.fetches() > 1, || "none yet".to_owned())
    })
    .await;
    gateway.logged("last good ones stay").await;
    gateway.metric_becomes("residency_jwks_fetches_total", &[("result", "ok")], 1.0).await;
    // A token never seen before, so the cache has no part in it.
    assert_eq!(status_of(&gateway, &Key::usual().token("a new one", "us")).await, 200);
    // Nor does it help to be down altogether.
    drop(keys);
    assert_eq!(status_of(&gateway, &Key::usual().token("another new one", "us")).await, 200);
}

#[tokio::test]
async fn a_withdrawn_keys_cached_token_is_refused_at_once() {
    let upstream = Upstream::mirror();
    let (old, new) = (Key::rs256("old"), Key::es256("new"));
    let keys = KeyServer::start(&[&old]);
    let gateway = keys.setup(&upstream).start().await;
    let of_old = old.token("someone", "us");
    assert_eq!(status_of(&gateway, &of_old).await, 200);
    assert_eq!(status_of(&gateway, &of_old).await, 200);
    let hits = gateway.metrics().await.value("residency_token_cache_lookups_total", &[("result", "hit")]);
    assert!(hits >= 1.0, "it was in the cache");

    keys.publish(&[&new]);
    becomes(&gateway, &new.token("someone", "us"), 200).await;
    let refused = gateway.send(&Ask::new("GET /me").token(&of_old)).await;
    refused.expect_problem(401, "token-invalid");
}

#[tokio::test]
async fn without_keys_tokens_get_503_until_the_issuer_answers() {
    let upstream = Upstream::mirror();
    let address = vacant();
    let setup = Setup::before(&[upstream.address]).with(&format!("[token]\njwks = 'http://{address}/keys'"));
    let gateway = setup.start().await;
    let ask = Ask::new("GET /me").token(&Key::usual().token("someone", "us"));
    let answer = gateway.send(&ask).await;
    answer.expect_problem(503, "keys-unavailable");
    assert!(answer.head.get("retry-after").is_some());
    gateway.send(&Ask::new("GET /products")).await.expect_ok();

    let _keys = KeyServer::start_at(address, &[Key::usual()]);
    eventually("the keys arrive", async || {
        let status = gateway.send(&ask).await.status();
        holds(status == 200, || format!("{status}"))
    })
    .await;
}
