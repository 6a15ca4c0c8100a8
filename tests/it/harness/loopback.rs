//! Addresses to listen on. The gateway takes no port 0, so a port must be free before it starts.
//!
//! Each test process has a loopback address of its own, made from its process id, and counts ports upwards on it: no two
//! tests, and no two test runs on one machine, can meet. Ports stay below the kernel's ephemeral range, and the addresses
//! above those of the worlds.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

static NEXT_PORT: AtomicU16 = AtomicU16::new(20_000);

/// This process's own address.
fn address() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + (high & 63), middle, low)
}

/// An address on which nobody listens yet, and nobody else will.
pub fn vacant() -> SocketAddr {
    let port = NEXT_PORT.fetch_add(1, Relaxed);
    assert!(port < 32_000, "one run uses fewer ports than there are below the ephemeral ones");
    SocketAddr::from((address(), port))
}
