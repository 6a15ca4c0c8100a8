//! HTTP/2 on both sides of a hop, which is HTTP/1.1 itself: nothing that gRPC needs is lost on the way.

use super::{Pair, token};
use crate::grpc;
use crate::harness::{Http2, Upstream, eventually, holds};

#[tokio::test]
async fn calls_pass_whole_across_a_hop() {
    let service = grpc::service();
    let piece = format!("[regions.frankfurt]\nupstreams = {{ api = ['h2c://{}'] }}\n", service.address);
    let pair = Pair::start_with(Upstream::mirror(), Upstream::mirror(), &piece).await;
    let mut client = Http2::connect(pair.east.http).await;
    grpc::check(&mut client, &token("eu"), &service).await;
    assert_eq!(pair.delivered(), (0, 0));
    eventually("the log has the calls", async || {
        let lines = pair.east.access_log();
        let hops = lines.iter().filter(|line| line["decision"] == "hop" && line["protocol"] == "h2").count();
        holds(hops == 4, || format!("{lines:?}"))
    })
    .await;
}
