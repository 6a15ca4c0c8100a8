//! A plain HTTP client, as a user's or a program's: one connection a call, and the time it took.
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, response::Parts};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

const PATIENCE: Duration = Duration::from_mins(1);

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Call {
    to: SocketAddr,
    request: Request<Bytes>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    fault: Option<String>,
}

/// What came back, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// From before connecting to the last byte.
    pub took: Duration,
}

impl Call {
    pub fn new(to: SocketAddr, method: Method, path: &str) -> Self {
        let mut call = Self { to, request: Request::new(Bytes::new()), tls: None, fault: None };
        *call.request.method_mut() = method;
        match path.parse() {
            Ok(uri) => *call.request.uri_mut() = uri,
            Err(error) => call.fault = Some(format!("path {path:?}: {error}")),
        }
        call.header("host", &to.to_string())
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (http::HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => {
                self.request.headers_mut().insert(name, value);
            }
            _ => self.fault = Some(format!("header {name}: {value:?} is not one")),
        }
        self
    }

    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    #[must_use]
    pub fn json(self, body: &serde_json::Value) -> Self {
        let mut call = self.header("content-type", "application/json");
        *call.request.body_mut() = Bytes::from(body.to_string());
        call
    }

    /// Over TLS, to whoever proves to be `server`.
    #[must_use]
    pub(crate) fn secure(mut self, config: ClientConfig, server: ServerName<'static>) -> Self {
        self.tls = Some((Arc::new(config), server));
        self
    }

    /// Sends it on a connection of its own. Any status is an answer; an error means there was none.
    pub async fn send(self) -> Result<Answer> {
        if let Some(fault) = self.fault {
            anyhow::bail!(fault);
        }
        let what = format!("{} {}{}", self.request.method(), self.to, self.request.uri());
        let began = Instant::now();
        let exchange = async {
            let stream = TcpStream::connect(self.to).await?;
            stream.set_nodelay(true)?;
            match self.tls {
                None => over(stream, self.request).await,
                Some((config, server)) => {
                    let stream = TlsConnector::from(config).connect(server, stream).await.context("TLS")?;
                    over(stream, self.request).await
                }
            }
        };
        let (head, body) = tokio::time::timeout(PATIENCE, exchange)
            .await
            .with_context(|| format!("{what}: no answer in {PATIENCE:?}"))?
            .with_context(|| what.clone())?;
        Ok(Answer { status: head.status, headers: head.headers, body, took: began.elapsed() })
    }
}

/// Sends the request and takes the answer, which ends the connection.
async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Bytes>,
) -> Result<(Parts, Bytes)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        anyhow::Ok((head, body.collect().await?.to_bytes()))
    };
    // The connection has to be polled beside the exchange, and ends with it.
    let (mut connection, mut exchange) = (Box::pin(connection), Box::pin(exchange));
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    }
}

impl Answer {
    /// A header's value; empty when absent or not text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{} with {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    /// The problem's code, when the answer is one.
    pub fn problem(&self) -> Option<String> {
        if self.header(header::CONTENT_TYPE.as_str()) != "application/problem+json" {
            return None;
        }
        let problem: serde_json::Value = self.json().ok()?;
        problem.get("code")?.as_str().map(str::to_owned)
    }
}
