//! The wire with real sockets. Times are compared with the delay as a lower bound, or with each other.
use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{Flow, Wire, serve};

/// Longer than anything here takes; reached only by a defect.
const DEADLINE: Duration = Duration::from_mins(1);

struct Setup {
    near: SocketAddr,
    far: TcpListener,
    wire: watch::Sender<Wire>,
    relay: JoinHandle<()>,
}

impl Setup {
    async fn new(one_way_ms: u64) -> Self {
        let far = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = listener.local_addr().unwrap();
        let wire = watch::Sender::new(Wire { flow: Flow::Open, one_way: Duration::from_millis(one_way_ms) });
        let relay = tokio::spawn(serve(listener, far.local_addr().unwrap(), wire.subscribe()));
        Self { near, far, wire, relay }
    }

    async fn connect(&self) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(self.near).await.unwrap();
        let (far, _) = timeout(DEADLINE, self.far.accept()).await.unwrap().unwrap();
        (near, far)
    }

    fn flow(&self, flow: Flow) {
        self.wire.send_modify(|wire| wire.flow = flow);
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
}

#[tokio::test]
async fn each_direction_takes_half_a_round_trip_and_opening_takes_a_whole_one() {
    let setup = Setup::new(60).await;
    let began = Instant::now();
    let (mut near, mut far) = setup.connect().await;
    assert!(began.elapsed() >= Duration::from_millis(60), "the far side saw the connection too early");
    near.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    far.read_exact(&mut bytes).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(180), "handshake, then half a round trip");
    let began = Instant::now();
    far.write_all(b"pong").await.unwrap();
    near.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"pong");
    assert!(began.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn delay_pipelines() {
    let setup = Setup::new(150).await;
    let (mut near, mut far) = setup.connect().await;
    let began = Instant::now();
    near.write_all(b"x").await.unwrap();
    far.read_exact(&mut [0]).await.unwrap();
    let one = began.elapsed();
    let began = Instant::now();
    let send = async {
        for _ in 0..100 {
            near.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let mut all = [0; 100];
    let ((), read) = tokio::join!(send, far.read_exact(&mut all));
    read.unwrap();
    assert!(began.elapsed() < one * 30, "100 chunks in turn would take 100 delays");
}

#[tokio::test]
async fn bytes_arrive_whole_and_in_order_both_ways_and_half_close_travels() {
    let setup = Setup::new(5).await;
    let (near, far) = setup.connect().await;
    let sent = pattern(9 << 20);
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let outward = async {
        near_write.write_all(&sent).await.unwrap();
        near_write.shutdown().await.unwrap();
    };
    let echo = async {
        let mut got = Vec::new();
        far_read.read_to_end(&mut got).await.unwrap();
        far_write.write_all(&got).await.unwrap();
        far_write.shutdown().await.unwrap();
        got.len()
    };
    let inward = async {
        let mut got = Vec::new();
        near_read.read_to_end(&mut got).await.unwrap();
        got
    };
    let ((), length, got) = timeout(DEADLINE, async { tokio::join!(outward, echo, inward) }).await.unwrap();
    assert_eq!(length, sent.len());
    assert!(got == sent, "bytes changed on the way");
}

#[tokio::test]
async fn a_shorter_delay_lets_no_byte_overtake() {
    let setup = Setup::new(120).await;
    let (mut near, mut far) = setup.connect().await;
    near.write_all(b"a").await.unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    setup.wire.send_modify(|wire| wire.one_way = Duration::ZERO);
    near.write_all(b"b").await.unwrap();
    let mut bytes = [0; 2];
    far.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ab");
}

#[tokio::test]
async fn silence_delivers_nothing_until_healed() {
    let setup = Setup::new(1).await;
    let (mut near, mut far) = setup.connect().await;
    near.write_all(b"before").await.unwrap();
    far.read_exact(&mut [0; 6]).await.unwrap();
    setup.flow(Flow::Silent);
    near.write_all(b"lost?").await.unwrap();
    let mut new = TcpStream::connect(setup.near).await.expect("silence accepts");
    new.write_all(b"hello").await.unwrap();
    let mut bytes = [0; 5];
    let quiet = Duration::from_millis(200);
    timeout(quiet, far.read(&mut bytes)).await.expect_err("nothing arrives");
    timeout(quiet, setup.far.accept()).await.expect_err("a new connection goes nowhere");
    timeout(quiet, new.read(&mut [0])).await.expect_err("and is not closed");
    setup.flow(Flow::Open);
    far.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"lost?");
    let (mut accepted, _) = timeout(DEADLINE, setup.far.accept()).await.unwrap().unwrap();
    accepted.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
}

#[tokio::test]
async fn a_cut_resets_open_and_new_connections_and_healing_ends_it() {
    let setup = Setup::new(1).await;
    let (mut near, mut far) = setup.connect().await;
    near.write_all(b"x").await.unwrap();
    far.read_exact(&mut [0]).await.unwrap();
    setup.flow(Flow::Cut);
    for stream in [&mut near, &mut far] {
        let ended = timeout(DEADLINE, stream.read(&mut [0])).await.unwrap();
        assert_eq!(ended.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    }
    let mut new = TcpStream::connect(setup.near).await.unwrap();
    let ended = timeout(DEADLINE, new.read(&mut [0])).await.unwrap();
    assert_eq!(ended.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    setup.flow(Flow::Open);
    let (mut near, mut far) = setup.connect().await;
    near.write_all(b"y").await.unwrap();
    far.read_exact(&mut [0]).await.unwrap();
}

#[tokio::test]
async fn a_reset_on_one_side_resets_the_other() {
    let setup = Setup::new(20).await;
    let (near, mut far) = setup.connect().await;
    near.set_zero_linger().unwrap();
    drop(near);
    let ended = timeout(DEADLINE, far.read(&mut [0])).await.unwrap();
    assert_eq!(ended.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reader_that_stalls_stops_the_sender() {
    let setup = Setup::new(1).await;
    let (mut near, _far) = setup.connect().await;
    let chunk = vec![0; 1 << 20];
    let mut sent = 0;
    while let Ok(wrote) = timeout(Duration::from_millis(300), near.write(&chunk)).await {
        sent += wrote.unwrap();
        assert!(sent < 256 << 20, "the relay took {sent} bytes that nobody reads");
    }
}

#[tokio::test]
async fn a_target_that_refuses_is_a_reset_after_a_round_trip() {
    let setup = Setup::new(50).await;
    let near = setup.near;
    let far = setup.far.local_addr().unwrap();
    // The relay keeps running while its target is closed.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = listener.local_addr().unwrap();
    drop(setup);
    assert_ne!(near, through);
    let wire = watch::Sender::new(Wire { flow: Flow::Open, one_way: Duration::from_millis(50) });
    let relay = tokio::spawn(serve(listener, far, wire.subscribe()));
    let began = Instant::now();
    let mut stream = TcpStream::connect(through).await.unwrap();
    let ended = timeout(DEADLINE, stream.read(&mut [0])).await.unwrap();
    assert_eq!(ended.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    assert!(began.elapsed() >= Duration::from_millis(100));
    relay.abort();
}
