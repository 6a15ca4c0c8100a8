//! What a gateway has of registers: the keys under which they hash, and the routing table's latest version.
//!
//! Invariant: a look-up takes no lock and waits for nobody.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::moves::{Moves, Roll};
use crate::clock;
use crate::config::{Config, KeyPair, RegisterSettings, RegisterSource};
use crate::domain::decide::{Location, Refusal};
use crate::domain::fingerprint::Fingerprint;
use crate::domain::names::JurisdictionId;
use crate::domain::register::{Generation, Placed, RegisterEntry, SubjectKey};
use crate::domain::replication_lag::LogPosition;
use crate::routing_table::{
    self, Forgotten, Freshness, GatewayIdentity, Member, RegisterHandle, RegisterKeys, RegistersSettings,
    Report, Source, Table,
};
use crate::telemetry::Metrics;

/// How long a start waits until every register was read once.
const START_WAIT: Duration = Duration::from_secs(5);
/// How long an end waits until the registers have been told.
const LEAVE_WAIT: Duration = Duration::from_secs(5);
/// Between two looks at how fresh the registers are.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// With `[register]` in the configuration.
pub struct Registers {
    pub keys: Arc<RegisterKeys>,
    /// Where whoever follows the registers puts it.
    pub table: Arc<ArcSwap<Table>>,
    /// Who waits while subjects move.
    pub moves: Arc<Moves>,
    /// By jurisdiction; `None` where there is no register.
    handles: Vec<Option<RegisterHandle>>,
    /// A bit for each jurisdiction whose register was not heard for too long.
    stale: AtomicU64,
    /// … and for each that is hashed under other keys than ours.
    unreadable: AtomicU64,
    /// … and for each that has forgotten this gateway.
    disowned: AtomicU64,
    /// Certificates whose bearers are let in nowhere.
    pub forgotten: Arc<Forgotten>,
    /// Of this gateway's internal certificate, by which registers know it.
    certificate: Arc<ArcSwapOption<Fingerprint>>,
    jurisdictions: Vec<JurisdictionId>,
    /// What all this was made of: as long as that stays, it does.
    basis: Basis,
    following: Mutex<Option<Following>>,
    stop: CancellationToken,
    serving: Arc<AtomicBool>,
    /// What runs, until it has left.
    running: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Basis {
    settings: RegisterSettings,
    region: String,
    jurisdictions: Vec<String>,
}

/// What is to be run once.
struct Following {
    registers: routing_table::Registers,
    said: tokio::sync::mpsc::Receiver<super::moves::Said>,
    workers: usize,
}

/// What the table says of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    pub location: Location,
    /// Of the entry; 0 without one.
    pub generation: Generation,
    /// The least that a replica must have replayed.
    pub floor: Option<LogPosition>,
    /// By which of the keys an entry was found.
    pub key: Option<SubjectKey>,
    /// The rows have left, and nobody here knows where to: the registers have to be asked.
    pub left: bool,
}

impl Placement {
    /// What nothing but the request's own claim says.
    pub const fn claimed(location: Location) -> Self {
        Self { location, generation: Generation(0), floor: None, key: None, left: false }
    }

    fn of(table: &Table, keys: &[SubjectKey], claimed: Location) -> Self {
        let Some((key, entry)) = keys.iter().find_map(|key| Some((*key, table.get(key)?))) else {
            return Self::claimed(claimed);
        };
        let (location, left) = match entry.placed() {
            None => (claimed, false),
            Some(Placed::At(jurisdiction)) => (Location::Jurisdiction(jurisdiction), false),
            Some(Placed::Moving(jurisdiction)) => (Location::Moving(jurisdiction), false),
            Some(Placed::Left(_)) => (Location::Unknown(Refusal::SubjectMoving), true),
            Some(Placed::Unknown) => (Location::Unknown(Refusal::JurisdictionUnknown), false),
        };
        Self { location, generation: entry.generation, floor: entry.floor, key: Some(key), left }
    }
}

