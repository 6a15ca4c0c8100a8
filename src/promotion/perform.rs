//! `promote`, step by step.
//!
//! Up to the promotion itself everything can be taken back, and is when a step fails: the old primary's database is opened
//! again, stopped receivers are started. From then on the way is forward: the same command, run again, finishes what is
//! left. A run that is killed is either of the two for the next run, which finds out from what members say.

use std::{io::Write, process::Stdio, time::Duration};

use futures_util::future::try_join_all;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    Promote, PromotionFault,
    cluster::Members,
    durability, fence, journal, lock, report, row, say,
    session::Session,
    standbys::{self, Stopped},
};
use crate::{
    clock,
    config::ClusterSettings,
    domain::{
        promotion::{Cluster, Fence, Loss, Plan, Proof, Request, Step, plan},
        replication_lag::{LogPosition, Lsn, Timeline},
    },
};

const POLL: Duration = Duration::from_millis(20);
/// For the operator's command: providers' APIs take their time.
const CONFIRMATION: Duration = Duration::from_mins(5);
/// For a standby that was stopped to have replayed what it has.
const SETTLE: Duration = Duration::from_secs(20);

/// Looks, plans, and unless it is a dry run, promotes.
pub(super) async fn promote(
    settings: ClusterSettings,
    request: &Request,
    arguments: &Promote,
    out: &mut dyn Write,
) -> Result<(), PromotionFault> {
    let began = clock::now();
    let members = Members::connect(settings).await;
    if !arguments.dry_run {
        lock::take(&members).await?;
    }
    // Looked at under the lock: nobody else promotes from here on.
    let (cluster, rights) = tokio::join!(members.look(), rights(&members));
    say(out, format!("jurisdiction {}:", cluster.jurisdiction))?;
    report::members(&cluster, out)?;
    let plan = plan(&cluster, request).map_err(PromotionFault::Refused)?;
    report::plan(&plan, out)?;
    rights?;
    if arguments.dry_run {
        return say(out, "dry run: nothing was changed");
    }
    if plan.steps.is_empty() {
        return Ok(());
    }
    if plan.proof == Proof::Off {
        confirm_off(&plan, arguments, &cluster.jurisdiction).await?;
        say(out, "the command confirms that the old primary is off")?;
    }
    let mut run = Run {
        began,
        members: &members,
        request,
        arguments,
        loss: plan.loss.clone(),
        plan,
        cluster,
        closed: None,
        end: Lsn(0),
        stopped: Vec::new(),
        promoted: None,
        synchronous_before: None,
    };
    let outcome = run.perform(out).await;
    if let Err(fault) = outcome {
        run.undo(out).await?;
        return Err(fault);
    }
    Ok(())
}

/// One promotion under way.
struct Run<'a> {
    began: std::time::Instant,
    members: &'a Members,
    request: &'a Request,
    arguments: &'a Promote,
    plan: Plan,
    cluster: Cluster,
    /// The region whose database was closed.
    closed: Option<String>,
    /// What the target has to have replayed.
    end: Lsn,
    stopped: Vec<Stopped>,
    /// Where the target's new timeline begins. Set before the server is asked, for then it may happen.
    promoted: Option<LogPosition>,
    loss: Loss,
    synchronous_before: Option<String>,
}

