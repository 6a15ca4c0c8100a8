//! A user: connections that stay open, one to each region's gateway, and what is kept from one request to the next.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::world::{Call, Port, Region, World};

const PATIENCE: Duration = Duration::from_secs(15);

/// How a read shows what its client has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    Header,
    Cookie,
    Nothing,
}

/// What a write's answer gives a client to keep.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) header: String,
    cookie: String,
}

/// What was read.
pub(super) struct Read {
    pub(super) value: u64,
    pub(super) by: String,
}

pub(super) struct Lines {
    gateways: Vec<(Region, SocketAddr)>,
    open: Vec<Option<SendRequest<Full<Bytes>>>>,
    token: Arc<str>,
    /// What came in place of the last good answer that was missed.
    fault: String,
}

impl Lines {
    pub(super) fn new(gateways: Vec<(Region, SocketAddr)>, token: Arc<str>) -> Self {
        let open = gateways.iter().map(|_| None).collect();
        Self { gateways, open, token, fault: String::new() }
    }

    pub(super) fn fault(&self) -> &str {
        &self.fault
    }

    /// `None`: it was not acknowledged.
    pub(super) async fn write(&mut self, at: Region, value: u64) -> Option<Kept> {
        let (head, _) = self.exchange(at, Method::POST, &[], value.to_string()).await?;
        let text = |name: &str| {
            head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let cookie = text("set-cookie").split(';').next().unwrap_or_default().to_owned();
        Some(Kept { header: text("residency-position"), cookie })
    }

    pub(super) async fn read(&mut self, at: Region, means: Means, kept: &Kept) -> Option<Read> {
        let header = match means {
            Means::Header => vec![("residency-position", kept.header.as_str())],
            Means::Cookie => vec![("cookie", kept.cookie.as_str())],
            Means::Nothing => Vec::new(),
        };
        let (head, body) = self.exchange(at, Method::GET, &header, String::new()).await?;
        let by = head.headers.get("residency-served-by")?.to_str().ok()?.to_owned();
        Some(Read { value: std::str::from_utf8(&body).ok()?.parse().ok()?, by })
    }

    async fn exchange(
        &mut self,
        at: Region,
        method: Method,
        headers: &[(&str, &str)],
        body: String,
    ) -> Option<(http::response::Parts, Bytes)> {
        let index = self.gateways.iter().position(|(region, _)| *region == at)?;
        let gateway = self.gateways[index].1;
        let mut request = Request::builder()
            .method(method)
            .uri("/latest")
            .header("host", gateway.to_string())
            .header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).ok()?;
        let mut line = match self.open[index].take() {
            Some(line) if line.is_ready() => line,
            _ => connect(gateway).await.ok()?,
        };
        let answer = async {
            let (head, body) = line.send_request(request).await.ok()?.into_parts();
            Some((head, body.collect().await.ok()?.to_bytes()))
        };
        "no answer".clone_into(&mut self.fault);
        let answer = timeout(PATIENCE, answer).await.ok()??;
        self.open[index] = Some(line);
        if answer.0.status.is_success() {
            return Some(answer);
        }
        let problem: Option<serde_json::Value> = serde_json::from_slice(&answer.1).ok();
        let code =
            problem.as_ref().and_then(|problem| problem["code"].as_str()).unwrap_or("of the API's own");
        self.fault = format!("{} {code}", answer.0.status.as_u16());
        None
    }
}

async fn connect(to: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        // It ends with its sender.
        let _ = connection.await;
    });
    Ok(sender)
}

/// Waits until every gateway finds everything it needs.
pub(super) async fn healthy(world: &World) -> Result<()> {
    for region in Region::ALL {
        let look = async || -> Result<()> {
            let to = world.address(region, Port::GatewayAdmin);
            let answer = Call::new(to, Method::GET, "/health/full").send().await?;
            let document: serde_json::Value = answer.json()?;
            ensure!(document["status"] == "pass", "{document}");
            Ok(())
        };
        let mut last = Ok(());
        for _ in 0..300 {
            last = look().await;
            if last.is_ok() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        last.with_context(|| format!("{region} is not healthy"))?;
    }
    Ok(())
}
