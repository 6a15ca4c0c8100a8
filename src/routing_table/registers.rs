//! All registers at once: the table that a snapshot left, a follower for each source, packing, and the next snapshot.
//!
//! Invariants
//! - A snapshot is written only by who read it or found it unusable; one that can't be used costs nothing but a load.
//! - When told to stop: followers leave their registers, then the last snapshot is written.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    file::FileFollower,
    follow::{FollowSettings, Follower, GatewayIdentity, Member, RegisterHandle, Shared},
    forgotten::{Forgotten, ForgottenFile},
    keys::RegisterKeys,
    snapshot::{Progress, SnapshotFault, SnapshotFile},
    table::Table,
    writer::TableWriter,
};
use crate::{
    clock,
    domain::{names::JurisdictionId, topology::Topology},
    telemetry::Metrics,
};

/// Where a jurisdiction's register is.
#[derive(Debug, Clone)]
pub enum Source {
    /// The claim alone answers for it.
    None,
    Members(Vec<Member>),
    File(PathBuf),
}

pub struct RegistersSettings {
    pub topology: Arc<Topology>,
    pub keys: Arc<RegisterKeys>,
    pub metrics: Arc<Metrics>,
    pub gateway: GatewayIdentity,
    /// Where followers put what registers list as forgotten; what is on disk is read into it.
    pub forgotten: Arc<Forgotten>,
    /// By jurisdiction; each with whether this region is none of the jurisdiction's.
    pub sources: Vec<(Source, bool)>,
    /// The snapshot's directory.
    pub snapshot: Option<PathBuf>,
    pub poll: Duration,
    pub stale_after: Duration,
    /// Cancelled when this gateway leaves.
    pub stop: CancellationToken,
}

/// What follows, to be run, and what others have of it.
pub struct Registers {
    settings: RegistersSettings,
    writer: Arc<TableWriter>,
    file: Option<SnapshotFile>,
    forgotten: Option<ForgottenFile>,
    progress: Vec<Progress>,
    handles: Vec<Option<RegisterHandle>>,
    followers: Vec<AnyFollower>,
}

enum AnyFollower {
    Members(Box<Follower>),
    File(Box<FileFollower>),
}

/// Between two looks at whether a new snapshot is due, and two settings of the gauges.
const GAUGES: Duration = Duration::from_secs(1);
const BETWEEN_SNAPSHOTS: Duration = Duration::from_mins(1);

impl Registers {
    /// Reads the snapshot, if there is one. Blocks for as long as that takes: about a second for ten million entries.
    pub fn open(settings: RegistersSettings) -> Self {
        let outside: Vec<bool> = settings.sources.iter().map(|(_, outside)| *outside).collect();
        let file = settings.snapshot.as_deref().map(SnapshotFile::within);
        let read = file.as_ref().map(|file| (file, file.load(&settings.topology, &settings.keys, &outside)));
        let (writer, progress) = match read {
            None | Some((_, Err(SnapshotFault::Missing))) => fresh(&settings),
            Some((file, Err(fault))) => {
                settings.metrics.control().snapshot_refused(fault.label());
                let path = file.path().display();
                tracing::error!(file = %path, reason = %fault, "the routing table's snapshot is refused");
                fresh(&settings)
            }
            Some((file, Ok(read))) => {
                let entries = read.0.table().len();
                tracing::info!(file = %file.path().display(), entries, "the routing table's snapshot is read");
                read
            }
        };
        let forgotten = settings.snapshot.as_deref().map(ForgottenFile::within);
        if let Some(file) = &forgotten
            && let Err(fault) = file.load(&settings.forgotten)
        {
            settings.metrics.control().snapshot_refused("forgotten");
            let path = file.path().display();
            tracing::error!(file = %path, reason = %fault, "the list of forgotten certificates is refused");
        }
        let writer = Arc::new(writer);
        let shared = Shared {
            topology: Arc::clone(&settings.topology),
            keys: Arc::clone(&settings.keys),
            writer: Arc::clone(&writer),
            forgotten: Arc::clone(&settings.forgotten),
            metrics: Arc::clone(&settings.metrics),
            stop: settings.stop.clone(),
        };
        let (mut handles, mut followers) = (Vec::new(), Vec::new());
        for (jurisdiction, (source, outside)) in settings.topology.jurisdictions().zip(&settings.sources) {
            let (poll, stale_after) = (settings.poll, settings.stale_after);
            let progress = progress.get(jurisdiction.index()).cloned().unwrap_or_default();
            let (follower, handle) = match source {
                Source::None => {
                    handles.push(None);
                    continue;
                }
                Source::Members(members) => {
                    let (members, outside, gateway) = (members.clone(), *outside, settings.gateway.clone());
                    let follow =
                        FollowSettings { jurisdiction, members, outside, poll, stale_after, gateway };
                    let (follower, handle) = Follower::new(follow, shared.clone(), progress);
                    (AnyFollower::Members(Box::new(follower)), handle)
                }
                Source::File(path) => {
                    let (follower, handle) =
                        FileFollower::new(jurisdiction, path.clone(), poll, stale_after, shared.clone());
                    (AnyFollower::File(Box::new(follower)), handle)
                }
            };
            handles.push(Some(handle));
            followers.push(follower);
        }
        Self { settings, writer, file, forgotten, progress, handles, followers }
    }

