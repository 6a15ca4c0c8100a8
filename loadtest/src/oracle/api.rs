//! The API processes of all regions: they take what is delivered, have it judged, and answer as the request's truth
//! has it.
//!
//! Invariants
//! - A delivery is in the ledger before anything else happens with it.
//! - The ledger knows of a whole body before its sender is told so.
//! - A killed process closes its listener and every connection at once, as the kernel would.
//!
//! Absent by design: processes of the operating system. A killed one would take its part of the ledger along.
use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::{Notify, oneshot, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{
    credentials::unix_s,
    ledger::Ledger,
    pieces::Pieces,
    request::{Answer, Conduct, ID, Request},
    sky::Sky,
};
use crate::world::Region;

/// How long after its answer a process closes a connection without having said so.
const HANG_UP_AFTER: Duration = Duration::from_millis(2);
/// Between attempts to listen again on a port that the last process has just left.
const REBIND: Duration = Duration::from_millis(10);

/// A region's API process: region and number from 1.
pub(super) type Place = (Region, u8);

/// All API processes. They end with its drop.
pub(super) struct Apis {
    up: BTreeMap<Place, watch::Sender<bool>>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Apis {
    /// Starts a process at each of these addresses, all on one thread of their own.
    pub(super) fn start(
        places: impl IntoIterator<Item = (Place, SocketAddr)>,
        ledger: &Arc<Mutex<Ledger>>,
        sky: &Arc<Sky>,
    ) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("the API's runtime")?;
        let mut up = BTreeMap::new();
        for (place, address) in places {
            let (switch, state) = watch::channel(true);
            let process =
                Process { region: place.0, up: state, ledger: Arc::clone(ledger), sky: Arc::clone(sky) };
            runtime.spawn(process.live(address));
            up.insert(place, switch);
        }
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("api".into())
            .spawn(move || {
                // Ends with the sender's drop.
                let _ = runtime.block_on(stopped);
            })
            .context("the API's thread")?;
        Ok(Self { up, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.up.keys().copied()
    }

    /// As `kill -9` would.
    pub(super) fn kill(&self, place: Place) {
        self.switch(place, false);
    }

    pub(super) fn restart(&self, place: Place) {
        self.switch(place, true);
    }

    fn switch(&self, place: Place, up: bool) {
        if let Some(switch) = self.up.get(&place) {
            switch.send_replace(up);
        }
    }
}

impl Drop for Apis {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

/// One process.
#[derive(Clone)]
struct Process {
    region: Region,
    up: watch::Receiver<bool>,
    ledger: Arc<Mutex<Ledger>>,
    sky: Arc<Sky>,
}

impl Process {
    /// All its lives.
    async fn live(mut self, address: SocketAddr) {
        while self.up.wait_for(|up| *up).await.is_ok() {
            let Ok(listener) = TcpListener::bind(address).await else {
                sleep(REBIND).await;
                continue;
            };
            let mut killed = self.up.clone();
            tokio::select! {
                () = self.serve(listener) => {}
                _ = killed.wait_for(|up| !*up) => {}
            }
        }
    }

    /// One life. Its drop closes every connection.
    async fn serve(&self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(self.clone().converse(stream));
                    }
                    // Out of descriptors or the like: the backlog holds the connection meanwhile.
                    Err(_) => sleep(REBIND).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn converse(self, stream: TcpStream) {
        // Without it answers wait for acknowledgements; a fault shows at the first read.
        let _ = stream.set_nodelay(true);
        let hang_up = Notify::new();
        let service = service_fn(|request| self.take(request, &hang_up));
        let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::select! {
            // The gateway's faults show in what clients get.
            _ = served => {}
            () = async { hang_up.notified().await; sleep(HANG_UP_AFTER).await } => {}
        }
    }

    /// One delivery. An error closes the connection without an answer.
    async fn take(
        &self,
        request: hyper::Request<Incoming>,
        hang_up: &Notify,
    ) -> Result<Response<Pieces>, io::Error> {
        let write = || self.ledger.lock().expect("no code panics while it holds the ledger");
        let (mut parts, body) = request.into_parts();
        let known = write().delivered(self.region, &parts, unix_s());
        let Some(known) = known else {
            return answered(self.region, StatusCode::INTERNAL_SERVER_ERROR, Pieces::default());
        };
        let answer = match known.conduct {
            Conduct::Vanish if known.id.is_multiple_of(2) => return Err(io::Error::other("vanishes")),
            Conduct::Vanish => None,
            Conduct::Answer(answer) => Some(answer),
        };
        let body = body.collect().await.map_err(io::Error::other)?;
        let trailers = body.trailers().cloned();
        write().body_ended(&known, &body.to_bytes(), trailers.as_ref());
        let Some(answer) = answer else { return Err(io::Error::other("vanishes")) };
        if answer.thinks_ms > 0 {
            sleep(Duration::from_millis(answer.thinks_ms)).await;
        }
        // A fault: the next request may be on its way already.
        if answer.hangs_up && !self.sky.look().is_calm() {
            hang_up.notify_one();
        }
        if known.is_upgrade() && answer.status != StatusCode::CONFLICT {
            let accept = parts.headers.get(header::SEC_WEBSOCKET_KEY);
            let accept = accept.map(|key| derive_accept_key(key.as_bytes())).unwrap_or_default();
            if let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() {
                tokio::spawn(echo(upgrade, self.up.clone()));
            }
            let switching = StatusCode::SWITCHING_PROTOCOLS;
            let mut response = respond(self.region, &known, answer, switching, Pieces::default())?;
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            let accept = HeaderValue::try_from(accept).map_err(io::Error::other)?;
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            return Ok(response);
        }
        let status = StatusCode::from_u16(answer.status).map_err(io::Error::other)?;
        let bytes = Request::answer(known.id, answer.length);
        let body = if answer.chunked { Pieces::chunked(&bytes, 3) } else { Pieces::whole(bytes) };
        respond(self.region, &known, answer, status, body)
    }
}

fn respond(
    region: Region,
    request: &Request,
    answer: Answer,
    status: StatusCode,
    body: Pieces,
) -> Result<Response<Pieces>, io::Error> {
    let mut response = answered(region, status, body)?;
    let headers = response.headers_mut();
    headers.insert(ID, HeaderValue::from(request.id));
    if answer.leaks {
        headers.insert("residency-subject", HeaderValue::from_static("admin"));
        headers.append("residency-served-by", HeaderValue::from_static("nowhere"));
        headers.insert("residency-hop", HeaderValue::from_static("us-east"));
    }
    Ok(response)
}

fn answered(region: Region, status: StatusCode, body: Pieces) -> Result<Response<Pieces>, io::Error> {
    Response::builder()
        .status(status)
        .header("x-oracle-region", region.name())
        .body(body)
        .map_err(io::Error::other)
}

/// A WebSocket's other side: says what it hears, until either side ends or the process is killed.
async fn echo(upgrade: OnUpgrade, mut up: watch::Receiver<bool>) {
    let echo = async {
        let mut stream = TokioIo::new(upgrade.await.map_err(io::Error::other)?);
        let mut buffer = vec![0; 4096];
        loop {
            let heard = stream.read(&mut buffer).await?;
            if heard == 0 {
                return stream.shutdown().await;
            }
            stream.write_all(&buffer[..heard]).await?;
        }
    };
    tokio::select! {
        // It ends as its client or a fault has it.
        _ = echo => {}
        _ = up.wait_for(|up| !*up) => {}
    }
}
