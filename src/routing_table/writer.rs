//! Who changes the table: changes into the overlay at once, overlays into a new base in the background.
//!
//! Invariants
//! - Readers never wait: a version is published whole, by one pointer. What it replaces is kept until no reader holds it, and
//!   freed by a thread that serves nobody.
//! - What one register says is changed only by that register's changes and reloads. A reload replaces all it said before,
//!   and nothing that others say.
//! - A row of a lower generation than its register gave before is dropped, until that register is loaded whole.
//!
//! While a base is being packed the old one is there, too, and during the reload of a big register what was loaded: memory
//! then rises to two or three times the table's.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::domain::{
    names::JurisdictionId,
    register::{RegisterEntry, SubjectKey},
};

use super::{
    overlay::Overlay,
    pack::{Replaced, pack},
    rows::Rows,
    run::{Run, RunBuilder, is_moving},
    table::Table,
};

/// One register's news of one subject or identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub register: JurisdictionId,
    pub key: SubjectKey,
    /// `None`: the register says nothing of it any more.
    pub entry: Option<RegisterEntry>,
}

/// What became of some changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    pub changed: usize,
    /// Said what was known.
    pub same: usize,
    /// Of a lower generation than known: dropped.
    pub late: usize,
}

/// All rows of one register, to replace what is known of it.
#[derive(Debug)]
pub struct RegisterLoad {
    register: JurisdictionId,
    rows: RunBuilder,
}

/// The one who writes.
#[derive(Debug)]
pub struct TableWriter {
    published: Arc<ArcSwap<Table>>,
    state: Mutex<State>,
    /// Held while a base is packed: one at a time.
    packing: tokio::sync::Mutex<()>,
    grown: Notify,
}

#[derive(Debug, Default)]
struct State {
    now: Table,
    moving: BTreeMap<SubjectKey, RegisterEntry>,
    census: Vec<usize>,
    retired: Vec<Retired>,
}

/// Not used any more, unless a reader still holds the version it belonged to.
#[derive(Debug)]
struct Retired {
    base: Arc<Run>,
    overlay: Overlay,
}

/// Changes that are packed into a new base: the more, the larger the base, so that packing costs little per change; and few
/// enough that the overlay stays small beside the base.
const fn changes_to_pack(base: usize) -> usize {
    4096 + base / 64
}

/// How often what is retired is looked at.
const REAPING: Duration = Duration::from_secs(1);

impl TableWriter {
    pub fn new() -> Self {
        Self::of(Run::default(), Overlay::default())
    }

    pub(super) fn of(base: Run, overlay: Overlay) -> Self {
        let now = Table { base: Arc::new(base), overlay, ..Table::default() };
        let mut state = State { now, ..State::default() };
        state.lay_over(None);
        let published = Arc::new(ArcSwap::from_pointee(state.version()));
        Self {
            published,
            state: Mutex::new(state),
            packing: tokio::sync::Mutex::default(),
            grown: Notify::new(),
        }
    }

    /// Where versions are published.
    pub fn published(&self) -> Arc<ArcSwap<Table>> {
        Arc::clone(&self.published)
    }

    /// The version in force.
    pub fn table(&self) -> Arc<Table> {
        self.published.load_full()
    }

