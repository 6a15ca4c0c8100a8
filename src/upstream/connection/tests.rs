use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::http1::{HeadLimits, ServerConnection};

const LIMITS: HeadLimits = HeadLimits { bytes: 32 * 1024, lines: 100 };

/// Ends a test that would hang; nothing is measured by it.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("it hangs")
}

/// A request as a client's connection brings it.
async fn request(text: &str) -> Request {
    let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
    let server = ServerConnection::new(Stream::Unix(near), Rc::default());
    within(far.write_all(text.as_bytes())).await.expect("an open socket");
    let polled = within(poll_fn(|context| server.poll_request(context, LIMITS))).await;
    let (head, incoming) = polled.expect("a good request").expect("a request");
    Request { head, body: RequestBody::http1(incoming, &Rc::default()) }
}

/// An API that begins to answer before it reads: the end of the request must not stay behind with nobody to send it.
#[tokio::test]
async fn the_end_of_a_request_is_sent_though_its_response_has_begun() {
    for size in [100, 6000, 8000, 20_000] {
        let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
        socket2::SockRef::from(&near).set_send_buffer_size(2048).expect("a socket takes options");
        let mut connection = Connection::new(Stream::Unix(near));
        let body = "x".repeat(size);
        let text = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {size}\r\n\r\n{body}");
        let mut outgoing = Some(request(&text).await);
        within(far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")).await.expect("an open socket");
        let head = within(connection.exchange(&mut outgoing)).await.expect("a response");
        assert_eq!(head.status, StatusCode::OK);
        let api = async {
            let mut read = vec![0; text.len()];
            far.read_exact(&mut read).await.expect("the whole request");
            assert!(read == text.as_bytes(), "{size}: something else than the request");
            far.write_all(b"ok").await.expect("an open socket");
        };
        let answer = async {
            let mut bytes = Vec::new();
            while let Some(frame) = poll_fn(|context| connection.poll_frame(context)).await {
                bytes.extend(frame.expect("a good body").into_data().expect("data"));
            }
            bytes
        };
        let (answer, ()) = within(async { tokio::join!(answer, api) }).await;
        assert_eq!(answer, b"ok", "{size}");
        assert!(connection.is_reusable(), "{size}");
    }
}