impl Registers {
    /// Opens what there is to follow; nothing is asked before [`Registers::start`]. `previous` stays as it is if it is made of the
    /// same. Without `metrics` nothing will be followed: a configuration is only checked.
    pub fn new(
        config: &Config,
        previous: Option<&Arc<Self>>,
        metrics: Option<&Arc<Metrics>>,
    ) -> Option<Arc<Self>> {
        let settings = config.register.as_ref()?;
        let topology = &config.topology;
        let basis = Basis {
            settings: settings.clone(),
            region: topology.region_name(config.region).to_owned(),
            jurisdictions: topology
                .jurisdictions()
                .map(|found| topology.jurisdiction_name(found).to_owned())
                .collect(),
        };
        if let Some(previous) = previous.filter(|previous| previous.basis == basis) {
            return Some(Arc::clone(previous));
        }
        let keys = Arc::new(keys(settings));
        let stop = CancellationToken::new();
        let serving = Arc::new(AtomicBool::new(false));
        let (moves, said) = Moves::new();
        let forgotten = Arc::new(Forgotten::new(topology));
        if let Some(previous) = previous {
            forgotten.take_over(&previous.forgotten);
        }
        let certificate = previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.certificate));
        let following = metrics.map(|metrics| {
            let sources = topology.jurisdictions().map(|jurisdiction| {
                let outside = !topology.lawful_regions(jurisdiction).contains(config.region);
                let member = |(region, url): &(_, _)| Member {
                    region: topology.region_name(*region).into(),
                    url: Clone::clone(url),
                };
                let source = match settings.source(jurisdiction) {
                    RegisterSource::None => Source::None,
                    RegisterSource::Members(members) => Source::Members(members.iter().map(member).collect()),
                    RegisterSource::File(path) => Source::File(path.clone()),
                };
                (source, outside)
            });
            routing_table::Registers::open(RegistersSettings {
                sources: sources.collect(),
                topology: Arc::new(topology.clone()),
                keys: Arc::clone(&keys),
                metrics: Arc::clone(metrics),
                gateway: identity(config, &basis.region, &serving, &certificate),
                forgotten: Arc::clone(&forgotten),
                snapshot: settings.snapshot.clone(),
                poll: settings.poll,
                stale_after: settings.stale_after,
                stop: stop.clone(),
            })
        });
        Some(Arc::new(Self {
            keys,
            table: following.as_ref().map(routing_table::Registers::table).unwrap_or_default(),
            moves: Arc::new(moves),
            handles: following.as_ref().map(routing_table::Registers::handles).unwrap_or_default(),
            stale: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            disowned: AtomicU64::new(0),
            forgotten,
            certificate,
            jurisdictions: topology.jurisdictions().collect(),
            basis,
            following: Mutex::new(following.map(|registers| Following {
                registers,
                said,
                workers: config.listen.workers,
            })),
            stop,
            serving,
            running: Mutex::default(),
        }))
    }

    /// Follows from now on, on the current thread, until [`Registers::leave`]. Returns once every register was read or has had its
    /// time, with the jurisdictions whose rows are hashed under other keys than ours.
    pub async fn start(self: &Arc<Self>) -> Vec<String> {
        let following = self.following.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Following { registers, said, workers }) = following else { return Vec::new() };
        let running = tokio::task::spawn_local(registers.run());
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        tokio::task::spawn_local(Arc::clone(self).watch_forever());
        tokio::task::spawn_local(Arc::clone(self).report_forever(said, workers));
        let reads = self.handles.iter().flatten().map(RegisterHandle::watch);
        let all = async {
            for mut watch in reads {
                // An error means that it ended; then nothing is to be waited for.
                let _ = watch
                    .wait_for(|view| view.current_at.is_some() || view.keys_differ || view.forgotten)
                    .await;
            }
        };
        if tokio::time::timeout(START_WAIT, all).await.is_err() {
            tracing::warn!(
                "not every register could be read yet; its subjects are served by their home's primary"
            );
        }
        self.look();
        self.serving.store(true, Relaxed);
        let differ = |(name, handle): (&String, &Option<RegisterHandle>)| {
            handle.as_ref().filter(|handle| handle.view().keys_differ).map(|_| name.clone())
        };
        self.basis.jurisdictions.iter().zip(&self.handles).filter_map(differ).collect()
    }

    /// The internal certificate that this gateway shows from now on.
    pub fn show(&self, certificate: Option<Fingerprint>) {
        self.certificate.store(certificate.map(Arc::new));
    }

    /// Ends it: the registers that can be reached are told that this gateway is gone, and the last snapshot is written.
    pub async fn leave(&self) {
        self.serving.store(false, Relaxed);
        self.stop.cancel();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running
            && tokio::time::timeout(LEAVE_WAIT, running).await.is_err()
        {
            tracing::warn!(
                "a register can't be told that this gateway is gone; moves wait for it until it counts as silent"
            );
        }
    }

    async fn watch_forever(self: Arc<Self>) {
        let mut version = None;
        let mut published = self.handles.iter().flatten().map(RegisterHandle::watch).collect::<Vec<_>>();
        while !self.stop.is_cancelled() {
            let table = self.table.load_full();
            if version.replace(table.version()) != Some(table.version()) {
                self.moves.tell(&table);
            }
            self.look();
            let changes = published.iter_mut().map(|watch| Box::pin(watch.changed()));
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = any(changes) => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Notes which registers are stale, which can't be read, and which have forgotten this gateway.
    fn look(&self) {
        let now = clock::now();
        let bits = |wanted: &dyn Fn(JurisdictionId, &RegisterHandle) -> bool| {
            let handles = self.jurisdictions.iter().zip(&self.handles);
            let set = handles.filter(|(id, handle)| handle.as_ref().is_some_and(|it| wanted(**id, it)));
            set.fold(0, |bits, (id, _)| bits | 1 << id.index())
        };
        self.stale.store(bits(&|_, handle| handle.freshness(now) == Freshness::Stale), Relaxed);
        self.unreadable.store(bits(&|_, handle| handle.view().keys_differ), Relaxed);
        self.disowned.store(bits(&|id, handle| self.is_disowned_by(id, handle)), Relaxed);
    }

    /// The register has refused this gateway's certificate, or lists it, as far as is known while it can't be asked.
    fn is_disowned_by(&self, jurisdiction: JurisdictionId, handle: &RegisterHandle) -> bool {
        let own = self.certificate.load();
        handle.view().forgotten
            || own.as_ref().is_some_and(|own| self.forgotten.is_listed_by(jurisdiction, own))
    }

    async fn report_forever(
        self: Arc<Self>,
        mut said: tokio::sync::mpsc::Receiver<super::moves::Said>,
        workers: usize,
    ) {
        let mut roll = Roll::new(workers);
        loop {
            let said = tokio::select! {
                () = self.stop.cancelled() => return,
                said = said.recv() => said,
            };
            let Some(said) = said else { return };
            if let Some((about, stage)) = roll.note(said)
                && let Some((move_id, attempt)) = about.attempt
                && let Some(handle) = self.handle(about.register)
                && let Err(error) = handle.report(Report { move_id, attempt, stage })
            {
                tracing::error!(%error, "a move is not told that its subject's writes wait here");
            }
            roll.keep(&self.table.load());
        }
    }

    /// Nothing was heard of the jurisdiction's register for so long that others may have gone on without this gateway.
    pub fn is_stale(&self, jurisdiction: JurisdictionId) -> bool {
        has_bit(&self.stale, jurisdiction)
    }

    /// Why none of the jurisdiction's subjects may be served here, whatever is known of them.
    pub fn refusal(&self, jurisdiction: JurisdictionId) -> Option<Refusal> {
        if has_bit(&self.disowned, jurisdiction) {
            Some(Refusal::GatewayForgotten)
        } else if has_bit(&self.unreadable, jurisdiction) {
            Some(Refusal::RegisterUnreadable)
        } else {
            None
        }
    }

    /// What is known of a jurisdiction's register; `None` where there is none.
    pub fn handle(&self, jurisdiction: JurisdictionId) -> Option<&RegisterHandle> {
        self.handles.get(jurisdiction.index())?.as_ref()
    }

    /// Asks all registers that can be reached, and waits until what they say is in the table.
    pub async fn refresh(&self, wait: Duration) {
        let fresh = self.jurisdictions.iter().filter(|jurisdiction| !self.is_stale(**jurisdiction));
        let handles = fresh.filter_map(|jurisdiction| self.handle(*jurisdiction));
        join_all(handles.map(|handle| handle.refresh(wait))).await;
    }

    /// Where somebody's data is: by the table, else where `claimed` says.
    pub fn place(&self, keys: &[SubjectKey], claimed: Location) -> Placement {
        let placement = Placement::of(&self.table.load(), keys, claimed);
        let (Location::Jurisdiction(found) | Location::Moving(found)) = placement.location else {
            return placement;
        };
        match self.refusal(found) {
            Some(refusal) => Placement { location: Location::Unknown(refusal), ..placement },
            None => placement,
        }
    }

    /// What is right of the first of these keys that any register speaks of.
    pub fn entry(&self, keys: &[SubjectKey]) -> Option<RegisterEntry> {
        let table = self.table.load();
        keys.iter().find_map(|key| table.get(key))
    }
}

fn has_bit(bits: &AtomicU64, jurisdiction: JurisdictionId) -> bool {
    bits.load(Relaxed) & (1 << jurisdiction.index()) != 0
}

fn keys(settings: &RegisterSettings) -> RegisterKeys {
    let pair = |pair: &KeyPair| (pair.current.clone(), pair.previous.clone());
    let (subjects, identifiers) = (pair(&settings.subject_key), pair(&settings.identifier_key));
    RegisterKeys::new((&subjects.0, subjects.1.as_ref()), (&identifiers.0, identifiers.1.as_ref()))
}

/// By what registers know this gateway: the same after a restart, and no other's.
fn identity(
    config: &Config,
    region: &str,
    serving: &Arc<AtomicBool>,
    certificate: &Arc<ArcSwapOption<Fingerprint>>,
) -> GatewayIdentity {
    let host = rustix::system::uname();
    let listen = &config.listen;
    let door = listen.internal.or(listen.http).or(listen.https).map(|address| address.to_string());
    GatewayIdentity {
        name: format!("{region}/{}/{}", host.nodename().to_string_lossy(), door.unwrap_or_default()),
        region: region.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        certificate: Arc::clone(certificate),
        serving: Arc::clone(serving),
    }
}

/// Until one of them is ready; for ever if there is none.
async fn any(futures: impl Iterator<Item = std::pin::Pin<Box<impl Future>>>) {
    let mut futures: Vec<_> = futures.collect();
    std::future::poll_fn(|context| {
        let ready = futures.iter_mut().any(|future| future.as_mut().poll(context).is_ready());
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests;
