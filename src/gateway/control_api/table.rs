//! `GET /v1/table`: what this gateway knows of registers, without any of their subjects.

use serde_json::{Value, json};

use crate::clock;
use crate::config::RegisterSource;
use crate::domain::decide::Refusal;
use crate::gateway::settings::Settings;
use crate::routing_table::{Freshness, RegisterHandle};

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
            let said = json!({
                "source": source,
                "entries": table.rows_of(jurisdiction),
                "home": topology.region_name(live.home),
                "generation": live.generation.0,
                "read_only": live.read_only,
                "writable": live.writable,
            });
            let followed = settings.registers.as_ref().and_then(|registers| {
                let refused = registers.refusal(jurisdiction);
                registers.handle(jurisdiction).map(|handle| following(handle, refused))
            });
            let said = followed.map_or(said.clone(), |followed| joined(said, followed));
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

/// How one register is followed. An unknown age is null, not zero.
fn following(handle: &RegisterHandle, refused: Option<Refusal>) -> Value {
    let now = clock::now();
    let view = handle.view();
    json!({
        "followed_at": view.region.as_deref(),
        "age_ms": view.current_at.map(|at| clock::millis(now.saturating_duration_since(at))),
        "freshness": match handle.freshness(now) {
            Freshness::Stale => "stale",
            Freshness::Fresh => "fresh",
        },
        "cursor": view.cursor,
        "height": view.height,
        "alarm": view.alarm,
        "refused": refused.map(Refusal::code),
        "fault": view.fault.as_deref(),
        "keys_differ": view.keys_differ,
    })
}

fn joined(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}
