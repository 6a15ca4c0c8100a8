//! The clients: each asks one request after the other, over a connection to each gateway that it keeps while that lasts.
//!
//! Invariants
//! - A request is sent once. Whatever becomes of it, its number is never used again.
//! - At most the given number of requests a second are begun, so that a world that refuses at once does not use the
//!   run up.
use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    credentials::unix_s,
    draw::Draw,
    ledger::{Content, Ledger, Moment, Reply, Silence},
    pieces::{Pieces, Step},
    request::{Carrier, Conduct, ID, Manner, Request},
    sky::Sky,
};
use crate::world::Region;

/// Longer than any silence of a link, so that what was held up arrives while someone waits.
const PATIENCE: Duration = Duration::from_secs(12);
/// After a failure, as a client that is asked to try again later.
const PAUSE: Duration = Duration::from_millis(150);
/// Requests that were due and not begun are made up for up to this.
const BURST: Duration = Duration::from_millis(50);
/// More than any answer has.
const MOST_ANSWER: usize = 1 << 20;

/// What all clients share.
pub(super) struct Load {
    pub(super) draw: Draw,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) sky: Arc<Sky>,
    pub(super) gateways: Vec<(Region, SocketAddr)>,
    pub(super) requests: u64,
    /// No request begins after that.
    pub(super) until: Option<Instant>,
    /// Between the beginnings of two requests.
    pub(super) interval: Duration,
    pub(super) next: Cell<u64>,
    pub(super) due: Cell<Instant>,
}

type Line = Option<SendRequest<Pieces>>;

impl Load {
    /// One client, until there is nothing left to ask.
    pub(super) async fn client(self: Rc<Self>) {
        let mut lines: Vec<Line> = self.gateways.iter().map(|_| None).collect();
        while let Some(request) = self.next().await {
            let Some(gateway) = self.gateways.iter().position(|(region, _)| *region == request.edge) else {
                continue;
            };
            if !self.ask(&mut lines[gateway], self.gateways[gateway].1, &request).await {
                sleep(PAUSE).await;
            }
        }
    }

    /// Requests begun so far.
    pub(super) fn begun(&self) -> u64 {
        self.next.get()
    }

    async fn next(&self) -> Option<Request> {
        let now = Instant::now();
        let due = self.due.get().max(now.checked_sub(BURST).unwrap_or(now)) + self.interval;
        self.due.set(due);
        sleep_until(due).await;
        let id = self.next.get();
        if id >= self.requests || self.until.is_some_and(|until| Instant::now() > until) {
            return None;
        }
        self.next.set(id + 1);
        Some(self.draw.request(id))
    }

    /// Asks, and has what comes of it written down. False when trying again later would be wise.
    async fn ask(&self, line: &mut Line, gateway: SocketAddr, request: &Request) -> bool {
        let look = self.sky.look();
        let patience = if request.hasty { Duration::from_millis(1 + request.id % 40) } else { PATIENCE };
        let ended = timeout(patience, self.exchange(line, gateway, request))
            .await
            .unwrap_or(Err(if request.hasty { Silence::Left } else { Silence::TimedOut }));
        let moment = Moment { calm: self.sky.calm_since(look), unix_s: unix_s() };
        match ended {
            Ok(reply) => {
                self.write().answered(request, &reply, moment);
                reply.status < 500
            }
            Err(silence) => {
                self.write().unanswered(request, silence, moment);
                silence == Silence::Left
            }
        }
    }

    /// The line is kept only when the exchange went through.
    async fn exchange(
        &self,
        line: &mut Line,
        gateway: SocketAddr,
        request: &Request,
    ) -> Result<Reply, Silence> {
        let mut kept = line.take().filter(|_| !request.afresh);
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            // It has ended meanwhile, and took nothing of this request.
            kept = None;
        }
        let mut sender = match kept {
            Some(kept) => kept,
            None => connect(gateway).await.map_err(|_| Silence::Unconnected)?,
        };
        let message = message(request, gateway).map_err(|_| Silence::Broken)?;
        let response = sender.send_request(message).await.map_err(|_| Silence::Broken)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self.talk(request, response).await);
        }
        let reply = read(request, response).await;
        if reply.body == Content::Right && !request.breaks_off() {
            *line = Some(sender);
        }
        Ok(reply)
    }

    /// Talks through a WebSocket's connection. It may break; what comes back is what was said.
    async fn talk(&self, request: &Request, mut response: Response<Incoming>) -> Reply {
        let upgrade = hyper::upgrade::on(&mut response);
        let said = Request::answer(request.id, 100 + request.id as usize % 4000);
        let mut echo = vec![0; said.len()];
        let conversation = async {
            let mut stream = TokioIo::new(upgrade.await?);
            stream.write_all(&said).await?;
            stream.read_exact(&mut echo).await?;
            stream.shutdown().await?;
            anyhow::Ok(())
        };
        let echoed = conversation.await.is_ok();
        if echoed {
            self.write().echoed(request, echo == said);
        }
        let (head, _) = response.into_parts();
        let body = if echoed { Content::Right } else { Content::Partial };
        Reply { status: head.status.as_u16(), code: None, headers: head.headers, body }
    }

    fn write(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no code panics while it holds the ledger")
    }
}

