//! An upgraded connection: bytes both ways until one side ends, or nothing moves for too long.

use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::record::Ending;

/// Both sides of a granted upgrade, not yet joined.
pub struct Tunnel {
    pub downstream: OnUpgrade,
    pub upstream: OnUpgrade,
    pub idle: Duration,
}

impl Tunnel {
    /// Joins the sides on a task of its own. The exchange ends with the tunnel.
    pub fn start(self, ending: Ending) {
        tokio::task::spawn_local(async move {
            let metrics = ending.metrics();
            metrics.websocket_opened();
            if let Err(error) = self.run(&ending).await {
                tracing::debug!(%error, "tunnel ended");
            }
            metrics.websocket_closed();
            drop(ending);
        });
    }

    async fn run(self, ending: &Ending) -> Result<(), Box<dyn std::error::Error>> {
        // The client's half is there once the answer's head is written.
        let (downstream, upstream) = tokio::try_join!(self.downstream, self.upstream)?;
        let (mut downstream, mut upstream) = (TokioIo::new(downstream), TokioIo::new(upstream));
        let copy = copy_bidirectional(&mut downstream, &mut upstream);
        let mut copy = std::pin::pin!(copy);
        let mut look = tokio::time::interval(self.idle / 4);
        loop {
            tokio::select! {
                done = &mut copy => return done.map(|_| ()).map_err(Into::into),
                _ = look.tick() => {
                    if ending.stalled() {
                        return Err("nothing moved for too long".into());
                    }
                }
            }
        }
    }
}
