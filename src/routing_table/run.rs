//! The base: what is known of many million subjects, packed and sorted, never changed.
//!
//! A slot has 20 bytes: the key, and a number. The number leads to a *word*, one of the few distinct things that most rows say
//! ("home, generation 1, in `us`"), or to a *story*: all rows of a subject that several registers speak of, or whose row tells
//! of a move. Keys are evenly spread, so their first bits find a handful of neighbours among which to look.
//!
//! Invariants
//! - Keys rise strictly; `starts[b]..starts[b + 1]` are the slots whose keys begin with the bits `b`.
//! - A story's first row is the union of all. It has at most one row of a register, and at least one.
//!
//! Absent by design: change (see `overlay`), and files (see `snapshot`).

use std::collections::{BTreeMap, HashMap};

use crate::domain::{
    names::JurisdictionId,
    register::{EntryState, Generation, Placed, RegisterEntry, SubjectKey},
};

use super::rows::Rows;

/// The key's four big-endian words and the number.
pub(super) type Slot = [u32; 5];

/// Marks a number that leads to a story.
const STORY: u32 = 1 << 31;

/// Slots that begin with the same bits, on average, at most. So few lie in one cache line or two, and a look-up waits for memory
/// twice; the starts take a tenth of the slots' room at most.
const NEIGHBOURS: usize = 3;

/// What a row says when it tells of no move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Word {
    pub(super) state: EntryState,
    pub(super) generation: Generation,
    pub(super) jurisdiction: JurisdictionId,
    pub(super) toward: Option<JurisdictionId>,
    pub(super) unknown: bool,
}

/// Packed rows of any number of subjects.
#[derive(Debug, Default)]
pub(super) struct Run {
    slots: Vec<Slot>,
    starts: Vec<u32>,
    shift: u32,
    words: Vec<Word>,
    stories: Vec<Rows>,
}

/// How many rows a run has of each register, and whose subjects are moving.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(super) rows: BTreeMap<JurisdictionId, usize>,
    pub(super) moving: BTreeMap<SubjectKey, RegisterEntry>,
}

/// Makes a run of rows whose keys rise.
#[derive(Debug, Default)]
pub(super) struct RunBuilder {
    slots: Vec<Slot>,
    words: Vec<Word>,
    numbers: HashMap<Word, u32, ahash::RandomState>,
    stories: Vec<Rows>,
    /// The word before, and its number: most rows say the same as their neighbour.
    last: Option<(Word, u32)>,
}

impl Run {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The right row of a subject.
    pub(super) fn get(&self, key: &SubjectKey) -> Option<RegisterEntry> {
        self.find(key).map(|number| match number & STORY {
            0 => self.words[number as usize].entry(),
            _ => self.stories[(number ^ STORY) as usize].winner().copied().expect("a story has a row"),
        })
    }

    /// All rows of a subject; none when no register speaks of it.
    pub(super) fn rows(&self, key: &SubjectKey) -> Rows {
        self.find(key).map(|number| self.rows_of(number)).unwrap_or_default()
    }

    /// All subjects, by rising key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SubjectKey, Rows)> {
        self.slots.iter().map(|slot| (key_of(slot), self.rows_of(slot[4])))
    }

    pub(super) fn census(&self) -> Census {
        let mut census = Census::default();
        let mut uses = vec![0_usize; self.words.len()];
        let moves: Vec<bool> = self.words.iter().map(|word| is_moving(&word.entry())).collect();
        for slot in &self.slots {
            if slot[4] & STORY == 0 {
                uses[slot[4] as usize] += 1;
                if !moves[slot[4] as usize] {
                    continue;
                }
            }
            let rows = self.rows_of(slot[4]);
            if slot[4] & STORY != 0 {
                for row in rows.as_slice() {
                    *census.rows.entry(row.jurisdiction).or_default() += 1;
                }
            }
            if let Some(winner) = rows.winner().filter(|winner| is_moving(winner)) {
                census.moving.insert(key_of(slot), *winner);
            }
        }
        for (word, uses) in self.words.iter().zip(uses) {
            *census.rows.entry(word.jurisdiction).or_default() += uses;
        }
        census
    }

    /// Bytes held, stories' own allocations left out.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.starts.capacity() * size_of::<u32>()
            + self.words.capacity() * size_of::<Word>()
            + self.stories.capacity() * size_of::<Rows>()
    }

    /// As `snapshot` writes them.
    pub(super) fn parts(&self) -> (&[Slot], &[Word], &[Rows]) {
        (&self.slots, &self.words, &self.stories)
    }

    /// From what a snapshot holds; `None` when it does not fit together.
    pub(super) fn from_parts(slots: Vec<Slot>, words: Vec<Word>, stories: Vec<Rows>) -> Option<Self> {
        let leads_somewhere = |slot: &Slot| match slot[4] & STORY {
            0 => (slot[4] as usize) < words.len(),
            _ => ((slot[4] ^ STORY) as usize) < stories.len(),
        };
        let rises = slots.windows(2).all(|pair| pair[0][..4] < pair[1][..4]);
        let whole = rises && slots.iter().all(leads_somewhere) && stories.iter().all(|rows| !rows.is_empty());
        whole.then(|| Self::indexed(slots, words, stories))
    }

    fn find(&self, key: &SubjectKey) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let key = words_of(key);
        let bucket = bucket(key[0], self.shift);
        let range = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
        self.slots[range].iter().find(|slot| slot[..4] == key).map(|slot| slot[4])
    }

    fn rows_of(&self, number: u32) -> Rows {
        match number & STORY {
            0 => Rows::one(self.words[number as usize].entry()),
            _ => self.stories[(number ^ STORY) as usize].clone(),
        }
    }

    fn indexed(slots: Vec<Slot>, words: Vec<Word>, stories: Vec<Rows>) -> Self {
        let bits = (slots.len() / NEIGHBOURS).max(1).next_power_of_two().ilog2();
        let shift = u32::BITS - bits;
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (index, slot) in slots.iter().enumerate() {
            let bucket = bucket(slot[0], shift);
            while starts.len() <= bucket {
                starts.push(u32::try_from(index).expect("a number has 31 bits, so there are no more slots"));
            }
        }
        starts.resize((1 << bits) + 1, u32::try_from(slots.len()).expect("likewise"));
        Self { slots, starts, shift, words, stories }
    }
}

