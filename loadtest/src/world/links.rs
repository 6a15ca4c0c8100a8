//! The links between regions: one for each pair, with a fault switch and a delay each.
//!
//! A link from region A to a service of region B is a listener on A's address, so a process in A reaches B
//! only through it. All of a pair's listeners, both ways, share one state.
//!
//! Invariants
//! - Commands take effect at once and can be given from any thread; a command names its pairs, never a listener.
//! - All relays run on one thread of their own, so a busy test runtime delays no byte.
//!
//! Absent by design: links inside a region. Those are the machine's loopback as it is.
use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    runtime::{Builder, Handle},
    sync::{oneshot, watch},
};

use super::{
    region::{Jurisdiction, Port, Region, round_trip},
    relay::{self, Flow, Wire},
};

/// First port of the links' listeners; see [`Links::port`].
const BASE_PORT: u16 = 30000;

/// All links of a world.
#[derive(Debug)]
pub struct Links {
    slot: u8,
    pairs: BTreeMap<(Region, Region), watch::Sender<Wire>>,
    runtime: Runtime,
}

/// How a link fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes vanish, connections stay, new ones are accepted and go nowhere.
    Silence,
    /// Open connections are reset, and so is each new one.
    Reset,
}

/// The link between two regions.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    state: &'a watch::Sender<Wire>,
}

impl Links {
    /// Listens on every region's address for every other region's linked services.
    pub(crate) fn start(slot: u8) -> Result<Self> {
        let runtime = Runtime::start()?;
        let mut pairs = BTreeMap::new();
        for a in Region::ALL {
            for b in Region::ALL.into_iter().filter(|b| a < *b) {
                let wire = Wire { flow: Flow::Open, one_way: round_trip(a, b) / 2 };
                pairs.insert((a, b), watch::Sender::new(wire));
            }
        }
        let links = Self { slot, pairs, runtime };
        for (from, to, port) in linked() {
            let address = links.address(from, to, port);
            let listener = TcpListener::bind(address).with_context(|| format!("link at {address}"))?;
            listener.set_nonblocking(true)?;
            let wire = links.state(from, to).subscribe();
            links.runtime.handle.spawn(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("it is nonblocking");
                relay::serve(listener, port.at(to, slot), wire).await;
            });
        }
        Ok(links)
    }

    /// Where a process in `from` reaches `port` of `to`: through the link, or directly in its own region.
    ///
    /// # Panics
    /// If no link carries that port: only gateways' internal listeners and databases are linked.
    pub fn address(&self, from: Region, to: Region, port: Port) -> SocketAddr {
        if from == to {
            return port.at(to, self.slot);
        }
        SocketAddr::from((from.address(self.slot), link_port(to, port)))
    }

    /// A way of its own, with that round trip, from `region` to `target`, for a client that is some distance away. No
    /// fault ever touches it.
    pub fn lay(&self, region: Region, target: SocketAddr, rtt: Duration) -> Result<SocketAddr> {
        let listener = TcpListener::bind((region.address(self.slot), 0)).context("a way for a client")?;
        listener.set_nonblocking(true)?;
        let near = listener.local_addr()?;
        let state = watch::Sender::new(Wire { flow: Flow::Open, one_way: rtt / 2 });
        self.runtime.handle.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("it is nonblocking");
            relay::serve(listener, target, state.subscribe()).await;
        });
        Ok(near)
    }

    /// The link between two different regions.
    pub fn between(&self, a: Region, b: Region) -> Link<'_> {
        Link { state: self.state(a, b) }
    }

    /// Fails every link with exactly one end in `regions`, so that they reach each other and nobody else.
    pub fn cut_off(&self, regions: &[Region], fault: Fault) {
        for (&(a, b), state) in &self.pairs {
            if regions.contains(&a) != regions.contains(&b) {
                Link { state }.fail(fault);
            }
        }
    }

    /// Opens every link. Delays stay as they were set.
    pub fn heal_all(&self) {
        for state in self.pairs.values() {
            Link { state }.heal();
        }
    }

    fn state(&self, a: Region, b: Region) -> &watch::Sender<Wire> {
        assert_ne!(a, b, "a region has no link to itself");
        &self.pairs[&(a.min(b), a.max(b))]
    }
}

impl Link<'_> {
    /// Bytes vanish, connections stay. What was sent meanwhile arrives after [`Link::heal`], as it would with
    /// TCP's retransmissions.
    pub fn silence(&self) {
        self.fail(Fault::Silence);
    }

    /// Resets open connections and each new one.
    pub fn cut_reset(&self) {
        self.fail(Fault::Reset);
    }

    pub fn fail(&self, fault: Fault) {
        let flow = match fault {
            Fault::Silence => Flow::Silent,
            Fault::Reset => Flow::Cut,
        };
        self.state.send_modify(|wire| wire.flow = flow);
    }

    pub fn heal(&self) {
        self.state.send_modify(|wire| wire.flow = Flow::Open);
    }

    /// Sets the round trip, for bytes sent from now on. Bytes never overtake each other.
    pub fn set_rtt(&self, rtt: Duration) {
        self.state.send_modify(|wire| wire.one_way = rtt / 2);
    }

    pub fn rtt(&self) -> Duration {
        self.state.borrow().one_way * 2
    }
}

/// Every link a world has: to each gateway's internal listener, and to each database from everywhere else.
pub(crate) fn linked() -> Vec<(Region, Region, Port)> {
    let mut links = Vec::new();
    for from in Region::ALL {
        for to in Region::ALL.into_iter().filter(|to| *to != from) {
            links.push((from, to, Port::GatewayInternal));
            links.extend(to.databases().iter().map(|jurisdiction| (from, to, Port::Postgres(*jurisdiction))));
        }
    }
    links
}

/// The link's port on the near region's address.
pub(crate) fn link_port(to: Region, port: Port) -> u16 {
    let service = match port {
        Port::GatewayInternal => 0,
        Port::Postgres(Jurisdiction::Us) => 1,
        Port::Postgres(Jurisdiction::Eu) => 2,
        other => panic!("no link carries {other:?}"),
    };
    BASE_PORT + u16::from(to.number()) * 10 + service
}

/// The relays' thread. Ends when dropped, and closes every connection with it.
#[derive(Debug)]
struct Runtime {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    fn start() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("the links' runtime")?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("links".into())
            .spawn(move || {
                // Ends by the sender's use or its drop alike.
                let _ = runtime.block_on(stopped);
            })
            .context("the links' thread")?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}