impl Run<'_> {
    /// How long the command has run, before what is done by then.
    fn at(&self) -> String {
        format!("{:5.1} s ", self.began.elapsed().as_secs_f64())
    }

    async fn perform(&mut self, out: &mut dyn Write) -> Result<(), PromotionFault> {
        let target = self.members.at(&self.plan.to)?;
        for step in self.plan.steps.clone() {
            match step {
                Step::Synchronous => {
                    let before = durability::set_synchronous(target, &self.plan.synchronous).await?;
                    self.synchronous_before = Some(before);
                }
                Step::Fence(from) => self.fence(&from, out).await?,
                Step::Detach(region) => {
                    self.stopped.push(standbys::detach(self.members.at(&region)?).await?);
                }
                Step::CatchUp => self.catch_up(target, out).await?,
                Step::Compare => self.compare(target, out).await?,
                Step::Promote => self.end_recovery(target, out).await?,
                Step::Open => fence::open(target).await?,
                // Done beside the row: its commit may wait for the first standby that follows.
                Step::Follow => {}
                Step::Row => return self.finish(target, out).await,
            }
        }
        Ok(())
    }

    async fn fence(&mut self, from: &str, out: &mut dyn Write) -> Result<(), PromotionFault> {
        let session = self.members.at(from)?;
        let row = self.cluster.row().expect("there is no plan without it").clone();
        let mark = Fence { to: self.plan.to.clone(), row };
        self.closed = Some(from.to_owned());
        self.end = fence::close(session, &mark, self.arguments.by.as_deref()).await?;
        say(out, format!("{} {from} is closed; its last write lies before {}", self.at(), self.end))
    }

    /// Until the target has replayed the closed primary's last position, and all that stopped standbys have.
    async fn catch_up(&mut self, target: &Session, out: &mut dyn Write) -> Result<(), PromotionFault> {
        for stopped in &self.stopped {
            let has = self.members.at(&stopped.region)?.answer(&self.cluster.jurisdiction).await?.has;
            self.end = self.end.max(has.lsn);
        }
        let doing = "waiting for it to catch up";
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{}'::pg_lsn", self.end);
        let deadline = Instant::from_std(clock::now() + self.arguments.patience());
        let caught_up = async {
            while !target.value::<bool>(doing, &replayed).await? {
                sleep(POLL).await;
            }
            Ok(())
        };
        timeout_at(deadline, caught_up).await.unwrap_or_else(|_| {
            Err(PromotionFault::Late {
                region: target.region.clone(),
                what: "it has not replayed what the old primary wrote",
                seconds: self.arguments.wait_s,
                remedy: "the old primary was opened again; look at the replication between the two, or give it longer with --wait-s",
            })
        })?;
        say(out, format!("{} {} has replayed {}", self.at(), target.region, self.end))
    }

    /// Looks again, now that nothing arrives any more: the target must still be the one that has most.
    async fn compare(&mut self, target: &Session, out: &mut dyn Write) -> Result<(), PromotionFault> {
        let doing = "waiting for it to replay what it has";
        let deadline = Instant::from_std(clock::now() + SETTLE);
        let settled = async {
            loop {
                let answer = target.answer(&self.cluster.jurisdiction).await?;
                if answer.replayed >= answer.has.lsn {
                    return Ok::<_, PromotionFault>(());
                }
                // A record may have arrived in part; nobody was told of it. What doesn't move any more is all there is.
                sleep(POLL * 10).await;
                let replayed: String = target.value(doing, "SELECT pg_last_wal_replay_lsn()::text").await?;
                if replayed == answer.replayed.to_string() {
                    return Ok(());
                }
            }
        };
        timeout_at(deadline, settled).await.unwrap_or_else(|_| {
            Err(PromotionFault::Late {
                region: target.region.clone(),
                what: "it has not replayed what it has received",
                seconds: SETTLE.as_secs(),
                remedy: "look at what holds its replay up (pg_stat_activity, pg_wal_replay_resume), and run the same command again",
            })
        })?;
        let cluster = self.members.look().await;
        let again = plan(&cluster, self.request).map_err(PromotionFault::Refused)?;
        if again.generation != self.plan.generation || again.proof != self.plan.proof {
            let found = format!("{}, {}", again.generation.0, report::proof_name(&again.proof));
            return Err(PromotionFault::Moved { expected: self.plan.generation.0, found });
        }
        self.loss = again.loss;
        self.cluster = cluster;
        say(out, format!("{} {} has what anybody has who answers", self.at(), target.region))
    }

    async fn end_recovery(&mut self, target: &Session, out: &mut dyn Write) -> Result<(), PromotionFault> {
        const DOING: &str = "promoting";
        let before = target.answer(&self.cluster.jurisdiction).await?.has;
        self.promoted = Some(before);
        let promoted: bool = target.value(DOING, "SELECT pg_promote(true, 60)").await?;
        if !promoted {
            return Err(PromotionFault::Late {
                region: target.region.clone(),
                what: "its recovery has not ended",
                seconds: 60,
                remedy: "look at its log; once it takes writes, run the same command again to finish",
            });
        }
        // Static from now on: where the old timeline ended.
        let end: Option<String> = target.value(DOING, "SELECT pg_last_wal_replay_lsn()::text").await?;
        let lsn = end.and_then(|end| end.parse().ok()).unwrap_or(before.lsn);
        self.promoted = Some(LogPosition { timeline: before.timeline, lsn });
        say(out, format!("{} {} is promoted at {lsn}", self.at(), target.region))
    }

    /// The row, and beside it the other standbys: its commit may have to wait for one of them.
    async fn finish(&mut self, target: &Session, out: &mut dyn Write) -> Result<(), PromotionFault> {
        let answer = target.answer(&self.cluster.jurisdiction).await?;
        let timeline = answer.has.timeline;
        let switch = self.promoted.unwrap_or(LogPosition {
            timeline: Timeline(timeline.0.saturating_sub(1).max(1)),
            lsn: answer.has.lsn,
        });
        let mut application = target.application().await?;
        let journal = journal::read(target, &application).await?;
        row::adopt_acts(target, &application).await?;
        let account = row::Account {
            kind: "promote",
            by: self.arguments.by.as_deref(),
            detail: json!({
                "from": self.plan.from, "to": self.plan.to, "proof": report::proof_name(&self.plan.proof),
                "reason": self.arguments.reason, "lost": report::loss_json(&self.loss),
                "without": self.request.without, "relaxed": self.request.relax, "moves": journal.to_json(),
                "moves_without_id": journal.orphans,
            }),
        };
        if let Some(closed) = &self.closed
            && let Err(fault) = fence::repel(self.members.at(closed)?).await
        {
            say(out, format!("  {fault}"))?;
        }
        let others = self.followers();
        let (mut told, patience) = (Vec::new(), self.arguments.patience());
        let follow = async {
            for (session, former) in others {
                if let Err(fault) = standbys::follow(session, former, timeline, patience, &mut told).await {
                    // The cluster has its primary; one standby's trouble is told and does not undo that.
                    say(&mut told, format!("  {}: {fault}", session.region))?;
                }
            }
            // It follows nobody now; once it is a former primary it will want to.
            if let Some(former) = self.former(&target.region)
                && let Err(fault) = standbys::attach(target, Some(former)).await
            {
                say(&mut told, format!("  {}: {fault}", target.region))?;
            }
            Ok::<_, PromotionFault>(())
        };
        let jurisdiction = self.cluster.jurisdiction.clone();
        let write = async {
            let written =
                row::promoted(target, &mut application, &jurisdiction, &self.plan, switch, account).await?;
            let home = &target.region;
            say(out, format!("{} {home} is the home, generation {}: writes go there", self.at(), written.0))
        };
        let (written, followed) = tokio::join!(write, follow);
        written?;
        followed?;
        out.write_all(&told).map_err(PromotionFault::Output)?;
        if let Some(line) = journal.line() {
            say(out, line)?;
        }
        if journal.orphans > 0 {
            say(
                out,
                format!("{} entries hold writes back for no move: set them right by hand", journal.orphans),
            )?;
        }
        say(out, report::loss(&self.loss))?;
        if let Some(closed) = &self.closed {
            say(
                out,
                format!(
                    "{closed} is closed and still runs: restart its database, and it comes back as a standby"
                ),
            )?;
        }
        Ok(())
    }

    /// Members that shall follow the target, each with the list it had when it was stopped.
    fn followers(&self) -> Vec<(&Session, Option<&str>)> {
        let standbys =
            self.cluster.answers().filter(|(region, answer)| answer.recovering && *region != self.plan.to);
        standbys
            .filter_map(|(region, _)| Some((self.members.at(region).ok()?, self.former(region))))
            .collect()
    }

    /// The list of members that it had when it was stopped, if it was.
    fn former(&self, region: &str) -> Option<&str> {
        let stopped = self.stopped.iter().find(|stopped| stopped.region == region);
        stopped.map(|stopped| stopped.conninfo.as_str())
    }

    /// Takes back what can be: nothing once the target may have been promoted.
    async fn undo(&mut self, out: &mut dyn Write) -> Result<(), PromotionFault> {
        if self.promoted.is_some() || self.plan.proof == Proof::Promoted {
            return say(out, "not finished: the target may be promoted already. Run the same command again");
        }
        for stopped in &self.stopped {
            if let Ok(session) = self.members.at(&stopped.region)
                && let Err(fault) = standbys::attach(session, Some(&stopped.conninfo)).await
            {
                say(out, format!("not taken back: {fault}"))?;
            }
        }
        if let Some(closed) = &self.closed
            && let Ok(session) = self.members.at(closed)
        {
            match fence::open(session).await {
                Ok(()) => say(out, format!("taken back: {closed} is open again"))?,
                Err(fault) => say(out, format!("not taken back: {closed} may still be closed: {fault}"))?,
            }
        }
        if let (Some(before), Ok(target)) = (&self.synchronous_before, self.members.at(&self.plan.to)) {
            // Of no effect on a standby; so that nobody is misled by it later.
            let _ = durability::restore_synchronous(target, before).await;
        }
        Ok(())
    }
}

