//! What every test here stands on: a gateway process, upstreams, byte-exact connections, tokens.

mod ask;
pub mod frames;
mod gateway;
mod http2;
mod internal;
mod introspection;
mod issuer;
mod loopback;
mod metrics;
mod setup;
mod upstream;
mod wire;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use ask::{Answer, Ask};
pub use gateway::Gateway;
pub use http2::{Http2, Served};
pub use internal::{Pki, certificates, client_config, connect, migrate};
pub use introspection::IntrospectionServer;
pub use issuer::{AUDIENCE, ISSUER, Key, claims, claims_with, jwks, now, unsigned};
pub use loopback::vacant;
pub use metrics::Metrics;
pub use setup::Setup;
pub use upstream::{Peer, Seen, Upstream};
pub use wire::{Head, Wire};

/// Ends a test whose condition never comes true. No test waits this long while all is well.
pub const PATIENCE: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(10);

/// Polls until there is something; the last complaint is quoted when there never is.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt().await {
            Ok(found) => return found,
            Err(complaint) => {
                assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}; at last: {complaint}");
            }
        }
        sleep(POLL).await;
    }
}

/// Waits for a thing that must happen.
pub async fn within<T>(what: &str, happening: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(PATIENCE, happening).await;
    happened.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// `Ok` when it holds, for [`eventually`].
pub fn holds(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise()) }
}
