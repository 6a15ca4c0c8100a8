//! Seeded chance: the same seed and number throw the same, on every machine and whatever was thrown before.
use std::ops::RangeInclusive;

use rand::{RngExt as _, SeedableRng, rngs::Xoshiro256PlusPlus};

/// A source of chance for one request, or for one storm.
pub(super) struct Dice(Xoshiro256PlusPlus);

impl Dice {
    pub(super) fn new(seed: u64, number: u64) -> Self {
        // Neighbouring numbers must not throw alike: the generator's seeding spreads them.
        Self(Xoshiro256PlusPlus::seed_from_u64(seed.rotate_left(32) ^ number))
    }

    /// Happens `permille` times in a thousand.
    pub(super) fn chance(&mut self, permille: u32) -> bool {
        self.0.random_range(0..1000) < permille
    }

    pub(super) fn between(&mut self, range: RangeInclusive<usize>) -> usize {
        self.0.random_range(range)
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.0.random_range(0..of.len())]
    }

    /// One of several, each as likely as its weight says.
    pub(super) fn weighed<T: Copy>(&mut self, choices: &[(u32, T)]) -> T {
        let mut left = self.0.random_range(0..choices.iter().map(|(weight, _)| weight).sum());
        for &(weight, choice) in choices {
            if left < weight {
                return choice;
            }
            left -= weight;
        }
        unreachable!("what is drawn is below the sum of all weights")
    }
}
