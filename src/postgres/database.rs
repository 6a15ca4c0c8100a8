//! One database and a small pool of connections to it.

use std::{future::Future, pin::Pin, time::Duration};

use deadpool_postgres::{Client, Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio::{sync::watch, task::JoinHandle};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{DatabaseFault, fault::describe, tls, url::DatabaseUrl};

/// Bounds on what one gateway asks of one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at most. The monitor holds one; the other is for probes.
    pub connections: usize,
    /// From the look-up of the name to the session's first answer; also the longest wait for a free connection.
    pub connect_timeout: Duration,
    /// What the server allows each statement; set on the session.
    pub statement_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2,
            connect_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(1),
        }
    }
}

/// A database of this region. Cheap to clone; clones share the pool.
#[derive(Debug, Clone)]
pub struct Database {
    address: String,
    limits: Limits,
    pool: Pool,
    ended: watch::Receiver<()>,
}

impl Database {
    /// Prepares the pool and reads the certificates the URL names; connects to nothing yet.
    pub fn open(url: &DatabaseUrl, limits: Limits) -> Result<Self, DatabaseFault> {
        let (ended_sender, ended) = watch::channel(());
        let connect =
            Connector { tls: MakeRustlsConnect::new(tls::client_config(url)?), ended: ended_sender };
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(session_config(url, limits), connect, manager_config);
        let pool = Pool::builder(manager)
            .max_size(limits.connections)
            .wait_timeout(Some(limits.connect_timeout))
            .create_timeout(Some(limits.connect_timeout))
            .recycle_timeout(Some(limits.connect_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .expect("timeouts have their runtime, the only thing checked");
        Ok(Self { address: url.address().to_owned(), limits, pool, ended })
    }

    /// Host, port and database name.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A connection of the pool.
    pub async fn client(&self) -> Result<Client, DatabaseFault> {
        let client = self.pool.get().await;
        client.map_err(|error| DatabaseFault::pool(&self.address, self.limits.connect_timeout, error))
    }

    /// Changes whenever any connection of the pool has ended by itself.
    pub(super) fn ended(&self) -> watch::Receiver<()> {
        self.ended.clone()
    }
}

/// What the URL says, and on top this program's name and statement timeout, both of which the URL may override.
pub(super) fn session_config(url: &DatabaseUrl, limits: Limits) -> tokio_postgres::Config {
    let mut config = url.config.clone();
    if config.get_application_name().is_none() {
        config.application_name("residency-gateway");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(limits.connect_timeout);
    }
    // Later options win.
    let own = format!("-c statement_timeout={}", limits.statement_timeout.as_millis());
    config.options(match url.config.get_options() {
        Some(given) => format!("{own} {given}"),
        None => own,
    });
    config
}

/// Opens connections, and tells when one has ended: the pool would find out only on its next use.
struct Connector {
    tls: MakeRustlsConnect,
    ended: watch::Sender<()>,
}

type Connected = Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>;

impl Connect for Connector {
    fn connect(
        &self,
        config: &tokio_postgres::Config,
    ) -> Pin<Box<dyn Future<Output = Connected> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move {
            let (client, connection) = config.connect(self.tls.clone()).await?;
            let ended = self.ended.clone();
            // The pool owns this task: it is aborted with the connection it drives.
            let task = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(reason = describe(&error), "database connection ended");
                }
                ended.send_replace(());
            });
            Ok((client, task))
        })
    }
}
