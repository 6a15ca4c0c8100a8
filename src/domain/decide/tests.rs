use proptest::prelude::*;

use super::*;
use crate::domain::liveness::JurisdictionLiveness;
use crate::domain::register::Generation;
use crate::domain::topology::{JurisdictionSpec, RegionSpec};

fn regions(names: &[&str]) -> Vec<RegionSpec> {
    names.iter().map(|name| RegionSpec { name: (*name).to_owned(), nearest: Vec::new() }).collect()
}

fn jurisdiction(name: &str, home: &str, replicas: &[&str], mode: Mode) -> JurisdictionSpec {
    JurisdictionSpec {
        name: name.to_owned(),
        home: home.to_owned(),
        replicas: replicas.iter().map(|replica| (*replica).to_owned()).collect(),
        claim_values: vec![name.to_owned()],
        mode,
        ..JurisdictionSpec::default()
    }
}

/// The reference topology of three continents.
fn reference(mode: Mode) -> Topology {
    let mut regions = regions(&["us-east", "eu-frankfurt", "eu-nuremberg", "ap-singapore"]);
    regions[3].nearest = vec!["eu-frankfurt".into(), "eu-nuremberg".into(), "us-east".into()];
    Topology::new(
        regions,
        &[
            jurisdiction("us", "us-east", &["eu-frankfurt", "ap-singapore"], mode),
            jurisdiction("eu", "eu-frankfurt", &["eu-nuremberg"], mode),
        ],
        mode,
    )
    .expect("the reference topology is valid")
}

struct Case {
    at: &'static str,
    entry: Entry,
    location: &'static str,
    access: Access,
    reads: Reads,
    down: &'static [&'static str],
    expect: Result<(&'static str, Option<Database>), Refusal>,
}

#[test]
fn the_reference_topology_sends_each_request_where_the_law_wants_it() {
    use Access::{Read, Write};
    use Database::{Primary, Replica};
    use Entry::{Edge, Hop};
    let topology = reference(Mode::Enforce);
    let case = |at, entry, location, access, down, expect| {
        let reads = Reads::Nearest;
        Case { at, entry, location, access, reads, down, expect }
    };
    let fresh = |at, entry, location, down, expect| {
        let (access, reads) = (Read, Reads::Home);
        Case { at, entry, location, access, reads, down, expect }
    };
    let cases = [
        case("ap-singapore", Edge, "eu", Write, &[], Ok(("eu-frankfurt", Some(Primary)))),
        case("ap-singapore", Edge, "eu", Read, &[], Ok(("eu-frankfurt", Some(Primary)))),
        case("ap-singapore", Edge, "eu", Read, &["eu-frankfurt"], Ok(("eu-nuremberg", Some(Replica)))),
        case("ap-singapore", Edge, "eu", Write, &["eu-frankfurt"], Err(Refusal::HomeUnavailable)),
        case("us-east", Edge, "eu", Read, &["eu-frankfurt", "eu-nuremberg"], Err(Refusal::NoLawfulReplica)),
        case("eu-nuremberg", Edge, "eu", Read, &[], Ok(("eu-nuremberg", Some(Replica)))),
        case("eu-frankfurt", Edge, "us", Read, &[], Ok(("eu-frankfurt", Some(Replica)))),
        case("eu-frankfurt", Edge, "us", Write, &[], Ok(("us-east", Some(Primary)))),
        case("ap-singapore", Edge, "us", Read, &["ap-singapore"], Ok(("eu-frankfurt", Some(Replica)))),
        case("us-east", Hop, "eu", Read, &[], Err(Refusal::Misdirected)),
        case("us-east", Hop, "eu", Write, &[], Err(Refusal::Misdirected)),
        case("eu-nuremberg", Hop, "eu", Write, &[], Err(Refusal::Misdirected)),
        case("eu-nuremberg", Hop, "eu", Read, &[], Ok(("eu-nuremberg", Some(Replica)))),
        case("eu-nuremberg", Hop, "eu", Read, &["eu-nuremberg"], Err(Refusal::NoLawfulReplica)),
        case("ap-singapore", Edge, "", Read, &[], Ok(("ap-singapore", None))),
        case("ap-singapore", Edge, "", Write, &[], Err(Refusal::TokenMissing)),
        fresh("eu-frankfurt", Edge, "us", &[], Ok(("us-east", Some(Primary)))),
        fresh("us-east", Edge, "us", &[], Ok(("us-east", Some(Primary)))),
        fresh("us-east", Hop, "us", &[], Ok(("us-east", Some(Primary)))),
        fresh("eu-nuremberg", Edge, "eu", &["eu-frankfurt"], Err(Refusal::HomeUnavailable)),
        fresh("eu-nuremberg", Hop, "eu", &[], Err(Refusal::Misdirected)),
        fresh("ap-singapore", Edge, "", &[], Ok(("ap-singapore", None))),
    ];
    for Case { at, entry, location, access, reads, down, expect } in cases {
        let mut liveness = Liveness::assumed(&topology);
        for region in down {
            liveness = liveness.without_region(topology.region(region).expect("a region"));
        }
        let question = Question {
            at: topology.region(at).expect("a region"),
            entry,
            location: match topology.jurisdiction(location) {
                Some(found) => Location::Jurisdiction(found),
                None => Location::Anonymous,
            },
            access,
            reads,
            caught_up: None,
            unreachable: RegionSet::EMPTY,
        };
        let got = match decide(&topology, &liveness, &question) {
            Decision::Forward(permit) => {
                assert_eq!(permit.leaves_region(), permit.destination() != question.at);
                Ok((topology.region_name(permit.destination()), permit.database()))
            }
            Decision::Refuse(refusal) => Err(refusal),
            Decision::Hold => panic!("nobody moves"),
        };
        assert_eq!(got, expect, "{access:?} ({reads:?}) of {location:?} at {at} ({entry:?}), down: {down:?}");
    }
}

