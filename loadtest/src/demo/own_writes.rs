//! Reading one's own writes: what a user has written is what the user reads, through whichever region, though replicas come later.
use anyhow::{Context, Result};
use http::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{
    attacks::find,
    stage::{Requests, Stage},
    user::User,
};
use crate::world::{Answer, Jurisdiction, Region, World};

/// Writes of each jurisdiction's user through each region.
const ROUNDS: usize = 3;
const POSITION: &str = "residency-position";

pub(super) async fn read_back(world: &World, stage: &mut Stage, users: &[User]) -> Result<()> {
    stage.step("Your own writes: written through one region, read at once through every other");
    let mut seen = Requests::new();
    let (mut tally, mut faults) = (Tally::default(), Vec::new());
    for round in 0..ROUNDS {
        for at in Region::ALL {
            for jurisdiction in Jurisdiction::ALL {
                let user = find(users, at, jurisdiction)?;
                let written = user.order(world, at, &format!("biscuits, {round}")).await?;
                let position = written.header(POSITION).to_owned();
                let order: Value = written.json()?;
                let order = order["id"].as_str().context("an order's id")?.to_owned();
                // Those that show the most: the farthest home.
                let shown = round == 0 && nobody_is_farther(at, jurisdiction);
                if shown {
                    seen.add(at, jurisdiction.name(), "POST /orders", &written);
                }
                if position.is_empty() {
                    faults.push(format!("{jurisdiction} write through {at}: no {POSITION}"));
                }
                for (from, answer) in read_everywhere(world, user, &position).await? {
                    if shown {
                        seen.add(from, jurisdiction.name(), "GET /orders, with the position", &answer);
                    }
                    if let Some(fault) = tally.add(&answer, &order)? {
                        faults
                            .push(format!("{jurisdiction} write through {at}, read through {from}: {fault}"));
                    }
                }
            }
        }
    }
    stage.say(&seen);
    let Tally { reads, by_replicas } = tally;
    stage.check(
        "a write's Residency-Position, brought along, shows that write through every region at once",
        reads > 0 && faults.is_empty(),
        if faults.is_empty() {
            format!(
                "{reads} reads, {by_replicas} of them answered by replicas that had it, the others at home"
            )
        } else {
            faults.join("; ")
        },
    );
    Ok(())
}

/// All at the same moment, so that none gives a replica time for the next.
async fn read_everywhere(world: &World, user: &User, position: &str) -> Result<Vec<(Region, Answer)>> {
    let mut reads = JoinSet::new();
    for from in Region::ALL {
        let call = user.call(world, from, Method::GET, "/orders").header(POSITION, position);
        reads.spawn(async move { (from, call.send().await) });
    }
    let mut answers = Vec::new();
    for (from, answer) in reads.join_all().await {
        answers.push((from, answer?));
    }
    answers.sort_by_key(|(from, _)| *from);
    Ok(answers)
}

fn nobody_is_farther(at: Region, jurisdiction: Jurisdiction) -> bool {
    let distance = |from| crate::world::round_trip(from, jurisdiction.home());
    Region::ALL.into_iter().all(|other| distance(other) <= distance(at))
}

#[derive(Default)]
struct Tally {
    reads: usize,
    by_replicas: usize,
}

impl Tally {
    /// Counts a read; what is wrong with it when it does not show the order.
    fn add(&mut self, answer: &Answer, order: &str) -> Result<Option<String>> {
        self.reads += 1;
        let (by, database) = (answer.header("residency-served-by"), answer.header("x-served-database"));
        self.by_replicas += usize::from(database.ends_with("/replica"));
        if answer.status != http::StatusCode::OK {
            return Ok(Some(format!("{} {}", answer.status, answer.problem().unwrap_or_default())));
        }
        let body: Value = answer.json()?;
        let orders = body["orders"].as_array().context("a list of orders")?;
        let there = orders.iter().any(|listed| listed["id"] == order);
        Ok((!there).then(|| format!("an older state by {by} from {database}")))
    }
}
