//! From a located request to an answer: decide, send, and decide again when the chosen region took nothing.

use std::rc::Rc;
use std::time::Duration;

use http::HeaderValue;

use super::body::ResponseBody;
use super::connection::Activity;
use super::exchange::Answer;
use super::headers;
use super::hold::Turn;
use super::position::{OwnWrites, Presented};
use super::presence::Busy;
use super::problem::Problem;
use super::record::Record;
use super::registers::Placement;
use super::reply::Reply;
use super::worker::{Generation, Worker};
use crate::clock;
use crate::domain::decide::{
    Access, Basis, Database, Decision, Enforced, Entry, Location, Permit, Question, Reads, Refusal, decide,
};
use crate::domain::names::{JurisdictionId, RegionSet};
use crate::domain::position::Slot;
use crate::domain::upstream_groups::UpstreamGroup;
use crate::http1::{Fields, Name, ResponseHead};
use crate::routing_table::SubjectKeys;
use crate::telemetry;
use crate::upstream::{Answered, FaultKind, Outgoing, Request, Response, SendFault};

mod again;
mod told;

use again::{Kept, asks_for_replay};
pub use told::{access_name, database_name};

/// Everything that is known when a request is ready to be decided about.
pub struct Forwarding<'a> {
    pub worker: &'a Worker,
    pub generation: &'a Rc<Generation>,
    activity: &'a Activity,
    known: Known,
    /// What the registers say of its subject, or its claim.
    pub placement: Placement,
    own_writes: Option<Box<OwnWrites>>,
    /// Once it has stood in its subject's line: until it is answered nobody behind it goes.
    turn: Option<Turn<'a>>,
}

/// What was found out about a request.
pub struct Known {
    pub entry: Entry,
    pub access: Access,
    pub reads: Reads,
    pub group: UpstreamGroup,
    pub subject: Option<HeaderValue>,
    /// Where the subject is unless a register knows better.
    pub claimed: Location,
    /// By what registers know the subject, or the identifier that the request names.
    pub keys: SubjectKeys,
    pub presented: Option<Presented>,
    pub slot: Option<Slot>,
}

impl Known {
    /// Registers may speak of it. Without registers nothing has keys.
    fn is_known_to_registers(&self) -> bool {
        !self.keys.is_empty()
    }
}

/// How long the registers have to answer a question about one subject.
const REGISTER_WAIT: Duration = Duration::from_millis(500);

impl<'a> Forwarding<'a> {
    pub fn new(
        worker: &'a Worker,
        generation: &'a Rc<Generation>,
        activity: &'a Activity,
        known: Known,
    ) -> Self {
        let placement = Placement::claimed(known.claimed);
        Self { worker, generation, activity, known, placement, own_writes: None, turn: None }
    }

    /// Looks where the subject is.
    pub fn place(&mut self) {
        let Known { keys, claimed, presented, slot, .. } = &self.known;
        if let Some(registers) = &self.generation.settings.registers
            && !keys.is_empty()
        {
            self.placement = registers.place(keys, *claimed);
        }
        if let (Some(positions), Some(presented)) = (&self.generation.settings.positions, presented) {
            let Placement { location, generation, floor, .. } = self.placement;
            self.own_writes = positions.own_writes(presented, location, *slot, generation, floor);
        }
    }

    /// Looks again, after the registers were asked.
    pub async fn ask_registers(&mut self) {
        if let Some(registers) = &self.generation.settings.registers {
            registers.refresh(REGISTER_WAIT).await;
        }
        self.place();
    }

