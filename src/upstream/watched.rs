//! How an endpoint does, as its own requests see it: whether it answers at all, and whether well.
//!
//! A worker sees its own requests only, and keeps what it sees to itself; that an endpoint is set aside it also tells the
//! control plane, which shows it. An endpoint that answers nothing while requests wait is asked something of its own
//! (`OPTIONS *`): a process that hangs does not answer that either, one that only has long-lived requests does. One that was set
//! aside is asked the same before a user's request tries it.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use http::Method;

use super::body::RequestBody;
use super::connection::Connection;
use super::endpoint::Target;
use super::{FaultKind, Request, SendFault};
use crate::clock::{CoarseClock, Millis};
use crate::config::UpstreamProtocol;
use crate::domain::ejection::{Conduct, Said, Standing, can_spare};
use crate::http1::RequestHead;

/// Among all workers: how many have set an endpoint aside now, and how often any did.
#[derive(Debug, Default)]
pub struct SetAside {
    now: AtomicU32,
    times: AtomicU64,
}

impl SetAside {
    pub fn workers(&self) -> u32 {
        self.now.load(Relaxed)
    }

    pub fn times(&self) -> u64 {
        self.times.load(Relaxed)
    }
}

/// What one worker has seen of an endpoint.
pub(super) struct Watched {
    conduct: Cell<Conduct>,
    /// Requests that were sent and have no answer yet.
    waiting: Cell<usize>,
    /// Since then nothing was answered, if requests wait.
    quiet_since: Cell<Millis>,
    /// How often those who wait were told to wait no longer.
    given_up: Cell<u64>,
    /// A question of our own is under way.
    asking: Cell<bool>,
    set_aside: Arc<SetAside>,
}

/// A request that waits for its answer.
pub(super) struct Waiting<'watched>(&'watched Watched);

/// The request on which an endpoint is judged; without a verdict it is the next one.
pub(super) struct Trial<'watched>(&'watched Watched);

impl Watched {
    pub(super) fn new(set_aside: Arc<SetAside>) -> Self {
        Self {
            conduct: Cell::default(),
            waiting: Cell::default(),
            quiet_since: Cell::default(),
            given_up: Cell::default(),
            asking: Cell::default(),
            set_aside,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        self.conduct.get().standing()
    }

    fn update<T>(&self, change: impl FnOnce(&mut Conduct) -> T) -> T {
        let mut conduct = self.conduct.get();
        let was_out = conduct.is_out();
        let result = change(&mut conduct);
        self.conduct.set(conduct);
        match (was_out, conduct.is_out()) {
            (false, true) => {
                self.set_aside.now.fetch_add(1, Relaxed);
                self.set_aside.times.fetch_add(1, Relaxed);
            }
            (true, false) => {
                self.set_aside.now.fetch_sub(1, Relaxed);
            }
            _ => {}
        }
        result
    }

    /// Marks what is sent next as a trial, if the endpoint is on one.
    pub(super) fn trial(&self) -> Option<Trial<'_>> {
        (self.standing() == Standing::Trial).then(|| {
            self.update(Conduct::tried);
            Trial(self)
        })
    }

    fn wait(&self, now: Millis) -> Waiting<'_> {
        if self.waiting.get() == 0 {
            self.quiet_since.set(now);
        }
        self.waiting.set(self.waiting.get() + 1);
        Waiting(self)
    }

    /// Polls `work` until it is done or whoever waits here is told to wait no longer.
    pub(super) async fn unless_given_up<T>(
        &self,
        clock: &CoarseClock,
        work: impl Future<Output = Result<T, SendFault>>,
    ) -> Result<T, SendFault> {
        let waiting = self.wait(clock.now());
        let before = self.given_up.get();
        let mut work = pin!(work);
        let result = poll_fn(|context| {
            if self.given_up.get() != before {
                return Poll::Ready(Err(SendFault(FaultKind::GivenUp)));
            }
            work.as_mut().poll(context)
        })
        .await;
        drop(waiting);
        if result.is_ok() {
            self.quiet_since.set(clock.now());
        }
        result
    }

    /// Whoever waits for an answer waits no longer, as soon as it is polled.
    pub(super) fn give_up(&self) {
        self.given_up.set(self.given_up.get() + 1);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.conduct.get().is_out() {
            self.set_aside.now.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.0.update(Conduct::untried);
    }
}

