//! The byte scan. What is on the disks of each region, after everything was written out?
use anyhow::{Context, Result};
use http::Method;
use serde_json::Value;

use super::{stage::Stage, user::User};
use crate::world::{Jurisdiction, Region, World, scan};

pub(super) async fn byte_scan(world: &World, stage: &mut Stage, users: &[User]) -> Result<()> {
    stage.step("On the disks: data directories, WAL, logs and Redis of every region, byte by byte");
    for jurisdiction in Jurisdiction::ALL {
        world.caught_up(jurisdiction).await?;
    }
    stage.progress("CHECKPOINT in every database, SAVE in every Redis");
    world.flush_to_disk().await?;
    let eu = addresses(users, Jurisdiction::Eu);
    let us = addresses(users, Jurisdiction::Us);
    let ids = ids(users, Jurisdiction::Eu)?;
    let all: Vec<_> = eu.iter().chain(&ids).collect();
    let through =
        |from| users.iter().filter(|u| u.jurisdiction == Jurisdiction::Eu && u.from == from).count();
    stage.say(&format!(
        "  {} EU users; {} of them signed up through ap-singapore, {} through us-east; all have ordered from everywhere",
        eu.len(),
        through(Region::ApSingapore),
        through(Region::UsEast),
    ));

    for region in Region::ALL.into_iter().filter(|region| !region.in_eu()) {
        let seen = scan(&world.directory(region), &all)?;
        let places: Vec<_> = seen.hits.iter().map(|hit| hit.file.display().to_string()).collect();
        stage.check(
            format!("no EU user's e-mail address or id is on {region}'s disks"),
            seen.hits.is_empty() && seen.files > 0,
            format!("{} files, {:.1} MB searched; found in {places:?}", seen.files, mb(seen.bytes)),
        );
    }
    // Inside the EU the US cluster stands beside the EU's, and must hold none of its users either.
    let seen = scan(&world.directory(Region::EuFrankfurt).join("postgres-us"), &all)?;
    stage.check(
        "none is in the US cluster's replica in eu-frankfurt",
        seen.hits.is_empty() && seen.files > 0,
        format!("{} files, {:.1} MB searched", seen.files, mb(seen.bytes)),
    );
    // Nor could it be that nothing is known of them there.
    for region in Region::ALL.into_iter().filter(|region| !region.in_eu()) {
        let known = entries(world, region, Jurisdiction::Eu).await?;
        stage.check(
            format!("{region} routes EU users' logins all the same: by keyed hashes"),
            known >= eu.len() as u64,
            format!("{known} of the EU's entries are in its table, none with a name"),
        );
    }
    // The same scan finds what is there, so finding nothing means something.
    for (region, jurisdiction, needles) in [
        (Region::EuFrankfurt, "EU", &eu),
        (Region::EuNuremberg, "EU", &eu),
        (Region::UsEast, "US", &us),
        (Region::ApSingapore, "US", &us),
    ] {
        let seen = scan(&world.directory(region), needles)?;
        let mut found: Vec<_> = seen.hits.iter().map(|hit| hit.needle).collect();
        found.sort_unstable();
        found.dedup();
        stage.check(
            format!("control: the same scan finds every {jurisdiction} user's address in {region}"),
            found.len() == needles.len(),
            format!("{} of {} addresses, {} places", found.len(), needles.len(), seen.hits.len()),
        );
    }
    let seen = scan(&world.directory(Region::EuFrankfurt).join("postgres-eu"), &ids)?;
    let mut found: Vec<_> = seen.hits.iter().map(|hit| hit.needle / 2).collect();
    found.sort_unstable();
    found.dedup();
    stage.check(
        "control: it finds every EU user's id in eu-frankfurt's primary",
        found.len() == eu.len(),
        format!("{} of {} ids, {} places", found.len(), eu.len(), seen.hits.len()),
    );
    Ok(())
}

/// How many of the jurisdiction's entries that region's gateway has.
async fn entries(world: &World, region: Region, jurisdiction: Jurisdiction) -> Result<u64> {
    let table: Value = world.control(region, Method::GET, "/v1/table")?.send().await?.json()?;
    table["registers"][jurisdiction.name()]["entries"].as_u64().context("the number of entries")
}

/// The ids as Postgres stores them, and as text.
fn ids(users: &[User], jurisdiction: Jurisdiction) -> Result<Vec<Vec<u8>>> {
    let mut needles = Vec::new();
    for user in users.iter().filter(|user| user.jurisdiction == jurisdiction) {
        let number = u128::from_str_radix(&user.id.replace('-', ""), 16).context("an id is a UUID")?;
        needles.push(number.to_be_bytes().to_vec());
        needles.push(user.id.clone().into_bytes());
    }
    Ok(needles)
}

/// The addresses' local parts, unique by their 80 bits: found however the `@` is written.
fn addresses(users: &[User], jurisdiction: Jurisdiction) -> Vec<Vec<u8>> {
    users
        .iter()
        .filter(|user| user.jurisdiction == jurisdiction)
        .map(|user| user.email.split('@').next().unwrap_or(&user.email).as_bytes().to_vec())
        .collect()
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
