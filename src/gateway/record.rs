//! What is remembered of an exchange until it ends, and its ending: counted, logged, connection back to idle.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Method, Version};

use super::connection::{Activity, Client, Phase};
use super::position::Trace;
use super::presence::Present;
use super::problem::Problem;
use super::worker::Generation;
use crate::clock;
use crate::domain::decide::Access;
use crate::domain::names::{JurisdictionId, RegionId};
use crate::domain::register::Generation as HomeGeneration;
use crate::telemetry::{
    self, AccessRecord, Decision, Protocol, RequestOutcome, SubjectHash, truncate_address,
};

/// One exchange, as the log will tell it. Holds nothing of the request but its method (R7).
#[derive(Debug)]
pub struct Record {
    pub started: Instant,
    pub method: Method,
    pub protocol: Protocol,
    pub status: u16,
    pub decision: Decision,
    /// The problem's code, or what enforcing would have made of an observed request.
    pub code: Option<&'static str>,
    /// Index of the route rule.
    pub route: Option<usize>,
    /// The pattern of one of the gateway's own paths.
    pub own_route: Option<&'static str>,
    pub jurisdiction: Option<JurisdictionId>,
    pub access: Access,
    pub subject: Option<SubjectHash>,
    pub served_by: Option<RegionId>,
    pub upstream: Option<Duration>,
    /// Body bytes the connection had brought before.
    body_bytes_before: u64,
    bytes_out: u64,
    /// No other request may follow on the connection.
    pub last: bool,
    pub positions: Trace,
    /// Of the register's entry that the decision went by.
    pub home_generation: HomeGeneration,
    /// Counts the exchange among its subject's while it lasts.
    pub present: Option<Present>,
}

/// The end of an exchange: [`Drop`] is what happens then.
pub struct Ending {
    pub record: Record,
    client: Rc<Client>,
    generation: Rc<Generation>,
}

impl Record {
    pub fn new(method: Method, version: Version, client: &Client) -> Self {
        Self {
            started: clock::now(),
            method,
            protocol: match version {
                Version::HTTP_10 => Protocol::Http10,
                Version::HTTP_2 => Protocol::Http2,
                _ => Protocol::Http11,
            },
            status: 0,
            decision: Decision::Own,
            code: None,
            route: None,
            own_route: None,
            jurisdiction: None,
            access: Access::Read,
            subject: None,
            served_by: None,
            upstream: None,
            body_bytes_before: client.activity.inflow.received(),
            bytes_out: 0,
            last: false,
            positions: Trace::default(),
            home_generation: HomeGeneration::default(),
            present: None,
        }
    }

    /// The gateway itself ends the request.
    pub fn refuse(&mut self, problem: Problem) {
        self.code = Some(problem.code());
        self.decision = Decision::Refused(problem.index());
        self.served_by = None;
    }

    pub fn ending(self, client: &Rc<Client>, generation: &Rc<Generation>) -> Box<Ending> {
        Box::new(Ending { record: self, client: Rc::clone(client), generation: Rc::clone(generation) })
    }
}

impl Ending {
    pub fn sent(&mut self, bytes: usize) {
        self.record.bytes_out += bytes as u64;
        self.client.activity.touch();
    }

    /// Looks whether something of the request's body has moved.
    pub fn look(&self) {
        self.client.activity.look();
    }

    pub fn activity(&self) -> Rc<Activity> {
        Rc::clone(&self.client.activity)
    }

    pub fn metrics(&self) -> std::sync::Arc<telemetry::WorkerMetrics> {
        std::sync::Arc::clone(&self.generation.metrics)
    }

    fn access(&self) -> telemetry::Access {
        match self.record.access {
            Access::Read => telemetry::Access::Read,
            Access::Write => telemetry::Access::Write,
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.client.activity.enter(Phase::Idle);
        let ended = clock::now();
        let duration = ended.saturating_duration_since(self.record.started);
        let received = self.client.activity.inflow.received() - self.record.body_bytes_before;
        let Record { status, decision, jurisdiction, .. } = self.record;
        let generation = &self.generation;
        let access = self.access();
        generation.metrics.request(&RequestOutcome {
            jurisdiction: jurisdiction.map(JurisdictionId::index),
            access,
            decision,
            status,
            duration,
        });
        generation.metrics.bytes(received, self.record.bytes_out);
        let config = &generation.settings.config;
        generation.log(&AccessRecord {
            ended,
            method: &self.record.method,
            route: self
                .record
                .route
                .map(|index| config.routes.rules()[index].pattern.as_str())
                .or(self.record.own_route),
            status,
            jurisdiction: jurisdiction.map(|found| config.topology.jurisdiction_name(found)),
            access,
            decision,
            served_by: self.record.served_by.map(|region| config.topology.region_name(region)),
            code: self.record.code,
            subject: self.record.subject,
            client: truncate_address(self.client.peer.address),
            duration,
            upstream: self.record.upstream,
            bytes_in: received,
            bytes_out: self.record.bytes_out,
            protocol: self.record.protocol,
        });
    }
}

impl std::fmt::Debug for Ending {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ending").field("record", &self.record).finish_non_exhaustive()
    }
}
