//! What gRPC asks of a proxy, on every way through the gateway: heads at once, streams both ways, trailers, answers that are
//! nothing but a head, and calls that either side breaks off.

use http::Request;

use crate::harness::{Head, Http2, Key, Peer, Seen, Served, Setup, Upstream, eventually, holds};
use crate::routes::relay;
use crate::tls::{dial, with_certificate};

/// A service with a method for each thing that can go wrong.
pub fn service() -> Upstream {
    Upstream::start(|peer: Peer| {
        let recorder = peer.recorder();
        peer.serve_http2(move |served| {
            let recorder = recorder.clone();
            async move {
                let start = served.head.start.clone();
                let told = serve(served).await;
                let head = Head { start, headers: Vec::new() };
                recorder.note(Seen { head, body: told.into_bytes(), trailers: Vec::new() });
            }
        })
    })
}

/// How the call went, as the service saw it.
async fn serve(mut served: Served) -> String {
    assert_eq!(served.head.get("te"), Some("trailers"));
    let grpc = ("content-type", "application/grpc");
    if served.head.start.contains("/Denied") {
        served.only(200, &[grpc, ("grpc-status", "7"), ("grpc-message", "not%20allowed")]);
        return "denied".to_owned();
    }
    let mut sending = served.begin(200, &[grpc]);
    loop {
        match served.body.data().await {
            Some(Ok(data)) if data.ends_with(b"stop") => {
                sending.trailers(&[("grpc-status", "3")]);
                return "stopped".to_owned();
            }
            Some(Ok(data)) => sending.all(data, false).await,
            Some(Err(error)) => return format!("{:?}", error.reason().expect("a reset")),
            None => break,
        }
    }
    let trailers = served.body.trailers().await;
    let names: Vec<&str> = trailers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(",");
    sending.trailers(&[
        ("grpc-status", "0"),
        ("x-names", &names),
        ("residency-served-by", "the moon"),
        ("content-length", "5"),
    ]);
    "ended".to_owned()
}

/// Makes each kind of call, with this token.
pub async fn check(client: &mut Http2, token: &str, upstream: &Upstream) {
    let call = |method: &str| {
        Request::post(format!("http://api.test/demo.Service/{method}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request")
    };
    let saw = async |count: usize, what: &str| {
        eventually(what, async || {
            let told: Vec<_> = upstream.requests().into_iter().map(|seen| seen.body).collect();
            let last = told.last().map(|last| String::from_utf8_lossy(last).into_owned());
            holds(told.len() == count && last.as_deref() == Some(what), || format!("{told:?}"))
        })
        .await;
    };
    let before = upstream.requests().len();

    // Both ways at once, from the head on.
    let mut chat = client.begin(call("Chat")).await;
    let (head, mut body) = chat.answer().await.expect("a head before the request's body");
    assert_eq!((head.status(), head.get("content-type")), (200, Some("application/grpc")));
    for word in ["one", "another", "the last"] {
        chat.sending.all(word, false).await;
        assert_eq!(body.exactly(word.len()).await, word.as_bytes());
    }
    // Trailers pass, but none that would be taken for what the gateway or the head says.
    chat.sending.trailers(&[("x-sum", "1"), ("residency-subject", "forged"), ("authorization", "forged")]);
    assert_eq!(body.rest().await.expect("the end"), b"");
    let expected = [("grpc-status", "0"), ("x-names", "x-sum")];
    assert_eq!(body.trailers().await, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    saw(before + 1, "ended").await;

    // A head that is all there is stays one frame.
    let mut denied = client.begin(call("Denied")).await;
    let (head, body) = denied.answer().await.expect("a head");
    assert_eq!((head.get("grpc-status"), head.get("grpc-message")), (Some("7"), Some("not%20allowed")));
    assert!(body.is_ended(), "the answer goes on after its head");
    // Not a fault, but no more is wanted of the request.
    assert_eq!(denied.sending.reset().await, h2::Reason::NO_ERROR);
    saw(before + 2, "denied").await;

    // An answer that ends while the client is sending is whole.
    let mut early = client.begin(call("Early")).await;
    let (_, mut body) = early.answer().await.expect("a head");
    early.sending.all("please stop", false).await;
    assert_eq!(body.rest().await.expect("no reset before the end"), b"");
    assert_eq!(body.trailers().await, [("grpc-status".to_owned(), "3".to_owned())]);
    assert_eq!(early.sending.reset().await, h2::Reason::NO_ERROR);
    saw(before + 3, "stopped").await;

    // The client's change of mind gets through.
    let mut cancelled = client.begin(call("Cancelled")).await;
    let (_, mut body) = cancelled.answer().await.expect("a head");
    cancelled.sending.all("x", false).await;
    body.exactly(1).await;
    cancelled.sending.0.send_reset(h2::Reason::CANCEL);
    eventually("the service learns of it", async || {
        holds(upstream.requests().len() == before + 4, || "not yet".to_owned())
    })
    .await;
    let told = upstream.last().body;
    assert!(!told.starts_with(b"ended"), "{}", String::from_utf8_lossy(&told));
}

#[tokio::test]
async fn calls_pass_whole_over_tls_and_without() {
    let upstream = service();
    let setup = with_certificate(Setup::before(&[]))
        .with(&format!("[regions.here]\nupstreams = {{ api = 'h2c://{}' }}", upstream.address));
    let gateway = setup.start().await;
    let token = Key::usual().token("me", "us");
    check(&mut Http2::connect(gateway.http).await, &token, &upstream).await;
    let chain = gateway.path("chain.pem");
    let wire = dial(&gateway, &chain, &[b"h2"]).await.expect("a handshake");
    check(&mut Http2::secure(wire.stream).await, &token, &upstream).await;
    assert_eq!(upstream.accepted(), 1, "one connection carries them all");
}

#[tokio::test]
async fn calls_pass_whole_over_a_socket() {
    let upstream = service();
    let setup = Setup::before(&[]);
    let path = setup.path("grpc.sock");
    let relay = relay(&path, &upstream);
    let setup = setup.with(&format!("[regions.here]\nupstreams = {{ api = 'h2c+unix:{}' }}", path.display()));
    let gateway = setup.start().await;
    check(&mut Http2::connect(gateway.http).await, &Key::usual().token("me", "us"), &upstream).await;
    drop(gateway);
    relay.abort();
}
