//! An endpoint that speaks HTTP/2 by prior knowledge (RFC 9113 section 3.3): gRPC servers do. One connection a worker carries
//! all its requests; it is opened with the first and opened anew when it has ended.

use std::cell::RefCell;

use http::Version;
use http::header::{EXPECT, HOST, HeaderValue, TE};
use http::uri::{Authority, Scheme, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::body::RequestBody;
use super::{FaultKind, Outgoing, Request, SendFault};
use crate::http1::{RequestHead, ResponseHead, Stream};

/// What the upstream may send of one response before we have taken any of it.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// Spawns on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// The connection, while there is one.
#[derive(Default)]
pub(super) struct Link {
    sender: RefCell<Option<SendRequest<RequestBody>>>,
}

impl Link {
    /// The way onto the connection, if there is one that takes requests.
    pub(super) fn sender(&self) -> Option<SendRequest<RequestBody>> {
        self.sender.borrow().as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    /// Makes `stream` the connection. `ended` is called when it has ended.
    pub(super) async fn start(
        &self,
        stream: Stream,
        ended: impl FnOnce() + 'static,
    ) -> Result<SendRequest<RequestBody>, SendFault> {
        let (sender, driver) = Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| SendFault(FaultKind::Connect))?;
        tokio::task::spawn_local(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "upstream connection ended");
            }
            ended();
        });
        *self.sender.borrow_mut() = Some(sender.clone());
        Ok(sender)
    }

    /// Lets the connection end once its streams have.
    pub(super) fn close(&self) {
        self.sender.borrow_mut().take();
    }
}

/// Sends one request. After a fault it is still in `outgoing` if no byte of it was sent.
pub(super) async fn exchange(
    mut sender: SendRequest<RequestBody>,
    outgoing: &mut Outgoing,
) -> Result<(ResponseHead, Incoming), SendFault> {
    if sender.ready().await.is_err() {
        return Err(SendFault(FaultKind::Closed));
    }
    let Request { head, body } = outgoing.take().expect("whoever sends a request has one");
    let request = match request_of(&head, body) {
        Ok(request) => request,
        Err(body) => {
            *outgoing = Some(Request { head, body });
            return Err(SendFault(FaultKind::Protocol));
        }
    };
    match sender.try_send_request(request).await {
        Ok(response) => {
            ResponseHead::of_http2(response, &head.method).map_err(|_| SendFault(FaultKind::Protocol))
        }
        Err(mut error) => {
            *outgoing = error.take_message().map(|request| Request { head, body: request.into_body() });
            Err(SendFault(FaultKind::Closed))
        }
    }
}

/// The request in HTTP/2's terms: the host is its authority, and there is no `Host` beside it.
fn request_of(head: &RequestHead, body: RequestBody) -> Result<http::Request<RequestBody>, RequestBody> {
    let mut headers = head.fields.to_map();
    headers.remove(EXPECT);
    let host = headers.remove(HOST);
    let authority = host.as_ref().and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let Some(authority) = authority else { return Err(body) };
    let uri =
        Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(head.target.clone()).build();
    let Ok(uri) = uri else { return Err(body) };
    // The only coding of transfers that HTTP/2 knows of, and gRPC asks for it (RFC 9113 section 8.2.2).
    if head.takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    let mut request = http::Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}
