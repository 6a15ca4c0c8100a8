//! `make gameday`: regions fall silent, die, are replaced and come back, under open-loop load from everywhere.
//!
//! Users of both jurisdictions ask the gateway of the region they are in, at a constant rate, while the day's faults are
//! done to the world in turn ([`Phase`]). Each user carries the position of the last answer along, and remembers what was
//! acknowledged. In the end what clients were told is held against what the databases hold, what reached the API
//! processes, and what bytes lie on which region's disks ([`truth`]).
//!
//! Invariants
//! - Nobody is asked whether all went well but clients, databases, API processes and disks; gateways are not.
//! - A request counts in the phase in which it was due, or failed, and its time from when it was due (no coordinated omission).
//! - Whoever is connected through a region that is away is counted apart: no gateway can help them.
//!
//! Absent by design: steering. In production a balancer or DNS takes users to the next region's gateway.
mod crowd;
mod diary;
mod load;
mod phase;
mod report;
mod script;
#[cfg(test)]
mod tests;
mod truth;
mod verdict;

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use tokio::{
    sync::watch,
    task::{LocalSet, spawn_local},
    time::sleep,
};

use self::{crowd::Crowd, load::Load, script::Script, truth::Truth};
pub use self::{phase::Phase, report::Report};
use crate::{programs::Programs, world::World};

/// After the last request, until what was held up has arrived.
const STRAGGLERS: Duration = Duration::from_secs(3);

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct Options {
    pub programs: Programs,
    /// Requests a second, of all users together.
    pub rate: f64,
    pub seed: u64,
    /// Users in each place and jurisdiction.
    pub users: usize,
    /// In the order of [`Phase::ALL`].
    pub phases: Vec<Phase>,
}

/// Runs the day to its end. The world is gone when it returns.
pub async fn run(options: &Options, say: impl Fn(&str) + Clone + Send + Sync + 'static) -> Result<Report> {
    LocalSet::new().run_until(day(options, say)).await
}

async fn day(options: &Options, say: impl Fn(&str) + Clone + Send + Sync + 'static) -> Result<Report> {
    let world = World::builder()
        .gateway_bin(&options.programs.gateway)
        .migrate_bin(&options.programs.migrate)
        .root(options.programs.worlds())
        .api_env("LOG_DELIVERIES", "1")
        .edit_config(|configuration| with_short_waits(&configuration))
        .progress(say.clone())
        .start()
        .await?;
    say("users and their tokens");
    let crowd = Crowd::new(options.users, &world.keys().signer()?)?;
    crowd.enrol(&world).await?;

    let world = Rc::new(world);
    let began_ms = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let began_ms = began_ms.as_secs_f64() * 1e3;
    let load = Load::new(crowd, &world);
    let (over, watched) = watch::channel(false);
    let asking = spawn_local(Rc::clone(&load).run(options.rate, options.seed, watched));
    let script = Script {
        world: Rc::clone(&world),
        load: Rc::clone(&load),
        say: Rc::new(say.clone()),
        past: RefCell::default(),
    };
    script.run(&options.phases).await;
    over.send_replace(true);
    asking.await.context("the load")?;
    sleep(STRAGGLERS).await;

    say("what the databases hold, what was delivered where, and every byte on disk");
    let past = script.past.take();
    drop(script);
    let (crowd, diary) = Rc::into_inner(load).context("the load is over")?.close();
    world.heal_all();
    let truth = Truth::of(&world, &crowd, &past.promotions, began_ms).await;
    let ended = Rc::into_inner(world).context("somebody still holds the world")?.stop();
    Ok(Report::new(options, &diary, truth, past, ended))
}

/// What a team whose regions may go away would choose: nobody waits half a minute for an answer that does not come.
fn with_short_waits(configuration: &str) -> String {
    format!("{configuration}\n[timeouts]\nfirst_byte_ms = 5000\nconnect_ms = 1000\n")
}
