//! Following a register: whichever member of its cluster is the primary, as long as it is one.
//!
//! Every member is looked at all the time ([`scout`]); the one that is a primary and stands highest is followed
//! ([`session`]), and the follower goes over to another within a look once that one stands higher. A primary that stands lower than
//! was ever known is refused and raises an alarm: it is a former one, a restored one, or a forgery.
//!
//! Invariants
//! - Nothing of a register is believed that stands lower than the highest known, over restarts, too, where a snapshot is kept.
//! - Fresh is only what was asked for less than `stale_after` ago, by this process's own clock, from before the question was sent.
//! - Every wait has a deadline, every retry a pause.
//!
//! Absent by design: writing registers.

mod handle;
mod scout;
mod session;
mod statements;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

pub use handle::{Freshness, RegisterHandle, RegisterView, Report, Stage, TooManyReports};

pub(super) use handle::{Asks, WAITING_REPORTS};

use self::{
    scout::{Sightings, scout},
    session::{End, Session},
};
use super::{
    forgotten::Forgotten,
    keys::RegisterKeys,
    row::Reading,
    snapshot::Progress,
    writer::{Change, TableWriter},
};
use crate::{
    domain::{fingerprint::Fingerprint, names::JurisdictionId, topology::Topology},
    postgres::DatabaseUrl,
    telemetry::Metrics,
};

/// A member of a register's cluster.
#[derive(Debug, Clone)]
pub struct Member {
    /// Where it stands.
    pub region: Arc<str>,
    pub url: DatabaseUrl,
}

/// Who follows: what a register knows of this gateway.
#[derive(Debug, Clone)]
pub struct GatewayIdentity {
    /// Its own, no other gateway's.
    pub name: String,
    pub region: String,
    pub version: String,
    /// Of its internal certificate, renewed with it; none without one.
    pub certificate: Arc<ArcSwapOption<Fingerprint>>,
    /// Whether it takes requests by now.
    pub serving: Arc<AtomicBool>,
}

/// How one register is followed.
#[derive(Debug, Clone)]
pub struct FollowSettings {
    pub jurisdiction: JurisdictionId,
    pub members: Vec<Member>,
    /// Whether this region is none of the jurisdiction's.
    pub outside: bool,
    pub poll: Duration,
    pub stale_after: Duration,
    pub gateway: GatewayIdentity,
}

/// What all followers share.
#[derive(Clone)]
pub struct Shared {
    pub topology: Arc<Topology>,
    pub keys: Arc<RegisterKeys>,
    pub writer: Arc<TableWriter>,
    pub forgotten: Arc<Forgotten>,
    pub metrics: Arc<Metrics>,
    /// Cancelled when this gateway leaves.
    pub stop: CancellationToken,
}

/// Follows one register; see [`Follower::run`].
pub struct Follower {
    settings: FollowSettings,
    name: Arc<str>,
    topology: Arc<Topology>,
    keys: Arc<RegisterKeys>,
    writer: Arc<TableWriter>,
    forgotten: Arc<Forgotten>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    progress: Progress,
    asks: Arc<Asks>,
    view: watch::Sender<RegisterView>,
    reports: mpsc::Receiver<Report>,
    /// The latest, to be told again to who may not have been told.
    reported: VecDeque<Report>,
    /// The alarm that was raised last, so that it is raised once.
    alarmed: Option<String>,
}

/// A member is looked at no less often than this: a new primary is followed within a second.
const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// Between two tries to follow.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Reports kept to be told again.
const MOST_REPORTED: usize = WAITING_REPORTS;

impl Follower {
    /// A follower to be run, and what others have of it. `progress` is where a snapshot left off.
    pub fn new(settings: FollowSettings, shared: Shared, progress: Progress) -> (Self, RegisterHandle) {
        let asks = Arc::new(Asks::new());
        let (view, watched) = watch::channel(RegisterView {
            height: progress.height,
            cursor: progress.cursor.clone(),
            ..RegisterView::default()
        });
        let (sender, reports) = mpsc::channel(WAITING_REPORTS);
        let handle = RegisterHandle {
            asks: Arc::clone(&asks),
            view: watched,
            reports: sender,
            stale_after: settings.stale_after,
        };
        let Shared { topology, keys, writer, forgotten, metrics, stop } = shared;
        let name = topology.jurisdiction_name(settings.jurisdiction).into();
        let progress = Progress { outside: settings.outside, ..progress };
        let follower = Self {
            settings,
            name,
            topology,
            keys,
            writer,
            forgotten,
            metrics,
            stop,
            progress,
            asks,
            view,
            reports,
            reported: VecDeque::new(),
            alarmed: None,
        };
        (follower, handle)
    }

