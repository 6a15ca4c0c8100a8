//! Where a contender finds the upstream.
use std::net::SocketAddr;
use std::path::PathBuf;

/// The upstream's address, of which there are two forms.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Tcp(SocketAddr),
    Unix(PathBuf),
}
