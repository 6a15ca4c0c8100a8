//! The day's faults in turn, done to the world's own processes and links.
//!
//! An act that fails is written down and ends nothing: the phases after it still show what they show, and the run fails.
use std::{cell::RefCell, rc::Rc, time::Duration};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use rand::RngExt as _;
use serde::Serialize;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    load::Load,
    phase::{Phase, Span},
};
use crate::world::{Jurisdiction, Region, Service, World};

/// An API process that hangs, or answers 500, beside one that is well.
const ENDPOINT: Service = Service::Api(Region::EuFrankfurt, 2);
/// Longest lag that a standby is given.
const MOST_LAG_MS: u64 = 5_000;
/// Between two lags.
const CAUGHT_UP: Duration = Duration::from_millis(800);
/// Of the load, before the first phase: pools and caches fill. Its requests count in no phase.
const WARM_UP: Duration = Duration::from_secs(5);
/// A region that does not come back in this time does not come back.
const ACT_WITHIN: Duration = Duration::from_secs(90);

/// Does it, and remembers when.
pub(super) struct Script {
    pub(super) world: Rc<World>,
    pub(super) load: Rc<Load>,
    pub(super) say: Rc<dyn Fn(&str)>,
    pub(super) past: RefCell<Past>,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    pub(super) spans: Vec<Span>,
    pub(super) promotions: Vec<Promotion>,
    /// Acts that failed, and why.
    pub(super) failed: Vec<(Phase, String)>,
}

/// A change of homes, in the words of who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Promotion {
    pub(super) jurisdiction: &'static str,
    pub(super) to: &'static str,
    pub(super) said: String,
    /// Acknowledged after this time, writes may be lost; as the primary's clock had it. None: it promised that nothing is.
    pub(super) lost_after: Option<String>,
}

impl Promotion {
    fn new(jurisdiction: Jurisdiction, to: Region, said: String) -> Self {
        let lost_after = lost_after(&said);
        Self { jurisdiction: jurisdiction.name(), to: to.name(), said, lost_after }
    }
}

/// `promote` names what is lost in a line of its own.
fn lost_after(said: &str) -> Option<String> {
    let named =
        said.lines().find_map(|line| line.trim().strip_prefix("lost: every write acknowledged after "))?;
    Some(named.split(", position").next().unwrap_or(named).to_owned())
}

impl Script {
    /// All phases asked for, in turn.
    pub(super) async fn run(&self, phases: &[Phase]) {
        sleep(WARM_UP).await;
        for &phase in phases {
            (self.say)(&format!("{}; {} requests so far", phase.name(), self.load.asked()));
            let began = self.load.now();
            let act = timeout(ACT_WITHIN, self.act(phase)).await;
            let act = act.unwrap_or_else(|_| Err(anyhow::anyhow!("not done after {ACT_WITHIN:?}")));
            self.fault_of(phase, act);
            let acted = self.load.now();
            let lasting = self.during(phase).await;
            self.fault_of(phase, lasting);
            let span = Span { phase, began, acted, ended: self.load.now() };
            self.past.borrow_mut().spans.push(span);
        }
    }

    fn fault_of(&self, phase: Phase, outcome: Result<()>) {
        if let Err(error) = outcome {
            let why = format!("{error:#}");
            (self.say)(&format!("{} failed: {why}", phase.name()));
            self.past.borrow_mut().failed.push((phase, why));
        }
    }

