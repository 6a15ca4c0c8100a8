//! A session of one's own to one database, which can also be told things: LISTEN needs a connection that stays.
//!
//! Invariants
//! - Nothing waits without a deadline; a session that once was silent is not used again.
//! - What is told and not fetched is bounded. When it was too much, the oldest is kept and [`Subscription::missed`] says so:
//!   the listener then has to look for itself.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_postgres::{
    AsyncMessage, Row,
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{DatabaseFault, Limits, database::session_config, fault::describe, tls, url::DatabaseUrl};

/// Notifications that may wait to be fetched.
const WAITING: usize = 4096;

/// A session and what it is told. Dropping it ends the session.
#[derive(Debug)]
pub struct Subscription {
    address: String,
    client: tokio_postgres::Client,
    notifications: mpsc::Receiver<Told>,
    missed: Arc<AtomicBool>,
    /// Drives the connection; aborted with this.
    _connection: JoinSet<()>,
}

/// One notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub channel: String,
    pub payload: String,
}

impl Subscription {
    /// Connects, and is then ready to be asked and told.
    pub async fn connect(url: &DatabaseUrl, limits: Limits) -> Result<Self, DatabaseFault> {
        let address = url.address().to_owned();
        let tls = MakeRustlsConnect::new(tls::client_config(url)?);
        let config = session_config(url, limits);
        let (client, mut connection) = match timeout(limits.connect_timeout, config.connect(tls)).await {
            Err(_) => return Err(DatabaseFault::Silent { address, after: limits.connect_timeout }),
            Ok(Err(error)) => return Err(DatabaseFault::Connect { address, reason: describe(&error) }),
            Ok(Ok(connected)) => connected,
        };
        let (sender, notifications) = mpsc::channel(WAITING);
        let missed = Arc::new(AtomicBool::new(false));
        let overflow = Arc::clone(&missed);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                match poll_fn(|context| connection.poll_message(context)).await {
                    Some(Ok(AsyncMessage::Notification(told))) => {
                        let told =
                            Told { channel: told.channel().to_owned(), payload: told.payload().to_owned() };
                        if sender.try_send(told).is_err() {
                            overflow.store(true, Ordering::Relaxed);
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        tracing::debug!(reason = describe(&error), "database connection ended");
                        break;
                    }
                    None => break,
                }
            }
        });
        Ok(Self { address, client, notifications, missed, _connection: task })
    }

    /// Host, port and database name.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks one question, in one round trip.
    pub async fn ask(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
        deadline: Duration,
    ) -> Result<Vec<Row>, DatabaseFault> {
        match timeout(deadline, self.client.query_typed(sql, parameters)).await {
            Err(_) => Err(DatabaseFault::Silent { address: self.address.clone(), after: deadline }),
            Ok(Err(error)) => Err(self.fault(&error)),
            Ok(Ok(rows)) => Ok(rows),
        }
    }

    /// Runs statements that answer nothing.
    pub async fn run(&self, sql: &str, deadline: Duration) -> Result<(), DatabaseFault> {
        match timeout(deadline, self.client.batch_execute(sql)).await {
            Err(_) => Err(DatabaseFault::Silent { address: self.address.clone(), after: deadline }),
            Ok(Err(error)) => Err(self.fault(&error)),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// The next notification; `None` when the session has ended.
    pub async fn told(&mut self) -> Option<Told> {
        self.notifications.recv().await
    }

    /// A notification that is there already.
    pub fn told_already(&mut self) -> Option<Told> {
        self.notifications.try_recv().ok()
    }

    /// Whether notifications were lost since this was last asked.
    pub fn missed(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }

    fn fault(&self, error: &tokio_postgres::Error) -> DatabaseFault {
        DatabaseFault::query(&self.address, error)
    }
}
