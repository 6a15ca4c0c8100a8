//! A cluster in memory on which plans are performed, with members that die, hide and come back between any two steps, and
//! runs that are cut off after any of them.
//!
//! Held after every event, unless a risk was taken by name: there is one member at most that could acknowledge a write. Held
//! after every promotion: whatever was acknowledged is there, but for what the plan has named. Excepted from both is the one
//! thing that no standby can know, and that `durability async` and the runbook say: that durability was given up while it had
//! no link.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::*;
use crate::domain::replication_lag::Timeline;

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each may be so or not, whatever the others are")]
struct Server {
    alive: bool,
    /// From whoever promotes; the others reach it.
    hidden: bool,
    standby: bool,
    timeline: u32,
    /// Writes, each at its place.
    log: Vec<u32>,
    row: Row,
    open: bool,
    fence: Option<Fence>,
    follows: Option<usize>,
    streamed: bool,
    /// Stopped by a promotion, over a restart, until it is told to follow.
    detached: bool,
    /// Durability was given up, and it has not heard of that.
    unheard: bool,
}

#[derive(Debug, Clone)]
struct Model {
    servers: Vec<Server>,
    acknowledged: BTreeSet<u32>,
    next: u32,
    promoting: bool,
    risked: bool,
}

#[derive(Debug, Clone)]
enum Event {
    Write,
    Stream(usize),
    Crash(usize),
    Hide(usize),
    Show(usize),
    Boot(usize, bool),
    Promote {
        to: usize,
        assume_dead: bool,
        confirm_off: bool,
        relax: bool,
        cut_off: usize,
        meanwhile: Vec<Event>,
    },
}

impl Model {
    fn new(durability: Durability) -> Self {
        let synchronous = if durability == Durability::Remote { &["b", "c"][..] } else { &[] };
        let server = |index: usize| Server {
            alive: true,
            hidden: false,
            standby: index != 0,
            timeline: 1,
            log: Vec::new(),
            row: super::row("a", 1, durability, synchronous),
            open: true,
            fence: None,
            follows: (index != 0).then_some(0),
            streamed: true,
            detached: false,
            unheard: false,
        };
        let servers = (0..NAMES.len()).map(server).collect();
        Self { servers, acknowledged: BTreeSet::new(), next: 0, promoting: false, risked: false }
    }

    fn live_primary(&self, index: usize) -> bool {
        let server = &self.servers[index];
        server.alive && !server.standby && server.open
    }

    /// A standby that would confirm a commit of that primary.
    fn confirms(&self, standby: usize, primary: usize) -> bool {
        let server = &self.servers[standby];
        server.alive && server.follows == Some(primary) && self.extends(primary, standby)
    }

    fn extends(&self, primary: usize, standby: usize) -> bool {
        self.servers[primary].log.starts_with(&self.servers[standby].log)
    }

    fn acknowledges(&self, primary: usize) -> bool {
        let waits = self.servers[primary].row.durability == Durability::Remote;
        self.live_primary(primary)
            && (!waits || (0..NAMES.len()).any(|standby| self.confirms(standby, primary)))
    }

    fn write(&mut self) {
        for primary in 0..NAMES.len() {
            if !self.live_primary(primary) {
                continue;
            }
            let id = self.next;
            self.next += 1;
            self.servers[primary].log.push(id);
            if self.servers[primary].row.durability == Durability::Async {
                self.acknowledged.insert(id);
            } else if let Some(standby) = (0..NAMES.len()).find(|&standby| self.confirms(standby, primary)) {
                self.stream(standby);
                self.acknowledged.insert(id);
            }
        }
    }

    fn stream(&mut self, standby: usize) {
        let Some(primary) = self.servers[standby].follows else { return };
        if !self.servers[primary].alive || self.servers[primary].standby || !self.confirms(standby, primary) {
            return;
        }
        let Server { log, timeline, row, open, fence, .. } = self.servers[primary].clone();
        let server = &mut self.servers[standby];
        (server.log, server.timeline, server.row, server.open, server.fence) =
            (log, timeline, row, open, fence);
        (server.streamed, server.unheard) = (true, false);
    }

