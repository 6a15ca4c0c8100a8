//! An upstream on a thread of its own, so that it goes on while a test blocks.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::json;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;

use super::{Head, Wire};

/// Listens until dropped.
pub struct Upstream {
    pub address: SocketAddr,
    record: Arc<Record>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One accepted connection, and the upstream's record.
pub struct Peer {
    pub wire: Wire,
    record: Arc<Record>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub head: Head,
    pub body: Vec<u8>,
    /// Behind a body in chunks, as lines.
    pub trailers: Vec<String>,
}

#[derive(Default)]
struct Record {
    requests: Mutex<Vec<Seen>>,
    accepted: AtomicUsize,
    /// Connections on which the test's code still runs.
    open: AtomicUsize,
}

impl Upstream {
    /// Hands each connection to `serve`.
    pub fn start<F, S>(serve: S) -> Self
    where
        S: Fn(Peer) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), serve)
    }

    pub fn start_at<F, S>(address: SocketAddr, serve: S) -> Self
    where
        S: Fn(Peer) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind(address).expect("the address is free");
        listener.set_nonblocking(true).expect("a socket takes options");
        let address = listener.local_addr().expect("a bound socket has an address");
        let record = Arc::new(Record::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let own = Arc::clone(&record);
        let run = move || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            runtime.expect("a runtime").block_on(async move {
                tokio::select! {
                    () = accept(listener, own, serve) => (),
                    // By its use or its drop alike.
                    _ = stopped => (),
                }
            });
        };
        let thread = std::thread::Builder::new().name("upstream".to_owned()).spawn(run).expect("a thread");
        Self { address, record, stop: Some(stop), thread: Some(thread) }
    }

    /// Answers every request with what it saw, as JSON, and keeps connections open.
    pub fn mirror() -> Self {
        Self::start(|mut peer| async move { while peer.mirror().await.is_some() {} })
    }

    /// Every request that arrived so far, heads and bodies. Not what the gateway asks on its own behalf of one that is silent for
    /// long: that names nobody it asks for.
    pub fn requests(&self) -> Vec<Seen> {
        let own =
            |seen: &Seen| seen.head.start.starts_with("OPTIONS * ") && seen.head.get("forwarded").is_none();
        self.everything().into_iter().filter(|seen| !own(seen)).collect()
    }

    /// All that arrived so far, with what the gateway asks on its own behalf.
    pub fn everything(&self) -> Vec<Seen> {
        self.record.requests.lock().expect("nobody panicked with the record").clone()
    }

    /// The latest request.
    pub fn last(&self) -> Seen {
        self.requests().pop().expect("a request arrived")
    }

    /// Connections on which something was said.
    pub fn accepted(&self) -> usize {
        self.record.accepted.load(SeqCst)
    }

    /// Those of them that the upstream still serves.
    pub fn open(&self) -> usize {
        self.record.open.load(SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "an upstream panicked");
        }
    }
}

/// Where requests are recorded that no [`Peer`] reads itself.
#[derive(Clone)]
pub struct Recorder(Arc<Record>);

impl Recorder {
    pub fn note(&self, seen: Seen) {
        self.0.requests.lock().expect("nobody panicked with the record").push(seen);
    }
}

impl Peer {
    pub fn recorder(&self) -> Recorder {
        Recorder(Arc::clone(&self.record))
    }

    /// The next request, recorded; `None` at the connection's end.
    pub async fn request(&mut self) -> Option<Seen> {
        let head = self.wire.head().await?;
        self.wire.trailers.clear();
        let body = self.wire.body(&head).await.ok()?;
        let seen = Seen { head, body, trailers: self.wire.trailers.clone() };
        self.record.requests.lock().expect("nobody panicked with the record").push(seen.clone());
        Some(seen)
    }

    /// Answers the next request with what it saw.
    pub async fn mirror(&mut self) -> Option<()> {
        let seen = self.request().await?;
        let body = seen.mirrored();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let body = if seen.head.start.starts_with("HEAD ") { "" } else { &body };
        self.wire.try_send(head + body).await.ok()
    }

    /// Sends these bytes, if the connection still takes them.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> Option<()> {
        self.wire.try_send(bytes).await.ok()
    }
}

impl Seen {
    pub(super) fn mirrored(&self) -> String {
        json!({ "start": self.head.start, "headers": self.head.headers, "body_bytes": self.body.len() })
            .to_string()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.record.open.fetch_sub(1, SeqCst);
    }
}

async fn accept<F, S>(listener: TcpListener, record: Arc<Record>, serve: S)
where
    S: Fn(Peer) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener).expect("it is nonblocking");
    let serve = Rc::new(serve);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // A peer that is gone already shows when it is read from.
        let _ = stream.set_nodelay(true);
        let (serve, record) = (Rc::clone(&serve), Arc::clone(&record));
        tokio::task::spawn_local(async move {
            // The gateway looks in from time to time without saying anything. Those visits don't count.
            if !matches!(stream.peek(&mut [0]).await, Ok(1)) {
                return;
            }
            record.accepted.fetch_add(1, SeqCst);
            record.open.fetch_add(1, SeqCst);
            serve(Peer { wire: Wire::new(stream), record }).await;
        });
    }
}