    /// Decides and sends. A region that took nothing of the request is left out of the next decision, so this ends after
    /// as many turns as there are regions.
    pub async fn run(&mut self, record: &mut Record, mut request: Request) -> Result<Reply, Problem> {
        let mut unreachable = RegionSet::EMPTY;
        if let Some(own) = &self.own_writes {
            own.count(self.known.access, &self.generation.metrics);
        }
        let mut permit = self.permit_caught_up(record, unreachable).await?;
        let again = if self.may_be_replayed(&permit, &request) {
            Box::pin(self.keep_for_replay(&mut request)).await?
        } else {
            None
        };
        if let Some(own) = &self.own_writes
            && again.is_none()
            && own.may_be_sent_again(self.known.access)
        {
            own.only_once(self.generation.settings.config.region);
            permit = self.permit_caught_up(record, unreachable).await?;
        }
        let (mut outgoing, mut misdirected) = (Some(request), false);
        loop {
            match self.send(record, &permit, &mut outgoing, unreachable).await {
                Ok(response) if OwnWrites::is_behind(&permit, &response) => {
                    let (Some(own), Some(kept)) = (&self.own_writes, &again) else {
                        return Err(Problem::Refused(Refusal::PositionUnavailable));
                    };
                    own.left_behind(permit.destination(), &self.generation.metrics);
                    outgoing = Some(kept.request());
                }
                Ok(response) if self.is_misdirected(&permit, &response) => {
                    // Nothing of it was done there. Once, since two gateways that go on differing have no end of it.
                    record.present = None;
                    record.positions.unsent();
                    Box::pin(self.ask_registers()).await;
                    let Some(kept) = again.as_ref().filter(|_| !misdirected) else {
                        return Err(Problem::Refused(Refusal::SubjectMoving));
                    };
                    misdirected = true;
                    outgoing = Some(kept.request());
                }
                Ok(response) => {
                    if let Some(kept) = again
                        && asks_for_replay(&response)
                    {
                        return Box::pin(self.replay(record, &permit, kept, response)).await;
                    }
                    return Ok(self.reply(&permit, response));
                }
                Err(fault) => unreachable = self.failed(&permit, fault, &outgoing, unreachable)?,
            }
            permit = self.permit_caught_up(record, unreachable).await?;
        }
    }

    /// A permit for a region that has what the client has seen of its own writes, as far as can be known here.
    async fn permit_caught_up(
        &mut self,
        record: &mut Record,
        unreachable: RegionSet,
    ) -> Result<Permit, Problem> {
        loop {
            let Some(permit) = self.permit(record, unreachable)? else {
                Box::pin(self.hold(record)).await?;
                continue;
            };
            match &self.own_writes {
                Some(own) if !own.is_met(&permit) => {
                    if Box::pin(own.wait(&permit, &self.generation.metrics)).await {
                        return Ok(permit);
                    }
                    // What was taken for the home is none any more.
                    if permit.database() == Some(Database::Primary) {
                        return Err(Problem::Refused(Refusal::PositionUnavailable));
                    }
                }
                _ => return Ok(permit),
            }
        }
    }

    /// The same for a request that asks for an upgrade.
    pub async fn run_upgrade(&mut self, record: &mut Record, request: Request) -> Result<Answer, Problem> {
        // It has no body: all of it can be sent again.
        let kept = Kept::without_body(&request);
        let (mut outgoing, mut misdirected) = (Some(request), false);
        let mut unreachable = RegionSet::EMPTY;
        if let Some(own) = &self.own_writes {
            own.only_once(self.generation.settings.config.region);
        }
        loop {
            let permit = self.permit_caught_up(record, unreachable).await?;
            if let Some(request) = &mut outgoing {
                self.address(&permit, !unreachable.is_empty(), &mut request.head.fields);
                headers::restore_upgrade(&mut request.head.fields);
            }
            if let Some(own) = &self.own_writes {
                own.set_out(&permit, &mut record.positions);
            }
            let sent_at = clock::now();
            let upstreams = &self.generation.upstreams;
            let sending =
                upstreams.send_for_upgrade(&permit, self.known.group, &self.worker.clock, &mut outgoing);
            match sending.await {
                Ok(Answered::Switched(mut head, upstream)) => {
                    record.upstream = Some(sent_at.elapsed());
                    if !grants_websocket(&head.fields) {
                        return Err(Problem::UpstreamFailed);
                    }
                    if let Some(own) = &self.own_writes {
                        own.upgraded(&permit, &mut record.positions, &self.generation.metrics);
                    }
                    self.finish_head(&permit, &mut head.fields);
                    headers::restore_upgrade(&mut head.fields);
                    record.protocol = telemetry::Protocol::WebSocket;
                    self.count_open(record);
                    let reply = Reply { head, body: ResponseBody::empty(), last: false };
                    return Ok(Answer::Upgraded(reply, upstream));
                }
                Ok(Answered::Response(response)) if self.is_misdirected(&permit, &response) => {
                    if std::mem::replace(&mut misdirected, true) {
                        return Err(Problem::Refused(Refusal::SubjectMoving));
                    }
                    outgoing = Some(kept.request());
                    record.present = None;
                    record.positions.unsent();
                    Box::pin(self.ask_registers()).await;
                }
                Ok(Answered::Response(response)) => {
                    record.upstream = Some(sent_at.elapsed());
                    self.learn(record, &permit, &response).await;
                    return Ok(Answer::Plain(self.reply(&permit, response)));
                }
                Err(fault) => {
                    if outgoing.is_some() {
                        record.positions.unsent();
                    }
                    unreachable = self.failed(&permit, fault, &outgoing, unreachable)?;
                }
            }
        }
    }