    /// A server's unit: the check, and the server as what it is then.
    fn boot(&mut self, index: usize, patient: bool) {
        if self.servers[index].alive {
            return;
        }
        let others: Vec<_> = (0..NAMES.len()).filter(|other| *other != index).collect();
        let peer = |&other: &usize| match &self.servers[other] {
            server if !server.alive => Peer::Silent,
            server if server.standby => Peer::Standby {
                timeline: Timeline(server.timeline),
                promoting: self.promoting && !server.hidden,
            },
            server => {
                Peer::Primary { timeline: Timeline(server.timeline), generation: Some(server.row.generation) }
            }
        };
        let peers: Vec<_> = others.iter().map(peer).collect();
        let own =
            Own { standby: self.servers[index].standby, timeline: Timeline(self.servers[index].timeline) };
        match boot(own, &peers, patient, false) {
            BootVerdict::Wait(_) => return,
            BootVerdict::Open => {}
            BootVerdict::Standby { primary, .. } => {
                let primary = primary.map(|found| others[found]);
                let latest = self.primary();
                let server = &mut self.servers[index];
                let follows = primary.or(latest).filter(|_| !server.detached);
                (server.standby, server.streamed, server.follows) = (true, false, follows);
                if let Some(primary) = primary
                    && !self.extends(primary, index)
                {
                    // Rewound.
                    self.servers[index].log = Vec::new();
                }
            }
        }
        self.servers[index].alive = true;
    }

    fn primary(&self) -> Option<usize> {
        let open = |index: &usize| self.servers[*index].alive && !self.servers[*index].standby;
        (0..NAMES.len()).filter(open).max_by_key(|&index| self.servers[index].timeline)
    }

    fn look(&self) -> Cluster {
        let answer = |server: &Server| Answer {
            streamed: server.streamed,
            recovering: server.standby,
            open: server.open,
            fence: server.fence.clone(),
            row: server.open.then(|| server.row.clone()),
            ..super::standby(server.timeline, server.log.len() as u64, &server.row)
        };
        let heard: Vec<_> = self
            .servers
            .iter()
            .map(|server| (server.alive && !server.hidden).then(|| answer(server)))
            .collect();
        super::cluster(&NAMES.into_iter().zip(heard).collect::<Vec<_>>())
    }

    fn at(&self, region: &str) -> Option<usize> {
        let index = NAMES.iter().position(|name| *name == region).expect("a member");
        (self.servers[index].alive && !self.servers[index].hidden).then_some(index)
    }

    fn promote(&mut self, request: &Request, cut_off: usize, meanwhile: &[Event]) {
        let Ok(made) = plan(&self.look(), request) else { return };
        let off = |model: &Self| {
            made.from.as_ref().is_some_and(|from| model.at(from).is_none_or(|at| !model.servers[at].alive))
        };
        let dead = |model: &Self| {
            made.from.as_ref().is_none_or(|from| {
                !model.servers[NAMES.iter().position(|name| name == from).expect("a member")].alive
            })
        };
        if made.proof == Proof::Off && !(off(self) && dead(self)) {
            return;
        }
        self.promoting = true;
        self.risked |= made.proof == Proof::Assumed;
        // The excepted: their word that commits wait for them is out of date, and no one can know.
        self.risked |=
            matches!(made.proof, Proof::Quorum(_)) && self.servers.iter().any(|server| server.unheard);
        let mut meanwhile = meanwhile.iter();
        let (mut promoted, mut done, mut loss) = (made.proof == Proof::Promoted, true, made.loss.clone());
        for step in made.steps.iter().take(cut_off) {
            if let Some(event) = meanwhile.next() {
                self.happen(event);
            }
            if !self.step(step, &made, request, &mut loss) {
                done = false;
                break;
            }
            if *step == Step::Promote {
                promoted = true;
                self.hold_loss(&made, &loss);
            }
        }
        self.promoting = false;
        // A fault is taken back; a run that is killed leaves everything as it is.
        if !done && !promoted {
            self.undo(&made);
        }
    }

    /// One step; whether it could be done.
    fn step(&mut self, step: &Step, made: &Plan, request: &Request, loss: &mut Loss) -> bool {
        let Some(target) = self.at(&made.to) else { return false };
        match step {
            Step::Synchronous => {}
            Step::Fence(from) => {
                let Some(from) = self.at(from) else { return false };
                let row = self.look().row().expect("the plan had it").clone();
                self.servers[from].open = false;
                self.servers[from].fence = Some(Fence { to: made.to.clone(), row });
            }
            Step::Detach(region) => {
                let Some(standby) = self.at(region) else { return false };
                (self.servers[standby].follows, self.servers[standby].detached) = (None, true);
            }
            Step::CatchUp => {
                let from = made.from.as_deref().and_then(|from| self.at(from));
                let Some(from) = from.filter(|&from| self.confirms(target, from)) else { return false };
                self.stream(target);
                return self.servers[target].log == self.servers[from].log;
            }
            Step::Compare => match plan(&self.look(), request) {
                Ok(again) if again.proof == made.proof && again.generation == made.generation => {
                    *loss = again.loss;
                }
                _ => return false,
            },
            Step::Promote => {
                let latest = self.servers[target].timeline;
                let server = &mut self.servers[target];
                (server.standby, server.follows, server.timeline) = (false, None, latest + 1);
                server.detached = false;
                // Set by the first step, and in force from here on.
                server.row.durability = made.durability;
                self.relaxed(made, target);
            }
            Step::Open => (self.servers[target].open, self.servers[target].fence) = (true, None),
            Step::Follow => {
                for (standby, name) in NAMES.into_iter().enumerate() {
                    if standby != target && self.at(name).is_some() && self.servers[standby].standby {
                        (self.servers[standby].follows, self.servers[standby].detached) =
                            (Some(target), false);
                        self.stream(standby);
                    }
                }
            }
            Step::Row => {
                self.relaxed(made, target);
                let row = &mut self.servers[target].row;
                assert!(row.generation <= made.generation, "somebody has promoted meanwhile");
                (row.home, row.generation) = (made.to.clone(), Generation(made.generation.0 + 1));
                (row.durability, row.synchronous) = (made.durability, made.synchronous.clone());
            }
        }
        true
    }

