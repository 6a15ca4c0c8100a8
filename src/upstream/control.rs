//! Asking another region's gateway for its state: a GET without a body, which can't carry a subject's request.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Limited};

use super::Request;
use super::body::RequestBody;
use super::endpoint::{Counted, Limits, Target};
use super::io::Dial;
use crate::clock::CoarseClock;
use crate::config::Endpoint;
use crate::http1::RequestHead;
use crate::telemetry::WorkerMetrics;

/// More than any state is long.
const MOST_BYTES: usize = 256 * 1024;

/// A way to one gateway's control paths, with connections of its own.
pub struct ControlLink {
    target: Rc<Target>,
    clock: CoarseClock,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlFault {
    #[error("no answer: {0}")]
    Unreachable(&'static str),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("the answer broke off or is too long")]
    Body,
}

impl ControlLink {
    /// `metrics` counts its connections, for `region`.
    pub fn new(
        endpoint: Endpoint,
        dial: Dial,
        limits: Limits,
        metrics: &Arc<WorkerMetrics>,
        region: usize,
    ) -> Self {
        let counted = Counted { metrics: Arc::clone(metrics), region };
        Self {
            target: Rc::new(Target::new(endpoint, dial, limits, counted, &Arc::default())),
            clock: CoarseClock::default(),
        }
    }

    /// The body of a successful answer.
    pub async fn get(&self, path: &'static str) -> Result<Bytes, ControlFault> {
        self.clock.advance();
        let request =
            Request { head: Box::new(RequestHead::get(path, "gateway")), body: RequestBody::default() };
        let response = self
            .target
            .exchange(&self.clock, &mut Some(request))
            .await
            .map_err(|fault| ControlFault::Unreachable(fault.0.label()))?;
        if response.head.status != StatusCode::OK {
            return Err(ControlFault::Status(response.head.status));
        }
        let body = Limited::new(response.body, MOST_BYTES).collect().await.map_err(|_| ControlFault::Body)?;
        Ok(body.to_bytes())
    }

    /// Closes connections that were idle too long.
    pub fn sweep(&self) {
        self.clock.advance();
        self.target.sweep(self.clock.now());
    }
}
