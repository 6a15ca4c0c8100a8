use proptest::prelude::*;

use super::*;
use crate::domain::decide::{Database, Reads, Refusal};
use crate::domain::names::{RegionId, RegionSet};
use crate::domain::topology::{JurisdictionSpec, Mode, RegionSpec};

const REGIONS: [&str; 3] = ["home", "near", "far"];

fn topology(mode: Mode) -> Topology {
    let region = |name: &&str| RegionSpec { name: (*name).to_owned(), nearest: Vec::new() };
    let jurisdiction = JurisdictionSpec {
        name: "us".to_owned(),
        home: "home".to_owned(),
        replicas: vec!["near".to_owned(), "far".to_owned()],
        claim_values: vec!["us".to_owned()],
        mode,
        ..JurisdictionSpec::default()
    };
    Topology::new(REGIONS.iter().map(region).collect(), &[jurisdiction], mode).expect("three regions")
}

fn question(topology: &Topology, at: &str, entry: Entry) -> Question {
    Question {
        at: topology.region(at).expect("a region"),
        entry,
        location: Location::Jurisdiction(topology.jurisdiction("us").expect("us")),
        access: Access::Read,
        reads: Reads::Nearest,
        caught_up: None,
        unreachable: RegionSet::EMPTY,
    }
}

fn permit(topology: &Topology, liveness: &Liveness, question: &Question) -> Permit {
    match decide(topology, liveness, question) {
        Decision::Forward(permit) => permit,
        other => panic!("{other:?}"),
    }
}

fn home(topology: &Topology) -> RegionId {
    topology.region("home").expect("a region")
}

#[test]
fn a_read_of_a_replica_is_replayed_at_the_home_as_a_write() {
    let topology = topology(Mode::Enforce);
    let liveness = Liveness::assumed(&topology);
    let question = question(&topology, "near", Entry::Edge);
    let permit = permit(&topology, &liveness, &question);
    assert_eq!(permit.database(), Some(Database::Replica));
    let answered = Answered { question: &question, permit: &permit, method: "GET", is_replay: false };
    match answered.replay(&topology, &liveness) {
        Ok(Decision::Forward(again)) => {
            assert_eq!((again.destination(), again.access()), (home(&topology), Access::Write));
            assert_eq!((again.database(), again.leaves_region()), (Some(Database::Primary), true));
        }
        other => panic!("{other:?}"),
    }
    let gone = liveness.without_region(home(&topology));
    assert_eq!(answered.replay(&topology, &gone), Ok(Decision::Refuse(Refusal::HomeUnavailable)));
}

#[test]
fn everything_else_is_answered_as_it_was() {
    let enforced = topology(Mode::Enforce);
    let observed = topology(Mode::Observe);
    let anonymous = Question { location: Location::Anonymous, ..question(&enforced, "near", Entry::Edge) };
    for (topology, question, method, is_replay, expect) in [
        (&enforced, question(&enforced, "near", Entry::Hop), "GET", false, NoReplay::OverHop),
        (&enforced, question(&enforced, "near", Entry::Edge), "POST", false, NoReplay::UnsafeMethod),
        (&enforced, question(&enforced, "near", Entry::Edge), "PATCH", false, NoReplay::UnsafeMethod),
        (&enforced, question(&enforced, "near", Entry::Edge), "get", false, NoReplay::UnsafeMethod),
        (&enforced, question(&enforced, "near", Entry::Edge), "HEAD", true, NoReplay::Again),
        (&enforced, question(&enforced, "home", Entry::Edge), "GET", false, NoReplay::AtHome),
        (&enforced, anonymous, "GET", false, NoReplay::NotEnforced),
        (&observed, question(&observed, "near", Entry::Edge), "GET", false, NoReplay::NotEnforced),
    ] {
        let liveness = Liveness::assumed(topology);
        let permit = permit(topology, &liveness, &question);
        let answered = Answered { question: &question, permit: &permit, method, is_replay };
        assert_eq!(answered.replay(topology, &liveness), Err(expect), "{method} {question:?}");
    }
}

proptest! {
    /// Whatever is down and wherever it was: a replay goes to the home, or nowhere, and its answer asks for no other.
    #[test]
    fn a_replay_goes_to_the_home_and_ends_there(
        at in 0..REGIONS.len(),
        method in prop::sample::select(vec!["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "QUERY"]),
        unreachable in prop::collection::vec(any::<bool>(), REGIONS.len()),
        hop in any::<bool>(),
    ) {
        let topology = topology(Mode::Enforce);
        let liveness = Liveness::assumed(&topology);
        let entry = if hop { Entry::Hop } else { Entry::Edge };
        let unreachable: RegionSet =
            topology.regions().filter(|region| unreachable[region.index()]).collect();
        let question = Question { unreachable, ..question(&topology, REGIONS[at], entry) };
        let Decision::Forward(first) = decide(&topology, &liveness, &question) else { return Ok(()) };
        let answered = Answered { question: &question, permit: &first, method, is_replay: false };
        let Ok(decision) = answered.replay(&topology, &liveness) else {
            let at_home = first.destination() == home(&topology);
            prop_assert!(hop || at_home || !["GET", "HEAD", "OPTIONS"].contains(&method));
            return Ok(());
        };
        prop_assert!(!hop && is_safe(method));
        match decision {
            Decision::Forward(again) => {
                prop_assert_eq!(again.destination(), home(&topology));
                let once_more = Answered { permit: &again, is_replay: true, ..answered };
                prop_assert_eq!(once_more.replay(&topology, &liveness), Err(NoReplay::Again));
            }
            Decision::Refuse(refusal) => {
                prop_assert_eq!(refusal, Refusal::HomeUnavailable);
                prop_assert!(unreachable.contains(home(&topology)));
            }
            Decision::Hold => prop_assert!(false, "nobody moves"),
        }
    }
}
