//! A connection to one of the world's databases.
use std::{ops::Deref, time::Duration};

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

const CONNECT: Duration = Duration::from_secs(5);

/// An open session; closed when dropped.
pub struct Sql {
    client: Client,
    driver: JoinHandle<()>,
}

impl Sql {
    /// Connects to a libpq URL.
    pub async fn connect(url: &str) -> Result<Self> {
        let connecting = tokio::time::timeout(CONNECT, tokio_postgres::connect(url, NoTls));
        let (client, connection) = connecting.await.context("connecting to Postgres took over 5 s")??;
        let driver = tokio::spawn(async move {
            // Its end shows as an error of the next query.
            let _ = connection.await;
        });
        Ok(Self { client, driver })
    }
}

impl Deref for Sql {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Sql {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
