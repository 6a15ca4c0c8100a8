//! One HTTP/1.1 connection to an upstream, driven by whoever holds it.
//!
//! hyper splits a client connection into a handle and a driver meant for a task of its own. Here both stay together and the
//! exchange's task polls the driver itself: an answer wakes the task that waits for it directly, with no second task between.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection as Driver, SendRequest};
use hyper_util::rt::TokioIo;

use super::body::RequestBody;
use super::io::UpstreamIo;
use super::{FaultKind, Outgoing, SendFault};

/// The driver ended while an answer was still due.
#[derive(Debug, thiserror::Error)]
#[error("the upstream's connection ended early")]
pub struct ProtocolFault;

pub(super) struct Connection {
    handle: SendRequest<RequestBody>,
    driver: Driver<TokioIo<UpstreamIo>, RequestBody>,
}

impl Connection {
    pub(super) async fn start(io: UpstreamIo) -> Result<Self, FaultKind> {
        let (handle, driver) =
            Builder::new().handshake(TokioIo::new(io)).await.map_err(|_| FaultKind::Connect)?;
        Ok(Self { handle, driver })
    }

    /// Lets the connection do what it can. Ready when it has ended.
    pub(super) fn poll_drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.driver).poll(context).map(|_| ())
    }

    /// Ready for a request, as of this poll: neither ended nor still busy with the exchange before.
    pub(super) fn poll_usable(&mut self, context: &mut Context<'_>) -> bool {
        self.poll_drive(context).is_pending() && self.handle.is_ready()
    }

    /// Sends the request and waits for the response's head.
    pub(super) async fn exchange(&mut self, request: &mut Outgoing) -> Result<Response<Incoming>, SendFault> {
        let message = request.take().expect("whoever sends a request has one");
        let mut answer = pin!(self.handle.try_send_request(message));
        let driver = &mut self.driver;
        let mut ended = false;
        poll_fn(|context| {
            if !ended {
                ended = Pin::new(&mut *driver).poll(context).is_ready();
            }
            answer.as_mut().poll(context)
        })
        .await
        .map_err(|mut error| {
            *request = error.take_message();
            fault_of(error.error())
        })
    }
}

/// Sends a request on a connection that may stop being HTTP. The driver gets a task of its own: it must outlive the exchange.
pub(super) async fn exchange_for_upgrade(
    io: UpstreamIo,
    request: &mut Outgoing,
) -> Result<Response<Incoming>, SendFault> {
    let (mut handle, driver) =
        Builder::new().handshake(TokioIo::new(io)).await.map_err(|_| SendFault(FaultKind::Connect))?;
    tokio::task::spawn_local(driver.with_upgrades());
    let message = request.take().expect("whoever sends a request has one");
    let response = handle.send_request(message).await.map_err(|error| fault_of(&error))?;
    if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
        // The handle's end would end the driver, and with it a body that is still to come.
        tokio::task::spawn_local(async move { handle.ready().await });
    }
    Ok(response)
}

fn fault_of(error: &hyper::Error) -> SendFault {
    SendFault(if error.is_parse() { FaultKind::Protocol } else { FaultKind::Closed })
}
