//! One link's wire: a TCP relay that delivers every byte half a round trip later.
//!
//! Invariants
//! - Bytes arrive in order, unchanged, and not before their delay has passed. The end of a direction (FIN) and a
//!   reset travel in the same queue, so neither overtakes data.
//! - Delay pipelines: a chunk is stamped when read and released later, so a link's bandwidth is its window over
//!   its delay, not one chunk a round trip.
//! - Bounded: at most [`WINDOW`] bytes and [`FRAMES`] chunks in flight a direction, then the sender is not read.
//! - Silence stops delivery and nothing else: what was sent waits, as TCP's retransmission would have it, and
//!   arrives after the link is healed. Opening a connection takes one round trip before the first byte is read,
//!   and during silence it takes until the silence ends.
//!
//! Absent by design: loss, reordering and bandwidth limits. TCP hides the first two from its users.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep},
};

use super::alarm::Alarm;

/// Bytes in flight a direction; at 110 ms one way that is about 38 MB/s a connection.
const WINDOW: usize = 4 << 20;
/// Chunks in flight a direction.
const FRAMES: usize = 4096;
const CHUNK: usize = 16 << 10;
/// Connections a relay carries at once; more wait in the listener's backlog.
const CONNECTIONS: usize = 8192;

/// What a link does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Delivers them late.
    Open,
    /// Delivers nothing until healed. Connections stay.
    Silent,
    /// Resets open connections and each new one.
    Cut,
}

/// A link's behaviour now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    pub flow: Flow,
    /// Delay of one direction.
    pub one_way: Duration,
}

pub(crate) type WireState = watch::Receiver<Wire>;

/// Carries connections from `listener` to `target` until its task is dropped.
pub(crate) async fn serve(listener: TcpListener, target: SocketAddr, wire: WireState) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors or the like: the caller's backlog holds the connection meanwhile.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let wire = wire.clone();
        tokio::spawn(async move {
            carry(client, target, wire).await;
            drop(slot);
        });
    }
}

/// The connection ended other than by both sides' FIN.
#[derive(Debug)]
struct Broken;

/// Carries one connection to its end, and ends it the way it ended: both sides closed, or reset.
async fn carry(mut client: TcpStream, target: SocketAddr, wire: WireState) {
    let mut cut = wire.clone();
    let mut upstream = None;
    let ended = tokio::select! {
        ended = connect_and_pump(&mut client, &mut upstream, target, wire) => ended,
        _ = cut.wait_for(|wire| wire.flow == Flow::Cut) => Err(Broken),
    };
    if ended.is_err() {
        for stream in [Some(client), upstream].into_iter().flatten() {
            // A socket that is gone already needs no reset.
            let _ = stream.set_zero_linger();
        }
    }
}

async fn connect_and_pump(
    client: &mut TcpStream,
    upstream: &mut Option<TcpStream>,
    target: SocketAddr,
    wire: WireState,
) -> Result<(), Broken> {
    let (mut there, mut back) = (alarm()?, alarm()?);
    // The first packet of the handshake travels, then the answer to it.
    travel(&wire, &mut there).await?;
    let connected = TcpStream::connect(target).await;
    let answer_at = Instant::now() + one_way(&wire);
    let Ok(connected) = connected else {
        there.at(answer_at).await.map_err(|_| Broken)?;
        open(&wire).await?;
        return Err(Broken);
    };
    let upstream = upstream.insert(connected);
    client.set_nodelay(true).map_err(|_| Broken)?;
    upstream.set_nodelay(true).map_err(|_| Broken)?;
    let (from_client, to_client) = client.split();
    let (from_upstream, to_upstream) = upstream.split();
    let outward = async {
        there.at(answer_at).await.map_err(|_| Broken)?;
        open(&wire).await?;
        pump(from_client, to_upstream, &wire, &mut there).await
    };
    tokio::try_join!(outward, pump(from_upstream, to_client, &wire, &mut back)).map(|_| ())
}

/// One direction's queue entry: what to do at the far end, and not before when.
struct Frame {
    release: Instant,
    event: Event,
}

enum Event {
    Data(Bytes, OwnedSemaphorePermit),
    Fin,
    Reset,
}

/// Moves one direction's bytes until its FIN was delivered.
async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    wire: &WireState,
    alarm: &mut Alarm,
) -> Result<(), Broken> {
    let (queue, frames) = mpsc::channel(FRAMES);
    let read = async {
        read_into(from, queue, wire).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        delivered = deliver(frames, to, wire, alarm) => delivered,
        () = read => Ok(()),
    }
}

/// Reads and stamps chunks until the end of the stream, a fault, or the far end's disappearance.
async fn read_into(mut from: ReadHalf<'_>, queue: mpsc::Sender<Frame>, wire: &WireState) {
    let window = Arc::new(Semaphore::new(WINDOW));
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        // A chunk is bounded by the buffer's spare room, which `reserve` may have left larger than asked.
        let read = (&mut from).take(CHUNK as u64).read_buf(&mut buffer).await;
        let event = match read {
            Ok(0) => Event::Fin,
            Ok(length) => {
                let length = u32::try_from(length).expect("a chunk is at most 16 KiB");
                let Ok(permit) = Arc::clone(&window).acquire_many_owned(length).await else { return };
                Event::Data(buffer.split().freeze(), permit)
            }
            Err(_) => Event::Reset,
        };
        let last = !matches!(event, Event::Data(..));
        let frame = Frame { release: Instant::now() + one_way(wire), event };
        if queue.send(frame).await.is_err() || last {
            return;
        }
    }
}

async fn deliver(
    mut frames: mpsc::Receiver<Frame>,
    mut to: WriteHalf<'_>,
    wire: &WireState,
    alarm: &mut Alarm,
) -> Result<(), Broken> {
    while let Some(Frame { release, event }) = frames.recv().await {
        alarm.at(release).await.map_err(|_| Broken)?;
        open(wire).await?;
        match event {
            Event::Data(bytes, _permit) => {
                if to.write_all(&bytes).await.is_err() {
                    // The far end's reset needs its own half of the round trip back.
                    travel(wire, alarm).await?;
                    return Err(Broken);
                }
            }
            Event::Fin => return to.shutdown().await.map_err(|_| Broken),
            Event::Reset => return Err(Broken),
        }
    }
    Err(Broken)
}

/// Waits for one direction's delay, and for the end of a silence.
async fn travel(wire: &WireState, alarm: &mut Alarm) -> Result<(), Broken> {
    open(wire).await?;
    alarm.after(one_way(wire)).await.map_err(|_| Broken)?;
    open(wire).await
}

/// Out of descriptors, a connection breaks.
fn alarm() -> Result<Alarm, Broken> {
    Alarm::new().map_err(|_| Broken)
}

/// Waits until the link delivers.
async fn open(wire: &WireState) -> Result<(), Broken> {
    if wire.borrow().flow == Flow::Open {
        return Ok(());
    }
    wire.clone().wait_for(|wire| wire.flow == Flow::Open).await.map(|_| ()).map_err(|_| Broken)
}

fn one_way(wire: &WireState) -> Duration {
    wire.borrow().one_way
}

#[cfg(test)]
mod tests;
