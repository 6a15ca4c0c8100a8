//! An issuer's introspection endpoint (RFC 7662): knows some tokens, and can be held back and made to fail.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::upstream::Seen;
use super::{Peer, Upstream};

pub struct IntrospectionServer {
    server: Upstream,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    active: Mutex<HashMap<String, Value>>,
    failing: AtomicBool,
    held: AtomicBool,
    release: Notify,
}

impl IntrospectionServer {
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub fn start_at(address: SocketAddr) -> Self {
        let state = Arc::new(State::default());
        let own = Arc::clone(&state);
        let server = Upstream::start_at(address, move |peer| answer_forever(peer, Arc::clone(&own)));
        Self { server, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}/introspect", self.server.address)
    }

    /// From now on the token is active, with these claims.
    pub fn activate(&self, token: &str, claims: Value) {
        self.state.active.lock().expect("no panic").insert(token.to_owned(), claims);
    }

    pub fn withdraw(&self, token: &str) {
        self.state.active.lock().expect("no panic").remove(token);
    }

    /// Answers every question with 500, or truthfully again.
    pub fn fail(&self, failing: bool) {
        self.state.failing.store(failing, SeqCst);
    }

    /// Answers nothing until [`release`](Self::release).
    pub fn hold(&self) {
        self.state.held.store(true, SeqCst);
    }

    pub fn release(&self) {
        self.state.held.store(false, SeqCst);
        self.state.release.notify_waiters();
    }

    /// The questions that came so far.
    pub fn questions(&self) -> Vec<Seen> {
        self.server.requests()
    }

    /// How often it was asked about this token.
    pub fn questions_about(&self, token: &str) -> usize {
        self.questions().iter().filter(|seen| token_in(seen) == token).count()
    }
}

async fn answer_forever(mut peer: Peer, state: Arc<State>) {
    while let Some(seen) = peer.request().await {
        while state.held.load(SeqCst) {
            let released = state.release.notified();
            if state.held.load(SeqCst) {
                released.await;
            }
        }
        let claims = state.active.lock().expect("no panic").get(&token_in(&seen)).cloned();
        let (status, body) = match claims {
            _ if state.failing.load(SeqCst) => ("500 Internal Server Error", json!({"active": true})),
            None => ("200 OK", json!({"active": false})),
            Some(mut claims) => {
                claims["active"] = json!(true);
                ("200 OK", claims)
            }
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if peer.say(head + &body).await.is_none() {
            return;
        }
    }
}

/// The token a question is about. Tests choose tokens that a form leaves as they are.
fn token_in(seen: &Seen) -> String {
    let form = String::from_utf8_lossy(&seen.body).into_owned();
    let token = form.strip_prefix("token=").and_then(|rest| rest.split('&').next()).unwrap_or_default();
    token.to_owned()
}