async fn connect(gateway: SocketAddr) -> Result<SendRequest<Pieces>> {
    let stream = TcpStream::connect(gateway).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        // What goes wrong with it is told to whoever sends.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

/// The request as it goes out.
fn message(request: &Request, gateway: SocketAddr) -> Result<http::Request<Pieces>> {
    let origin = if request.absolute { format!("http://{gateway}") } else { String::new() };
    let target = format!("{origin}{}", request.target);
    let mut message = http::Request::new(upload(request));
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = target.parse().context("a target is a URI")?;
    let headers = message.headers_mut();
    headers.insert(header::HOST, HeaderValue::try_from(gateway.to_string())?);
    headers.insert(ID, HeaderValue::from(request.id));
    if let Some(credential) = &request.credential {
        let bearer = || HeaderValue::try_from(format!("Bearer {}", credential.token));
        match request.carrier {
            Carrier::Bearer => {
                headers.insert(header::AUTHORIZATION, bearer()?);
            }
            Carrier::Twice => {
                headers.append(header::AUTHORIZATION, bearer()?);
                headers.append(header::AUTHORIZATION, bearer()?);
            }
            Carrier::Cookie => {
                let cookie = HeaderValue::try_from(format!("access_token={}", credential.token))?;
                headers.insert(header::COOKIE, cookie);
            }
        }
    }
    for (name, value) in &request.forged {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    match request.body.manner {
        Manner::Upgrade => {
            headers.append(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        }
        Manner::Trailed(_) => {
            headers.insert(header::TRAILER, HeaderValue::from_static("residency-subject"));
        }
        _ => {}
    }
    if message.body().size_hint().exact().is_none() {
        // Else hyper sends no body with a GET or a HEAD.
        message.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Ok(message)
}

fn upload(request: &Request) -> Pieces {
    let payload = request.payload();
    let pause = Duration::from_millis(request.id % 8);
    match request.body.manner {
        Manner::Whole | Manner::Upgrade => Pieces::whole(payload),
        Manner::Chunked(count) => {
            let mut pieces = Pieces::chunked(&payload, count);
            pieces.pause_before_end(pause);
            pieces
        }
        Manner::Trailed(count) => {
            let mut pieces = Pieces::chunked(&payload, count);
            let forged = [(HeaderName::from_static("residency-subject"), HeaderValue::from_static("admin"))];
            pieces.push(Step::Trailers(forged.into_iter().collect()));
            pieces
        }
        Manner::BrokenOff(count) => {
            let mut pieces = Pieces::chunked(&payload, count + 1);
            pieces.end_with(Step::BreakOff);
            pieces.pause_before_end(pause);
            // Half of them have said how much was to come.
            if request.id.is_multiple_of(2) { pieces.promising(payload.len() as u64) } else { pieces }
        }
    }
}

/// The answer, to its end.
async fn read(request: &Request, response: Response<Incoming>) -> Reply {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MOST_ANSWER).collect().await.map(http_body_util::Collected::to_bytes);
    let problem =
        head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    let code = body.as_ref().ok().filter(|_| problem).and_then(|bytes| code(bytes));
    let content = match body {
        Err(_) => Content::Partial,
        Ok(bytes) if head.headers.contains_key(ID) => {
            if bytes == due(request) {
                Content::Right
            } else {
                Content::Wrong
            }
        }
        Ok(_) => Content::Right,
    };
    Reply { status: head.status.as_u16(), code, headers: head.headers, body: content }
}

/// The body of the API's answer to it.
fn due(request: &Request) -> Bytes {
    match request.conduct {
        Conduct::Answer(answer) if request.method != Method::HEAD => {
            Request::answer(request.id, answer.length)
        }
        _ => Bytes::new(),
    }
}

fn code(problem: &[u8]) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_slice(problem).ok()?;
    problem.get("code")?.as_str().map(str::to_owned)
}
