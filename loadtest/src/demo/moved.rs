//! A home that changes: a settled user's entries in the registers are changed by hand, as docs/REGISTER.md says. The token stays the
//! same, and what it claims is no longer where its user is.
//!
//! Only the entry moves, and then back: no data goes with it. That is a job of `residency-migrate`.
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};

use super::{
    attacks::find,
    stage::{Requests, Stage},
    user::{User, database_in, nearest_lawful},
};
use crate::world::{Answer, Jurisdiction, Region, World};

/// Between a region's probes, each of which is sent whether or not those before it are answered.
const STEP: Duration = Duration::from_millis(10);
/// A change that is not known by then never will be.
const LOST: Duration = Duration::from_secs(10);

/// The entry at its new home.
const ARRIVE: &str = "INSERT INTO residency.register (hash, kind, key_id, state, generation) \
    VALUES (decode($1, 'hex'), 1, $2, 'home', $3) \
    ON CONFLICT (hash) DO UPDATE SET state = 'home', generation = excluded.generation, toward = NULL";
/// The entry that it leaves behind.
const LEAVE: &str = "UPDATE residency.register SET state = 'gone', toward = $2, generation = $3 \
    WHERE hash = decode($1, 'hex') AND state = 'home'";

pub(super) async fn by_hand(world: &World, stage: &mut Stage, users: &[User]) -> Result<()> {
    let (source, target) = (Jurisdiction::Us, Jurisdiction::Eu);
    stage.step("Another home, the same token: a settled user's register entries, changed by hand");
    let user = find(users, Region::UsEast, source)?;
    let said = explained(world, source.home(), user).await?;
    let hash = said["hashes"][0].as_str().context("the user's hash")?.to_owned();
    stage.say(&format!(
        "  the token claims region = {:?}, and still will; in the registers its user is {hash}",
        claimed(&user.token)?,
    ));

    for (leaves, arrives) in [(source, target), (target, source)] {
        let (committed, generation) = hand_over(world, &hash, leaves, arrives).await?;
        stage.progress(&format!("{leaves}: gone, {arrives}: home, both of generation {generation}"));
        let arrival = Arrival::watch(world, user, committed, arrives.home()).await?;
        stage.check(
            format!("the old token is routed to {arrives} from every region after that commit"),
            arrival.late.is_empty() && arrival.strange.is_empty(),
            arrival.detail(),
        );
        let mut seen = Requests::new();
        let mut stray = Vec::new();
        for from in Region::ALL {
            for (method, expected) in
                [(Method::POST, arrives.home()), (Method::GET, nearest_lawful(from, arrives))]
            {
                let answer = ask(world, user, from, method.clone()).await?;
                seen.add(from, source.name(), &format!("{method} /whoami, the old token"), &answer);
                let decision = answer.json::<Value>()?["residency"].clone();
                let right = decision["jurisdiction"] == arrives.name()
                    && decision["subject"] == user.id.as_str()
                    && answer.header("residency-served-by") == expected.name()
                    && answer.header("x-served-database") == database_in(expected, arrives);
                if !right {
                    stray.push(format!("{method} in {from}: {decision}"));
                }
            }
        }
        stage.say(&seen);
        stage.check(
            format!("its writes go to {arrives}'s primary, its reads to {arrives}'s nearest database"),
            stray.is_empty(),
            stray.join("; "),
        );
        if arrives == target {
            explain_it(world, stage, user, generation).await?;
        }
    }
    let orders: Value = user.call(world, user.from, Method::GET, "/orders").send().await?.json()?;
    let orders = orders["orders"].as_array().map_or(0, Vec::len);
    stage.check(
        "put back, the user has all the orders of before",
        orders >= Region::ALL.len(),
        format!("{orders} orders"),
    );
    Ok(())
}

/// Gives the next generation to the entry at its new home, and then to the one it leaves. When the first was committed, which is
/// what decides, and the generation.
async fn hand_over(
    world: &World,
    hash: &str,
    leaves: Jurisdiction,
    arrives: Jurisdiction,
) -> Result<(Instant, i64)> {
    let (old, new) = (world.sql(leaves.home(), leaves).await?, world.sql(arrives.home(), arrives).await?);
    let query = "SELECT key_id, generation FROM residency.register WHERE hash = decode($1, 'hex')";
    let entry = old.query_one(query, &[&hash]).await.context("the user's entry")?;
    let (key, generation) = (entry.get::<_, String>(0), entry.get::<_, i64>(1) + 1);
    new.execute(ARRIVE, &[&hash, &key, &generation]).await.context("the entry at its new home")?;
    let committed = Instant::now();
    let left =
        old.execute(LEAVE, &[&hash, &arrives.name(), &generation]).await.context("the entry it leaves")?;
    ensure!(left == 1, "{left} entries were at home in {leaves}");
    Ok((committed, generation))
}

