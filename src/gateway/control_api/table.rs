//! `GET /v1/table`: what this gateway knows of registers, without any of their subjects.

use serde_json::{Value, json};

use crate::clock;
use crate::config::RegisterSource;
use crate::domain::decide::Refusal;
use crate::domain::names::JurisdictionId;
use crate::gateway::registers::Registers;
use crate::gateway::settings::Settings;
use crate::routing_table::{Freshness, RegisterHandle};

/// How a register is followed. Identifiers of clusters are words: programs read numbers as fractions.
fn followed(
    registers: &Registers,
    jurisdiction: JurisdictionId,
    handle: &RegisterHandle,
) -> serde_json::Map<String, Value> {
    let (now, view) = (clock::now(), handle.view());
    let cursor = view.cursor.map(|cursor| {
        json!({
            "system_identifier": cursor.source.system_identifier.to_string(),
            "timeline": cursor.source.timeline.0,
            "xmin": cursor.xmin,
        })
    });
    let known =
        view.height.map(|height| json!({ "generation": height.generation.0, "timeline": height.timeline.0 }));
    let said = json!({
        "followed_in": view.region.as_deref(),
        "staleness_s": handle.staleness(now).map(|staleness| staleness.as_millis() as f64 / 1000.0),
        "stale": handle.freshness(now) == Freshness::Stale,
        "cursor": cursor,
        "highest_known": known,
        "fault": view.fault.as_deref(),
        "alarm": view.alarm,
        "refused": registers.refusal(jurisdiction).map(Refusal::code),
    });
    match said {
        Value::Object(said) => said,
        _ => unreachable!("it is written as an object above"),
    }
}

pub(super) fn describe(settings: &Settings) -> Value {
    let topology = &settings.config.topology;
    let liveness = settings.liveness.load();
    let table = settings.registers.as_ref().map(|registers| registers.table.load_full()).unwrap_or_default();
    let registers: serde_json::Map<String, Value> = topology
        .jurisdictions()
        .map(|jurisdiction| {
            let live = liveness.of(jurisdiction);
            let source = settings.config.register.as_ref().map(|register| register.source(jurisdiction));
            let source = match source {
                Some(RegisterSource::Members(_)) => "database",
                Some(RegisterSource::File(_)) => "file",
                Some(RegisterSource::None) | None => "none",
            };
            let mut said = json!({
                "source": source,
                "entries": table.rows_of(jurisdiction),
                "home": topology.region_name(live.home),
                "generation": live.generation.0,
                "read_only": live.read_only,
                "writable": live.writable,
            });
            if let Some(registers) = &settings.registers
                && let (Some(handle), Value::Object(said)) = (registers.handle(jurisdiction), &mut said)
            {
                said.extend(followed(registers, jurisdiction, handle));
            }
            (topology.jurisdiction_name(jurisdiction).to_owned(), said)
        })
        .collect();
    let moves: Vec<Value> = table
        .moving()
        .iter()
        .map(|(_, entry)| {
            json!({
                "state": entry.state.name(),
                "generation": entry.generation.0,
                "jurisdiction": topology.jurisdiction_name(entry.jurisdiction),
                "toward": entry.toward.map(|toward| topology.jurisdiction_name(toward)),
                "move": entry.move_id.map(|(id, attempt)| json!({ "id": format!("{:032x}", id.0), "attempt": attempt })),
            })
        })
        .collect();
    json!({
        "region": settings.region_name(),
        "version": table.version(),
        "entries": table.len(),
        "bytes": table.bytes(),
        "registers": registers,
        "moves": moves,
    })
}
