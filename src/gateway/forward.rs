//! From a located request to an answer: decide, send, and decide again when the chosen region took nothing.

use std::rc::Rc;

use http::header::{HeaderValue, UPGRADE};
use http::{Response, StatusCode};

use super::body::ResponseBody;
use super::exchange::{Answer, Upgrade, strip_response};
use super::headers;
use super::problem::Problem;
use super::record::Record;
use super::tunnel::Tunnel;
use super::worker::{Generation, Worker};
use crate::clock;
use crate::domain::decide::{
    Access, Basis, Database, Decision, Enforced, Entry, Location, Permit, Question, Reads, decide,
};
use crate::domain::names::{JurisdictionId, RegionSet};
use crate::telemetry;
use crate::upstream::{FaultKind, Outgoing, SendFault};

/// Everything that is known when a request is ready to be decided about.
pub struct Forwarding<'a> {
    pub worker: &'a Worker,
    pub generation: &'a Rc<Generation>,
    pub entry: Entry,
    pub access: Access,
    pub location: Location,
    pub subject: Option<HeaderValue>,
}

impl Forwarding<'_> {
    /// Decides and sends. A region that took nothing of the request is left out of the next decision, so this ends after
    /// as many turns as there are regions.
    pub async fn run(
        &self,
        record: &mut Record,
        request: &mut Outgoing,
    ) -> Result<Response<ResponseBody>, Problem> {
        let mut unreachable = RegionSet::EMPTY;
        loop {
            let permit = self.prepare(record, unreachable, request)?;
            let sent_at = clock::now();
            match self.generation.upstreams.send(&permit, &self.worker.clock, request).await {
                Ok(mut response) => {
                    record.upstream = Some(sent_at.elapsed());
                    self.finish_head(&permit, response.headers_mut());
                    return Ok(response.map(ResponseBody::upstream));
                }
                Err(fault) => unreachable = self.failed(&permit, fault, request, unreachable)?,
            }
        }
    }

    /// The same for a request that asks for an upgrade.
    pub async fn run_upgrade(
        &self,
        record: &mut Record,
        request: &mut Outgoing,
        (protocol, downstream): Upgrade,
    ) -> Result<Answer, Problem> {
        let mut unreachable = RegionSet::EMPTY;
        loop {
            let permit = self.prepare(record, unreachable, request)?;
            if let Some(request) = request {
                headers::restore_upgrade(request.headers_mut(), protocol.clone());
            }
            let sent_at = clock::now();
            match self.generation.upstreams.send_for_upgrade(&permit, &self.worker.clock, request).await {
                Ok(response) => {
                    record.upstream = Some(sent_at.elapsed());
                    return Ok(self.upgraded(&permit, record, response, (protocol, downstream)));
                }
                Err(fault) => unreachable = self.failed(&permit, fault, request, unreachable)?,
            }
        }
    }

    fn prepare(
        &self,
        record: &mut Record,
        unreachable: RegionSet,
        request: &mut Outgoing,
    ) -> Result<Permit, Problem> {
        let permit = self.permit(record, unreachable)?;
        if let Some(request) = request {
            self.address(&permit, !unreachable.is_empty(), request.headers_mut());
        }
        Ok(permit)
    }

    /// What to do about a request that got no answer: nothing but to say so, unless none of it was sent.
    fn failed(
        &self,
        permit: &Permit,
        SendFault(kind): SendFault,
        request: &Outgoing,
        unreachable: RegionSet,
    ) -> Result<RegionSet, Problem> {
        let region = self.generation.settings.config.topology.region_name(permit.destination());
        tracing::warn!(region, kind = kind.label(), "request not answered");
        match kind {
            FaultKind::Exhausted => Err(Problem::Overloaded),
            _ if request.is_none() => Err(Problem::UpstreamFailed),
            _ => Ok(unreachable.with(permit.destination())),
        }
    }

    fn permit(&self, record: &mut Record, unreachable: RegionSet) -> Result<Permit, Problem> {
        let settings = &self.generation.settings;
        let question = Question {
            at: settings.config.region,
            entry: self.entry,
            location: self.location,
            access: self.access,
            reads: Reads::Nearest,
            unreachable,
        };
        if let Location::Jurisdiction(jurisdiction) = self.location {
            record.jurisdiction = Some(jurisdiction);
        }
        let permit = match decide(&settings.config.topology, &settings.liveness.load(), &question) {
            Decision::Forward(permit) => permit,
            Decision::Refuse(refusal) => return Err(Problem::Refused(refusal)),
        };
        // Only what is bound to this region whatever happens gets a permit to it a second time.
        if unreachable.contains(permit.destination()) {
            return Err(Problem::UpstreamUnavailable);
        }
        record.served_by = Some(permit.destination());
        record.decision = match permit.basis() {
            Basis::Observed(would) => {
                record.code = match would {
                    Enforced::SameRegion => None,
                    Enforced::OtherRegion(_) => Some("other-region"),
                    Enforced::Refused(refusal) => Some(refusal.code()),
                };
                if record.code.is_some() && unreachable.is_empty() {
                    self.generation.metrics.unlawful_observed(record.jurisdiction.map(JurisdictionId::index));
                }
                telemetry::Decision::Observed
            }
            _ if permit.leaves_region() => telemetry::Decision::Hop,
            _ => telemetry::Decision::Local,
        };
        Ok(permit)
    }

    /// Tells the next one what was decided: an API gets the decision, another gateway only who sends it.
    fn address(&self, permit: &Permit, again: bool, headers: &mut http::HeaderMap) {
        let names = &self.generation.names;
        let own = self.generation.settings.config.region;
        if permit.leaves_region() {
            headers.insert(headers::HOP, names.region(own));
            return;
        }
        if again {
            headers.remove(headers::HOP);
        }
        headers.insert(headers::SERVED_BY, names.region(own));
        headers.insert(headers::ACCESS, HeaderValue::from_static(access_name(permit.access())));
        if let Some(jurisdiction) = permit.jurisdiction() {
            headers.insert(headers::JURISDICTION, names.jurisdiction(jurisdiction));
        }
        if let Some(database) = permit.database() {
            headers.insert(headers::DATABASE, HeaderValue::from_static(database_name(database)));
        }
        if let Some(subject) = &self.subject {
            headers.insert(headers::SUBJECT, subject.clone());
        }
        if matches!(permit.basis(), Basis::Observed(_)) {
            headers.insert(headers::MODE, HeaderValue::from_static("observe"));
        }
        if let Some(signer) = &self.generation.signer {
            let signature = signer.sign(self.worker.clock.unix_seconds(), headers);
            headers.insert(headers::SIGNATURE, signature);
        }
    }

    /// Makes an upstream's answer fit for the client.
    fn finish_head(&self, permit: &Permit, headers: &mut http::HeaderMap) {
        strip_response(headers, permit.leaves_region());
        if !permit.leaves_region() {
            headers.insert(headers::SERVED_BY, self.generation.names.region(permit.destination()));
        }
    }

    fn upgraded(
        &self,
        permit: &Permit,
        record: &mut Record,
        mut response: Response<hyper::body::Incoming>,
        (protocol, downstream): Upgrade,
    ) -> Answer {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            self.finish_head(permit, response.headers_mut());
            return Answer::Plain(response.map(ResponseBody::unpooled));
        }
        let upstream = hyper::upgrade::on(&mut response);
        let granted = response.headers().get(UPGRADE).cloned().unwrap_or(protocol);
        self.finish_head(permit, response.headers_mut());
        headers::restore_upgrade(response.headers_mut(), granted);
        record.protocol = telemetry::Protocol::WebSocket;
        let idle = self.generation.settings.config.timeouts.stream_idle;
        let tunnel = Tunnel { downstream, upstream, idle };
        Answer::Upgraded(response.map(|_| ResponseBody::empty()), Box::new(tunnel))
    }
}

pub const fn access_name(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
    }
}

pub const fn database_name(database: Database) -> &'static str {
    match database {
        Database::Primary => "primary",
        Database::Replica => "replica",
    }
}