/// Every region's gateway explains where the moved user is, and because of what.
async fn explain_it(world: &World, stage: &mut Stage, user: &User, generation: i64) -> Result<()> {
    let mut wrong = Vec::new();
    for region in Region::ALL {
        let said = explained(world, region, user).await?;
        stage.say(&format!(
            "  GET /v1/subjects/{{id}}?claim=us in {region}: {}",
            said["explanation"].as_str().unwrap_or_default()
        ));
        let (table, gone) = (&said["table"], &said["registers"]["us"][0]);
        let right = said["claim"] == "us"
            && (&table["jurisdiction"], &table["state"], &table["generation"])
                == (&"eu".into(), &"home".into(), &generation.into())
            && (&gone["state"], &gone["toward"]) == (&"gone".into(), &"eu".into())
            && said["registers"]["eu"][0]["state"] == "home"
            && said["write"]["region"] == Jurisdiction::Eu.home().name()
            && said["read"]["region"] == nearest_lawful(region, Jurisdiction::Eu).name();
        if !right {
            wrong.push(format!("{region}: {said}"));
        }
    }
    stage.check(
        "the control API of every region explains it: the claim says us, the registers say eu",
        wrong.is_empty(),
        wrong.join("; "),
    );
    Ok(())
}

async fn explained(world: &World, region: Region, user: &User) -> Result<Value> {
    let path = format!("/v1/subjects/{}?claim={}", user.id, user.jurisdiction);
    let answer = world.control(region, Method::GET, &path)?.send().await?;
    ensure!(answer.status == StatusCode::OK, "{region} explains with {answer:?}");
    answer.json()
}

/// The claim that gateways read, as the token has it.
fn claimed(token: &str) -> Result<String> {
    let payload = token.split('.').nth(1).context("a token's middle part")?;
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
    Ok(payload["region"].as_str().context("a claim named region")?.to_owned())
}

async fn ask(world: &World, user: &User, from: Region, method: Method) -> Result<Answer> {
    user.call(world, from, method, "/whoami?database=1").send().await
}

/// When a change of home was effective, as requests in each region met it.
#[derive(Default)]
struct Arrival {
    /// By region: after how long all requests that were begun went to the new home.
    after: Vec<(Region, Duration)>,
    /// Regions that never sent one there.
    late: Vec<Region>,
    /// Answers that were neither the old home's nor the new one's.
    strange: Vec<String>,
    probes: usize,
}

impl Arrival {
    /// Asks in every region, over and over, until each has sent a request to the new home.
    async fn watch(world: &World, user: &User, committed: Instant, home: Region) -> Result<Self> {
        let mut watches = JoinSet::new();
        for from in Region::ALL {
            let call = user.call(world, from, Method::POST, "/whoami");
            watches.spawn(async move {
                let mut probes = JoinSet::new();
                let mut answers = Vec::new();
                let mut there = false;
                while !there && committed.elapsed() < LOST {
                    let (call, begun) = (call.clone(), committed.elapsed());
                    probes.spawn(async move { (begun, call.send().await) });
                    sleep(STEP).await;
                    while let Some(Ok(probe)) = probes.try_join_next() {
                        there |= probe.1.as_ref().is_ok_and(|answer| served_by(answer) == home.name());
                        answers.push(probe);
                    }
                }
                answers.extend(probes.join_all().await);
                answers.sort_by_key(|(begun, _)| *begun);
                (from, answers)
            });
        }
        let mut arrival = Self::default();
        for (from, answers) in watches.join_all().await {
            arrival.probes += answers.len();
            let mut after = None;
            for (begun, answer) in answers {
                let answer = answer?;
                if served_by(&answer) != home.name() {
                    after = None;
                } else if after.is_none() {
                    after = Some(begun);
                }
                if answer.status != StatusCode::OK {
                    arrival.strange.push(format!(
                        "{from} after {} ms: {} {}",
                        begun.as_millis(),
                        answer.status,
                        answer.problem().unwrap_or_default()
                    ));
                }
            }
            match after {
                Some(after) => arrival.after.push((from, after)),
                None => arrival.late.push(from),
            }
        }
        arrival.after.sort_unstable();
        Ok(arrival)
    }

    fn detail(&self) -> String {
        let after: Vec<_> =
            self.after.iter().map(|(from, after)| format!("{from} {} ms", after.as_millis())).collect();
        let mut parts = vec![
            format!("{} requests", self.probes),
            format!("all there that began after: {}", after.join(", ")),
        ];
        if !self.late.is_empty() {
            parts.push(format!("never from {:?}", self.late));
        }
        if !self.strange.is_empty() {
            parts.push(format!("failed: {}", self.strange.join(", ")));
        }
        parts.join("; ")
    }
}

fn served_by(answer: &Answer) -> &str {
    answer.header("residency-served-by")
}
