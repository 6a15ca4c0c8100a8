//! An issuer's introspection endpoint on loopback: real HTTP, answers as told.
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::*;

pub(super) struct IssuerServer {
    pub(super) url: String,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    /// By token; all others are inactive.
    active: Mutex<HashMap<String, Value>>,
    /// In place of an answer by token.
    instead: Mutex<Option<(StatusCode, Vec<u8>)>>,
    seen: Mutex<Vec<Seen>>,
    /// A request is answered when it gets a permit.
    gate: Semaphore,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) content_type: String,
    pub(super) authorization: Option<String>,
    pub(super) body: String,
}

impl IssuerServer {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/introspect", listener.local_addr().unwrap());
        let state = Arc::new(State {
            active: Mutex::default(),
            instead: Mutex::default(),
            seen: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        });
        let own = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let state = Arc::clone(&own);
                let service = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { Ok::<_, Infallible>(answer(&state, request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { url, state, task }
    }

    /// From now on the token means this.
    pub(super) fn activate(&self, token: &str, claims: Value) {
        self.state.active.lock().unwrap().insert(token.to_owned(), claims);
    }

    pub(super) fn withdraw(&self, token: &str) {
        self.state.active.lock().unwrap().remove(token);
    }

    /// Answers each question with this; `None` answers truthfully again.
    pub(super) fn say(&self, instead: Option<(StatusCode, &[u8])>) {
        *self.state.instead.lock().unwrap() = instead.map(|(status, body)| (status, body.to_vec()));
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// From now on each question waits for `let_through`.
    pub(super) fn hold(&self) {
        self.state.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(super) fn let_through(&self, questions: usize) {
        self.state.gate.add_permits(questions);
    }
}

impl Drop for IssuerServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let mut seen = Seen {
        method: request.method().to_string(),
        content_type: header("content-type").unwrap_or_default(),
        authorization: header("authorization"),
        body: String::new(),
    };
    let body = request.into_body().collect().await.unwrap().to_bytes();
    seen.body = String::from_utf8(body.to_vec()).unwrap();
    let token = seen.body.strip_prefix("token=").and_then(|rest| rest.split('&').next());
    let token = percent_encoding::percent_decode_str(token.unwrap_or_default()).decode_utf8().unwrap();
    let token = token.into_owned();
    state.seen.lock().unwrap().push(seen);
    state.gate.acquire().await.unwrap().forget();
    let instead = state.instead.lock().unwrap().clone();
    let (status, body) = instead.unwrap_or_else(|| {
        let known = state.active.lock().unwrap().get(&token).cloned();
        let answer = known.map_or(json!({"active": false}), |mut claims| {
            claims["active"] = json!(true);
            claims
        });
        (StatusCode::OK, answer.to_string().into_bytes())
    });
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    if status.is_redirection() {
        response.headers_mut().insert("location", "/elsewhere".parse().unwrap());
    }
    response
}
