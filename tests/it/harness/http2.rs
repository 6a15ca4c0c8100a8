//! HTTP/2 from either side: streams that a test opens, reads and ends as it likes.

use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use super::upstream::{Peer, Seen};
use super::{Answer, Ask, Head, within};

/// A client's connection. Its drop closes it at once, whoever drives it.
pub struct Http2 {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
    socket: std::net::TcpStream,
}

/// A request under way.
pub struct Call {
    pub sending: Sending,
    answer: ResponseFuture,
}

/// A request that came to an upstream.
pub struct Served {
    pub head: Head,
    pub body: Receiving,
    respond: SendResponse<Bytes>,
}

/// The way out of a stream.
pub struct Sending(pub SendStream<Bytes>);

/// The way in. Gives room for more as it is read.
pub struct Receiving(pub RecvStream);

impl Http2 {
    /// With prior knowledge.
    pub async fn connect(to: SocketAddr) -> Self {
        Self::with(&client::Builder::new(), to).await
    }

    pub async fn with(builder: &client::Builder, to: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(to)).await.expect("somebody listens");
        stream.set_nodelay(true).expect("a fresh socket takes options");
        let socket = socket(&stream);
        Self::over(builder, stream, socket).await
    }

    /// Over TLS, as agreed.
    pub async fn secure(stream: TlsStream<TcpStream>) -> Self {
        let socket = socket(stream.get_ref().0);
        Self::over(&client::Builder::new(), stream, socket).await
    }

    async fn over<S>(builder: &client::Builder, stream: S, socket: std::net::TcpStream) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            within("a handshake", builder.handshake(stream)).await.expect("it speaks HTTP/2");
        Self { sender, driver: tokio::spawn(connection), socket }
    }

    /// Sends a head, and leaves the request open.
    pub async fn begin(&mut self, request: Request<()>) -> Call {
        self.start(request, false).await
    }

    async fn start(&mut self, request: Request<()>, end: bool) -> Call {
        let mut sender = within("room for a stream", self.sender.clone().ready()).await.expect("it is open");
        let (answer, sending) = sender.send_request(request, end).expect("a request that can be sent");
        Call { sending: Sending(sending), answer }
    }

    /// Sends a whole request.
    pub async fn send(&mut self, ask: &Ask) -> Call {
        let (request, body) = ask.http2();
        let mut call = self.start(request, body.is_none()).await;
        if let Some(body) = body {
            call.sending.all(body, true).await;
        }
        call
    }

    /// Sends a request and reads its whole answer.
    pub async fn exchange(&mut self, ask: &Ask) -> Answer {
        self.send(ask).await.whole().await
    }

    /// Waits until the connection has ended, and says how.
    pub async fn ended(mut self) -> Result<(), h2::Error> {
        within("the connection's end", &mut self.driver).await.expect("nothing panics")
    }

    pub fn is_open(&self) -> bool {
        !self.driver.is_finished()
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        // It may be closed by now.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Call {
    /// The answer's head, and the way to the rest.
    pub async fn answer(&mut self) -> Result<(Head, Receiving), h2::Error> {
        let response = within("an answer", &mut self.answer).await?;
        let (parts, body) = response.into_parts();
        let start = format!("HTTP/2 {}", parts.status.as_u16());
        Ok((Head { start, headers: lines(&parts.headers) }, Receiving(body)))
    }

    pub async fn whole(mut self) -> Answer {
        let (head, mut body) = self.answer().await.expect("an answer, not the stream's end");
        Answer { head, body: body.rest().await.expect("the whole body") }
    }
}

impl Sending {
    /// Sends as room allows.
    pub async fn all(&mut self, bytes: impl Into<Bytes>, end: bool) {
        within("room in the window", self.try_all(bytes, end)).await.expect("the stream takes bytes");
    }

    /// The same, for as long as it takes.
    pub async fn try_all(&mut self, bytes: impl Into<Bytes>, end: bool) -> Result<(), h2::Error> {
        let mut left = bytes.into();
        while !left.is_empty() {
            self.0.reserve_capacity(left.len());
            let room = std::future::poll_fn(|context| self.0.poll_capacity(context)).await;
            let room = room.unwrap_or_else(|| Err(h2::Reason::CANCEL.into()))?.min(left.len());
            let next = left.split_to(room);
            self.0.send_data(next, end && left.is_empty())?;
        }
        Ok(())
    }

