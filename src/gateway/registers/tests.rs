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

fn keys_of(identifiers: &str, previous: Option<&str>) -> Arc<RegisterKeys> {
    let secret = |text: &str| Secret::new(text.as_bytes());
    Arc::new(keys(&RegisterSettings {
        subject_key: KeyPair { current: secret("subjects"), previous: None },
        identifier_key: KeyPair { current: secret(identifiers), previous: previous.map(secret) },
        snapshot: None,
        poll: Duration::from_secs(1),
        stale_after: Duration::from_secs(10),
        sources: vec![RegisterSource::None, RegisterSource::None],
    }))
}

#[test]
fn an_identifier_is_where_its_subject_is_however_it_is_spelled() {
    let [us, eu] = jurisdictions();
    let (before, now) = (keys_of("old", None), keys_of("new", Some("old")));
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
    let keys = |keys: &RegisterKeys, text: &str| keys.identifier(text)[0];
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
    let table = writer.table();
    let claimed = Location::Unknown(Refusal::JurisdictionMissing);
    for (text, expect) in [
        ("ada@example.org", Location::Jurisdiction(eu)),
        (" Ada@EXAMPLE.org", Location::Jurisdiction(eu)),
        ("bob@example.org", Location::Jurisdiction(us)),
        ("moved@example.org", Location::Jurisdiction(eu)),
        ("moving@example.org", Location::Moving(us)),
        ("void@example.org", claimed),
        ("nobody@example.org", claimed),
    ] {
        assert_eq!(Placement::of(&table, &now.identifier(text), claimed).location, expect, "{text}");
    }
}
