//! One HTTP/1.1 connection, byte by byte, from either side. Tests see exactly what was sent, and send what no library would.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Answer, Ask, within};

/// A connection and what was read ahead on it.
pub struct Wire<S = TcpStream> {
    pub stream: S,
    read: Vec<u8>,
    /// Of the last body in chunks, as lines.
    pub trailers: Vec<String>,
}

/// The head of a request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The first line.
    pub start: String,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
}

impl Wire {
    pub async fn connect(to: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(to)).await.expect("somebody listens");
        stream.set_nodelay(true).expect("a fresh socket takes options");
        Self::new(stream)
    }

    /// Closes so that the other side is sent a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream)
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("a socket takes options");
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, read: Vec::new(), trailers: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("the other side takes bytes");
    }

    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("sending", async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        })
        .await
    }

    /// Sends a request and reads its whole answer.
    pub async fn exchange(&mut self, ask: &Ask) -> Answer {
        self.send(ask.bytes()).await;
        self.answer(ask.is_head()).await
    }

    /// Reads a whole answer.
    pub async fn answer(&mut self, to_head: bool) -> Answer {
        let head = self.head().await.expect("an answer, not the connection's end");
        let body = if to_head || head.is_bodiless() { Ok(Vec::new()) } else { self.body(&head).await };
        Answer { head, body: body.expect("the whole body") }
    }

    /// The next head; `None` when the connection ends before it.
    pub async fn head(&mut self) -> Option<Head> {
        within("a head", async {
            loop {
                if let Some(end) = find(&self.read, b"\r\n\r\n") {
                    let head: Vec<u8> = self.read.drain(..end + 4).collect();
                    return Some(Head::parse(&head[..end]));
                }
                if self.fill().await.is_none_or(|count| count == 0) {
                    return None;
                }
            }
        })
        .await
    }

    /// The body that belongs to a head; an error when the connection ends within it.
    pub async fn body(&mut self, head: &Head) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        while let Some(part) = self.part(head, body.len()).await? {
            body.extend_from_slice(&part);
        }
        Ok(body)
    }

    /// The next piece of a body of which `so_far` bytes were read; `None` at its end.
    pub async fn part(&mut self, head: &Head, so_far: usize) -> Result<Option<Vec<u8>>, String> {
        if head.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.chunk().await;
        }
        if let Some(length) = head.get("content-length") {
            let left = length.parse::<usize>().expect("a number") - so_far;
            return if left == 0 { Ok(None) } else { self.at_most(left).await.map(Some) };
        }
        if !head.start.starts_with("HTTP/") {
            return Ok(None);
        }
        // A response without either ends with its connection.
        Ok(self.at_most(usize::MAX).await.ok())
    }

    /// What was read ahead or is there to be read, once the other side has ended the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        within("the connection's end", async {
            while self.fill().await.is_some_and(|count| count > 0) {}
            std::mem::take(&mut self.read)
        })
        .await
    }

    /// Waits for the other side to end the connection; bytes before that are a fault.
    pub async fn ended(&mut self) {
        let rest = within("the connection's end", async {
            while self.fill().await.is_some_and(|count| count > 0) {}
            String::from_utf8_lossy(&self.read).into_owned()
        })
        .await;
        assert_eq!(rest, "", "the connection ended, but not silently");
    }

    /// Reads and drops until the connection ends.
    pub async fn drain(&mut self) {
        within("the connection's end", async {
            while self.fill().await.is_some_and(|count| count > 0) {
                self.read.clear();
            }
        })
        .await;
    }

    /// The next line, without its end.
    pub async fn line(&mut self) -> Result<String, String> {
        within("a line", async {
            loop {
                if let Some(end) = find(&self.read, b"\r\n") {
                    let line: Vec<u8> = self.read.drain(..end + 2).collect();
                    return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
                }
                if self.fill().await.is_none_or(|count| count == 0) {
                    return Err("ended within a line".to_owned());
                }
            }
        })
        .await
    }

    /// Exactly `count` bytes.
    pub async fn exactly(&mut self, count: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            bytes.extend(self.at_most(count - bytes.len()).await?);
        }
        Ok(bytes)
    }

    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, String> {
        let line = self.line().await?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("{size:?} is no chunk's size"))?;
        if size == 0 {
            self.trailers.clear();
            loop {
                match self.line().await? {
                    line if line.is_empty() => return Ok(None),
                    line => self.trailers.push(line),
                }
            }
        }
        let bytes = self.exactly(size).await?;
        self.line().await?;
        Ok(Some(bytes))
    }

    async fn at_most(&mut self, count: usize) -> Result<Vec<u8>, String> {
        within("more of a body", async {
            if self.read.is_empty() && self.fill().await.is_none_or(|count| count == 0) {
                return Err("ended within a body".to_owned());
            }
            let count = count.min(self.read.len());
            Ok(self.read.drain(..count).collect())
        })
        .await
    }

    /// One read; `None` on an error.
    async fn fill(&mut self) -> Option<usize> {
        let mut bytes = vec![0; 64 * 1024];
        let count = self.stream.read(&mut bytes).await.ok()?;
        self.read.extend_from_slice(&bytes[..count]);
        Some(count)
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self { start, headers: lines.map(header).collect() }
    }

    /// The only value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} is there {} times: {values:?}", values.len());
        values.first().copied()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Every header whose name begins so, names with values.
    pub fn beginning_with(&self, prefix: &str) -> Vec<(&str, &str)> {
        let own = self.headers.iter().filter(|(name, _)| name.starts_with(prefix));
        own.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// A response's status.
    pub fn status(&self) -> u16 {
        let status = self.start.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("{:?} is no status line", self.start))
    }

    fn is_bodiless(&self) -> bool {
        matches!(self.status(), 100..=199 | 204 | 304)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}