    pub fn end(&mut self) {
        self.0.send_data(Bytes::new(), true).expect("the stream takes its end");
    }

    pub fn trailers(&mut self, lines: &[(&str, &str)]) {
        self.0.send_trailers(map(lines)).expect("the stream takes trailers");
    }

    /// How the other side broke the stream off.
    pub async fn reset(&mut self) -> h2::Reason {
        let reset = std::future::poll_fn(|context| self.0.poll_reset(context));
        within("a reset", reset).await.expect("the connection lives")
    }
}

impl Receiving {
    /// The next piece; `None` at the end of data.
    pub async fn data(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let data = within("more of a body", self.0.data()).await?;
        if let Ok(data) = &data {
            self.0.flow_control().release_capacity(data.len()).expect("so much was taken");
        }
        Some(data)
    }

    /// Exactly so many bytes.
    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            bytes.extend(self.data().await.expect("more is to come").expect("the stream lives"));
        }
        assert_eq!(bytes.len(), count, "more came than was sent so far");
        bytes
    }

    pub async fn rest(&mut self) -> Result<Vec<u8>, h2::Error> {
        let mut bytes = Vec::new();
        while let Some(data) = self.data().await {
            bytes.extend(data?);
        }
        Ok(bytes)
    }

    /// What follows the data.
    pub async fn trailers(&mut self) -> Vec<(String, String)> {
        let trailers = within("trailers", self.0.trailers()).await.expect("the stream lives");
        trailers.map_or_else(Vec::new, |trailers| lines(&trailers))
    }

    /// The stream ended with its last frame, be that the head.
    pub fn is_ended(&self) -> bool {
        self.0.is_end_stream()
    }
}

impl Served {
    /// Sends the answer's head, and leaves the answer open.
    pub fn begin(&mut self, status: u16, lines: &[(&str, &str)]) -> Sending {
        self.head(status, lines, false).expect("somebody wants an answer")
    }

    /// Sends an answer that is nothing but a head.
    pub fn only(&mut self, status: u16, lines: &[(&str, &str)]) {
        // Whoever asked may have gone.
        let _ = self.head(status, lines, true);
    }

    fn head(&mut self, status: u16, lines: &[(&str, &str)], end: bool) -> Result<Sending, h2::Error> {
        let mut response = Response::new(());
        *response.status_mut() = status.try_into().expect("a status");
        *response.headers_mut() = map(lines);
        self.respond.send_response(response, end).map(Sending)
    }

    pub fn reset(&mut self, reason: h2::Reason) {
        self.respond.send_reset(reason);
    }

    /// Answers with what it saw.
    pub async fn mirror(mut self) -> Seen {
        let body = self.body.rest().await.unwrap_or_default();
        let seen = Seen { head: self.head.clone(), body, trailers: Vec::new() };
        if let Ok(mut sending) = self.head(200, &[("content-type", "application/json")], false) {
            let _ = sending.try_all(seen.mirrored(), true).await;
        }
        seen
    }
}

impl Peer {
    /// Serves the streams of its connection side by side.
    pub async fn serve_http2<F>(mut self, serve: impl Fn(Served) -> F + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        let Ok(mut connection) = server::handshake(&mut self.wire.stream).await else { return };
        while let Some(Ok((request, respond))) = connection.accept().await {
            tokio::task::spawn_local(serve(Served::new(request, respond)));
        }
    }

    /// Answers every stream with what it saw.
    pub async fn mirror_http2(self) {
        let recorder = self.recorder();
        self.serve_http2(move |served| {
            let recorder = recorder.clone();
            async move { recorder.note(served.mirror().await) }
        })
        .await;
    }
}

impl Served {
    pub fn new(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        let (parts, body) = request.into_parts();
        let mut headers = lines(&parts.headers);
        if let Some(authority) = parts.uri.authority() {
            headers.insert(0, (":authority".to_owned(), authority.to_string()));
        }
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let start = format!("{} {path} HTTP/2", parts.method);
        Self { head: Head { start, headers }, body: Receiving(body), respond }
    }
}

/// Another handle on a connection's socket.
fn socket(stream: &TcpStream) -> std::net::TcpStream {
    stream.as_fd().try_clone_to_owned().expect("a descriptor is left").into()
}

fn lines(map: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).expect("a name"), HeaderValue::try_from(*value).expect("a value"))
    };
    lines.iter().map(line).collect()
}
