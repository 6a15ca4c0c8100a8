//! Looking at every member of a register's cluster, all the time, to know which one to follow.
//!
//! A member is told apart by what it says of itself: only one that is not in recovery is a primary, and of two that say so
//! the one that stands higher is (generation of the jurisdiction, then timeline).

use std::time::Duration;

use tokio::{sync::watch, time::sleep};

use super::{
    Member,
    statements::{STANDING, Standing, standing},
};
use crate::postgres::{DatabaseFault, Limits, Subscription};

/// What is known of each member, in the order of the configuration; `None`: it doesn't answer.
pub(super) type Sightings = Vec<Option<Standing>>;

/// For a connection: five round trips and a password's work, to the other side of the world.
const CONNECT: Duration = Duration::from_secs(3);
/// For each answer.
const DEADLINE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Looks at one member until dropped.
pub(super) async fn scout(
    member: Member,
    place: usize,
    every: Duration,
    sightings: watch::Sender<Sightings>,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let fault = look(&member, place, every, &sightings, &mut pause).await;
        tracing::debug!(region = &*member.region, reason = %fault, "a member of a register's cluster is away");
        publish(&sightings, place, None);
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One session, until it fails.
async fn look(
    member: &Member,
    place: usize,
    every: Duration,
    sightings: &watch::Sender<Sightings>,
    pause: &mut Duration,
) -> DatabaseFault {
    let limits = Limits { connect_timeout: CONNECT, ..Limits::default() };
    let session = match Subscription::connect(&member.url, limits).await {
        Ok(session) => session,
        Err(fault) => return fault,
    };
    loop {
        match ask(&session, DEADLINE).await {
            Ok(standing) => publish(sightings, place, Some(standing)),
            Err(fault) => return fault,
        }
        *pause = FIRST_PAUSE;
        sleep(every).await;
    }
}

pub(super) async fn ask(session: &Subscription, deadline: Duration) -> Result<Standing, DatabaseFault> {
    let answer = session.ask(STANDING, &[], deadline).await?;
    let row = answer.first().ok_or_else(|| answer_fault(session, "the jurisdiction's row is missing"))?;
    standing(row).map_err(|error| answer_fault(session, &error.to_string()))
}

pub(super) fn answer_fault(session: &Subscription, reason: &str) -> DatabaseFault {
    DatabaseFault::Answer { address: session.address().to_owned(), reason: reason.to_owned() }
}

/// Wakes who waits only when something is worth a choice: snapshots change all the time.
fn publish(sightings: &watch::Sender<Sightings>, place: usize, standing: Option<Standing>) {
    let matters = |standing: &Option<Standing>| {
        standing.as_ref().map(|it| (it.recovering, it.height, it.jurisdiction.clone()))
    };
    sightings.send_if_modified(|all| {
        let changed = matters(&all[place]) != matters(&standing);
        all[place] = standing;
        changed
    });
}
