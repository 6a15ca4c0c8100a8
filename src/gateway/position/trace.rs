//! What is kept with an exchange until its answer is sent: the write that is under way, and what the client is given.

use std::fmt;
use std::sync::Arc;

use super::Positions;
use crate::domain::decide::Entry;
use crate::domain::position::{InFlight, Memory, Pin, Slot};
use crate::gateway::headers::POSITION;
use crate::http1::Fields;
use crate::telemetry::{PositionEvent, WorkerMetrics};

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const EXPOSE_HEADERS: &str = "access-control-expose-headers";

/// Part of an exchange's record.
#[derive(Debug, Default)]
pub struct Trace {
    pub(super) write: Option<Box<WriteUnderWay>>,
    /// The token that the client gets, sealed.
    pub(super) give: Option<String>,
}

/// A write from the moment it sets out. Dropped without an answer it is lost: remembered as something that may still happen.
pub struct WriteUnderWay {
    memory: Arc<Memory>,
    slot: Option<Slot>,
    in_flight: Option<InFlight>,
    is_answered: bool,
    /// What the client gets when there is no answer.
    pin: String,
}

impl Trace {
    /// Nothing of the request was sent: it can't have changed anything.
    pub fn unsent(&mut self) {
        if let Some(mut write) = self.write.take() {
            write.is_answered = true;
        }
    }
}

impl Positions {
    /// Adds to an answer what its client has to keep. `secure`: the client came by TLS.
    pub fn attach(
        &self,
        trace: &mut Trace,
        entry: Entry,
        secure: bool,
        fields: &mut Fields,
        metrics: &WorkerMetrics,
    ) {
        if let Some(lost) = trace.write.take_if(|write| !write.is_answered) {
            metrics.position(PositionEvent::Lost);
            trace.give = Some(lost.pin.clone());
        }
        let Some(token) = trace.give.take() else { return };
        fields.add(POSITION, token.as_bytes());
        if entry == Entry::Hop {
            return;
        }
        if let Some(cookie) = &self.cookie {
            let secure = if secure { "; Secure" } else { "" };
            let line = format!("{}={token}{}{secure}", cookie.name, cookie.attributes);
            fields.add("set-cookie", line.as_bytes());
        }
        expose(fields);
    }
}

/// Lets the script read the header that may read the rest of the answer.
fn expose(fields: &mut Fields) {
    if fields.named(ALLOW_ORIGIN).next().is_none() {
        return;
    }
    let mut exposed: Vec<u8> = Vec::new();
    for line in fields.named(EXPOSE_HEADERS) {
        if line
            .split(|byte| *byte == b',')
            .any(|name| name.trim_ascii().eq_ignore_ascii_case(POSITION.as_bytes()))
        {
            return;
        }
        exposed.extend_from_slice(line);
        exposed.extend_from_slice(b", ");
    }
    exposed.extend_from_slice(POSITION.as_bytes());
    fields.replace(EXPOSE_HEADERS, &exposed);
}

impl WriteUnderWay {
    pub(super) fn new(
        memory: Arc<Memory>,
        slot: Option<Slot>,
        in_flight: Option<InFlight>,
        pin: String,
    ) -> Self {
        Self { memory, slot, in_flight, is_answered: false, pin }
    }

    pub(super) fn answered(&mut self) {
        self.is_answered = true;
    }

    /// Other writes of the slot's that are being carried out here.
    pub(super) fn others_in_flight(&self) -> u32 {
        let own = u32::from(self.in_flight.is_some());
        self.slot.map_or(0, |slot| self.memory.in_flight(slot).saturating_sub(own))
    }
}

impl Drop for WriteUnderWay {
    fn drop(&mut self) {
        if let (false, Some(slot)) = (self.is_answered, self.slot) {
            self.memory.pin(slot, Pin::Lost);
        }
    }
}

impl fmt::Debug for WriteUnderWay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WriteUnderWay")
            .field("is_answered", &self.is_answered)
            .finish_non_exhaustive()
    }
}
