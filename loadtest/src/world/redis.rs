//! Redis: one server a region. Nothing is written to disk unless asked, and then uncompressed, so that a byte scan
//! of the dump finds what is in it.
use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;

use super::{
    process::{Processes, Service, Spec},
    region::{Port, Region},
};

const READY: Duration = Duration::from_secs(15);

pub(crate) fn start(root: &Path, region: Region, slot: u8, processes: &Processes) -> Result<()> {
    let directory = root.join(region.name()).join("redis");
    fs::create_dir_all(&directory)?;
    let address = Port::Redis.at(region, slot);
    let spec = Spec::new("redis-server", &directory, directory.join("server.log"))
        .args(["--bind".to_owned(), address.ip().to_string(), "--port".into(), address.port().to_string()])
        .args(["--daemonize", "no", "--protected-mode", "no", "--save", "", "--appendonly", "no"])
        .args(["--rdbcompression", "no", "--dir", ".", "--maxmemory", "64mb"]);
    processes.start(Service::Redis(region), spec)
}

pub(crate) async fn ready(region: Region, slot: u8, processes: &Processes) -> Result<()> {
    processes
        .ready(Service::Redis(region), READY, async || {
            let mut connection = connect(region, slot).await?;
            redis::cmd("PING").exec_async(&mut connection).await?;
            Ok(())
        })
        .await
}

pub(crate) async fn connect(region: Region, slot: u8) -> Result<MultiplexedConnection> {
    let url = format!("redis://{}/", Port::Redis.at(region, slot));
    redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await
        .with_context(|| format!("connecting to Redis in {region}"))
}
