//! What stays open when its subject moves: tunnels and event streams.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::*;
use crate::harness::{Http2, Peer, Wire};

const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
const CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xf4];

fn live(who: &str) -> Ask {
    ask("GET /live", who).header("connection", "upgrade").header("upgrade", "websocket")
}

async fn open(gateway: &Gateway, who: &str) -> Wire {
    let mut wire = gateway.connect().await;
    wire.send(live(who).bytes()).await;
    assert_eq!(wire.head().await.expect("an answer").status(), 101);
    wire
}

/// Begins a frame, ends it when five bytes have come, and notes as a request's body what comes then.
async fn stuttering(mut peer: Peer) {
    let Some(seen) = peer.request().await else { return };
    peer.say(GRANTED).await;
    peer.say([0x81, 0x05, b'h', b'e']).await;
    if peer.wire.exactly(5).await.is_err() {
        return;
    }
    peer.say("llo").await;
    let rest = peer.wire.rest().await;
    peer.recorder().note(crate::harness::Seen { body: rest, ..seen });
}

#[tokio::test]
async fn a_websocket_of_the_subject_is_told_to_come_again_between_two_frames() {
    let api = Upstream::start(stuttering);
    let gateway = start(&api, "").await;
    let (mut ann, mut bob) = (open(&gateway, "ann").await, open(&gateway, "bob").await);
    let begun = [0x81, 0x05, b'h', b'e'];
    for wire in [&mut ann, &mut bob] {
        assert_eq!(wire.exactly(4).await.expect("the frame's beginning"), begun);
    }
    say(&gateway, "us", &[closing("ann")]).await;
    ann.send("12345").await;
    assert_eq!(ann.exactly(3).await.expect("the frame's end"), b"llo");
    assert_eq!(ann.rest().await, CLOSE, "and nothing behind it");
    drop(ann);
    // The API hears the same, masked as a client's. Its five bytes were half a frame, which can't be ended.
    let ended = async |count: usize| -> Vec<u8> {
        eventually("the API's side ends", async || {
            api.requests().get(count - 1).map(|seen| seen.body.clone()).ok_or_else(|| "not yet".to_owned())
        })
        .await
    };
    assert_eq!(ended(3).await, b"", "half a frame can't be ended");
    gateway.metric_becomes("residency_websockets_active", &[], 1.0).await;
    // Another subject's goes on.
    bob.send([0x81, 0x80, 0, 0, 0]).await;
    assert_eq!(bob.exactly(3).await.expect("the frame's end"), b"llo");
    bob.send([0]).await;
    say(&gateway, "us", &[closing("ann"), closing("bob")]).await;
    assert_eq!(bob.rest().await, CLOSE);
    drop(bob);
    assert_eq!(ended(4).await, [0, 0x88, 0x82, 0, 0, 0, 0, 0x03, 0xf4]);
}

#[tokio::test]
async fn an_upgrade_waits_as_a_write_does_and_a_frame_that_never_ends_holds_nothing_up() {
    let api = Upstream::start(stuttering);
    let gateway = start(&api, "[hold]\nmax_ms = 60000\n").await;
    let mut stuck = open(&gateway, "ann").await;
    stuck.exactly(4).await.expect("the frame's beginning");
    say(&gateway, "us", &[closing("ann")]).await;
    assert_eq!(stuck.rest().await, b"", "within a frame nothing can be said");
    drop(stuck);
    let mut wire = gateway.connect().await;
    wire.send(live("ann").bytes()).await;
    waiting(&gateway, 1).await;
    flip(&gateway, "ann").await;
    assert_eq!(wire.head().await.expect("an answer").status(), 101);
    assert_eq!(api.last().head.get("residency-jurisdiction"), Some("eu"));
    wire.exactly(4).await.expect("the frame's beginning");
}

/// Event streams. Answers `/late` when `/go` comes.
fn events() -> Upstream {
    const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    thread_local!(static GO: RefCell<Rc<Notify>> = RefCell::default());
    Upstream::start(|mut peer: Peer| async move {
        let go = GO.with(|go| Rc::clone(&go.borrow()));
        while let Some(seen) = peer.request().await {
            if seen.head.start.contains("/go") {
                go.notify_one();
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                continue;
            }
            if seen.head.start.contains("/late") {
                go.notified().await;
            }
            peer.say(format!("{STREAM}9\r\ndata: 1\n\n\r\n")).await;
            // Until the gateway has enough.
            peer.wire.drain().await;
            return;
        }
    })
}

#[tokio::test]
async fn an_event_stream_of_the_subject_ends_whole_and_others_go_on() {
    let api = events();
    let gateway = start(&api, "").await;
    let mut opened = Vec::new();
    for who in ["ann", "bob"] {
        let mut wire = gateway.connect().await;
        wire.send(ask("GET /events", who).bytes()).await;
        let head = wire.head().await.expect("an answer");
        assert_eq!(wire.part(&head, 0).await.expect("an event").expect("not the end"), b"data: 1\n\n");
        opened.push((wire, head));
    }
    let mut client = Http2::connect(gateway.http).await;
    let mut call = client.send(&ask("GET /events", "ann")).await;
    let (_, mut body) = call.answer().await.expect("an answer");
    assert_eq!(api.open(), 3);
    say(&gateway, "us", &[closing("ann")]).await;
    let (wire, head) = &mut opened[0];
    assert_eq!(wire.part(head, 9).await.expect("a whole body"), None);
    // Its connection is as good as before.
    assert_eq!(wire.exchange(&ask("POST /go", "bob")).await.status(), 200);
    let rest = body.rest().await.expect("a whole body");
    assert_eq!(rest, b"data: 1\n\n");
    let (bob, _) = &opened[1];
    let has_ended = |wire: &Wire| wire.stream.try_read(&mut [0]).is_ok();
    assert!(!has_ended(bob));
    gateway.metric_becomes("residency_downstream_connections_active", &[], 3.0).await;
    drop((client, opened));
}

#[tokio::test]
async fn a_stream_that_was_decided_before_the_move_and_begins_after_it_ends_at_once() {
    let api = events();
    let gateway = start(&api, "").await;
    let mut wire = gateway.connect().await;
    wire.send(ask("GET /late", "ann").bytes()).await;
    eventually("it is under way", async || holds(api.requests().len() == 1, || "not yet".to_owned())).await;
    say(&gateway, "us", &[closing("ann")]).await;
    flip(&gateway, "ann").await;
    gateway.send(&ask("POST /go", "bob")).await.expect_ok();
    let answer = wire.answer(false).await;
    assert_eq!(
        (answer.status(), answer.body.len() <= 9),
        (200, true),
        "it would have been the old home's for good"
    );
    let mut again = gateway.connect().await;
    again.send(ask("GET /events", "ann").bytes()).await;
    let head = again.head().await.expect("an answer");
    again.part(&head, 0).await.expect("an event").expect("not the end");
    again.stream.shutdown().await.expect("it is open");
}