#[test]
fn a_lagging_replica_is_passed_over_while_a_fresh_one_lives() {
    let topology = reference(Mode::Enforce);
    let us = topology.jurisdiction("us").expect("us");
    let singapore = topology.region("ap-singapore").expect("sg");
    let ask = |fresh: RegionSet| {
        let liveness = Liveness::new(&topology, |found| JurisdictionLiveness {
            fresh,
            ..JurisdictionLiveness::assumed(&topology, found)
        });
        let question = Question {
            at: singapore,
            entry: Entry::Edge,
            location: Location::Jurisdiction(us),
            access: Access::Read,
            reads: Reads::Nearest,
            caught_up: None,
            unreachable: RegionSet::EMPTY,
        };
        match decide(&topology, &liveness, &question) {
            Decision::Forward(permit) => permit.destination(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(topology.lawful_regions(us)), singapore);
    assert_eq!(
        ask(topology.lawful_regions(us).without(singapore)),
        topology.region("eu-frankfurt").expect("fra")
    );
    assert_eq!(ask(RegionSet::EMPTY), singapore, "all of unknown age: the nearest serves");
}

#[test]
fn a_read_goes_only_where_its_own_writes_are() {
    let topology = reference(Mode::Enforce);
    let region = |name: &str| topology.region(name).expect("a region");
    let without = |name: &str| RegionSet::ALL.without(region(name));
    let us = Location::Jurisdiction(topology.jurisdiction("us").expect("us"));
    let nowhere = RegionSet::EMPTY;
    for (at, entry, caught_up, down, expect) in [
        ("ap-singapore", Entry::Edge, without("ap-singapore"), None, Ok("eu-frankfurt")),
        ("ap-singapore", Entry::Edge, nowhere, None, Ok("us-east")),
        ("us-east", Entry::Edge, nowhere, None, Ok("us-east")),
        ("ap-singapore", Entry::Edge, without("ap-singapore"), Some("us-east"), Ok("eu-frankfurt")),
        ("ap-singapore", Entry::Edge, nowhere, Some("us-east"), Err(Refusal::PositionUnavailable)),
        ("ap-singapore", Entry::Hop, without("ap-singapore"), None, Err(Refusal::Behind)),
        ("us-east", Entry::Hop, nowhere, None, Ok("us-east")),
        ("ap-singapore", Entry::Hop, nowhere, Some("ap-singapore"), Err(Refusal::NoLawfulReplica)),
    ] {
        let mut liveness = Liveness::assumed(&topology);
        if let Some(down) = down {
            liveness = liveness.without_region(region(down));
        }
        let (access, reads, unreachable) = (Access::Read, Reads::Nearest, RegionSet::EMPTY);
        let caught_up = Some(caught_up);
        let question =
            Question { at: region(at), entry, location: us, access, reads, caught_up, unreachable };
        let got = match decide(&topology, &liveness, &question) {
            Decision::Forward(permit) => Ok(topology.region_name(permit.destination())),
            Decision::Hold => panic!("nothing moves"),
            Decision::Refuse(refusal) => Err(refusal),
        };
        assert_eq!(got, expect, "at {at} ({entry:?}), caught up: {caught_up:?}, down: {down:?}");
    }
}

#[test]
fn observing_forwards_here_and_says_what_enforcing_would_have_done() {
    let topology = reference(Mode::Observe);
    let at = topology.region("us-east").expect("us-east");
    let frankfurt = topology.region("eu-frankfurt").expect("eu-frankfurt");
    let eu = Location::Jurisdiction(topology.jurisdiction("eu").expect("eu"));
    for (location, expect) in [
        (eu, Enforced::OtherRegion(frankfurt)),
        (Location::Unknown(Refusal::TokenInvalid), Enforced::Refused(Refusal::TokenInvalid)),
        (Location::Anonymous, Enforced::Refused(Refusal::TokenMissing)),
    ] {
        let question = Question {
            at,
            entry: Entry::Edge,
            location,
            access: Access::Write,
            reads: Reads::Nearest,
            caught_up: None,
            unreachable: RegionSet::EMPTY,
        };
        match decide(&topology, &Liveness::assumed(&topology), &question) {
            Decision::Forward(permit) => {
                assert_eq!(permit.basis(), Basis::Observed(expect));
                assert_eq!((permit.destination(), permit.leaves_region()), (at, false));
            }
            other => panic!("observing did not forward: {other:?}"),
        }
    }
}

/// A world drawn at random, kept in plain words so that the oracle can reason without the code under test.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "switches that have nothing to do with each other")]
struct Drawn {
    region_count: usize,
    /// Per jurisdiction: home, replicas, observed.
    jurisdictions: Vec<(usize, Vec<usize>, bool)>,
    unlocated_observed: bool,
    live: Vec<DrawnLive>,
    /// The order measured at the request's region, if it was.
    measured: Option<Vec<usize>>,
    nearest: Vec<Vec<usize>>,
    at: usize,
    hop: bool,
    write: bool,
    moving: bool,
    caught_up: Option<Vec<bool>>,
    reads: Reads,
    /// An index into `jurisdictions`, or past its end for anonymous and unknown.
    whose: usize,
    unreachable: Vec<bool>,
}

/// What works for one jurisdiction.
#[derive(Debug, Clone)]
struct DrawnLive {
    /// Where the home has moved: an index into the home, the replicas, and one region that may be unlawful.
    home: proptest::sample::Index,
    writable: bool,
    read_only: bool,
    readable: Vec<bool>,
    fresh: Vec<bool>,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    (1usize..7, 1usize..5).prop_flat_map(|(region_count, jurisdiction_count)| {
        let flags = move || proptest::collection::vec(any::<bool>(), region_count);
        let region = 0..region_count;
        (
            proptest::collection::vec(
                (region.clone(), proptest::collection::vec(region.clone(), 0..4), any::<bool>()),
                jurisdiction_count,
            ),
            any::<bool>(),
            (
                proptest::collection::vec(
                    (any::<proptest::sample::Index>(), any::<(bool, bool)>(), flags(), flags()).prop_map(
                        |(home, (writable, read_only), readable, fresh)| DrawnLive {
                            home,
                            writable,
                            read_only,
                            readable,
                            fresh,
                        },
                    ),
                    jurisdiction_count,
                ),
                proptest::option::of(Just((0..region_count).collect::<Vec<_>>()).prop_shuffle()),
            ),
            proptest::collection::vec(
                Just((0..region_count).collect::<Vec<_>>()).prop_shuffle(),
                region_count,
            ),
            region,
            (any::<(bool, bool, bool, bool)>(), proptest::option::of(flags())),
            0..jurisdiction_count + 2,
            flags(),
        )
            .prop_map(
                move |(
                    jurisdictions,
                    unlocated_observed,
                    (live, measured),
                    nearest,
                    at,
                    ((hop, write, reads_at_home, moving), caught_up),
                    whose,
                    unreachable,
                )| {
                    Drawn {
                        region_count,
                        jurisdictions,
                        unlocated_observed,
                        live,
                        measured,
                        nearest,
                        at,
                        hop,
                        write,
                        moving,
                        caught_up,
                        reads: if reads_at_home { Reads::Home } else { Reads::Nearest },
                        whose,
                        unreachable,
                    }
                },
            )
    })
}

impl Drawn {
    fn topology(&self) -> Topology {
        let mode = |observed: bool| if observed { Mode::Observe } else { Mode::Enforce };
        let name = |region: &usize| format!("r{region}");
        Topology::new(
            (0..self.region_count)
                .map(|region| RegionSpec {
                    name: name(&region),
                    nearest: self.nearest[region]
                        .iter()
                        .filter(|&&other| other != region)
                        .map(name)
                        .collect(),
                })
                .collect(),
            &self
                .jurisdictions
                .iter()
                .enumerate()
                .map(|(index, (home, replicas, observed))| JurisdictionSpec {
                    name: format!("j{index}"),
                    home: name(home),
                    replicas: replicas.iter().map(name).collect::<Vec<_>>(),
                    claim_values: vec![format!("j{index}")],
                    mode: mode(*observed),
                    ..JurisdictionSpec::default()
                })
                .collect::<Vec<_>>(),
            mode(self.unlocated_observed),
        )
        .expect("a drawn topology is valid")
    }

    fn set(flags: &[bool]) -> RegionSet {
        flags.iter().enumerate().filter(|(_, flag)| **flag).map(|(index, _)| RegionId::new(index)).collect()
    }

    fn lawful(&self, jurisdiction: usize) -> Vec<usize> {
        let (home, replicas, _) = &self.jurisdictions[jurisdiction];
        std::iter::once(*home).chain(replicas.iter().copied()).collect()
    }

    /// Where the home is now.
    fn home(&self, jurisdiction: usize) -> usize {
        let mut anywhere = self.lawful(jurisdiction);
        anywhere.push(self.region_count - 1);
        *self.live[jurisdiction].home.get(&anywhere)
    }

    fn liveness(&self, topology: &Topology) -> Liveness {
        let liveness = Liveness::new(topology, |found| {
            let live = &self.live[found.index()];
            JurisdictionLiveness {
                home: RegionId::new(self.home(found.index())),
                generation: Generation(1),
                read_only: live.read_only,
                writable: live.writable,
                readable: Self::set(&live.readable),
                fresh: Self::set(&live.fresh),
            }
        });
        let Some(measured) = &self.measured else { return liveness };
        let others = measured.iter().copied().filter(|&other| other != self.at);
        let order = std::iter::once(self.at).chain(others).map(RegionId::new).collect();
        liveness.with_order(RegionId::new(self.at), order)
    }

    /// A write of somebody who is being moved.
    fn must_wait(&self) -> bool {
        let enforced = self.jurisdictions.get(self.whose).is_some_and(|(_, _, observed)| !observed);
        self.moving && self.write && enforced
    }

    /// R1 and the rest of the rules in the oracle's own words: the one region number the request must reach, or none.
    fn must_reach(&self) -> Option<usize> {
        if self.whose >= self.jurisdictions.len() {
            let anonymous = self.whose == self.jurisdictions.len();
            return (self.unlocated_observed || (anonymous && !self.write)).then_some(self.at);
        }
        if self.jurisdictions[self.whose].2 {
            return Some(self.at);
        }
        if self.must_wait() {
            return None;
        }
        let DrawnLive { writable, read_only, readable, fresh, .. } = &self.live[self.whose];
        let home = self.home(self.whose);
        let has_seen =
            |region: usize| self.caught_up.as_ref().is_none_or(|set| region == home || set[region]);
        let works = |region: usize| readable[region] && !self.unreachable[region] && has_seen(region);
        if self.write || self.reads == Reads::Home {
            let stays = !self.hop || self.at == home;
            let takes = *writable && !(self.write && *read_only) && self.lawful(self.whose).contains(&home);
            return (stays && takes && !self.unreachable[home]).then_some(home);
        }
        let may_hold = |region: usize| self.lawful(self.whose).contains(&region);
        let mut order = vec![self.at];
        if !self.hop {
            let others = self.measured.as_ref().unwrap_or(&self.nearest[self.at]);
            order.extend(others.iter().filter(|&&other| other != self.at));
        }
        let serves: Vec<usize> =
            order.into_iter().filter(|&region| may_hold(region) && works(region)).collect();
        serves.iter().copied().find(|&region| fresh[region]).or(serves.first().copied())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn no_request_reaches_a_region_its_jurisdiction_does_not_list(drawn in drawn()) {
        let topology = drawn.topology();
        let jurisdictions: Vec<_> = topology.jurisdictions().collect();
        let liveness = drawn.liveness(&topology);
        let question = Question {
            at: RegionId::new(drawn.at),
            entry: if drawn.hop { Entry::Hop } else { Entry::Edge },
            location: match jurisdictions.get(drawn.whose) {
                Some(&found) if drawn.moving => Location::Moving(found),
                Some(&found) => Location::Jurisdiction(found),
                None if drawn.whose == jurisdictions.len() => Location::Anonymous,
                None => Location::Unknown(Refusal::JurisdictionUnknown),
            },
            access: if drawn.write { Access::Write } else { Access::Read },
            reads: drawn.reads,
            caught_up: drawn.caught_up.as_deref().map(Drawn::set),
            unreachable: Drawn::set(&drawn.unreachable),
        };
        let decided = decide(&topology, &liveness, &question);
        prop_assert_eq!(decided == Decision::Hold, drawn.must_wait() && !drawn.hop, "{:?}", decided);
        let reached = match decided {
            Decision::Forward(permit) => {
                if let Some(found) = permit.jurisdiction() {
                    let at_home = permit.destination().index() == drawn.home(found.index());
                    let primary = permit.database() == Some(Database::Primary);
                    prop_assert_eq!(primary, at_home || drawn.write);
                }
                Some(permit.destination().index())
            }
            Decision::Hold | Decision::Refuse(_) => None,
        };
        prop_assert_eq!(reached, drawn.must_reach());
        if let (Some(region), Some((_, _, false))) = (reached, drawn.jurisdictions.get(drawn.whose)) {
            let home = drawn.home(drawn.whose);
            prop_assert!(drawn.lawful(drawn.whose).contains(&region), "unlawful: region {}", region);
            prop_assert!(!drawn.write || region == home, "a write left for {}", region);
            prop_assert!(drawn.reads != Reads::Home || region == home, "a read that must be fresh left for {}", region);
        }
        if drawn.hop && let Some(region) = reached {
            prop_assert_eq!(region, drawn.at, "a second hop");
        }
    }
}
