//! The control API: what an app's own programs ask of, and tell, the gateway of their region, on its internal listener.
//!
//! `POST /v1/assign` makes a subject at home; `GET /v1/subjects/{id}` explains where its requests go; `GET /v1/table` shows what
//! this gateway knows of registers; `PUT /v1/jurisdictions/{name}/read-only` closes a jurisdiction to writes, as a recorded act.
//!
//! Invariants
//! - Only a program with a control certificate of this region gets here, and it gets nowhere else: its connection carries no
//!   hops, and a gateway's carries no calls.
//! - Every call may be repeated.
//! - A call is refused with all its faults at once, each at its place, and never repeats what was sent (R7).
//!
//! Absent by design: databases. The control plane asks them ([`Registrar`](super::registrar::Registrar)).

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::peek::{Read, read_up_to};
use super::problem::Problem;
use super::record::Record;
use super::registers::Registers;
use super::registrar::{Assigned, Assignment, Done, Hashes, RegistrarFault, Task};
use super::reply::Reply;
use super::settings::Settings;
use super::worker::{Generation, Worker};
use crate::domain::decide::Access;
use crate::domain::register::SubjectKey;
use crate::routing_table::{KeyId, SubjectKeys};
use crate::tls::ControlClient;
use crate::upstream::Request;

mod answer;
mod call;
mod explain;
mod table;

use answer::Refused;
use call::{AssignCall, Fault, ReadOnlyCall};

/// Far beyond any call: 32 identifiers of the greatest length, each character escaped.
const MOST_BODY_BYTES: usize = 256 * 1024;

/// The calls there are, as logs and metrics name them.
const ASSIGN: &str = "POST /v1/assign";
const SUBJECT: &str = "GET /v1/subjects/{id}";
const TABLE: &str = "GET /v1/table";
const READ_ONLY: &str = "PUT /v1/jurisdictions/{name}/read-only";

/// Answers one call of a program.
pub async fn answer(
    worker: &Worker,
    generation: &Generation,
    program: &ControlClient,
    record: &mut Record,
    request: Request,
) -> Reply {
    let call = Call { worker, settings: &generation.settings, program };
    let (name, answered) = call.route(record, request).await;
    record.own_route = name;
    let (reply, code) = match answered {
        Ok(reply) => (reply, None),
        Err(refused) => {
            let code = refused.code();
            (refused.reply(), Some(code))
        }
    };
    record.code = code;
    worker.gateway.metrics.control().control_call(name.unwrap_or("other"), code.unwrap_or("ok"));
    reply
}

/// One call.
struct Call<'worker> {
    worker: &'worker Worker,
    settings: &'worker Settings,
    program: &'worker ControlClient,
}