async fn confirm_off(plan: &Plan, arguments: &Promote, jurisdiction: &str) -> Result<(), PromotionFault> {
    let command = arguments.confirm_off.clone().unwrap_or_default();
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", &command])
        .env("RESIDENCY_REGION", plan.from.as_deref().unwrap_or_default())
        .env("RESIDENCY_JURISDICTION", jurisdiction)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| PromotionFault::Program { program: "sh".to_owned(), reason: source.to_string() })?;
    let status = match timeout(CONFIRMATION, child.wait()).await {
        Ok(Ok(status)) if status.success() => return Ok(()),
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("nothing within {} s", CONFIRMATION.as_secs()),
    };
    Err(PromotionFault::NotOff { command, status })
}

/// What the user of each member's URL needs, looked at before anything is changed.
async fn rights(members: &Members) -> Result<(), PromotionFault> {
    const DOING: &str = "asking for its rights";
    const NEEDED: &str = "SELECT string_agg(what, ', ') FROM (VALUES \
         ('EXECUTE on pg_promote', has_function_privilege('pg_promote(boolean,integer)', 'EXECUTE')), \
         ('EXECUTE on pg_reload_conf', has_function_privilege('pg_reload_conf()', 'EXECUTE')), \
         ('EXECUTE on pg_read_file', has_function_privilege('pg_read_file(text,bigint,bigint,boolean)', 'EXECUTE')), \
         ('membership of pg_monitor', pg_has_role('pg_monitor', 'USAGE')), \
         ('membership of pg_signal_backend', pg_has_role('pg_signal_backend', 'USAGE')), \
         ('ALTER SYSTEM on primary_conninfo', has_parameter_privilege('primary_conninfo', 'ALTER SYSTEM')), \
         ('ALTER SYSTEM on default_transaction_read_only', \
            has_parameter_privilege('default_transaction_read_only', 'ALTER SYSTEM')), \
         ('ALTER SYSTEM on synchronous_standby_names', \
            has_parameter_privilege('synchronous_standby_names', 'ALTER SYSTEM')), \
         ('ownership of the database', (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = $1))) \
         AS needed (what, granted) WHERE NOT granted AND current_setting('is_superuser') <> 'on'";
    let asked = members.sessions().into_iter().map(async |session| {
        let rows = session.rows(DOING, NEEDED, &[&session.database()]).await?;
        match rows.first().and_then(|row| row.get::<_, Option<String>>(0)) {
            Some(missing) => Err(PromotionFault::Rights { region: session.region.clone(), missing }),
            None => Ok(()),
        }
    });
    try_join_all(asked).await.map(drop)
}