    /// Follows until told to stop, and then leaves the register.
    pub async fn run(mut self) {
        let nobody: Sightings = vec![None; self.settings.members.len()];
        let (sender, mut sightings) = watch::channel(nobody);
        let mut scouts = JoinSet::new();
        let every = self.settings.poll.min(LONGEST_LOOK);
        for (place, member) in self.settings.members.iter().enumerate() {
            scouts.spawn(scout(member.clone(), place, every, sender.clone()));
        }
        let stop = self.stop.clone();
        let mut pause = FIRST_PAUSE;
        loop {
            let best = self.best(&sightings.borrow_and_update());
            let Some(place) = best else {
                self.look_for_alarms(&sightings.borrow());
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = sightings.changed() => {}
                }
                continue;
            };
            let member = self.settings.members[place].clone();
            let begun = tokio::select! {
                () = stop.cancelled() => return,
                begun = Session::begin(&mut self, place, &member) => begun,
            };
            let end = match begun {
                Ok(session) => session.run(&mut sightings).await,
                Err(end) => end,
            };
            if matches!(end, End::Stopped) {
                return;
            }
            // It answered since: what ended it is new.
            if self.view.borrow().fault.is_none() {
                pause = FIRST_PAUSE;
            }
            self.note(&member, &end);
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    /// The member to follow: of those that are primaries and stand no lower than was known, the highest; of equals the one
    /// of the cluster that was followed, then the first.
    fn best(&self, sightings: &Sightings) -> Option<usize> {
        let known = self.progress.height.as_ref();
        let candidates = sightings.iter().enumerate().filter_map(|(place, standing)| {
            let standing = standing.as_ref()?;
            let admitted = known.is_none_or(|known| known.admits(&standing.height).is_ok());
            (!standing.recovering && standing.jurisdiction == *self.name && admitted).then(|| {
                let same =
                    known.is_some_and(|known| known.system_identifier == standing.height.system_identifier);
                (standing.height.rank(), same, std::cmp::Reverse(place))
            })
        });
        candidates.max().map(|(.., std::cmp::Reverse(place))| place)
    }

    /// Nobody can be followed: is somebody there who must not be?
    fn look_for_alarms(&mut self, sightings: &Sightings) {
        let Some(known) = self.progress.height else { return };
        for (place, standing) in sightings.iter().enumerate() {
            let Some(standing) = standing.as_ref().filter(|standing| !standing.recovering) else { continue };
            if let Err(too_low) = known.admits(&standing.height) {
                let member = self.settings.members[place].clone();
                self.note(&member, &End::TooLow(too_low));
            }
        }
    }

    /// Says why a member is not followed (any more).
    fn note(&mut self, member: &Member, end: &End) {
        let jurisdiction = &*self.name;
        let (region, reason) = (&*member.region, end.to_string());
        let alarm = match end {
            End::TooLow(too_low) => Some(too_low.label()),
            End::OfAnother(_) => Some("jurisdiction"),
            End::Keys => Some("keys"),
            End::Forgotten => Some("forgotten"),
            _ => None,
        };
        match alarm {
            Some(label) => {
                let what = format!("{region}: {reason}");
                if self.alarmed.as_ref() != Some(&what) {
                    self.metrics.control().register_alarm(jurisdiction, label);
                    tracing::error!(jurisdiction, region, reason, "a register is refused");
                    self.alarmed = Some(what);
                }
            }
            None => tracing::warn!(jurisdiction, region, reason, "a register is not followed"),
        }
        let (keys_differ, forgotten) = (matches!(end, End::Keys), matches!(end, End::Forgotten));
        self.view.send_modify(|view| {
            view.fault = Some(reason.into());
            view.region = None;
            // Until it is followed again: nobody may serve because it has become silent since.
            view.keys_differ |= keys_differ;
            view.forgotten |= forgotten;
            view.alarm = alarm.or(view.alarm);
        });
    }

    fn apply(&self, changes: Vec<Change>) {
        let applied = self.writer.apply(changes);
        if applied.late > 0 {
            tracing::debug!(jurisdiction = &*self.name, rows = applied.late, "older rows came later");
        }
    }

    fn reading(&self) -> Reading<'_> {
        Reading {
            topology: &self.topology,
            register: self.settings.jurisdiction,
            outside: self.settings.outside,
        }
    }

    fn remember(&mut self, report: Report) {
        if self.reported.len() == MOST_REPORTED {
            self.reported.pop_front();
        }
        self.reported.push_back(report);
    }
}

#[cfg(test)]
mod tests;
