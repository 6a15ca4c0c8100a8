//! An outage: every link between the EU and the rest goes silent. EU writes from outside are refused, everything else
//! goes on.
use std::time::{Duration, Instant};

use anyhow::Result;
use http::{Method, StatusCode};

use super::{
    attacks::find,
    stage::{Requests, Stage},
    user::User,
};
use crate::world::{Answer, Fault, Jurisdiction, Region, World};

/// Gateways give a silent peer up after 1.5 s, and meet a healed one within as little; longer is a defect.
const NOTICE: Duration = Duration::from_secs(30);
/// Asked for long enough, a read through a dead link waits; the demo does not.
const GLANCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(100);
const ITEM: &str = "ordered while the EU was cut off";

pub(super) async fn eu_cut_off(world: &World, stage: &mut Stage, users: &[User]) -> Result<()> {
    stage.step("All of the EU cut off from the rest: what an EU user's write in Singapore gets");
    let from = Region::ApSingapore;
    let traveller = find(users, from, Jurisdiction::Eu)?;
    let american = find(users, from, Jurisdiction::Us)?;
    let at_home = find(users, Region::EuFrankfurt, Jurisdiction::Eu)?;
    // Opened before: a session through a fault would be a test of Postgres.
    let eu = world.sql(Region::EuFrankfurt, Jurisdiction::Eu).await?;
    let count = "SELECT count(*) FROM orders WHERE item = $1";

    world.links().cut_off(&Region::EU, Fault::Silence);
    let noticed = until(async || {
        let read = traveller.call(world, from, Method::GET, "/orders").send();
        let answer = tokio::time::timeout(GLANCE, read).await.ok()?.ok()?;
        (answer.status == StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
    })
    .await;
    if let Some((after, _)) = &noticed {
        stage.progress(&format!("Singapore's gateway has noticed, {} ms after the cut", after.as_millis()));
    }
    let mut seen = Requests::new();
    let refused = traveller.order(world, from, ITEM).await?;
    seen.add(from, "eu", "POST /orders", &refused);
    let read = traveller.call(world, from, Method::GET, "/orders").send().await?;
    seen.add(from, "eu", "GET /orders", &read);
    let unharmed = american.order(world, from, "tea during an outage elsewhere").await?;
    seen.add(from, "us", "POST /orders", &unharmed);
    let inside = at_home.order(world, Region::EuFrankfurt, "tea inside the EU").await?;
    seen.add(Region::EuFrankfurt, "eu", "POST /orders", &inside);
    stage.say(&seen);

    let retry_after = refused.header("retry-after").to_owned();
    stage.check(
        "an EU write in Singapore with all of the EU cut off gets 503 home-unavailable with Retry-After",
        refused.status == StatusCode::SERVICE_UNAVAILABLE
            && refused.problem().as_deref() == Some("home-unavailable")
            && !retry_after.is_empty(),
        format!("{}, Retry-After {retry_after:?}", spoken(&refused)),
    );
    stage.check(
        "an EU read there is refused too: no copy outside the EU answers",
        read.status == StatusCode::SERVICE_UNAVAILABLE,
        spoken(&read),
    );
    stage.check(
        "the outage touches nobody else",
        unharmed.status == StatusCode::CREATED && inside.status == StatusCode::CREATED,
        format!("US user in Singapore: {}; EU user in Frankfurt: {}", spoken(&unharmed), spoken(&inside)),
    );

    world.heal_all();
    let healed = until(async || {
        let write = traveller.order(world, from, "tea after the outage");
        let answer = tokio::time::timeout(GLANCE, write).await.ok()?.ok()?;
        (answer.status == StatusCode::CREATED).then_some(answer)
    })
    .await;
    stage.check(
        "after healing the same user writes again",
        healed.is_some(),
        healed.map_or_else(
            || format!("not within {NOTICE:?}"),
            |(after, answer)| format!("{}, {} ms after healing", spoken(&answer), after.as_millis()),
        ),
    );
    // Now, after what the links held back has arrived.
    let rows: i64 = eu.query_one(count, &[&ITEM]).await?.get(0);
    let us_rows: i64 =
        world.sql(Region::UsEast, Jurisdiction::Us).await?.query_one(count, &[&ITEM]).await?.get(0);
    stage.check(
        "the refused write left no row anywhere, also after healing",
        rows == 0 && us_rows == 0,
        format!("{rows} rows in the EU's primary, {us_rows} in the US's"),
    );
    Ok(())
}

/// Tries until it succeeds; how long that took, or None after [`NOTICE`].
async fn until(mut attempt: impl AsyncFnMut() -> Option<Answer>) -> Option<(Duration, Answer)> {
    let began = Instant::now();
    while began.elapsed() < NOTICE {
        if let Some(answer) = attempt().await {
            return Some((began.elapsed(), answer));
        }
        tokio::time::sleep(POLL).await;
    }
    None
}

fn spoken(answer: &Answer) -> String {
    let code = answer.problem().unwrap_or_default();
    format!("{} {code} after {} ms", answer.status.as_u16(), answer.took.as_millis())
}
