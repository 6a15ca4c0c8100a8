//! Trailers between regions: both gateways let them through, and neither those that mean something else.

use super::*;

#[tokio::test]
async fn trailers_cross_the_hop_both_ways() {
    const FORBIDDEN: &str = "content-length: 5\r\nhost: evil\r\nauthorization: Bearer x\r\nresidency-hop: east\r\n\
                             residency-subject: root\r\ntransfer-encoding: chunked\r\n";
    let api = Upstream::start(|mut peer: Peer| async move {
        while peer.request().await.is_some() {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            peer.say(format!("{head}2\r\nok\r\n0\r\n{FORBIDDEN}x-sum: 2\r\n\r\n")).await;
        }
    });
    let pair = Pair::start_with(Upstream::mirror(), api, "").await;
    let mut wire = pair.east.connect().await;
    for turn in 1..3 {
        wire.send(format!(
            "POST /orders HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n{FORBIDDEN}x-sum: 1\r\n\r\n",
            token("eu")
        ))
        .await;
        let answer = wire.answer(false).await;
        assert_eq!((answer.status(), answer.body.as_slice()), (200, b"ok".as_slice()));
        assert_eq!(wire.trailers, ["x-sum: 2"]);
        assert_eq!(pair.delivered(), (0, turn));
        let seen = pair.frankfurt_api.last();
        assert_eq!((seen.body.as_slice(), seen.trailers), (b"hello".as_slice(), vec!["x-sum: 1".to_owned()]));
    }
}
