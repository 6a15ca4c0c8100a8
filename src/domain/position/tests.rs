use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(timeline: u32, lsn: u64) -> LogPosition {
    LogPosition { timeline: Timeline(timeline), lsn: Lsn(lsn) }
}

fn replica(at: LogPosition) -> Reached {
    Reached { at, is_primary: false }
}

#[test]
fn a_requirement_is_met_by_what_has_as_much_on_its_timeline_or_a_later_one() {
    let primary = Some(Reached { at: at(1, 1), is_primary: true });
    let wanted = Requirement::Reached(at(2, 100));
    for (requirement, database, met) in [
        (Requirement::Nothing, None, true),
        (wanted, None, false),
        (wanted, Some(replica(at(2, 99))), false),
        (wanted, Some(replica(at(2, 100))), true),
        (wanted, Some(replica(at(2, 101))), true),
        (wanted, Some(replica(at(1, 101))), false),
        (wanted, Some(replica(at(3, 100))), true),
        (wanted, Some(replica(at(3, 99))), false),
        (wanted, primary, true),
        (Requirement::Home, Some(replica(at(9, u64::MAX))), false),
        (Requirement::Home, primary, true),
        (Requirement::Home, None, false),
    ] {
        assert_eq!(requirement.is_met_by(database), met, "{requirement:?} by {database:?}");
    }
}

#[test]
fn a_token_speaks_for_its_jurisdiction_and_cluster_alone() {
    let token = Token::new("eu", at(1, 100), 7);
    let says = Reading::Says(Requirement::Reached(at(1, 100)));
    for (token, jurisdiction, cluster, reading) in [
        (token.clone(), "eu", Some(7), says),
        (token.clone(), "eu", None, says),
        (token.clone(), "us", Some(7), Reading::OtherJurisdiction),
        (token.clone(), "eu", Some(8), Reading::OtherCluster),
        (Token::new("eu", at(1, 100), 0), "eu", Some(8), says),
        (Token::pin("eu"), "eu", Some(8), Reading::Says(Requirement::Home)),
        (Token::pin("eu"), "us", Some(8), Reading::OtherJurisdiction),
    ] {
        assert_eq!(
            token.reading(jurisdiction, cluster),
            reading,
            "{token:?} in {jurisdiction} of {cluster:?}"
        );
    }
    // Names that differ only past what a token holds are told apart by their clusters.
    let long = |end: &str| format!("{}{end}", "x".repeat(60));
    assert_eq!(Token::new(&long("a"), at(1, 1), 7).reading(&long("b"), Some(8)), Reading::OtherCluster);
}

#[test]
fn an_apis_own_position_is_read_strictly() {
    for (text, position) in [
        ("lsn=16/B374D848; timeline=3", at(3, 0x16_B374_D848)),
        ("timeline=1;lsn=0/1", at(1, 1)),
        (" lsn=FFFFFFFF/ffffffff ;\ttimeline=4294967295 ", at(u32::MAX, u64::MAX)),
    ] {
        assert_eq!(parse_said_by_api(text.as_bytes()), Ok(position), "{text}");
    }
    for text in [
        "",
        "lsn=0/1",
        "timeline=1",
        "lsn=0/1; timeline=0",
        "lsn=0/1; timeline=+1",
        "lsn=0/1, timeline=1",
        "lsn=0/1; timeline=1;",
        "lsn=0/1; lsn=0/2; timeline=1",
        "lsn=0/1; timeline=1; x=1",
        "lsn=1; timeline=1",
        "lsn=100000000/1; timeline=1",
        "lsn = 0/1; timeline=1",
        "LSN=0/1; timeline=1",
        "lsn=0/1; timeline=4294967296",
    ] {
        assert_eq!(parse_said_by_api(text.as_bytes()), Err(InvalidPosition), "{text:?}");
    }
    assert_eq!(parse_said_by_api(b"lsn=0/1; timeline=1\xFF"), Err(InvalidPosition));
}

/// Writes that come evenly, each asking when it has ended; the questions that were sent, and the longest wait.
fn paced(per_second: u64, seconds: u64, round_trip: Duration) -> (u64, Duration) {
    let gap = Duration::from_secs(1) / u32::try_from(per_second).expect("few");
    let count = per_second * seconds;
    let arrival = |index: u64| gap * u32::try_from(index).expect("few");
    let (mut pacing, mut now, mut served, mut questions) = (Pacing::default(), Duration::ZERO, 0, 0);
    let mut longest = Duration::ZERO;
    while served < count {
        now = now.max(arrival(served));
        now += pacing.pause(now);
        let covers = (served..count).take_while(|&index| arrival(index) <= now).count() as u64;
        pacing.sent(now, covers);
        questions += 1;
        now += round_trip;
        longest = longest.max(now.saturating_sub(arrival(served)));
        served += covers;
    }
    (questions, longest)
}

