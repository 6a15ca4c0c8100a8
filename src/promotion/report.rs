//! A plan in words, for whoever is awake at night: what is known, what will be done, what is lost.

use std::io::Write;

use super::{PromotionFault, say};
use crate::domain::promotion::{
    Answer, Cluster, Loss, Plan, Proof, Step, Whole, durability_name, synchronous_standby_names,
};

/// Each member in a line.
pub(super) fn members(cluster: &Cluster, out: &mut dyn Write) -> Result<(), PromotionFault> {
    let primary = cluster.primary().map(|(region, _)| region.to_owned());
    for member in &cluster.members {
        let region = &member.region;
        match &member.answer {
            Err(why) => say(out, format!("  {region}: no answer: {why}"))?,
            Ok(answer) => {
                say(out, format!("  {region}: {}", described(answer, primary.as_ref() == Some(region))))?;
            }
        }
    }
    Ok(())
}

fn described(answer: &Answer, current: bool) -> String {
    let what = match (answer.recovering, current) {
        (true, _) => "standby",
        (false, true) => "primary",
        (false, false) => "former primary, still running",
    };
    let mut text = format!("{what}, timeline {}, has {}", answer.has.timeline.0, answer.has.lsn);
    if let Some(commit) = &answer.last_commit {
        text.extend([", last commit replayed ", commit]);
    }
    if let Some(row) = answer.row() {
        let told = format!(
            "; its register: home {}, generation {}, {}",
            row.home,
            row.generation.0,
            durability_name(row.durability)
        );
        text.push_str(&told);
    }
    if !answer.open {
        text += "; its database is closed";
    }
    text
}

pub(super) fn plan(plan: &Plan, out: &mut dyn Write) -> Result<(), PromotionFault> {
    let from = plan.from.as_deref().unwrap_or("nobody");
    if plan.steps.is_empty() {
        return say(out, format!("{} is the primary and open: nothing to do", plan.to));
    }
    say(
        out,
        format!(
            "from {from} to {}, generation {} after {}",
            plan.to,
            plan.generation.0 + 1,
            plan.generation.0
        ),
    )?;
    say(out, format!("proof: {}", proof(&plan.proof)))?;
    say(out, loss(&plan.loss))?;
    say(out, "steps:")?;
    plan.steps.iter().try_for_each(|one| say(out, format!("  - {}", step(one, plan))))
}

pub(super) fn proof(proof: &Proof) -> String {
    match proof {
        Proof::Promoted => "the target is the primary already; an earlier run is finished".to_owned(),
        Proof::Fence => "the old primary answers and is closed first".to_owned(),
        Proof::NoPrimary => "every member answers, and none is a primary".to_owned(),
        Proof::Off => {
            "the command given with --confirm-off has to say that the old primary is off".to_owned()
        }
        Proof::Quorum(standbys) => format!(
            "a commit of the old primary waits for one of {}; all answer and are stopped first (no proof if durability was \
             given up while they had no link to it)",
            standbys.join(", ")
        ),
        Proof::Assumed => {
            "NONE (--assume-dead): should the old primary be alive, there are two until it is stopped"
                .to_owned()
        }
    }
}

/// The word for it in the register.
pub(super) const fn proof_name(proof: &Proof) -> &'static str {
    match proof {
        Proof::Promoted => "promoted",
        Proof::Fence => "fence",
        Proof::NoPrimary => "no-primary",
        Proof::Off => "confirm-off",
        Proof::Quorum(_) => "quorum",
        Proof::Assumed => "assume-dead",
    }
}

pub(super) fn loss(loss: &Loss) -> String {
    match loss {
        Loss::Nothing(why) => {
            let why = match why {
                Whole::Fenced => {
                    "the target replays everything the old primary acknowledged before it is promoted"
                }
                Whole::AllAnswer => "all members answer, and none has more than the target",
                Whole::Synchronous => {
                    "each acknowledged write was flushed by a standby first, and the target has what any of them has"
                }
                Whole::Done => "the target was promoted before",
            };
            format!("lost: nothing: {why}")
        }
        Loss::After { position, last_commit, at_least } => {
            let commit = last_commit.as_deref().unwrap_or("(none since its server started)");
            let known = match at_least {
                Some(bytes) => format!("at least {bytes} bytes of log"),
                None => "how much, nobody who answers knows".to_owned(),
            };
            format!(
                "lost: every write acknowledged after {commit}, position {} of timeline {}: {known}",
                position.lsn, position.timeline.0
            )
        }
    }
}

pub(super) fn loss_json(loss: &Loss) -> serde_json::Value {
    match loss {
        Loss::Nothing(_) => serde_json::json!("nothing"),
        Loss::After { position, last_commit, at_least } => serde_json::json!({
            "after_lsn": position.lsn.to_string(), "after_timeline": position.timeline.0,
            "after_commit": last_commit, "at_least_bytes": at_least,
        }),
    }
}

fn step(step: &Step, plan: &Plan) -> String {
    let to = &plan.to;
    match step {
        Step::Synchronous if plan.synchronous.is_empty() => format!("{to}: commits will wait for nobody"),
        Step::Synchronous => {
            format!("{to}: commits will wait for {}", synchronous_standby_names(&plan.synchronous))
        }
        Step::Fence(from) => format!("{from}: close the application's database and end its sessions"),
        Step::Detach(region) => format!("{region}: stop receiving"),
        Step::CatchUp => format!("{to}: wait until it has replayed all that the others have"),
        Step::Compare => "look again who has most".to_owned(),
        Step::Promote => format!("{to}: promote"),
        Step::Open => format!("{to}: open the application's database"),
        Step::Follow => format!("the others: follow {to}"),
        Step::Row => format!("{to}: write the register's row; gateways send writes from then on"),
    }
}
