use super::*;
use crate::config::RegisterSource;
use crate::domain::names::JurisdictionId;
use crate::domain::register::{EntryState, Generation};
use crate::domain::secret::Secret;
use crate::domain::topology::{JurisdictionSpec, Mode, RegionSpec, Topology};
use crate::routing_table::{Change, TableWriter};

fn jurisdictions() -> [JurisdictionId; 2] {
    let jurisdiction = |name: &str| JurisdictionSpec {
        name: name.to_owned(),
        home: "here".to_owned(),
        claim_values: vec![name.to_owned()],
        ..JurisdictionSpec::default()
    };
    let here = RegionSpec { name: "here".to_owned(), nearest: Vec::new() };
    let topology = Topology::new(vec![here], &[jurisdiction("us"), jurisdiction("eu")], Mode::Enforce);
    let topology = topology.expect("two jurisdictions");
    ["us", "eu"].map(|name| topology.jurisdiction(name).expect(name))
}

fn settings(identifiers: &str, previous: Option<&str>) -> RegisterSettings {
    let secret = |text: &str| Secret::new(text.as_bytes());
    RegisterSettings {
        subject_key: KeyPair { current: secret("subjects"), previous: None },
        identifier_key: KeyPair { current: secret(identifiers), previous: previous.map(secret) },
        snapshot: None,
        poll: std::time::Duration::from_secs(1),
        stale_after: std::time::Duration::from_secs(10),
        sources: vec![RegisterSource::None, RegisterSource::None],
    }
}

#[test]
fn an_identifier_is_where_its_subject_is_however_it_is_spelled() {
    let [us, eu] = jurisdictions();
    let before = Registers::new(&settings("old", None), None);
    let now =
        Registers { table: Arc::clone(&before.table), ..Registers::new(&settings("new", Some("old")), None) };
    let writer = TableWriter::new();
    let entry = |jurisdiction, state, generation| RegisterEntry {
        state,
        generation: Generation(generation),
        jurisdiction,
        toward: None,
        move_id: None,
        floor: None,
        unknown: false,
    };
    let keys = |registers: &Registers, text: &str| registers.keys.identifier(text)[0];
    let change = |key, entry: RegisterEntry| Change { register: entry.jurisdiction, key, entry: Some(entry) };
    writer.apply([
        change(keys(&now, "ada@example.org"), entry(eu, EntryState::Home, 1)),
        // Assigned before the key was replaced.
        change(keys(&before, "bob@example.org"), entry(us, EntryState::Home, 1)),
        change(keys(&now, "moved@example.org"), entry(us, EntryState::Gone, 2)),
        change(keys(&now, "moved@example.org"), entry(eu, EntryState::Home, 2)),
        change(keys(&now, "moving@example.org"), entry(us, EntryState::Fenced, 1)),
        change(keys(&now, "void@example.org"), entry(eu, EntryState::Void, 1)),
    ]);
    now.table.store(writer.table());
    for (text, expect) in [
        ("ada@example.org", Some(Location::Jurisdiction(eu))),
        (" Ada@EXAMPLE.org", Some(Location::Jurisdiction(eu))),
        ("bob@example.org", Some(Location::Jurisdiction(us))),
        ("moved@example.org", Some(Location::Jurisdiction(eu))),
        ("moving@example.org", Some(Location::Moving(us))),
        ("void@example.org", None),
        ("nobody@example.org", None),
    ] {
        assert_eq!(now.locate_identifier(text), expect, "{text}");
    }
}