fn conducts(group: &[Rc<Target>]) -> Vec<Conduct> {
    group.iter().map(|target| target.watched.conduct.get()).collect()
}

/// Notes how the endpoint at `index` of its group has dealt with a request.
pub(super) fn note(group: &[Rc<Target>], index: usize, is_well: bool, now: Millis) {
    let watched = &group[index].watched;
    if is_well {
        watched.update(Conduct::answered);
    } else if watched.update(Conduct::failed)
        && (watched.conduct.get().is_out() || can_spare(&conducts(group), index))
    {
        tracing::warn!(endpoint = %group[index].endpoint(), "set aside: it answers errors and others don't");
        watched.update(|conduct| conduct.eject(now, false));
    }
}

/// Called once a tick for each group: asks who has to be asked. `gave_up` is set when those who wait must be woken.
pub(super) fn sweep(
    group: &[Rc<Target>],
    clock: &Arc<CoarseClock>,
    hang_after: Duration,
    gave_up: &Rc<Cell<bool>>,
) {
    let now = clock.now();
    for (index, target) in group.iter().enumerate() {
        let watched = &target.watched;
        // HTTP/2 connections have a watch of their own.
        if target.endpoint().protocol() == UpstreamProtocol::Http2 {
            watched.update(|conduct| conduct.pass(now));
            continue;
        }
        let is_quiet = watched.waiting.get() > 0
            && now.saturating_sub(watched.quiet_since.get()) >= crate::clock::millis(hang_after)
            && !watched.conduct.get().is_out_for_now();
        let is_to_be_asked = is_quiet || watched.conduct.get().is_to_be_asked(now);
        if !is_to_be_asked || watched.asking.get() {
            continue;
        }
        watched.asking.set(true);
        let (group, clock, gave_up) = (group.to_vec(), Arc::clone(clock), Rc::clone(gave_up));
        tokio::task::spawn_local(async move {
            let target = &group[index];
            let said = tokio::time::timeout(hang_after, ask(target, &clock)).await.unwrap_or(Said::Nothing);
            target.watched.asking.set(false);
            judge(&group, index, clock.now(), said, &gave_up);
        });
    }
}

fn judge(group: &[Rc<Target>], index: usize, now: Millis, said: Said, gave_up: &Cell<bool>) {
    let (target, watched) = (&group[index], &group[index].watched);
    if watched.conduct.get().is_to_be_asked(now) {
        watched.update(|conduct| conduct.asked(now, said));
    } else if said != Said::Nothing || watched.waiting.get() == 0 {
        watched.quiet_since.set(now);
    } else if watched.conduct.get().is_out() || can_spare(&conducts(group), index) {
        tracing::warn!(endpoint = %target.endpoint(), "set aside: it answers nothing");
        watched.update(|conduct| conduct.eject(now, true));
        watched.give_up();
        target.close_idle();
        gave_up.set(true);
    }
}

/// How the endpoint answers a question that is about no resource, on a connection of its own.
async fn ask(target: &Target, clock: &CoarseClock) -> Said {
    let Ok(stream) = target.connect(clock).await else { return Said::Nothing };
    let mut head = RequestHead::get("*", "gateway");
    head.method = Method::OPTIONS;
    let request = Request { head: Box::new(head), body: RequestBody::default() };
    match Connection::new(stream).exchange(&mut Some(request)).await {
        Err(_) => Said::Nothing,
        Ok(head) if head.status.is_server_error() => Said::Error,
        Ok(_) => Said::Well,
    }
}
