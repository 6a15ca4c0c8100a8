//! A home that changes: a settled user's entries in the registers are changed by hand, as docs/REGISTER.md says. The token stays the
//! same, and what it claims is no longer where its user is.
//!
//! Only the entry moves, and then back: no data goes with it. That is a job of `residency-migrate`.
use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    attacks::find,
    stage::{Requests, Stage},
    user::{User, database_in, nearest_lawful},
};
use crate::{
    changes::{Arrival, hand_over},
    world::{Answer, Jurisdiction, Region, World},
};

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
        let calls = Region::ALL.map(|from| (from, user.call(world, from, Method::POST, "/whoami")));
        let arrival = Arrival::watch(calls, committed, arrives.home()).await?;
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
