//! Clients that use HTTP/2 to have much done for little: the connection ends, the gateway goes on.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame,
    next_frame,
};
use crate::harness::{Ask, Http2, Setup, Upstream, Wire, within};

/// `GET /` of `a`, from HPACK's static table.
const REQUEST: &[u8] = b"\x82\x84\x86\x41\x01a";

const ENHANCE_YOUR_CALM: u32 = 11;

/// Sends `bytes` again and again, made anew for each turn, until the gateway has had enough.
async fn flood(wire: &mut Wire, mut next: impl FnMut(u32) -> Vec<u8>) -> u32 {
    wire.send(PREFACE).await;
    let (mut reading, mut writing) = wire.stream.split();
    let sending = async {
        for turn in 0.. {
            if writing.write_all(&next(turn)).await.is_err() {
                break;
            }
        }
    };
    let receiving = async {
        let mut bytes = Vec::new();
        // A reset may take the last words with it.
        while reading.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {}
        bytes
    };
    let ((), received) = within("the connection's end", async { tokio::join!(sending, receiving) }).await;
    goaway(&received)
}

/// Why the connection was ended, as far as it could be said.
fn goaway(mut bytes: &[u8]) -> u32 {
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if head[3] == GOAWAY && rest.len() >= 8 {
            return u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]);
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
    ENHANCE_YOUR_CALM
}

/// What it may hold of a flood on top of what it had.
const MOST_KIB: u64 = 32 * 1024;

#[tokio::test]
async fn floods_end_their_connection_and_nothing_else() {
    let upstream = Upstream::mirror();
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut neighbour = Http2::connect(gateway.http).await;
    neighbour.exchange(&Ask::new("GET /x")).await.expect_ok();
    let before = gateway.resident_kib();
    let stream = |turn: u32| 1 + 2 * turn;
    let mut wire = gateway.connect().await;
    // CVE-2023-44487: requests that are taken back at once.
    let reason = flood(&mut wire, |turn| {
        let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, stream(turn), REQUEST);
        bytes.extend(frame(RST_STREAM, 0, stream(turn), &8u32.to_be_bytes()));
        bytes
    })
    .await;
    assert_eq!(reason, ENHANCE_YOUR_CALM, "rapid reset");
    // CVE-2024-27316: a head without an end.
    let mut wire = gateway.connect().await;
    flood(&mut wire, |turn| match turn {
        0 => frame(HEADERS, END_STREAM, 1, REQUEST),
        _ => frame(CONTINUATION, 0, 1, &[b"\x00\x01x\x7f\xc1\x7d".as_slice(), &[b'v'; 16_000]].concat()),
    })
    .await;
    // Frames that want an answer each, which nobody reads: what is not yet written is bounded.
    for (kind, payload) in [(PING, [0; 8].as_slice()), (SETTINGS, &[])] {
        let mut wire = gateway.connect().await;
        wire.send(PREFACE).await;
        let flood = frame(kind, 0, 0, payload).repeat(1024);
        for _ in 0..4096 {
            let sent =
                tokio::time::timeout(std::time::Duration::from_millis(300), wire.stream.write_all(&flood));
            // Stuck, or ended: either is a bound.
            if !matches!(sent.await, Ok(Ok(()))) {
                break;
            }
        }
    }
    let now = gateway.resident_kib();
    assert!(now < before + MOST_KIB, "{before} KiB grew to {now} KiB");
    neighbour.exchange(&Ask::new("GET /x")).await.expect_ok();
    Http2::connect(gateway.http).await.exchange(&Ask::new("GET /x")).await.expect_ok();
}

#[tokio::test]
async fn more_streams_than_may_be_open_are_refused_one_by_one() {
    let upstream = Upstream::start(|mut peer| async move { peer.wire.drain().await });
    let gateway = Setup::before(&[upstream.address]).start().await;
    let mut wire = gateway.connect().await;
    wire.send(PREFACE).await;
    let mut all = Vec::new();
    for index in 0..260u32 {
        all.extend(frame(HEADERS, END_STREAM | END_HEADERS, 1 + 2 * index, REQUEST));
    }
    wire.send(all).await;
    let mut refused = 0;
    while refused < 10 {
        let (kind, _, payload) = next_frame(&mut wire).await.expect("the connection lives");
        if kind == RST_STREAM {
            assert_eq!(payload, 7u32.to_be_bytes(), "REFUSED_STREAM: it can be sent again");
            refused += 1;
        }
        assert_ne!(kind, GOAWAY, "the connection goes on");
    }
}