    /// What a phase begins with.
    async fn act(&self, phase: Phase) -> Result<()> {
        use Jurisdiction::{Eu, Us};
        use Region::{ApSingapore, EuFrankfurt, EuNuremberg, UsEast};
        match phase {
            Phase::Calm | Phase::CalmAgain | Phase::ReplicasLag => Ok(()),
            Phase::UsEastSilent => {
                self.world.isolate(UsEast);
                Ok(())
            }
            Phase::UsEastDead => self.world.kill_region(UsEast).await,
            Phase::UsPromoted => self.promote(Us, EuFrankfurt, &["--assume-dead"]).await,
            Phase::UsEastBack => {
                self.world.heal_all();
                self.world.revive_region(UsEast).await
            }
            Phase::UsReturned => {
                self.promote(Us, UsEast, &[]).await?;
                self.back_as_standby(EuFrankfurt, Us).await
            }
            Phase::EuFrankfurtDead => self.world.kill_region(EuFrankfurt).await,
            // The only standby left is the one that is promoted, so commits can wait for nobody until another is back.
            Phase::EuPromoted => self.promote(Eu, EuNuremberg, &["--durability", "async"]).await,
            Phase::EuFrankfurtBack => {
                self.world.revive_region(EuFrankfurt).await?;
                self.durability("remote").await
            }
            // Likewise, until the former primary is back as a standby.
            Phase::EuReturned => {
                self.promote(Eu, EuFrankfurt, &["--durability", "async"]).await?;
                self.back_as_standby(EuNuremberg, Eu).await?;
                self.durability("remote").await
            }
            Phase::EuNurembergDead => self.world.kill_region(EuNuremberg).await,
            Phase::EuRelaxed => self.durability("async").await,
            Phase::EuNurembergBack => {
                self.world.revive_region(EuNuremberg).await?;
                self.durability("remote").await
            }
            Phase::SingaporeCutOff => {
                self.world.isolate(ApSingapore);
                Ok(())
            }
            Phase::SingaporeHealed => {
                self.world.heal_all();
                Ok(())
            }
            Phase::EndpointHangs => self.world.signal(ENDPOINT, Signal::SIGSTOP),
            Phase::EndpointFails => self.endpoint_with(&[("FAIL_STATUS", "500")]).await,
        }
    }

    /// What goes on in a phase after that, and what ends with it.
    async fn during(&self, phase: Phase) -> Result<()> {
        match phase {
            Phase::ReplicasLag => return self.lag(phase.lasts()).await,
            _ => sleep(phase.lasts()).await,
        }
        match phase {
            Phase::EndpointHangs => self.world.signal(ENDPOINT, Signal::SIGCONT),
            Phase::EndpointFails => self.endpoint_with(&[]).await,
            _ => Ok(()),
        }
    }

    async fn promote(&self, jurisdiction: Jurisdiction, to: Region, words: &[&str]) -> Result<()> {
        let said = self.world.promote(jurisdiction, to, words).await?;
        self.past.borrow_mut().promotions.push(Promotion::new(jurisdiction, to, said));
        Ok(())
    }

    /// What `promote` asks for: a former primary that was closed is started again.
    async fn back_as_standby(&self, region: Region, jurisdiction: Jurisdiction) -> Result<()> {
        let former = Service::Postgres(region, jurisdiction);
        self.world.kill(former).await?;
        self.world.restart(former).await
    }

    /// Whether commits of `eu` wait for a standby.
    async fn durability(&self, to: &str) -> Result<()> {
        let words = ["durability", "--jurisdiction", Jurisdiction::Eu.name(), "--reason", "game day", to];
        let output = self.world.migrate(Region::EuFrankfurt, &words).await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    async fn endpoint_with(&self, environment: &[(&str, &str)]) -> Result<()> {
        self.world.kill(ENDPOINT).await?;
        self.world.restart_with(ENDPOINT, environment).await
    }

    /// Every standby stops replaying for 0 to 5 s, goes on until it has nearly caught up, and so on.
    async fn lag(&self, lasts: Duration) -> Result<()> {
        let (over, watched) = watch::channel(false);
        let mut standbys = JoinSet::new();
        for jurisdiction in Jurisdiction::ALL {
            for &region in jurisdiction.replicas() {
                let sql = self.world.sql(region, jurisdiction).await?;
                let mut over = watched.clone();
                standbys.spawn_local(async move {
                    while !*over.borrow() {
                        sql.batch_execute("SELECT pg_wal_replay_pause()").await?;
                        let lag = Duration::from_millis(rand::rng().random_range(0..=MOST_LAG_MS));
                        // Either it has lagged enough, or the phase is over.
                        let _ = timeout(lag, over.wait_for(|over| *over)).await;
                        sql.batch_execute("SELECT pg_wal_replay_resume()").await?;
                        sleep(CAUGHT_UP).await;
                    }
                    anyhow::Ok(())
                });
            }
        }
        sleep(lasts).await;
        over.send_replace(true);
        while let Some(ended) = standbys.join_next().await {
            ended??;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_promotion_names_as_lost_is_found_in_its_words() {
        let named = "proof: NONE\nlost: every write acknowledged after 2026-11-24 17:00:00.5+00, position 0/3000060 of \
                     timeline 1: how much, nobody who answers knows\nsteps:\n";
        assert_eq!(lost_after(named).as_deref(), Some("2026-11-24 17:00:00.5+00"));
        assert_eq!(
            lost_after("lost: nothing: all members answer, and none has more than the target\n"),
            None
        );
    }
}