#[test]
fn the_more_ask_the_more_one_question_serves() {
    let round_trip = Duration::from_micros(300);
    for (per_second, most_per_write, most_wait_ms) in
        [(10, 1.0, 1), (100, 1.0, 1), (1_000, 0.2, 8), (2_000, 0.1, 8), (8_000, 0.03, 8)]
    {
        let (questions, longest) = paced(per_second, 10, round_trip);
        let per_write = questions as f64 / (per_second * 10) as f64;
        assert!(per_write <= most_per_write, "{per_write} questions a write at {per_second}/s");
        assert!(longest <= Duration::from_millis(most_wait_ms), "{longest:?} at {per_second}/s");
    }
    // A database that is slow to answer is asked no more often for it.
    assert!(paced(2_000, 10, Duration::from_millis(50)).0 < 210);
}

#[test]
fn nobody_waits_after_a_quiet_moment() {
    let mut pacing = Pacing::default();
    for step in 0..1_000 {
        pacing.sent(Duration::from_micros(500 * step), 10);
    }
    assert!(pacing.pause(Duration::from_millis(500)) > Duration::from_millis(5));
    assert_eq!(pacing.pause(Duration::from_millis(600)), Duration::ZERO);
}

#[test]
fn what_is_remembered_lives_for_one_to_two_turns() {
    let memory = Arc::new(Memory::default());
    let (mine, other) = (Slot::of_hash(0xABCD << 48), Slot::of_hash(1 << 48));
    memory.remember(mine, at(1, 100));
    memory.remember(mine, at(2, 50));
    assert_eq!(memory.look(mine).requirement(), Requirement::Reached(at(2, 100)), "nothing falls");
    assert_eq!(memory.look(other).requirement(), Requirement::Nothing);
    memory.rotate();
    assert_eq!(memory.look(mine).requirement(), Requirement::Reached(at(2, 100)));
    memory.rotate();
    assert_eq!(memory.look(mine).requirement(), Requirement::Nothing);
}

#[test]
fn a_pin_is_lifted_by_who_found_it_and_a_lost_write_by_time() {
    let memory = Arc::new(Memory::default());
    let slot = Slot::of_hash(0);
    memory.pin(slot, Pin::Resolvable);
    let found = memory.look(slot);
    assert_eq!(found.requirement(), Requirement::Home);
    memory.pin(slot, Pin::Resolvable);
    memory.resolve(slot, found, at(1, 5));
    assert_eq!(memory.look(slot).requirement(), Requirement::Home, "another write has pinned since");
    let found = memory.look(slot);
    memory.rotate();
    memory.resolve(slot, found, at(1, 9));
    assert_eq!(memory.look(slot).requirement(), Requirement::Reached(at(1, 9)));

    memory.pin(slot, Pin::Lost);
    memory.pin(slot, Pin::Resolvable);
    let found = memory.look(slot);
    assert!(found.is_lost());
    memory.resolve(slot, found, at(1, 10));
    assert_eq!(memory.look(slot).requirement(), Requirement::Home);
    memory.rotate();
    assert!(memory.look(slot).is_lost());
    memory.rotate();
    assert!(!memory.look(slot).is_lost());
}

#[test]
fn writes_under_way_are_counted_until_they_end() {
    let memory = Arc::new(Memory::default());
    let slot = Slot::of_hash(7 << 48);
    let (one, two) = (memory.set_out(slot), memory.set_out(slot));
    assert_eq!(memory.in_flight(slot), 2);
    drop(one);
    assert_eq!(memory.in_flight(slot), 1);
    drop(two);
    assert_eq!(memory.in_flight(slot), 0);
}

/// A cluster, two edges and some clients, moved by drawn events. The machines under test decide; the model knows what every
/// database shows.
struct World {
    /// What each write put: client → (timeline, position it ended at, value), as the primary has it now.
    log: Vec<(u64, usize, u32)>,
    timeline: u32,
    end: u64,
    /// Replicas: timeline, replayed up to, and the position a session that is open has read, if there is one.
    replicas: [(LogPosition, Option<Reached>); 2],
    memories: [Arc<Memory>; 2],
    home: Arc<Memory>,
    clients: Vec<Client>,
    value: u32,
}

