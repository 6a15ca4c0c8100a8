use std::future::poll_fn;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::ends::within;
use crate::http1::framing::Length;
use crate::http1::outbox::Outbox;
use crate::http1::stream::Stream;

/// Sends pieces through a socket that takes little at a time, to a reader that reads `step` bytes at a time. What arrived,
/// and what the outbox says was written.
async fn send(
    pieces: Vec<Bytes>,
    length: Length,
    trailers: Option<HeaderMap>,
    step: usize,
) -> (Vec<u8>, u64) {
    let (near, mut far) = UnixStream::pair().expect("a pair of sockets");
    socket2::SockRef::from(&near).set_send_buffer_size(2048).expect("a socket takes options");
    let mut stream = Stream::Unix(near);
    let sending = async move {
        let (mut outbox, mut written) = (Outbox::default(), 0);
        outbox.flat().extend_from_slice(b"head\r\n");
        for piece in pieces {
            if !outbox.has_room() {
                poll_fn(|context| outbox.poll_flush(&mut stream, context, &mut written))
                    .await
                    .expect("an open socket");
                assert!(outbox.has_room() && outbox.is_empty());
            }
            outbox.data(piece, length);
        }
        if !outbox.has_room() {
            poll_fn(|context| outbox.poll_flush(&mut stream, context, &mut written))
                .await
                .expect("an open socket");
        }
        outbox.end(length, trailers.as_ref());
        poll_fn(|context| outbox.poll_flush(&mut stream, context, &mut written))
            .await
            .expect("an open socket");
        assert!(outbox.is_empty());
        written
    };
    let reading = async {
        let (mut bytes, mut piece) = (Vec::new(), vec![0; step]);
        while let count @ 1.. = far.read(&mut piece).await.expect("an open socket") {
            bytes.extend_from_slice(&piece[..count]);
        }
        bytes
    };
    let (written, bytes) = within(async { tokio::join!(sending, reading) }).await;
    (bytes, written)
}

fn expected(pieces: &[Bytes], length: Length) -> Vec<u8> {
    let mut bytes = b"head\r\n".to_vec();
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        if length == Length::Chunked {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        }
        bytes.extend_from_slice(piece);
        if length == Length::Chunked {
            bytes.extend_from_slice(b"\r\n");
        }
    }
    if length == Length::Chunked {
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Small pieces are copied, large ones stand beside them, the kernel takes any part of both: the stream is the same.
    #[test]
    fn whatever_the_kernel_takes_at_a_time_the_stream_is_the_same(
        sizes in prop::collection::vec(prop_oneof![0usize..10, 8190..8196usize, 0..30_000usize], 0..6),
        chunked in any::<bool>(),
        step in 1usize..5000,
    ) {
        let pieces: Vec<Bytes> = sizes
            .iter()
            .enumerate()
            .map(|(index, size)| (0..*size).map(|at| (at % 251) as u8 ^ index as u8).collect::<Vec<_>>().into())
            .collect();
        let length = if chunked { Length::Chunked } else { Length::UntilClose };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (bytes, written) = runtime.block_on(send(pieces.clone(), length, None, step));
        let expected = expected(&pieces, length);
        prop_assert_eq!(written, expected.len() as u64);
        prop_assert!(bytes == expected, "{} bytes, not {}", bytes.len(), expected.len());
    }
}

#[tokio::test]
async fn trailers_go_behind_the_last_chunk_only_and_none_that_changes_the_head() {
    let mut trailers = HeaderMap::new();
    for name in [
        "content-length",
        "host",
        "authorization",
        "residency-subject",
        "transfer-encoding",
        "x-sum",
        "trailer",
    ] {
        trailers.insert(name, HeaderValue::from_static("1"));
    }
    let piece = || vec![Bytes::from_static(b"hello")];
    let (bytes, _) = send(piece(), Length::Chunked, Some(trailers.clone()), 100).await;
    assert_eq!(String::from_utf8_lossy(&bytes), "head\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
    let (bytes, _) = send(piece(), Length::Exact(5), Some(trailers), 100).await;
    assert_eq!(String::from_utf8_lossy(&bytes), "head\r\nhello");
}