    async fn send(
        &self,
        record: &mut Record,
        permit: &Permit,
        outgoing: &mut Outgoing,
        unreachable: RegionSet,
    ) -> Result<Response, SendFault> {
        if let Some(request) = outgoing {
            self.address(permit, !unreachable.is_empty(), &mut request.head.fields);
        }
        let sent_at = clock::now();
        let upstreams = &self.generation.upstreams;
        if let Some(own) = &self.own_writes {
            own.set_out(permit, &mut record.positions);
        }
        let sent = upstreams.send(permit, self.known.group, &self.worker.clock, outgoing).await;
        if outgoing.is_some() {
            record.positions.unsent();
        }
        let response = sent?;
        record.upstream = Some(sent_at.elapsed());
        if is_event_stream(&response) {
            self.count_open(record);
        }
        if response.head.status.is_server_error() {
            self.take_sign(permit, &response.head);
        }
        self.learn(record, permit, &response).await;
        Ok(response)
    }

    /// What a bad answer says of where it comes from.
    fn take_sign(&self, permit: &Permit, head: &ResponseHead) {
        let signs = &self.generation.settings.signs;
        if permit.leaves_region() {
            if matches!(head.status.as_u16(), 502..=504) {
                signs.look_at(permit.destination());
            }
        } else if let Some(jurisdiction) = permit.jurisdiction()
            && permit.database() == Some(Database::Primary)
            && head.fields.named(headers::FAULT).any(|value| value.eq_ignore_ascii_case(b"read-only"))
        {
            signs.refused_write(jurisdiction);
        }
    }

    /// Finds out what the client has to know to read its own writes.
    async fn learn(&self, record: &mut Record, permit: &Permit, response: &Response) {
        if let Some(own) = &self.own_writes
            && !own.is_unconcerned(response, &record.positions)
        {
            Box::pin(own.answered(permit, response, &mut record.positions, &self.generation.metrics)).await;
        }
    }

    fn reply(&self, permit: &Permit, mut response: Response) -> Reply {
        self.finish_head(permit, &mut response.head.fields);
        Reply { head: response.head, body: ResponseBody::upstream(response.body), last: false }
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
        match kind {
            FaultKind::Exhausted => return Err(Problem::Overloaded),
            FaultKind::Request | FaultKind::RequestMalformed => return Err(Problem::BadRequest),
            _ => tracing::warn!(region, kind = kind.label(), "request not answered"),
        }
        self.generation.settings.signs.failed(permit.destination());
        if request.is_none() && kind == FaultKind::GivenUp {
            Err(Problem::UpstreamTimeout)
        } else if request.is_none() {
            Err(Problem::UpstreamFailed)
        } else {
            Ok(unreachable.with(permit.destination()))
        }
    }

    fn question(&self, unreachable: RegionSet) -> Question {
        Question {
            at: self.generation.settings.config.region,
            entry: self.known.entry,
            location: self.placement.location,
            access: self.known.access,
            reads: if self.asks_home(self.placement.location) { Reads::Home } else { self.known.reads },
            caught_up: self.own_writes.as_ref().and_then(|own| own.caught_up()),
            unreachable,
        }
    }

    /// Waits until the subject's move has ended and it is this write's turn. Its body is not read meanwhile.
    async fn hold(&mut self, record: &mut Record) -> Result<(), Problem> {
        // What waits is not under way.
        record.present = None;
        let held = self.activity.hold();
        let metrics = &self.generation.metrics;
        let longest = self.generation.settings.config.hold.longest;
        let waited = match &mut self.turn {
            Some(turn) => turn.again(metrics).await,
            None => {
                let line = self.worker.holds.line_of(&self.known.keys);
                let subject = line.or(self.placement.key);
                let subject = subject.expect("it waits behind others, or for an entry, which has a key");
                self.worker.holds.wait(subject, longest, metrics).await.map(|turn| self.turn = Some(turn))
            }
        };
        waited.map_err(|_| Problem::Refused(Refusal::SubjectMoving))?;
        drop(held);
        self.place();
        if self.placement.left {
            self.ask_registers().await;
        }
        Ok(())
    }

