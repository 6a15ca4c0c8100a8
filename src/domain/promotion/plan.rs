//! From facts to a plan, or to every reason against one.
//!
//! Proof is looked for in this order: the target is the primary already (an earlier run was cut off, and is finished); the
//! old primary answers and can be fenced; every member answers and none is a primary; the operator's command confirms
//! that it is off; commits wait for standbys, all of which answer and can be detached; the operator names the risk.

use super::{Answer, Cluster, Refusal, Request, Row};
use crate::domain::register::Generation;
use crate::domain::replication_lag::{LogPosition, Lsn};
use crate::domain::topology::Durability;

/// What will be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The old primary's region, as far as known.
    pub from: Option<String>,
    pub to: String,
    pub proof: Proof,
    /// What is lost, as far as known before the steps are done.
    pub loss: Loss,
    /// The row's generation that the new one follows.
    pub generation: Generation,
    pub durability: Durability,
    /// Whom commits wait for from now on.
    pub synchronous: Vec<String>,
    pub steps: Vec<Step>,
}

/// Why the old primary can't acknowledge any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The target is the primary: an earlier run came that far.
    Promoted,
    /// It will be closed, and its sessions ended.
    Fence,
    /// Every member answers, and none is a primary.
    NoPrimary,
    /// The operator's command says so.
    Off,
    /// Its commits wait for one of these standbys, and none of them will listen to it.
    Quorum(Vec<String>),
    /// None: a risk, named.
    Assumed,
}

/// What clients were told and the new primary won't know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    Nothing(Whole),
    /// Everything acknowledged after this.
    After {
        position: LogPosition,
        last_commit: Option<String>,
        /// Bytes of log known to have existed beyond; there may have been more.
        at_least: Option<u64>,
    },
}

/// Why nothing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// The target will have replayed all that the old primary wrote, or it isn't promoted.
    Fenced,
    /// All that any member has, the target has.
    AllAnswer,
    /// No commit was acknowledged before one of the standbys had it, and the target has what any of them has.
    Synchronous,
    /// Nothing is promoted any more.
    Done,
}

/// One thing to do. Each may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Set for whom the target's commits will wait.
    Synchronous,
    /// Close the application's database on the old primary, and end its sessions.
    Fence(String),
    /// Stop a standby's receiver, so that it confirms nothing to the old primary, and takes nothing from it that the
    /// target won't have.
    Detach(String),
    /// Wait until the target has replayed what the fenced primary had last, and all that the detached standbys have.
    CatchUp,
    /// Look again: has the target still all that the others have?
    Compare,
    /// End the target's recovery.
    Promote,
    /// Open the application's database on the target, should a fence have been replicated to it.
    Open,
    /// Let the other standbys follow the target.
    Follow,
    /// Write the row: from here on gateways send writes.
    Row,
}

/// A plan, or every reason against one.
pub fn plan(cluster: &Cluster, request: &Request) -> Result<Plan, Vec<Refusal>> {
    let mut refusals = misnamed(cluster, request);
    let Some(target) = target(cluster, request, &mut refusals) else { return Err(refusals) };
    let to = request.to.clone();
    let others = || cluster.answers().filter(|(region, _)| *region != to && !left_out(request, region));
    for (region, answer) in others() {
        if answer.system_identifier != target.system_identifier {
            refusals.push(Refusal::Foreign { region: region.to_owned(), target: to.clone() });
        }
    }
    let primary = cluster.primary();
    let Some(row) = cluster.row() else {
        refusals.push(Refusal::NoRow { jurisdiction: cluster.jurisdiction.clone() });
        return Err(refusals);
    };
    if !target.recovering && primary.is_none_or(|(region, _)| region != to) {
        refusals.push(Refusal::TargetFormerPrimary { region: to.clone(), timeline: target.has.timeline.0 });
    }
    // Where the old primary is, or was last known to be. A member that only replays is not it.
    let from = primary.map_or_else(|| row.home.clone(), |(region, _)| region.to_owned());
    let from = Some(from).filter(|from| *from != to);
    for (region, why) in silent(cluster, request) {
        let proven = Some(&region) == from.as_ref();
        if !proven {
            refusals.push(Refusal::Silent { region, target: to.clone(), why });
        }
    }
    let durability = if request.relax { Durability::Async } else { row.durability };
    let synchronous: Vec<_> = match durability {
        Durability::Async => Vec::new(),
        Durability::Remote => cluster
            .members
            .iter()
            .map(|member| member.region.clone())
            .filter(|region| *region != to)
            .collect(),
    };
    let follows = |region: &str, answer: &Answer| Some(region) != from.as_deref() && answer.recovering;
    if durability == Durability::Remote && !others().any(|(region, answer)| follows(region, answer)) {
        refusals.push(Refusal::NoStandby { target: to.clone() });
    }
    let proof = if target.recovering {
        proof(cluster, request, from.as_deref(), row, &mut refusals)
    } else {
        Some(Proof::Promoted)
    };
    if !matches!(proof, Some(Proof::Fence | Proof::Promoted)) {
        refusals.extend(behind(cluster, request, target));
    }
    match proof {
        Some(proof) if refusals.is_empty() => Ok(Plan {
            loss: loss(cluster, target, &proof, row),
            steps: steps(cluster, request, &proof, from.as_deref(), row),
            generation: row.generation,
            from,
            to,
            proof,
            durability,
            synchronous,
        }),
        _ => Err(refusals),
    }
}