impl RunBuilder {
    pub(super) fn with_capacity(slots: usize) -> Self {
        Self { slots: Vec::with_capacity(slots), ..Self::default() }
    }

    /// Adds a subject; its key is higher than those before. Nothing to say adds nothing.
    pub(super) fn push(&mut self, key: &SubjectKey, rows: Rows) {
        let number = match rows.as_slice() {
            [] => return,
            [row] if row.move_id.is_none() && row.floor.is_none() => self.word(Word::of(row)),
            _ => {
                self.stories.push(rows);
                STORY | u32::try_from(self.stories.len() - 1).expect("fewer than 2^31 subjects")
            }
        };
        let [a, b, c, d] = words_of(key);
        debug_assert!(self.slots.last().is_none_or(|last| last[..4] < [a, b, c, d][..]), "keys rise");
        self.slots.push([a, b, c, d, number]);
    }

    pub(super) fn last_key(&self) -> Option<SubjectKey> {
        self.slots.last().map(key_of)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn finish(mut self) -> Run {
        // What a growing vector has in reserve would stay as long as the run.
        self.slots.shrink_to_fit();
        self.words.shrink_to_fit();
        self.stories.shrink_to_fit();
        Run::indexed(self.slots, self.words, self.stories)
    }

    fn word(&mut self, word: Word) -> u32 {
        if let Some((last, number)) = self.last
            && last == word
        {
            return number;
        }
        let words = &mut self.words;
        let number = *self.numbers.entry(word).or_insert_with(|| {
            words.push(word);
            u32::try_from(words.len() - 1).expect("fewer than 2^31 subjects")
        });
        self.last = Some((word, number));
        number
    }
}

impl Word {
    pub(super) fn of(row: &RegisterEntry) -> Self {
        Self {
            state: row.state,
            generation: row.generation,
            jurisdiction: row.jurisdiction,
            toward: row.toward,
            unknown: row.unknown,
        }
    }

    pub(super) fn entry(self) -> RegisterEntry {
        RegisterEntry {
            state: self.state,
            generation: self.generation,
            jurisdiction: self.jurisdiction,
            toward: self.toward,
            move_id: None,
            floor: None,
            unknown: self.unknown,
        }
    }
}

fn words_of(key: &SubjectKey) -> [u32; 4] {
    let (words, _) = key.0.as_chunks::<4>();
    [0, 1, 2, 3].map(|index| u32::from_be_bytes(words[index]))
}

pub(super) fn key_of(slot: &Slot) -> SubjectKey {
    let mut key = [0; 16];
    for (bytes, word) in key.chunks_exact_mut(4).zip(slot) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    SubjectKey(key)
}

/// Whether nobody may write the subject's rows until its move ends.
pub(super) fn is_moving(winner: &RegisterEntry) -> bool {
    matches!(winner.placed(), Some(Placed::Moving(_)))
}

/// The first bits of a key; all of a table of one bucket are in it.
fn bucket(first: u32, shift: u32) -> usize {
    first.checked_shr(shift).unwrap_or(0) as usize
}