    /// Others of the same subject wait already, and this write came later.
    fn is_behind_others(&self) -> bool {
        self.known.access == Access::Write
            && self.turn.is_none()
            && self.known.entry == Entry::Edge
            && self.worker.holds.line_of(&self.known.keys).is_some()
    }

    /// Others may have gone on without this gateway: what it knows of the jurisdiction's subjects may be over, and their home
    /// alone knows better. A home that is away has gone on with nobody.
    fn asks_home(&self, location: Location) -> bool {
        let settings = &self.generation.settings;
        let (Some(registers), Location::Jurisdiction(jurisdiction) | Location::Moving(jurisdiction)) =
            (&settings.registers, location)
        else {
            return false;
        };
        self.known.entry == Entry::Edge
            && self.known.is_known_to_registers()
            && registers.is_stale(jurisdiction)
            && settings.liveness.load().of(jurisdiction).writable
    }

    /// `None`: it has to wait.
    fn permit(&self, record: &mut Record, unreachable: RegionSet) -> Result<Option<Permit>, Problem> {
        let settings = &self.generation.settings;
        record.home_generation = self.placement.generation;
        let question = self.question(unreachable);
        if let Location::Jurisdiction(jurisdiction) | Location::Moving(jurisdiction) = self.placement.location
        {
            record.jurisdiction = Some(jurisdiction);
        }
        if self.is_behind_others() {
            return Ok(None);
        }
        let permit = match decide(&settings.config.topology, &settings.liveness.load(), &question) {
            Decision::Forward(permit) => permit,
            Decision::Hold => return Ok(None),
            Decision::Refuse(refusal) => return Err(Problem::Refused(refusal)),
        };
        // Only what is bound to this region whatever happens gets a permit to it a second time.
        if unreachable.contains(permit.destination()) {
            return Err(Problem::UpstreamUnavailable);
        }
        Self::note(record, &permit);
        if record.code.is_some() && unreachable.is_empty() {
            self.generation.metrics.unlawful_observed(record.jurisdiction.map(JurisdictionId::index));
        }
        // Without an await since the table was looked at: a move that begins now finds this write counted.
        if permit.access() == Access::Write {
            self.count(record, Busy::Write);
        }
        Ok(Some(permit))
    }

    /// Counts the exchange among its subject's, until it ends.
    fn count(&self, record: &mut Record, busy: Busy) {
        if self.known.is_known_to_registers() {
            record.present = Some(self.worker.presences.count(&self.known.keys, busy));
        }
    }

    /// The same for what stays open. If the subject has moved since the decision, those that are open were told before this one.
    fn count_open(&self, record: &mut Record) {
        self.count(record, Busy::Open);
        let (Some(registers), Some(present)) = (&self.generation.settings.registers, &mut record.present)
        else {
            return;
        };
        if registers.place(&self.known.keys, self.known.claimed).location != self.placement.location {
            present.end();
        }
    }

    /// What the log will say of the decision.
    fn note(record: &mut Record, permit: &Permit) {
        record.served_by = Some(permit.destination());
        record.decision = match permit.basis() {
            Basis::Observed(would) => {
                record.code = match would {
                    Enforced::SameRegion => None,
                    Enforced::OtherRegion(_) => Some("other-region"),
                    Enforced::Refused(refusal) => Some(refusal.code()),
                };
                telemetry::Decision::Observed
            }
            _ if permit.leaves_region() => telemetry::Decision::Hop,
            _ => telemetry::Decision::Local,
        };
    }
}

/// It has no end of its own, and its client opens another when it ends (HTML, server-sent events).
fn is_event_stream(response: &Response) -> bool {
    let media_type = response.head.fields.first(Name::ContentType);
    media_type
        .is_some_and(|value| value.get(..17).is_some_and(|it| it.eq_ignore_ascii_case(b"text/event-stream")))
        && !response.head.fields.has(Name::ContentLength)
}

/// An upstream that switches says to what (RFC 9110 §7.8), and that is what was asked for.
fn grants_websocket(fields: &Fields) -> bool {
    let mut granted = fields.all(Name::Upgrade);
    granted.next().is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && granted.next().is_none()
}
