//! One request and its subject's own writes: where it may be answered, and what its answer says of positions.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body as _;
use tokio::time::{sleep, timeout};

use super::presented::Why;
use super::trace::{Trace, WriteUnderWay};
use super::{Place, Positions};
use crate::domain::decide::{Access, Database, Permit};
use crate::domain::names::{JurisdictionId, RegionId, RegionSet};
use crate::domain::position::{Pin, Remembered, Requirement, Slot, Token, parse_said_by_api};
use crate::domain::register::Generation;
use crate::domain::replication_lag::LogPosition;
use crate::gateway::headers::{BEHIND, POSITION};
use crate::http1::Name;
use crate::postgres::{PositionSource, Role};
use crate::telemetry::{PositionEvent, WorkerMetrics};
use crate::upstream::Response;

/// The longest that a write's answer waits for its position: a round trip within the region takes less than a hundredth.
const LEARN_WITHIN: Duration = Duration::from_millis(250);
/// Between two questions to a replica that is waited for: short at first, since most are only just behind.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(5);

/// What is known of one request.
pub struct OwnWrites {
    positions: Arc<Positions>,
    facts: Facts,
    /// Regions that may not answer it, because they lack what its client has seen. The home has everything, and is never
    /// counted among them by the decision.
    behind: Cell<RegionSet>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub jurisdiction: JurisdictionId,
    /// Of its subject, if it has one.
    pub slot: Option<Slot>,
    /// What was remembered of that slot when the request came.
    pub found: Option<Remembered>,
    pub requirement: Requirement,
    /// Why the client's own words send it home.
    pub why: Option<Why>,
    /// The newest of its subject's home that the client or this gateway has heard of: whoever is shown it next and knows an older
    /// one asks the registers first.
    pub generation: Generation,
}

impl OwnWrites {
    pub(super) fn new(positions: Arc<Positions>, facts: Facts) -> Self {
        let behind = if facts.requirement == Requirement::Home { RegionSet::ALL } else { RegionSet::EMPTY };
        Self { positions, facts, behind: Cell::new(behind) }
    }

    fn place(&self) -> &Place {
        self.positions.place(self.facts.jurisdiction)
    }

    /// Regions that may have what the client has seen, beside the home; `None` when any state will do.
    pub fn caught_up(&self) -> Option<RegionSet> {
        (self.facts.requirement != Requirement::Nothing).then(|| RegionSet::ALL.minus(self.behind.get()))
    }

    /// The request's answer may be that a replica is behind, and then it is sent again.
    pub fn may_be_sent_again(&self, access: Access) -> bool {
        access == Access::Read && matches!(self.facts.requirement, Requirement::Reached(_))
    }

    /// The request can't be sent twice: only this region, which can be asked beforehand, and the home may have it.
    pub fn only_once(&self, at: RegionId) {
        self.behind.set(self.behind.get().union(RegionSet::ALL.without(at)));
    }

    /// Counts, for a read, why only the home may answer it.
    pub fn count(&self, access: Access, metrics: &WorkerMetrics) {
        if access == Access::Write || self.facts.requirement != Requirement::Home {
            return;
        }
        metrics.position(match self.facts.why {
            None | Some(Why::Pinned) => PositionEvent::HomePinned,
            Some(Why::Unverified) => PositionEvent::HomeUnverified,
            Some(Why::Foreign) => PositionEvent::HomeForeign,
            Some(Why::OtherCluster) => {
                metrics.position(PositionEvent::Cluster);
                PositionEvent::HomeForeign
            }
        });
    }

    /// Nothing is in the way of sending it with this permit, as far as is known without waiting.
    pub fn is_met(&self, permit: &Permit) -> bool {
        // What leaves is looked at where it arrives; writes are looked at by the database.
        if permit.leaves_region() || permit.access() == Access::Write {
            return true;
        }
        match self.place().source() {
            // Without a database to look at, the home is taken at its word.
            None if permit.database() == Some(Database::Primary) => true,
            source => self.facts.requirement.is_met_by(source.and_then(PositionSource::known)),
        }
    }

