//! A user's session: a new connection, a full TLS handshake, and six requests one after the other.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::json;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

const PATIENCE: Duration = Duration::from_secs(20);
/// The position of what a client has seen, which it brings along.
const POSITION: &str = "residency-position";

/// Where the users of a stream come in.
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) tls: TlsConnector,
    pub(super) host: &'static str,
    pub(super) users: Vec<User>,
}

#[derive(Debug)]
pub(super) struct User {
    pub(super) id: String,
    pub(super) token: String,
}

/// What a session's user saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Of each request; the first from when the session was due, so with connecting and TLS.
    pub(super) latencies: Vec<Duration>,
    /// Why it ended early.
    pub(super) fault: Option<String>,
    /// The list that followed the write lacked what was written.
    pub(super) stale: bool,
}

/// TLS that trusts this certificate and resumes no session.
pub(super) fn trusting(certificate: &CertificateDer<'static>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).context("the world's certificate")?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Door {
    /// The session of the next user in turn, which was due then.
    pub(super) async fn session(&self, number: u64, due: Instant) -> Seen {
        let mut seen = Seen::default();
        let user = &self.users[number as usize % self.users.len()];
        let ended = timeout(PATIENCE, self.requests(user, number, due, &mut seen))
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("no end after {PATIENCE:?}")));
        seen.fault = ended.err().map(|error| format!("{error:#}"));
        seen
    }

    async fn requests(&self, user: &User, number: u64, due: Instant, seen: &mut Seen) -> Result<()> {
        let sender = self.connect().await.context("connecting")?;
        let mut visit = Visit { door: self, user, sender, position: None, since: due, seen };
        let opened = visit.order(&format!("session {number} opened")).await?;
        visit.get("/me").await?;
        visit.get("/orders?limit=20").await?;
        visit.get(&format!("/orders/{opened}")).await?;
        let bought = visit.order(&format!("bought in session {number}")).await?;
        let list = visit.get("/orders?limit=20").await?;
        let listed = list["orders"].as_array().context("a list of orders")?;
        visit.seen.stale = !listed.iter().any(|order| order["id"] == bought.as_str());
        Ok(())
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.host)?;
        let stream = self.tls.connect(name, stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            // What goes wrong with it is told to whoever sends.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

/// A session under way.
struct Visit<'a> {
    door: &'a Door,
    user: &'a User,
    sender: SendRequest<Full<Bytes>>,
    position: Option<HeaderValue>,
    /// When the last answer was whole, or the session was due.
    since: Instant,
    seen: &'a mut Seen,
}

impl Visit<'_> {
    /// Places an order; answers its id.
    async fn order(&mut self, item: &str) -> Result<String> {
        let body = json!({ "item": item }).to_string();
        let order = self.ask(Method::POST, "/orders", body, StatusCode::CREATED).await?;
        order["id"].as_str().map(str::to_owned).context("an order has an id")
    }

    async fn get(&mut self, path: &str) -> Result<serde_json::Value> {
        self.ask(Method::GET, path, String::new(), StatusCode::OK).await
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: String,
        due: StatusCode,
    ) -> Result<serde_json::Value> {
        let what = format!("{method} {}", path.split('/').nth(1).unwrap_or_default());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.door.host)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.user.token));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(position) = &self.position {
            request = request.header(POSITION, position);
        }
        let response =
            self.sender.send_request(request.body(Full::from(body))?).await.context(what.clone())?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.context(what.clone())?.to_bytes();
        let now = Instant::now();
        ensure!(head.status == due, "{what} got {} with {}", head.status, String::from_utf8_lossy(&body));
        self.seen.latencies.push(now - self.since);
        self.since = now;
        if let Some(position) = head.headers.get(POSITION) {
            self.position = Some(position.clone());
        }
        serde_json::from_slice(&body).with_context(|| format!("{what} got no JSON"))
    }
}