    /// Applies changes in their order and publishes the outcome as one version.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change>) -> Applied {
        let mut state = self.state();
        let applied = state.apply(changes);
        if applied.changed > 0 {
            self.publish(&mut state);
        }
        if state.now.overlay.len() > changes_to_pack(state.now.base.len()) {
            self.grown.notify_one();
        }
        applied
    }

    /// Replaces all that one register says by what was loaded, and `since`, what it said during the load.
    pub async fn reload(&self, load: RegisterLoad, since: Vec<Change>) {
        let RegisterLoad { register, rows } = load;
        self.pack(Some((Replaced { register, by: rows.finish() }, since))).await;
    }

    /// Packs bases when there is enough to pack, and frees what nobody reads any more. Runs until dropped.
    pub async fn run(&self) {
        loop {
            let retired = !self.state().retired.is_empty();
            tokio::select! {
                () = self.grown.notified() => self.pack(None).await,
                () = tokio::time::sleep(REAPING), if retired => {}
            }
            self.reap().await;
        }
    }

    async fn pack(&self, reload: Option<(Replaced, Vec<Change>)>) {
        let _turn = self.packing.lock().await;
        let (base, frozen) = {
            let mut state = self.state();
            state.freeze();
            self.publish(&mut state);
            (Arc::clone(&state.now.base), state.now.frozen.clone())
        };
        let (replaced, since) = reload.unzip();
        let register = replaced.as_ref().map(|replaced| replaced.register);
        let packing = tokio::task::spawn_blocking(move || pack(&base, &frozen, replaced));
        let packed = packing.await.expect("packing does not panic and nobody aborts it");
        let mut state = self.state();
        state.put(packed, register);
        state.apply(since.into_iter().flatten());
        self.publish(&mut state);
    }

    #[cfg(test)]
    pub(super) async fn pack_now(&self) {
        self.pack(None).await;
    }

    #[cfg(test)]
    pub(super) fn retired(&self) -> usize {
        self.state().retired.len()
    }

    /// Frees what no reader holds any more.
    pub(super) async fn reap(&self) {
        let unused: Vec<Retired> = {
            let mut state = self.state();
            let unused = state.retired.extract_if(.., |retired| {
                Arc::strong_count(&retired.base) == 1 && !retired.overlay.is_shared()
            });
            unused.collect()
        };
        if !unused.is_empty() {
            tokio::task::spawn_blocking(move || drop(unused)).await.expect("freeing does not panic");
        }
    }

    fn publish(&self, state: &mut State) {
        state.now.version += 1;
        self.published.store(Arc::new(state.version()));
    }

    /// Every change leaves the state whole before anything could panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for TableWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl RegisterLoad {
    pub fn new(register: JurisdictionId, expected: usize) -> Self {
        Self { register, rows: RunBuilder::with_capacity(expected) }
    }

    /// Adds a row. Keys rise; one that does not is left out and answered with `false`.
    pub fn push(&mut self, key: SubjectKey, entry: RegisterEntry) -> bool {
        let rises = self.rows.last_key().is_none_or(|last| last < key);
        if rises {
            self.rows.push(&key, Rows::one(RegisterEntry { jurisdiction: self.register, ..entry }));
        }
        rises
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Applied {
        let mut applied = Applied::default();
        for Change { register, key, entry } in changes {
            let entry = entry.map(|entry| RegisterEntry { jurisdiction: register, ..entry });
            let mut rows = self.now.all_rows(&key);
            let known = rows.of_register(register).copied();
            if known == entry {
                applied.same += 1;
                continue;
            }
            if let (Some(known), Some(entry)) = (known, entry)
                && !entry.replaces(&known)
            {
                applied.late += 1;
                continue;
            }
            let was_there = !rows.is_empty();
            rows.set(register, entry);
            self.now.len = self.now.len + usize::from(!rows.is_empty()) - usize::from(was_there);
            let count = self.count(register);
            *count = *count + usize::from(entry.is_some()) - usize::from(known.is_some());
            self.note_moving(key, rows.winner());
            self.now.overlay.insert(key, rows);
            applied.changed += 1;
        }
        applied
    }

    /// Makes the overlay the one that is packed; what an interrupted packing left behind is in it.
    fn freeze(&mut self) {
        let next = Overlay::for_changes(changes_to_pack(self.now.base.len()));
        let overlay = std::mem::replace(&mut self.now.overlay, next);
        if self.now.frozen.is_empty() {
            self.now.frozen = overlay;
        } else {
            for (key, rows) in overlay.iter() {
                self.now.frozen.insert(*key, rows.clone());
            }
        }
    }

    /// Goes over to a new base, in which one register may have been replaced.
    fn put(&mut self, base: Run, replaced: Option<JurisdictionId>) {
        let base = std::mem::replace(&mut self.now.base, Arc::new(base));
        let overlay = std::mem::take(&mut self.now.frozen);
        self.retired.push(Retired { base, overlay });
        self.lay_over(replaced);
    }

    /// Lays the overlay over a new base, in which one register may have been replaced.
    fn lay_over(&mut self, replaced: Option<JurisdictionId>) {
        let next = Overlay::for_changes(changes_to_pack(self.now.base.len()));
        let meanwhile = std::mem::replace(&mut self.now.overlay, next);
        for (key, mut rows) in meanwhile.iter().cloned() {
            if let Some(register) = replaced {
                // What others changed meanwhile stands beside what the replaced register said before.
                rows.set(register, self.now.base.rows(&key).of_register(register).copied());
            }
            self.now.overlay.insert(key, rows);
        }
        self.recount();
    }

    fn recount(&mut self) {
        let base = self.now.base.census();
        self.now.len = self.now.base.len();
        self.moving = base.moving;
        self.census.clear();
        for (register, rows) in base.rows {
            *self.count(register) = rows;
        }
        let overlay = self.now.overlay.clone();
        for (key, rows) in overlay.iter() {
            let below = self.now.base.rows(key);
            self.now.len = self.now.len + usize::from(!rows.is_empty()) - usize::from(!below.is_empty());
            for row in rows.as_slice() {
                *self.count(row.jurisdiction) += 1;
            }
            for row in below.as_slice() {
                *self.count(row.jurisdiction) -= 1;
            }
            self.note_moving(*key, rows.winner());
        }
        self.now.moving = self.moving.iter().map(|(key, entry)| (*key, *entry)).collect();
    }

    fn note_moving(&mut self, key: SubjectKey, winner: Option<&RegisterEntry>) {
        let moving = winner.copied().filter(is_moving);
        let before = match moving {
            Some(entry) => self.moving.insert(key, entry),
            None => self.moving.remove(&key),
        };
        if before != moving {
            self.now.moving = Arc::default();
        }
    }

    /// The version to publish.
    fn version(&mut self) -> Table {
        if self.now.moving.len() != self.moving.len() {
            self.now.moving = self.moving.iter().map(|(key, entry)| (*key, *entry)).collect();
        }
        self.now.census = self.census.as_slice().into();
        self.now.clone()
    }

    fn count(&mut self, register: JurisdictionId) -> &mut usize {
        if self.census.len() <= register.index() {
            self.census.resize(register.index() + 1, 0);
        }
        &mut self.census[register.index()]
    }
}