    /// Commits of `primary` wait for nobody from now on; who doesn't follow it hears nothing of that.
    fn relaxed(&mut self, made: &Plan, primary: usize) {
        if made.durability == Durability::Async {
            for (_, server) in self.servers.iter_mut().enumerate().filter(|(index, _)| *index != primary) {
                server.unheard = true;
            }
        }
    }

    fn undo(&mut self, made: &Plan) {
        for (server, name) in NAMES.into_iter().enumerate() {
            if self.at(name).is_none() {
                continue;
            }
            if self.servers[server].standby && self.servers[server].follows.is_none() {
                self.servers[server].follows = self.primary();
                self.servers[server].detached = false;
            }
            if Some(name) == made.from.as_deref() && !self.servers[server].standby {
                (self.servers[server].open, self.servers[server].fence) = (true, None);
            }
        }
    }

    fn hold_loss(&mut self, made: &Plan, loss: &Loss) {
        let target = NAMES.iter().position(|name| *name == made.to).expect("a member");
        let log: BTreeSet<_> = self.servers[target].log.iter().copied().collect();
        let gone: BTreeSet<_> = self.acknowledged.difference(&log).copied().collect();
        match loss {
            Loss::Nothing(Whole::Synchronous) if self.servers.iter().any(|server| server.unheard) => {}
            Loss::Nothing(why) => assert!(self.risked || gone.is_empty(), "{why:?}: {gone:?} of {self:?}"),
            // Writes rise in number: all that is lost came after all that is there.
            Loss::After { .. } => {
                assert!(gone.iter().all(|one| log.iter().all(|held| held < one) || self.risked));
            }
        }
        // What is named as lost is lost; from here on it is no longer owed.
        self.acknowledged = self.acknowledged.intersection(&log).copied().collect();
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Write => self.write(),
            Event::Stream(index) => self.stream(*index),
            Event::Crash(index) => self.servers[*index].alive = false,
            Event::Hide(index) => self.servers[*index].hidden = true,
            Event::Show(index) => self.servers[*index].hidden = false,
            Event::Boot(index, patient) => self.boot(*index, *patient),
            Event::Promote { to, assume_dead, confirm_off, relax, cut_off, meanwhile } => {
                let request = Request {
                    to: NAMES[*to].to_owned(),
                    assume_dead: *assume_dead && !confirm_off,
                    confirm_off: *confirm_off,
                    relax: *relax,
                    without: Vec::new(),
                };
                if !self.promoting {
                    self.promote(&request, *cut_off, meanwhile);
                }
            }
        }
        let writable: Vec<_> = (0..NAMES.len()).filter(|&index| self.acknowledges(index)).collect();
        assert!(self.risked || writable.len() <= 1, "{writable:?} acknowledge: {self:?}");
    }
}

fn small() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Write),
        4 => (0..3usize).prop_map(Event::Stream),
        2 => (0..3usize).prop_map(Event::Crash),
        1 => (0..3usize).prop_map(Event::Hide),
        2 => (0..3usize).prop_map(Event::Show),
        3 => (0..3usize, any::<bool>()).prop_map(|(index, patient)| Event::Boot(index, patient)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let promote = (0..3usize, proptest::bool::weighted(0.1), any::<bool>(), any::<bool>(), 0..12usize);
    let promote = (promote, proptest::collection::vec(small(), 0..9)).prop_map(
        |((to, assume_dead, confirm_off, relax, cut_off), meanwhile)| {
            // Mostly to the end.
            let cut_off = if cut_off > 8 { usize::MAX } else { cut_off };
            Event::Promote { to, assume_dead, confirm_off, relax, cut_off, meanwhile }
        },
    );
    prop_oneof![5 => small(), 2 => promote]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]
    #[test]
    fn whatever_dies_one_acknowledges_and_only_what_was_named_is_lost(
        remote: bool,
        events in proptest::collection::vec(event(), 1..40),
    ) {
        let mut model = Model::new(if remote { Durability::Remote } else { Durability::Async });
        for event in &events {
            model.happen(event);
        }
    }
}