#[derive(Default)]
struct Client {
    token: Option<Vec<u8>>,
    keeps_tokens: bool,
    /// The edge of the last write, for clients that keep none.
    edge: usize,
    /// Of the last write that the client was told of, or may have happened.
    acknowledged: u32,
    streaming: Vec<(u32, InFlight)>,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// A client writes through an edge; how the answer comes.
    Write(usize, usize, Ending),
    /// A stream of the client's commits its write and ends.
    StreamEnds(usize),
    Read(usize, usize),
    Replay(usize, u64),
    /// A session looks at a replica.
    Look(usize),
    /// A replica dies and comes back with less.
    Crash(usize, u64),
    /// A replica becomes the primary; what it had not replayed is lost, and so are those who wrote it.
    Promote(usize),
    /// Other people's writes.
    Noise(u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    Whole,
    Streamed,
    Failed,
}

const CLIENTS: usize = 4;

fn events() -> impl Strategy<Value = Vec<Event>> {
    let ending =
        prop_oneof![6 => Just(Ending::Whole), 1 => Just(Ending::Streamed), 1 => Just(Ending::Failed)];
    let event = prop_oneof![
        6 => (0..CLIENTS, 0..2usize, ending).prop_map(|(client, edge, ending)| Event::Write(client, edge, ending)),
        2 => (0..CLIENTS).prop_map(Event::StreamEnds),
        10 => (0..CLIENTS, 0..2usize).prop_map(|(client, edge)| Event::Read(client, edge)),
        6 => (0..2usize, 1..400u64).prop_map(|(replica, bytes)| Event::Replay(replica, bytes)),
        4 => (0..2usize).prop_map(Event::Look),
        1 => (0..2usize, 0..300u64).prop_map(|(replica, bytes)| Event::Crash(replica, bytes)),
        1 => (0..2usize).prop_map(Event::Promote),
        2 => (1..100u64).prop_map(Event::Noise),
    ];
    proptest::collection::vec(event, 1..120)
}

impl World {
    fn new() -> Self {
        let start = at(1, 1_000);
        let clients = (0..CLIENTS).map(|index| Client { keeps_tokens: index % 2 == 0, ..Client::default() });
        Self {
            log: Vec::new(),
            timeline: 1,
            end: 1_000,
            replicas: [(start, None), (start, None)],
            memories: Default::default(),
            home: Arc::default(),
            clients: clients.collect(),
            value: 0,
        }
    }

    fn slot(client: usize) -> Slot {
        // Two clients share one.
        Slot::of_hash((client as u64 / 3) << 48)
    }

    /// What a database that has replayed up to `lsn` shows of a client's writes.
    fn shown(&self, client: usize, lsn: u64) -> u32 {
        let visible = |entry: &&(u64, usize, u32)| entry.0 <= lsn && entry.1 == client;
        self.log.iter().filter(visible).map(|entry| entry.2).max().unwrap_or(0)
    }

    fn commit(&mut self, client: usize, value: u32) {
        self.end += 37;
        self.log.push((self.end, client, value));
    }

    fn requirement(&self, client: usize, edge: usize) -> (Requirement, Remembered) {
        let found = self.memories[edge].look(Self::slot(client));
        let brought = match self.clients[client].token.as_deref().map(Token::decode) {
            None => Requirement::Nothing,
            Some(token) => match token.expect("it was encoded").reading("us", Some(7)) {
                Reading::Says(says) => says,
                other => panic!("{other:?}"),
            },
        };
        (found.requirement().and(brought), found)
    }

    fn give(&mut self, client: usize, edge: usize, token: &Token) {
        let slot = Self::slot(client);
        if token.pinned {
            self.memories[edge].pin(slot, Pin::Resolvable);
        } else {
            self.memories[edge].remember(slot, token.at);
        }
        if self.clients[client].keeps_tokens {
            self.clients[client].token = Some(token.encode());
        }
    }

    fn covering(&self) -> Token {
        Token::new("us", at(self.timeline, self.end), 7)
    }

    fn step(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Write(client, edge, ending) => {
                self.value += 1;
                let (value, was) = (self.value, self.requirement(client, edge).0);
                // Without a token a client is known to one edge.
                let edge = if self.clients[client].keeps_tokens { edge } else { self.clients[client].edge };
                let flying = self.home.in_flight(Self::slot(client));
                match ending {
                    Ending::Whole => {
                        self.commit(client, value);
                        let mut token = self.covering();
                        token.pinned = was == Requirement::Home && flying > 0;
                        self.give(client, edge, &token);
                        self.clients[client].acknowledged = value;
                    }
                    Ending::Failed => {
                        self.commit(client, value);
                        self.give(client, edge, &Token::pin("us"));
                        self.clients[client].acknowledged = value;
                    }
                    Ending::Streamed => {
                        let under_way = self.home.set_out(Self::slot(client));
                        self.give(client, edge, &Token::pin("us"));
                        self.clients[client].streaming.push((value, under_way));
                    }
                }
            }
            Event::StreamEnds(client) => {
                if let Some((value, under_way)) = self.clients[client].streaming.pop() {
                    self.commit(client, value);
                    drop(under_way);
                    self.clients[client].acknowledged = self.clients[client].acknowledged.max(value);
                }
            }
            Event::Read(client, edge) => self.read(client, edge)?,
            Event::Replay(index, bytes) => {
                let (replayed, _) = &mut self.replicas[index];
                let to = (replayed.lsn.0 + bytes).min(self.end);
                *replayed = at(self.timeline, to.max(replayed.lsn.0));
            }
            Event::Look(index) => {
                let (replayed, session) = &mut self.replicas[index];
                *session = Some(Reached { at: *replayed, is_primary: false });
            }
            Event::Crash(index, bytes) => {
                let (replayed, session) = &mut self.replicas[index];
                *session = None;
                replayed.lsn.0 = replayed.lsn.0.saturating_sub(bytes);
            }
            Event::Promote(index) => {
                let kept = self.replicas[index].0.lsn.0;
                self.log.retain(|entry| entry.0 <= kept);
                self.timeline += 1;
                self.end = kept;
                let other = 1 - index;
                // The other follows, or has more than there ever was and begins anew.
                if self.replicas[other].0.lsn.0 > kept {
                    self.replicas[other] = (at(self.timeline, kept.saturating_sub(50)), None);
                }
                for client in 0..CLIENTS {
                    // Promotion has named what is lost: what is left is what its writer may expect.
                    let left = self.shown(client, kept);
                    let own = &mut self.clients[client];
                    own.acknowledged = own.acknowledged.min(left);
                }
            }
            Event::Noise(bytes) => self.end += bytes,
        }
        Ok(())
    }