fn left_out(request: &Request, region: &str) -> bool {
    request.without.iter().any(|left| left == region)
}

/// Names that mean nothing, or the wrong thing.
fn misnamed(cluster: &Cluster, request: &Request) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let jurisdiction = || cluster.jurisdiction.clone();
    let region = request.to.clone();
    if !cluster.lawful.contains(&region) {
        refusals.push(Refusal::Unlawful {
            region,
            jurisdiction: jurisdiction(),
            lawful: cluster.lawful.clone(),
        });
    } else if cluster.member(&region).is_none() {
        refusals.push(Refusal::NoMember { region, jurisdiction: jurisdiction() });
    }
    for left in &request.without {
        let region = left.clone();
        match cluster.member(left).map(|member| &member.answer) {
            _ if *left == request.to => refusals.push(Refusal::WithoutTarget { region }),
            None => refusals.push(Refusal::WithoutNobody { region, jurisdiction: jurisdiction() }),
            Some(Ok(_)) if cluster.primary().is_some_and(|(primary, _)| primary == left) => {
                refusals.push(Refusal::WithoutPrimary { region });
            }
            Some(_) => {}
        }
    }
    refusals
}

fn target<'a>(cluster: &'a Cluster, request: &Request, refusals: &mut Vec<Refusal>) -> Option<&'a Answer> {
    if !refusals.is_empty() {
        return None;
    }
    match &cluster.member(&request.to)?.answer {
        Ok(answer) => Some(answer),
        Err(why) => {
            refusals.push(Refusal::TargetSilent { region: request.to.clone(), why: why.clone() });
            None
        }
    }
}

/// Members that don't answer and aren't left out.
fn silent(cluster: &Cluster, request: &Request) -> Vec<(String, String)> {
    let unheard = cluster.members.iter().filter(|member| !left_out(request, &member.region));
    unheard
        .filter_map(|member| Some((member.region.clone(), member.answer.as_ref().err()?.clone())))
        .collect()
}

fn proof(
    cluster: &Cluster,
    request: &Request,
    from: Option<&str>,
    row: &Row,
    refusals: &mut Vec<Refusal>,
) -> Option<Proof> {
    if let Some((region, _)) = cluster.primary() {
        // Whoever answers is closed properly; a risk that need not be taken is not taken.
        if request.assume_dead {
            refusals.push(Refusal::Alive { region: region.to_owned() });
        }
        if request.confirm_off {
            refusals.push(Refusal::NotOff { region: region.to_owned() });
        }
        return Some(Proof::Fence);
    }
    if cluster.members.iter().all(|member| member.answer.is_ok()) {
        return Some(Proof::NoPrimary);
    }
    if request.confirm_off {
        return Some(Proof::Off);
    }
    match quorum(cluster, request, row) {
        Ok(standbys) => Some(Proof::Quorum(standbys)),
        Err(_) if request.assume_dead => Some(Proof::Assumed),
        Err(why) => {
            let remote = row.durability == Durability::Remote;
            refusals.push(Refusal::NoProof {
                region: from.unwrap_or("an unknown region").to_owned(),
                why: "it doesn't answer".to_owned(),
                quorum: if remote { format!(" (its standbys prove nothing: {why})") } else { String::new() },
            });
            None
        }
    }
}

