//! `make demo`: the main job, shown step by step with real requests in a real world, and checked.
//!
//! Each step prints what it asked and what it got, and turns its claim into a check of the report. A check that fails
//! ends nothing, so that the report is whole; an error ends the show and is a failed check itself.
mod attacks;
mod curl;
mod evidence;
mod moved;
mod outage;
mod own_writes;
mod routing;
mod stage;
mod user;

use std::{path::PathBuf, sync::mpsc};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use self::{stage::Stage, user::User};
use crate::{
    checks::{Checks, write_json},
    programs::Programs,
    world::{Region, World},
};

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct Options {
    pub programs: Programs,
    /// End after the last step instead of staying up.
    pub once: bool,
}

/// What `report.json` says.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub checks: Checks,
}

/// Runs the demo until its end, or Ctrl-C. The world is gone when it returns.
pub async fn run(options: &Options) -> Result<Report> {
    let mut stage = Stage::new();
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let ended = tokio::select! {
        ended = show(options, &mut stage) => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    if let Err(error) = ended {
        stage.check("the demo runs to its end", false, format!("{error:#}"));
    }
    let report = options.report();
    write_json(&report, &stage.report)?;
    let checks = &stage.report.checks;
    stage.say(&format!("\n{} checks, {} failed; {}", checks.len(), checks.failed(), report.display()));
    Ok(stage.report)
}

impl Options {
    /// Where `report.json` and the tokens go.
    fn directory(&self) -> PathBuf {
        self.programs.target.join("demo")
    }

    fn report(&self) -> PathBuf {
        self.directory().join("report.json")
    }
}

async fn show(options: &Options, stage: &mut Stage) -> Result<()> {
    stage.step("Four regions on this machine: Postgres with replication, Redis, the API, gateways, and the distances");
    let world = start(options, stage).await?;
    for (index, a) in Region::ALL.into_iter().enumerate() {
        let far: Vec<_> = Region::ALL[index + 1..]
            .iter()
            .map(|b| format!("{b} {} ms", world.links().between(a, *b).rtt().as_millis()))
            .collect();
        if !far.is_empty() {
            stage.say(&format!("  round trips from {a}: {}", far.join(", ")));
        }
    }
    let users = story(&world, stage).await?;
    // Before it stays up, so that the report does not wait for Ctrl-C.
    write_json(&options.report(), &stage.report)?;
    if !options.once {
        curl::invite(&world, stage, &users, &options.directory())?;
        std::future::pending::<()>().await;
    }
    stage.step("The end: nothing is left running");
    let ended = world.stop();
    let detail = ended.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
    stage.check("the world ended without a trace: no process, port or file", ended.is_ok(), detail);
    Ok(())
}

async fn story(world: &World, stage: &mut Stage) -> Result<Vec<User>> {
    let mut users = routing::sign_up_and_log_in(world, stage).await?;
    routing::write(world, stage, &users).await?;
    routing::read(world, stage, &users).await?;
    own_writes::read_back(world, stage, &users).await?;
    moved::by_hand(world, stage, &users).await?;
    attacks::forged_headers(world, stage, &users).await?;
    attacks::withdrawn_key(world, stage, &mut users).await?;
    outage::eu_cut_off(world, stage, &users).await?;
    evidence::byte_scan(world, stage, &users).await?;
    Ok(users)
}

/// Starts the world, and shows its progress as it comes.
async fn start(options: &Options, stage: &Stage) -> Result<World> {
    let (heard, news) = mpsc::channel::<String>();
    let starting = World::builder()
        .gateway_bin(&options.programs.gateway)
        .migrate_bin(&options.programs.migrate)
        .root(options.programs.worlds())
        .progress(move |what| {
            // The demo outlives the start it listens to.
            let _ = heard.send(what.to_owned());
        })
        .start();
    tokio::pin!(starting);
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
    loop {
        let started = tokio::select! {
            started = &mut starting => Some(started),
            _ = tick.tick() => None,
        };
        while let Ok(what) = news.try_recv() {
            stage.progress(&what);
        }
        if let Some(started) = started {
            let world = started?;
            stage.progress("everything is ready");
            return Ok(world);
        }
    }
}
