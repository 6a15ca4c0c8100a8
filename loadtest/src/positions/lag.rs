//! Replicas that are late: on each of them replay stops for up to five seconds and then goes on, at random.
use std::time::Duration;

use anyhow::{Context, Result};
use rand::RngExt as _;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::world::{Jurisdiction, World};

const LONGEST: Duration = Duration::from_secs(5);
/// Replay goes on for up to so long between two stops.
const BETWEEN: Duration = Duration::from_millis(800);

/// The replicas' tasks. With its drop replay may stay stopped.
pub(super) struct Lag {
    over: watch::Sender<bool>,
    replicas: JoinSet<Result<Vec<Duration>>>,
}

/// Begins on every replica of the jurisdiction.
pub(super) async fn start(world: &World, jurisdiction: Jurisdiction) -> Result<Lag> {
    let (over, ended) = watch::channel(false);
    let mut replicas = JoinSet::new();
    for &replica in jurisdiction.replicas() {
        let sql = world.sql(replica, jurisdiction).await?;
        let mut ended = ended.clone();
        replicas.spawn_local(async move {
            let mut stops = Vec::new();
            while !*ended.borrow() {
                let (stop, pause) = {
                    let mut random = rand::rng();
                    (LONGEST.mul_f64(random.random()), BETWEEN.mul_f64(random.random()))
                };
                sql.batch_execute("SELECT pg_wal_replay_pause()").await.context("stopping replay")?;
                // Either its time is over, or all is.
                let _ = timeout(stop, ended.changed()).await;
                sql.batch_execute("SELECT pg_wal_replay_resume()").await.context("resuming replay")?;
                stops.push(stop);
                let _ = timeout(pause, ended.changed()).await;
            }
            Ok(stops)
        });
    }
    Ok(Lag { over, replicas })
}

impl Lag {
    /// Lets every replica go on; how long each had stopped, time by time.
    pub(super) async fn stop(mut self) -> Result<Vec<Duration>> {
        self.over.send_replace(true);
        let mut all = Vec::new();
        while let Some(stops) = self.replicas.join_next().await {
            all.extend(stops.context("a replica's task")??);
        }
        Ok(all)
    }
}
