//! `GET /v1/table`: what this gateway knows of registers, without any of their subjects.

use serde_json::{Value, json};

use crate::config::RegisterSource;
use crate::gateway::settings::Settings;

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