    /// Waits for this region's replica. `false`: it is behind still, and the request has to be decided about again. At the home
    /// it only makes sure that it is one: a primary may have been demoted a moment ago.
    pub async fn wait(&self, permit: &Permit, metrics: &WorkerMetrics) -> bool {
        if permit.database() == Some(Database::Primary) {
            let Some(source) = self.place().source() else { return true };
            return match timeout(LEARN_WITHIN, source.ask()).await {
                Ok(Some(sample)) => self.facts.requirement.is_met_by(Some(sample.reached())),
                // Nothing says that it is none.
                _ => true,
            };
        }
        let met = timeout(self.positions.wait, self.catch_up()).await.unwrap_or(false);
        metrics.position(if met { PositionEvent::CaughtUp } else { PositionEvent::Behind });
        if !met {
            self.left_behind(permit.destination(), metrics);
        }
        met
    }

    async fn catch_up(&self) -> bool {
        let Some(source) = self.place().source() else { return false };
        let mut pause = FIRST_LOOK;
        loop {
            let Some(sample) = source.ask().await else { return false };
            if self.facts.requirement.is_met_by(Some(sample.reached())) {
                return true;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    /// A region has said, or was found, to lack the position.
    pub fn left_behind(&self, region: RegionId, metrics: &WorkerMetrics) {
        metrics.position(PositionEvent::HomeBehind);
        self.behind.set(self.behind.get().with(region));
    }

    /// Another region's gateway says that its replica is behind.
    pub fn is_behind(permit: &Permit, response: &Response) -> bool {
        permit.leaves_region()
            && response.head.status == http::StatusCode::MISDIRECTED_REQUEST
            && response.head.fields.named(BEHIND).next().is_some()
    }

    /// What another region's gateway is told.
    pub fn token_for_hop(&self) -> Option<String> {
        let token = Token::asking(&self.place().jurisdiction, self.facts.requirement)?;
        Some(self.positions.key.seal(&token.of_generation(self.facts.generation)))
    }

    /// A write sets out. Whatever happens to it from here on may have changed something.
    pub fn set_out(&self, permit: &Permit, trace: &mut Trace) {
        if permit.access() != Access::Write {
            return;
        }
        let (memory, slot) = (&self.place().memory, self.facts.slot);
        let in_flight = slot.filter(|_| !permit.leaves_region()).map(|slot| memory.set_out(slot));
        let pin = self.seal(&self.pin());
        trace.write = Some(Box::new(WriteUnderWay::new(Arc::clone(memory), slot, in_flight, pin)));
    }

    /// An answer that has nothing to do with positions: most reads'.
    pub fn is_unconcerned(&self, response: &Response, trace: &Trace) -> bool {
        trace.write.is_none()
            && self.facts.requirement != Requirement::Home
            && !response.head.fields.has(Name::Residency)
    }

    /// An upstream has begun to answer: finds out what the client has to know.
    pub async fn answered(
        &self,
        permit: &Permit,
        response: &Response,
        trace: &mut Trace,
        metrics: &WorkerMetrics,
    ) {
        let write = trace.write.take().map(|mut write| {
            write.answered();
            write
        });
        let said = response.head.fields.named(POSITION).next();
        if permit.leaves_region() {
            trace.give = self.said_by_gateway(said, write.is_some(), response, metrics);
            return;
        }
        if let Some(said) = said {
            if let Ok(at) = parse_said_by_api(said) {
                if write.is_some() {
                    metrics.position(PositionEvent::SaidByApi);
                }
                trace.give = Some(self.give(at, self.place().system_identifier()));
                return;
            }
            metrics.position(PositionEvent::Api);
        }
        let is_written = response.head.status.is_success() || response.head.status.is_redirection();
        let is_whole = response.body.size_hint().exact().is_some();
        match write {
            Some(_) if response.head.status.is_server_error() => {
                metrics.position(PositionEvent::Failed);
                trace.give = Some(self.give_pin(Pin::Resolvable));
            }
            Some(write) if is_written && !is_whole => {
                metrics.position(PositionEvent::Streamed);
                trace.give = Some(self.give_pin(Pin::Resolvable));
                // In flight until the answer has ended.
                trace.write = Some(write);
            }
            Some(write) if is_written => {
                let others = write.others_in_flight();
                drop(write);
                trace.give = Some(match self.learn().await {
                    Some((at, system)) => {
                        metrics.position(PositionEvent::Learned);
                        self.covered(at, system, others)
                    }
                    None => {
                        metrics.position(PositionEvent::Unknown);
                        self.give_pin(Pin::Resolvable)
                    }
                });
            }
            _ => {
                drop(write);
                Box::pin(self.resolve(permit, trace)).await;
            }
        }
    }

    /// The home switches protocols: what follows may write at any time.
    pub fn upgraded(&self, permit: &Permit, trace: &mut Trace, metrics: &WorkerMetrics) {
        let Some(write) = &mut trace.write else { return };
        write.answered();
        if !permit.leaves_region() {
            metrics.position(PositionEvent::Streamed);
        }
        trace.give = Some(self.give_pin(Pin::Resolvable));
    }

    /// What a successful write's answer carries, whose position is known. A client that was pinned stays so while another of
    /// its subject's writes is under way or was lost.
    fn covered(&self, at: LogPosition, system: Option<u64>, others: u32) -> String {
        if self.facts.requirement != Requirement::Home {
            return self.give(at, system);
        }
        if others == 0 && !self.is_lost() {
            return self.lift(at, system);
        }
        if let Some(slot) = self.facts.slot {
            self.place().memory.remember(slot, at);
        }
        let mut token = Token::new(&self.place().jurisdiction, at, system.unwrap_or(0));
        token.pinned = true;
        self.seal(&token)
    }

    /// The home has answered a client that was pinned to it: once nothing of its subject's is under way, a position will do.
    async fn resolve(&self, permit: &Permit, trace: &mut Trace) {
        let Some(slot) = self.facts.slot else { return };
        let is_pinned = self.facts.requirement == Requirement::Home;
        if !is_pinned || permit.database() != Some(Database::Primary) {
            return;
        }
        // Looked at before the position is asked for: what ended before lies below it.
        if self.place().memory.in_flight(slot) > 0 || self.is_lost() {
            return;
        }
        if let Some((at, system)) = self.learn().await {
            trace.give = Some(self.lift(at, system));
        }
    }

    fn is_lost(&self) -> bool {
        self.facts.slot.is_some_and(|slot| self.place().memory.look(slot).is_lost())
    }

    /// Where the primary is, and of which cluster.
    async fn learn(&self) -> Option<(LogPosition, Option<u64>)> {
        let source = self.place().source()?;
        let sample = timeout(LEARN_WITHIN, source.ask()).await.ok()??;
        (sample.role == Role::Primary).then_some((sample.position, Some(sample.system_identifier)))
    }

    /// What a gateway of another region said is handed on, and remembered.
    fn said_by_gateway(
        &self,
        said: Option<&[u8]>,
        is_write: bool,
        response: &Response,
        metrics: &WorkerMetrics,
    ) -> Option<String> {
        let status = response.head.status;
        let Some(said) = said else {
            // It says nothing where nothing was carried out.
            let is_written = is_write && (status.is_success() || status.is_redirection());
            return is_written.then(|| {
                metrics.position(PositionEvent::Unknown);
                self.give_pin(Pin::Resolvable)
            });
        };
        let Ok(token) = self.positions.key.open(said) else {
            metrics.position(PositionEvent::Signature);
            return is_write.then(|| self.give_pin(Pin::Resolvable));
        };
        if let Some(slot) = self.facts.slot {
            let memory = &self.place().memory;
            match (token.pinned, self.facts.found) {
                (true, _) => memory.pin(slot, Pin::Resolvable),
                (false, Some(found)) if self.facts.requirement == Requirement::Home => {
                    memory.resolve(slot, found, token.at);
                }
                (false, _) => memory.remember(slot, token.at),
            }
        }
        // Signed with the key that is ours too.
        std::str::from_utf8(said).ok().map(str::to_owned)
    }

    fn give(&self, at: LogPosition, system: Option<u64>) -> String {
        if let Some(slot) = self.facts.slot {
            self.place().memory.remember(slot, at);
        }
        self.seal(&Token::new(&self.place().jurisdiction, at, system.unwrap_or(0)))
    }

    fn lift(&self, at: LogPosition, system: Option<u64>) -> String {
        if let (Some(slot), Some(found)) = (self.facts.slot, self.facts.found) {
            self.place().memory.resolve(slot, found, at);
        }
        self.give(at, system)
    }

    fn give_pin(&self, pin: Pin) -> String {
        if let Some(slot) = self.facts.slot {
            self.place().memory.pin(slot, pin);
        }
        self.seal(&self.pin())
    }

    fn pin(&self) -> Token {
        Token::pin(&self.place().jurisdiction)
    }

    fn seal(&self, token: &Token) -> String {
        self.positions.key.seal(&token.clone().of_generation(self.facts.generation))
    }
}