    /// Where every version of the table is published.
    pub fn table(&self) -> Arc<ArcSwap<Table>> {
        self.writer.published()
    }

    /// By jurisdiction; `None` where there is no register.
    pub fn handles(&self) -> Vec<Option<RegisterHandle>> {
        self.handles.clone()
    }

    /// Follows, packs and saves until told to stop.
    pub async fn run(mut self) {
        let mut following = JoinSet::new();
        for follower in std::mem::take(&mut self.followers) {
            match follower {
                AnyFollower::Members(follower) => following.spawn(follower.run()),
                AnyFollower::File(follower) => following.spawn(follower.run()),
            };
        }
        let stop = self.settings.stop.clone();
        let mut saved = self.writer.table().version();
        let mut due = clock::now() + BETWEEN_SNAPSHOTS;
        let mut ticks = interval(GAUGES);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let writer = Arc::clone(&self.writer);
        let mut packing = std::pin::pin!(writer.run());
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = &mut packing => {}
                () = self.settings.forgotten.changed() => self.keep_forgotten().await,
                _ = ticks.tick() => {}
            }
            self.set_gauges();
            if clock::now() >= due {
                saved = self.save(saved).await;
                due = clock::now() + BETWEEN_SNAPSHOTS;
            }
        }
        while let Some(left) = following.join_next().await {
            left.expect("followers do not panic and nobody aborts them");
        }
        self.keep_forgotten().await;
        self.save(saved).await;
    }

    /// At once: whoever starts again without any database must not let them in.
    async fn keep_forgotten(&self) {
        let Some(file) = self.forgotten.clone() else { return };
        let (path, forgotten) = (file.path().to_owned(), Arc::clone(&self.settings.forgotten));
        let saving = tokio::task::spawn_blocking(move || file.save(&forgotten));
        if let Err(fault) = saving.await.expect("saving does not panic") {
            self.settings.metrics.control().snapshot_refused("unwritable");
            tracing::error!(file = %path.display(), reason = %fault, "the list of forgotten certificates is not written");
        }
    }

    fn set_gauges(&self) {
        let (now, table) = (clock::now(), self.writer.table());
        for (jurisdiction, handle) in self.followed() {
            let name = self.settings.topology.jurisdiction_name(jurisdiction);
            let (entries, staleness) = (table.rows_of(jurisdiction), handle.staleness(now));
            self.settings.metrics.control().register(name, entries, staleness);
        }
    }

    /// Writes a snapshot unless this version was; the version on disk.
    async fn save(&mut self, saved: u64) -> u64 {
        let Some(file) = self.file.clone() else { return saved };
        // Progress first: what is read after it is in the table already, and is only read again.
        let followed: Vec<_> = self.followed().map(|(id, handle)| (id, handle.view())).collect();
        for (jurisdiction, view) in followed {
            if let Some(progress) = self.progress.get_mut(jurisdiction.index()) {
                progress.cursor = view.cursor;
                progress.height = view.height;
            }
        }
        let (table, progress) = (self.writer.table(), self.progress.clone());
        let version = table.version();
        if version == saved {
            return saved;
        }
        let (topology, keys) = (Arc::clone(&self.settings.topology), Arc::clone(&self.settings.keys));
        let path = file.path().to_owned();
        let saving = tokio::task::spawn_blocking(move || file.save(&topology, &keys, &table, &progress));
        match saving.await.expect("saving does not panic") {
            Ok(()) => version,
            Err(fault) => {
                self.settings.metrics.control().snapshot_refused("unwritable");
                tracing::error!(file = %path.display(), reason = %fault, "the routing table's snapshot is not written");
                saved
            }
        }
    }

    fn followed(&self) -> impl Iterator<Item = (JurisdictionId, &RegisterHandle)> {
        let handles = self.settings.topology.jurisdictions().zip(&self.handles);
        handles.filter_map(|(jurisdiction, handle)| Some((jurisdiction, handle.as_ref()?)))
    }
}

/// Nothing known yet.
fn fresh(settings: &RegistersSettings) -> (TableWriter, Vec<Progress>) {
    let progress =
        settings.sources.iter().map(|(_, outside)| Progress { outside: *outside, ..Progress::default() });
    (TableWriter::new(), progress.collect())
}