/// The standbys without which the old primary acknowledges nothing, if all of them can be detached from it.
///
/// One that has not streamed since its server started may have been away while commits were allowed to wait for nobody:
/// what its row says of durability is then no proof.
fn quorum(cluster: &Cluster, request: &Request, row: &Row) -> Result<Vec<String>, String> {
    if row.durability != Durability::Remote || row.synchronous.is_empty() {
        return Err("durability is async".to_owned());
    }
    for standby in &row.synchronous {
        match cluster.member(standby).map(|member| &member.answer) {
            _ if left_out(request, standby) => return Err(format!("{standby} is left out")),
            None => return Err(format!("{standby} is no member")),
            Some(Err(_)) => {
                return Err(format!("{standby} doesn't answer, so it may still be confirming commits"));
            }
            Some(Ok(answer)) if !answer.streamed => {
                return Err(format!(
                    "{standby} has not streamed since its server started, so durability may have been relaxed meanwhile"
                ));
            }
            Some(Ok(_)) => {}
        }
    }
    Ok(row.synchronous.clone())
}

/// Who has what the target lacks.
fn behind(cluster: &Cluster, request: &Request, target: &Answer) -> Option<Refusal> {
    let rank = |answer: &Answer| (answer.has.timeline, answer.has.lsn);
    let others = cluster.answers().filter(|(region, _)| !left_out(request, region));
    let (region, best) =
        others.filter(|(_, answer)| answer.recovering).max_by_key(|(_, answer)| rank(answer))?;
    let (better, to) = (region.to_owned(), request.to.clone());
    if best.has.timeline > target.has.timeline {
        let (timeline, later) = (target.has.timeline.0, best.has.timeline.0);
        return Some(Refusal::Earlier { target: to, better, timeline, later });
    }
    let bytes = best.has.lsn.0.saturating_sub(target.has.lsn.0);
    (rank(best) > rank(target)).then_some(Refusal::Behind { target: to, better, bytes })
}

fn loss(cluster: &Cluster, target: &Answer, proof: &Proof, row: &Row) -> Loss {
    match proof {
        Proof::Promoted => Loss::Nothing(Whole::Done),
        Proof::Fence => Loss::Nothing(Whole::Fenced),
        Proof::NoPrimary => Loss::Nothing(Whole::AllAnswer),
        Proof::Quorum(_) => Loss::Nothing(Whole::Synchronous),
        // A server that is off has no more than it acknowledged, if its standbys prove what that was.
        // Whoever was left out is asked for all the same: it may be the one that has the last commit.
        Proof::Off if quorum(cluster, &Request::default(), row).is_ok() => {
            best_of_quorum(cluster, target, row)
        }
        Proof::Off | Proof::Assumed => after(cluster, target),
    }
}

fn best_of_quorum(cluster: &Cluster, target: &Answer, row: &Row) -> Loss {
    let most = row.synchronous.iter().filter_map(|standby| cluster.member(standby)?.answer.as_ref().ok());
    if most.map(|answer| answer.has.lsn).max().is_some_and(|lsn| lsn <= target.has.lsn) {
        Loss::Nothing(Whole::Synchronous)
    } else {
        after(cluster, target)
    }
}

fn after(cluster: &Cluster, target: &Answer) -> Loss {
    let known = |answer: &Answer| answer.heard.unwrap_or(Lsn(0)).max(answer.has.lsn);
    let furthest = cluster.answers().map(|(_, answer)| known(answer)).max().unwrap_or(target.has.lsn);
    let beyond = furthest.0.saturating_sub(target.has.lsn.0);
    Loss::After {
        position: target.has,
        last_commit: target.last_commit.clone(),
        at_least: (beyond > 0).then_some(beyond),
    }
}

fn steps(cluster: &Cluster, request: &Request, proof: &Proof, from: Option<&str>, row: &Row) -> Vec<Step> {
    let to = request.to.as_str();
    let finish = [Step::Open, Step::Follow, Step::Row];
    let standbys = cluster.answers().filter(|(region, answer)| *region != to && answer.recovering);
    let detach = standbys.map(|(region, _)| Step::Detach(region.to_owned()));
    let mut steps = vec![Step::Synchronous];
    match proof {
        Proof::Promoted => {
            let target = cluster.member(to).and_then(|member| member.answer.as_ref().ok());
            if row.home == to && target.is_some_and(|target| target.open && target.fence.is_none()) {
                return Vec::new();
            }
            steps.extend(finish);
            return steps;
        }
        Proof::Fence => {
            steps.push(Step::Fence(from.expect("the primary answered").to_owned()));
            steps.extend(detach);
            steps.push(Step::CatchUp);
        }
        Proof::NoPrimary | Proof::Off | Proof::Quorum(_) | Proof::Assumed => {
            // The target last, so that it has whatever the others confirmed before they were stopped.
            steps.extend(detach);
            steps.push(Step::Detach(to.to_owned()));
            steps.push(Step::Compare);
        }
    }
    steps.push(Step::Promote);
    steps.extend(finish);
    steps
}
