//! One HTTP/1.1 connection to an upstream, driven by whoever holds it.
//!
//! hyper splits a client connection into a handle and a driver meant for a task of its own. Here both stay together and the
//! exchange's task polls the driver itself: an answer wakes the task that waits for it directly, with no second task between,
//! and a [`Gate`] keeps handle and driver from waking it for each other.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use http::Response;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{Builder, Connection as Driver, SendRequest};
use hyper_util::rt::TokioIo;

use super::body::RequestBody;
use super::gate::Gate;
use super::io::UpstreamIo;
use super::{FaultKind, Outgoing, SendFault};

/// The driver ended while an answer was still due.
#[derive(Debug, thiserror::Error)]
#[error("the upstream's connection ended early")]
pub struct EndedEarly;

pub(super) struct Connection {
    handle: SendRequest<RequestBody>,
    driver: Driver<TokioIo<UpstreamIo>, RequestBody>,
    gate: Gate,
    /// The driver is done and must not be polled again.
    ended: bool,
}

type PolledFrame = Poll<Option<Result<Frame<bytes::Bytes>, Box<dyn std::error::Error + Send + Sync>>>>;

impl Connection {
    pub(super) async fn start(io: UpstreamIo) -> Result<Self, FaultKind> {
        let (handle, driver) =
            Builder::new().handshake(TokioIo::new(io)).await.map_err(|_| FaultKind::Connect)?;
        Ok(Self { handle, driver, gate: Gate::default(), ended: false })
    }

    /// Ready for a request, as of now: neither ended nor still busy with the exchange before.
    pub(super) fn is_usable(&mut self) -> bool {
        if !self.ended {
            let driver = Pin::new(&mut self.driver);
            let (polled, _) = self.gate.within(|waker| driver.poll(&mut Context::from_waker(waker)));
            self.ended = polled.is_ready();
        }
        !self.ended && self.handle.is_ready()
    }

    /// Sends the request and waits for the response's head.
    pub(super) async fn exchange(&mut self, request: &mut Outgoing) -> Result<Response<Incoming>, SendFault> {
        let message = request.take().expect("whoever sends a request has one");
        let Self { handle, driver, gate, ended } = self;
        let (answer, _) = gate.within(|_| handle.try_send_request(message));
        let mut answer = pin!(answer);
        poll_fn(|context| {
            gate.poll(context, |context| {
                if !*ended {
                    *ended = Pin::new(&mut *driver).poll(context).is_ready();
                }
                answer.as_mut().poll(context)
            })
        })
        .await
        .map_err(|mut error| {
            *request = error.take_message();
            fault_of(error.error())
        })
    }

    /// The next frame of the response that `incoming` is the body of.
    pub(super) fn poll_frame(&mut self, incoming: &mut Incoming, context: &mut Context<'_>) -> PolledFrame {
        let Self { driver, gate, ended, .. } = self;
        gate.poll(context, |context| {
            // A short body has come with the head: then there is nothing to drive for.
            let mut polled = Pin::new(&mut *incoming).poll_frame(context);
            if polled.is_pending() && !*ended {
                *ended = Pin::new(&mut *driver).poll(context).is_ready();
                polled = Pin::new(&mut *incoming).poll_frame(context);
            }
            match polled {
                Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
                // A driver that has ended wakes nobody any more.
                Poll::Pending if *ended => Poll::Ready(Some(Err(EndedEarly.into()))),
                Poll::Pending => Poll::Pending,
            }
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
