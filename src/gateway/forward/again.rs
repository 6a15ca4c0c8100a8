//! Requests that are sent a second time because of what was answered: at the home, since the API at a replica found that it has
//! to write; elsewhere, since another gateway knows better where the subject is.

use bytes::Bytes;
use http::StatusCode;

use super::Forwarding;
use crate::domain::decide::{Database, Decision, Entry, Permit, Refusal};
use crate::domain::names::RegionSet;
use crate::domain::replay::{Answered as AskedAgain, is_safe};
use crate::gateway::headers;
use crate::gateway::peek::{self, Read};
use crate::gateway::problem::Problem;
use crate::gateway::record::Record;
use crate::gateway::reply::Reply;
use crate::http1::{Length, RequestHead};
use crate::upstream::{Request, RequestBody, Response};

/// A request that may have to be sent again.
pub(super) struct Kept {
    head: Box<RequestHead>,
    body: Bytes,
}

impl Kept {
    /// Of a request without a body.
    pub(super) fn without_body(request: &Request) -> Self {
        Self { head: request.head.clone(), body: Bytes::new() }
    }

    pub(super) fn request(&self) -> Request {
        Request { head: self.head.clone(), body: RequestBody::full(self.body.clone()) }
    }
}

impl Forwarding<'_> {
    /// The answer may be that the request must be sent again, at the home: a read that goes to a replica.
    pub(super) fn may_be_replayed(&self, permit: &Permit, request: &Request) -> bool {
        let is_read_elsewhere =
            permit.database() == Some(Database::Replica) && is_safe(request.head.method.as_str());
        let may_be_behind =
            || self.own_writes.as_ref().is_some_and(|own| own.may_be_sent_again(self.known.access));
        self.known.entry == Entry::Edge
            && (is_read_elsewhere || may_be_behind() || self.may_be_misdirected(permit, request))
    }

    /// The gateway of another region, and not its API, says that it may not serve this: by a newer generation, or an older one.
    pub(super) fn is_misdirected(&self, permit: &Permit, response: &Response) -> bool {
        permit.leaves_region()
            && self.known.is_known_to_registers()
            && response.head.status == StatusCode::MISDIRECTED_REQUEST
            && response.head.fields.named(headers::GENERATION).next().is_some()
    }

    /// Another gateway may know better where the subject is. Nobody waits for a body that won't be kept.
    fn may_be_misdirected(&self, permit: &Permit, request: &Request) -> bool {
        let most = self.generation.settings.config.limits.replay_bytes as u64;
        let is_short = match request.head.length {
            Length::None => true,
            Length::Exact(bytes) => bytes <= most,
            Length::Chunked | Length::UntilClose => false,
        };
        permit.leaves_region() && self.known.is_known_to_registers() && is_short
    }

    /// A copy of the request. With more of a body than may be kept there is none, and an answer that asks for a replay is the
    /// client's.
    pub(super) async fn keep_for_replay(&self, request: &mut Request) -> Result<Option<Box<Kept>>, Problem> {
        let head = request.head.clone();
        let limit = self.generation.settings.config.limits.replay_bytes;
        Ok(match peek::read_up_to(&mut request.body, limit).await? {
            Read::Whole(body) => Some(Box::new(Kept { head, body })),
            Read::Part => None,
        })
    }

    /// The API at a replica has found that the request has to write after all.
    pub(super) async fn replay(
        &self,
        record: &mut Record,
        permit: &Permit,
        kept: Box<Kept>,
        response: Response,
    ) -> Result<Reply, Problem> {
        let settings = &self.generation.settings;
        let question = self.question(RegionSet::EMPTY);
        let asked =
            AskedAgain { question: &question, permit, method: kept.head.method.as_str(), is_replay: false };
        let again = match asked.replay(&settings.config.topology, &settings.liveness.load()) {
            Err(_) => return Ok(self.reply(permit, response)),
            Ok(Decision::Refuse(refusal)) => return Err(Problem::Refused(refusal)),
            Ok(Decision::Hold) => return Err(Problem::Refused(Refusal::SubjectMoving)),
            Ok(Decision::Forward(again)) => again,
        };
        drop(response);
        record.access = again.access();
        Self::note(record, &again);
        let mut request = kept.request();
        if again.leaves_region() {
            request.head.fields.add(headers::REPLAY, b"home");
        }
        let mut outgoing = Some(request);
        match self.send(record, &again, &mut outgoing, RegionSet::EMPTY).await {
            Ok(response) => Ok(self.reply(&again, response)),
            Err(fault) => {
                self.failed(&again, fault, &outgoing, RegionSet::EMPTY)?;
                Err(Problem::UpstreamUnavailable)
            }
        }
    }
}

pub(super) fn asks_for_replay(response: &Response) -> bool {
    response.head.fields.named(headers::REPLAY).any(|value| value.eq_ignore_ascii_case(b"home"))
}
