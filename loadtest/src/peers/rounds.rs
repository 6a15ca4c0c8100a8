//! All turns as they come in, by contender.
use super::contender::{Contender, Load};
use super::idle::Resting;
use super::turn::Turn;

/// The turns of all contenders, round by round.
pub(super) struct Rounds {
    direct: Vec<Turn>,
    turns: Vec<(Contender, Vec<Turn>)>,
    resting: Vec<(Contender, Vec<Resting>)>,
}

impl Rounds {
    pub(super) fn new(contenders: &[Contender]) -> Self {
        let (idle, busy): (Vec<Contender>, Vec<Contender>) =
            contenders.iter().partition(|contender| contender.load == Load::Idle);
        Self {
            direct: Vec::new(),
            turns: busy.into_iter().map(|contender| (contender, Vec::new())).collect(),
            resting: idle.into_iter().map(|contender| (contender, Vec::new())).collect(),
        }
    }

    pub(super) fn add_direct(&mut self, turn: Turn) {
        self.direct.push(turn);
    }

    pub(super) fn add_turn(&mut self, contender: &Contender, turn: Turn) {
        if let Some((_, turns)) = self.turns.iter_mut().find(|(known, _)| known == contender) {
            turns.push(turn);
        }
    }

    pub(super) fn add_resting(&mut self, contender: &Contender, resting: Resting) {
        if let Some((_, all)) = self.resting.iter_mut().find(|(known, _)| known == contender) {
            all.push(resting);
        }
    }

    /// Load without a proxy.
    pub(super) fn direct(&self) -> &[Turn] {
        &self.direct
    }

    /// A contender's turns; none when it did not take part.
    pub(super) fn turns(&self, load: Load, name: &str) -> &[Turn] {
        find(&self.turns, load, name)
    }

    pub(super) fn resting(&self, load: Load, name: &str) -> &[Resting] {
        find(&self.resting, load, name)
    }

    pub(super) fn all_turns(&self) -> impl Iterator<Item = (&Contender, &[Turn])> {
        self.turns.iter().map(|(contender, turns)| (contender, turns.as_slice()))
    }

    pub(super) fn all_resting(&self) -> impl Iterator<Item = (&Contender, &[Resting])> {
        self.resting.iter().map(|(contender, resting)| (contender, resting.as_slice()))
    }
}

fn find<'a, T>(all: &'a [(Contender, Vec<T>)], load: Load, name: &str) -> &'a [T] {
    all.iter()
        .find(|(contender, _)| contender.load == load && contender.name() == name)
        .map_or(&[], |(_, turns)| turns)
}
