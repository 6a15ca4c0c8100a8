//! `GET /v1/subjects/{id}`: where a subject's requests go from here, and because of what, in words and for programs.

use serde_json::{Value, json};

use crate::auth::ClaimValue;
use crate::domain::decide::{Access, Database, Decision, Entry, Location, Question, Reads, Refusal, decide};
use crate::domain::hexadecimal::hexadecimal;
use crate::domain::names::RegionSet;
use crate::domain::register::{Placed, RegisterEntry, SubjectKey};
use crate::gateway::identify::locate;
use crate::gateway::registrar::Row;
use crate::gateway::settings::Settings;

/// `claim` is what its token says, if the caller knows; `seen` what each register's primary says.
pub(super) fn describe(
    settings: &Settings,
    id: &str,
    claim: Option<&str>,
    seen: &[Option<Vec<Row>>],
) -> Value {
    let topology = &settings.config.topology;
    let name = |jurisdiction| topology.jurisdiction_name(jurisdiction);
    let keys = settings.registers.as_deref().map(|registers| (registers, registers.keys.subject(id)));
    let entry = keys.as_ref().and_then(|(registers, keys)| registers.entry(keys));
    // As the register's `hash` shows, with `\x` before it, in SQL.
    let hashes: Vec<_> =
        keys.iter().flat_map(|(_, keys)| keys.iter()).map(|SubjectKey(hash)| hexadecimal(hash)).collect();
    let claimed = claim.map_or(ClaimValue::Missing, |claim| ClaimValue::Text(claim.to_owned()));
    let by_claim = locate(&settings.config, &claimed);
    let placed = entry.as_ref().and_then(RegisterEntry::placed);
    let location = match placed {
        Some(Placed::At(jurisdiction) | Placed::Left(jurisdiction)) => Location::Jurisdiction(jurisdiction),
        Some(Placed::Moving(jurisdiction)) => Location::Moving(jurisdiction),
        Some(Placed::Unknown) => Location::Unknown(Refusal::JurisdictionUnknown),
        None => by_claim,
    };
    let table = entry.as_ref().map(|entry| {
        json!({
            "jurisdiction": name(entry.jurisdiction),
            "state": entry.state.name(),
            "generation": entry.generation.0,
            "toward": entry.toward.map(name),
        })
    });
    let registers: serde_json::Map<String, Value> = topology
        .jurisdictions()
        .zip(seen)
        .map(|(jurisdiction, rows)| {
            let said = match rows.as_deref() {
                None => json!("not asked"),
                Some([]) => json!("nothing"),
                Some(rows) => rows.iter().map(row).collect(),
            };
            (name(jurisdiction).to_owned(), said)
        })
        .collect();
    let decision = |access| {
        let question = Question {
            at: settings.config.region,
            entry: Entry::Edge,
            location,
            access,
            reads: Reads::Nearest,
            caught_up: None,
            unreachable: RegionSet::EMPTY,
        };
        match decide(topology, &settings.liveness.load(), &question) {
            Decision::Forward(permit) => json!({
                "outcome": "forward",
                "region": topology.region_name(permit.destination()),
                "database": permit.database().map(|database| match database {
                    Database::Primary => "primary",
                    Database::Replica => "replica",
                }),
            }),
            Decision::Hold => json!({ "outcome": "hold" }),
            Decision::Refuse(refusal) => json!({ "outcome": "refuse", "code": refusal.code() }),
        }
    };
    let (read, write) = (decision(Access::Read), decision(Access::Write));
    let because = match (&entry, placed, by_claim) {
        (Some(entry), Some(_), _) => {
            format!("the register of {} says {}", name(entry.jurisdiction), entry.state.name())
        }
        (_, _, Location::Jurisdiction(jurisdiction)) => {
            format!("no register known here speaks of it, and its claim means {}", name(jurisdiction))
        }
        _ => "no register known here speaks of it, and its claim is not known: add ?claim=".to_owned(),
    };
    let words = format!("{because}; a read goes {}; a write goes {}", in_words(&read), in_words(&write));
    json!({
        "at": settings.region_name(),
        "hashes": hashes,
        "claim": match by_claim {
            Location::Jurisdiction(jurisdiction) => json!(name(jurisdiction)),
            _ => Value::Null,
        },
        "table": table,
        "registers": registers,
        "read": read,
        "write": write,
        "explanation": words,
    })
}

fn row(row: &Row) -> Value {
    json!({
        "state": row.state,
        "generation": row.generation,
        "toward": row.toward,
        "claim_answers": row.claim_answers,
    })
}

fn in_words(decision: &Value) -> String {
    let text = |key: &str| decision[key].as_str().unwrap_or("none").to_owned();
    match decision["outcome"].as_str() {
        Some("forward") => format!("to {} ({})", text("region"), text("database")),
        Some("hold") => "nowhere until the move has ended".to_owned(),
        _ => format!("nowhere ({})", text("code")),
    }
}
