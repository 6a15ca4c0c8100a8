//! What can be compared, each by itself if one likes: `--scenario idle`.

use clap::ValueEnum;

/// One comparison. They share contenders, which take one turn a round however many comparisons need them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Scenario {
    /// Small requests over kept connections: CPU time, and p99 at saturation.
    Requests,
    /// The same with the upstream on a Unix socket.
    Unix,
    /// HTTP/1.1 over TLS, kept connections.
    Https,
    /// HTTP/2 over TLS, several streams a connection.
    Http2,
    /// A new TLS connection for each request.
    Handshakes,
    /// Bodies of 1 MiB, down and up.
    Bodies,
    /// Memory for connections that rest.
    Idle,
    /// Two workers against one.
    Workers,
}

impl Scenario {
    /// All of them.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }
}
