//! Attacks: a client that claims to be the gateway, and a token whose key is withdrawn.
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    stage::{Requests, Stage},
    user::User,
};
use crate::world::{Jurisdiction, Region, World};

/// Gateways fetch their keys every 2 s here, or at the first unknown key; longer is a defect.
const KEYS_SPREAD: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

pub(super) async fn forged_headers(world: &World, stage: &mut Stage, users: &[User]) -> Result<()> {
    stage.step("A forged Residency-* header: a client in Singapore claims what only a gateway may say");
    let from = Region::ApSingapore;
    let eu = find(users, from, Jurisdiction::Eu)?;
    let victim = find(users, Region::EuFrankfurt, Jurisdiction::Eu)?;
    let forged = [
        ("residency-served-by", from.name()),
        ("residency-jurisdiction", "us"),
        ("residency-database", "primary"),
        ("residency-access", "write"),
        ("residency-subject", victim.id.as_str()),
        ("residency-hop", "eu-frankfurt"),
    ];
    let mut seen = Requests::new();

    let mut call = eu.call(world, from, Method::GET, "/whoami?database=1");
    for (name, value) in forged {
        call = call.header(name, value);
    }
    let answer = call.send().await?;
    seen.add(from, "eu", "GET /whoami, own token, forged headers", &answer);
    let decision = answer.json::<Value>()?["residency"].clone();
    let unmoved = decision["jurisdiction"] == "eu"
        && decision["subject"] == eu.id.as_str()
        && decision["servedBy"] == "eu-frankfurt"
        && decision["access"] == "read";

    let mut call = world.call(from, Method::GET, "/me");
    for (name, value) in forged {
        call = call.header(name, value);
    }
    let anonymous = call.send().await?;
    seen.add(from, "nobody", "GET /me, no token, forged headers", &anonymous);
    stage.say(&seen);
    stage.check(
        "forged Residency-* headers change nothing for a user with a token",
        unmoved,
        format!("the API saw {decision}"),
    );
    stage.check(
        "forged Residency-* headers give nobody an identity",
        anonymous.status == StatusCode::UNAUTHORIZED,
        format!("{} {}", anonymous.status.as_u16(), anonymous.problem().unwrap_or_default()),
    );
    Ok(())
}

pub(super) async fn withdrawn_key(world: &World, stage: &mut Stage, users: &mut [User]) -> Result<()> {
    stage.step("A withdrawn key: its tokens are worth nothing, though they were verified and cached before");
    let from = Region::ApSingapore;
    let old_kid = world.keys().active()?;
    let new_kid = world.rotate_keys().await?;
    stage.progress(&format!("new signing key {new_kid}; {old_kid} is still valid"));
    let at = users
        .iter()
        .position(|user| user.from == from && user.jurisdiction == Jurisdiction::Eu)
        .context("an EU user signed up in Singapore")?;
    let before = users[at].token.clone();
    users[at].log_in(world, from).await?;
    let after = users[at].token.clone();

    // The first token with the new key makes each gateway fetch the keys.
    let fresh = everywhere(world, &after, StatusCode::OK).await?;
    let still = everywhere(world, &before, StatusCode::OK).await?;
    stage.check(
        "tokens of the new and of the old key are taken in every region",
        fresh.is_ok() && still.is_ok(),
        format!("new: {}; old: {}", spoken(&fresh), spoken(&still)),
    );

    world.withdraw_key(&old_kid).await?;
    stage.progress(&format!("{old_kid} withdrawn"));
    let refused = everywhere(world, &before, StatusCode::UNAUTHORIZED).await?;
    let mut seen = Requests::new();
    let mut codes = Vec::new();
    for region in Region::ALL {
        let answer = world.call(region, Method::GET, "/me").bearer(&before).send().await?;
        seen.add(region, "eu", "GET /me, token of the withdrawn key", &answer);
        codes.push(answer.problem().unwrap_or_default());
        let answer = world.call(region, Method::GET, "/me").bearer(&after).send().await?;
        seen.add(region, "eu", "GET /me, token of the new key", &answer);
    }
    stage.say(&seen);
    stage.check(
        "a withdrawn key's token is refused in every region",
        refused.is_ok() && codes.iter().all(|code| code == "token-invalid"),
        format!("{}; codes {codes:?}", spoken(&refused)),
    );
    let kept = everywhere(world, &after, StatusCode::OK).await?;
    stage.check("the new key's token still works in every region", kept.is_ok(), spoken(&kept));

    // The others need tokens of the new key from here on.
    for user in users.iter_mut() {
        let from = user.from;
        user.log_in(world, from).await?;
    }
    Ok(())
}

/// Asks in every region until each answers `GET /me` with `wanted`; the time that took, or who still does not.
async fn everywhere(world: &World, token: &str, wanted: StatusCode) -> Result<Result<Duration, String>> {
    let began = Instant::now();
    for region in Region::ALL {
        loop {
            let answer = world.call(region, Method::GET, "/me").bearer(token).send().await?;
            if answer.status == wanted {
                break;
            }
            if began.elapsed() > KEYS_SPREAD {
                return Ok(Err(format!("{region} still answers {}", answer.status)));
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(Ok(began.elapsed()))
}

fn spoken(outcome: &Result<Duration, String>) -> String {
    match outcome {
        Ok(after) => format!("everywhere after {} ms", after.as_millis()),
        Err(fault) => fault.clone(),
    }
}

pub(super) fn find(users: &[User], from: Region, jurisdiction: Jurisdiction) -> Result<&User> {
    users
        .iter()
        .find(|user| user.from == from && user.jurisdiction == jurisdiction)
        .with_context(|| format!("a {jurisdiction} user signed up in {from}"))
}