impl Call<'_> {
    async fn route(
        &self,
        record: &mut Record,
        request: Request,
    ) -> (Option<&'static str>, Result<Reply, Refused>) {
        let Request { head, mut body } = request;
        let path = head.path().to_owned();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let (name, method) = match parts[..] {
            ["v1", "assign"] => (ASSIGN, Method::POST),
            ["v1", "subjects", id] if !id.is_empty() => (SUBJECT, Method::GET),
            ["v1", "table"] => (TABLE, Method::GET),
            ["v1", "jurisdictions", _, "read-only"] => (READ_ONLY, Method::PUT),
            _ => return (None, Err(Refused::from(Problem::NotFound))),
        };
        if head.method != method {
            return (Some(name), Err(Refused::method(&method)));
        }
        record.access = if method == Method::GET { Access::Read } else { Access::Write };
        let bytes = match read_up_to(&mut body, MOST_BODY_BYTES).await {
            Ok(Read::Whole(bytes)) => bytes,
            Ok(Read::Part) => return (Some(name), Err(Refused::from(Problem::BodyTooLarge))),
            Err(problem) => return (Some(name), Err(Refused::from(problem))),
        };
        let decoded = |segment: &str| {
            percent_encoding::percent_decode_str(segment)
                .decode_utf8()
                .map(std::borrow::Cow::into_owned)
                .map_err(|_| Refused::from(Problem::BadRequest))
        };
        let answered = match (name, &parts[..]) {
            (ASSIGN, _) => self.assign(record, &bytes).await,
            (READ_ONLY, [_, _, jurisdiction, _]) => match decoded(jurisdiction) {
                Ok(jurisdiction) => self.read_only(record, &jurisdiction, &bytes).await,
                Err(refused) => Err(refused),
            },
            (SUBJECT, [_, _, id]) => match decoded(id) {
                Ok(id) => self.explain(record, &id, head.target.query()).await,
                Err(refused) => Err(refused),
            },
            _ => Ok(answer::ok(&table::describe(self.settings))),
        };
        (Some(name), answered)
    }

    fn registers(&self) -> Result<&Registers, Refused> {
        self.settings.registers.as_deref().ok_or_else(Refused::no_register)
    }

    async fn assign(&self, record: &mut Record, body: &[u8]) -> Result<Reply, Refused> {
        let topology = &self.settings.config.topology;
        let registers = self.registers()?;
        let AssignCall { subject, jurisdiction, identifiers } =
            AssignCall::parse(topology, body).map_err(|faults| Refused::faults(&faults))?;
        record.subject = Some(self.settings.hasher.hash(&subject));
        record.jurisdiction = Some(jurisdiction);
        let keys = &registers.keys;
        let one_by_one: Vec<SubjectKeys> = identifiers.iter().map(|text| keys.identifier(text)).collect();
        let all_under =
            |place: usize| one_by_one.iter().filter_map(|keys| Some(keys.get(place)?.0)).collect();
        let assignment = Assignment {
            jurisdiction,
            subject: hashes(keys.subjects.ids(), |place| keys.subject(&subject)[place].0),
            identifiers: hashes(keys.identifiers.ids(), all_under),
        };
        let done = self.worker.gateway.registrar.call(Task::Assign(assignment)).await?;
        let Done::Assigned(assigned) = done else { return Err(RegistrarFault::Busy.into()) };
        let name = |jurisdiction| topology.jurisdiction_name(jurisdiction);
        match assigned {
            Assigned::Here { generation, created, pending, unasked } => {
                let mut said = json!({ "jurisdiction": name(jurisdiction), "generation": generation });
                if let Some(toward) = pending {
                    said["pending"] = json!(toward);
                }
                if !unasked.is_empty() {
                    said["unasked"] = unasked.into_iter().map(name).collect();
                }
                let status = if created { StatusCode::CREATED } else { StatusCode::OK };
                Ok(answer::json(status, &said))
            }
            Assigned::MoveRequired { is_in, generation } => Err(Refused::move_required(&json!({
                "jurisdiction": name(is_in), "required": name(jurisdiction), "generation": generation,
            }))),
            Assigned::Moving { is_in } => Err(Refused::moving(&json!({ "jurisdiction": name(is_in) }))),
            Assigned::Taken { identifier } => Err(Refused::taken(identifier)),
        }
    }

    async fn explain(&self, record: &mut Record, id: &str, query: Option<&str>) -> Result<Reply, Refused> {
        record.subject = Some(self.settings.hasher.hash(id));
        let claim = query
            .into_iter()
            .flat_map(|query| form_urlencoded::parse(query.as_bytes()))
            .find_map(|(name, value)| (name == "claim").then(|| value.into_owned()));
        let mut seen = Vec::new();
        if let Some(registers) = self.settings.registers.as_deref() {
            let hashes = registers.keys.subject(id).iter().map(|SubjectKey(hash)| *hash).collect();
            if let Done::Seen(rows) = self.worker.gateway.registrar.call(Task::Look(hashes)).await? {
                seen = rows;
            }
        }
        Ok(answer::ok(&explain::describe(self.settings, id, claim.as_deref(), &seen)))
    }

    async fn read_only(&self, record: &mut Record, name: &str, body: &[u8]) -> Result<Reply, Refused> {
        self.registers()?;
        let ReadOnlyCall { read_only, reason } =
            ReadOnlyCall::parse(body).map_err(|faults| Refused::faults(&faults))?;
        let topology = &self.settings.config.topology;
        let jurisdiction = topology.jurisdiction(name).ok_or_else(|| {
            let names = topology.jurisdictions().map(|known| topology.jurisdiction_name(known));
            let remedy = format!("is no jurisdiction; there are {}", names.collect::<Vec<_>>().join(", "));
            Refused::faults(&[Fault::at("", remedy)])
        })?;
        record.jurisdiction = Some(jurisdiction);
        let by = format!("{} at {}: {reason}", self.program.name, self.program.region);
        let task = Task::ReadOnly { jurisdiction, read_only, by };
        let done = self.worker.gateway.registrar.call(task).await?;
        let changed = matches!(done, Done::ReadOnly { changed: true });
        tracing::warn!(
            jurisdiction = name,
            read_only,
            program = self.program.name,
            changed,
            "read-only was set"
        );
        let said: Value = json!({ "jurisdiction": name, "read_only": read_only, "changed": changed });
        Ok(answer::ok(&said))
    }
}

/// What `of` gives for each key in use, by its place, with the key's id.
fn hashes<'keys, T>(mut ids: impl Iterator<Item = &'keys KeyId>, of: impl Fn(usize) -> T) -> Hashes<T> {
    let current = ids.next().expect("a pair has a current key").to_string();
    Hashes { current: (of(0), current), previous: ids.next().map(|id| (of(1), id.to_string())) }
}