    fn read(&mut self, client: usize, edge: usize) -> Result<(), TestCaseError> {
        let keeps = self.clients[client].keeps_tokens;
        let edge = if keeps { edge } else { self.clients[client].edge };
        let slot = Self::slot(client);
        let (requirement, found) = self.requirement(client, edge);
        // The edge's own replica, else the home.
        let (replayed, session) = self.replicas[edge];
        let shown = if requirement.is_met_by(session) {
            self.shown(client, replayed.lsn.0)
        } else {
            if requirement == Requirement::Home && self.home.in_flight(slot) == 0 {
                let token = self.covering();
                self.memories[edge].resolve(slot, found, token.at);
                self.give(client, edge, &token);
            }
            self.shown(client, self.end)
        };
        let owed = self.clients[client].acknowledged;
        prop_assert!(
            shown >= owed,
            "client {client} saw {shown} after {owed}, by {requirement:?} at {replayed:?}"
        );
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn nobody_reads_a_state_older_than_their_own_last_write(events in events()) {
        let mut world = World::new();
        for event in events {
            world.step(event)?;
        }
    }

    #[test]
    fn joining_asks_for_both_in_any_order(
        parts in proptest::collection::vec(prop_oneof![
            Just(Requirement::Nothing),
            (0..4u32, 0..9u64).prop_map(|(timeline, lsn)| Requirement::Reached(at(timeline, lsn))),
            Just(Requirement::Home),
        ], 0..5),
        database in (0..4u32, 0..9u64),
    ) {
        let database = Some(replica(at(database.0, database.1)));
        let joined = parts.iter().fold(Requirement::Nothing, |all, part| all.and(*part));
        let reversed = parts.iter().rev().fold(Requirement::Nothing, |all, part| all.and(*part));
        prop_assert_eq!(joined, reversed);
        prop_assert_eq!(joined.is_met_by(database), parts.iter().all(|part| part.is_met_by(database)));
    }

    #[test]
    fn tokens_keep_what_they_are_given(
        timeline: u32, lsn: u64, generation: u64, cluster: u64, pinned: bool, name in "[a-z]{1,60}",
    ) {
        let mut token = Token::new(&name, at(timeline, lsn), cluster).of_generation(Generation(generation));
        token.pinned = pinned;
        let bytes = token.encode();
        prop_assert!(bytes.len() <= MOST_BYTES);
        prop_assert_eq!(Token::decode(&bytes), Ok(token));
    }

    #[test]
    fn bytes_that_are_no_token_are_none(bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
        if let Ok(token) = Token::decode(&bytes) {
            prop_assert_eq!(token.encode(), bytes);
        }
    }
}

/// What two threads remember at once is all there: nothing is lost between a position and its timeline.
#[test]
fn memories_are_shared_by_threads_without_loss() {
    let memory = Arc::new(Memory::default());
    let slot = Slot::of_hash(3 << 48);
    let highest: BTreeMap<u32, u64> = std::thread::scope(|scope| {
        let write = |step: u64| {
            let memory = Arc::clone(&memory);
            scope.spawn(move || {
                (0..20_000).for_each(|index| memory.remember(slot, at(1, index * 2 + step)));
                20_000 * 2 - 2 + step
            })
        };
        let threads = [write(0), write(1)];
        threads.into_iter().map(|thread| (1, thread.join().expect("it only stores"))).collect()
    });
    assert_eq!(memory.look(slot).requirement(), Requirement::Reached(at(1, highest[&1].max(39_999))));
}
