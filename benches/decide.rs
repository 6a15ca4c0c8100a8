//! What a decision costs, in the reference topology. Goal: at most 200 ns, without allocation.
use std::hint::black_box;

use residency::domain::decide::{Access, Entry, Location, Question, Reads, decide};
use residency::domain::liveness::Liveness;
use residency::domain::names::RegionSet;
use residency::domain::routes::{RouteRule, RouteTable};
use residency::domain::topology::{JurisdictionSpec, Mode, RegionSpec, Topology};

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

fn reference() -> Topology {
    let regions = ["us-east", "eu-frankfurt", "eu-nuremberg", "ap-singapore"]
        .map(|name| RegionSpec { name: name.to_owned(), nearest: Vec::new() });
    let jurisdiction = |name: &str, home: &str, replicas: &[&str]| JurisdictionSpec {
        name: name.to_owned(),
        home: home.to_owned(),
        replicas: replicas.iter().map(|&replica| replica.to_owned()).collect(),
        claim_values: vec![name.to_owned()],
        ..JurisdictionSpec::default()
    };
    let jurisdictions = [
        jurisdiction("us", "us-east", &["eu-frankfurt", "ap-singapore"]),
        jurisdiction("eu", "eu-frankfurt", &["eu-nuremberg"]),
    ];
    Topology::new(regions.into(), &jurisdictions, Mode::Enforce).expect("the reference topology is valid")
}

/// From the farthest region, so that the search for the nearest lawful one is longest.
#[divan::bench(args = [Access::Read, Access::Write])]
fn decision(bencher: divan::Bencher<'_, '_>, access: Access) {
    let topology = reference();
    let liveness = Liveness::assumed(&topology);
    let question = Question {
        at: topology.region("ap-singapore").expect("a region"),
        entry: Entry::Edge,
        location: Location::Jurisdiction(topology.jurisdiction("eu").expect("a jurisdiction")),
        access,
        reads: Reads::Nearest,
        caught_up: None,
        unreachable: RegionSet::EMPTY,
    };
    bencher.bench_local(|| decide(black_box(&topology), black_box(&liveness), black_box(&question)));
}

#[divan::bench]
fn claim_to_jurisdiction(bencher: divan::Bencher<'_, '_>) {
    let topology = reference();
    bencher.bench_local(|| topology.jurisdiction_of_claim(black_box("eu")));
}

#[divan::bench(args = ["/search", "/orgs/acme/members/7", "/orders/12345"])]
fn route(bencher: divan::Bencher<'_, '_>, path: &str) {
    let rule = |pattern: &str, subject: Option<&str>| RouteRule {
        pattern: pattern.to_owned(),
        subject: subject.map(str::to_owned),
        ..RouteRule::default()
    };
    let rules =
        vec![rule("POST /search", None), rule("POST /signup", None), rule("/orgs/{org}/**", Some("org"))];
    let table = RouteTable::new(rules).expect("valid rules");
    bencher.bench_local(|| table.find(black_box("POST"), black_box(path)).map(|found| found.index));
}
