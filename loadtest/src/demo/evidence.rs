//! Step seven: the byte scan. What is on the disks of each region, after everything was written out?
use anyhow::Result;

use super::{stage::Stage, user::User};
use crate::world::{Jurisdiction, Region, World, scan};

pub(super) async fn byte_scan(world: &World, stage: &mut Stage, users: &[User]) -> Result<()> {
    stage.step("On the disks: data directories, WAL, logs and Redis of every region, byte by byte");
    for jurisdiction in Jurisdiction::ALL {
        world.caught_up(jurisdiction).await?;
    }
    stage.progress("CHECKPOINT in every database, SAVE in every Redis");
    world.flush_to_disk().await?;
    let eu = needles(users, Jurisdiction::Eu);
    let us = needles(users, Jurisdiction::Us);
    let through =
        |from| users.iter().filter(|u| u.jurisdiction == Jurisdiction::Eu && u.from == from).count();
    stage.say(&format!(
        "  {} EU users; {} of them signed up through ap-singapore, {} through us-east; all have ordered from everywhere",
        eu.len(),
        through(Region::ApSingapore),
        through(Region::UsEast),
    ));

    for region in Region::ALL.into_iter().filter(|region| !region.in_eu()) {
        let seen = scan(&world.directory(region), &eu)?;
        let places: Vec<_> = seen.hits.iter().map(|hit| hit.file.display().to_string()).collect();
        stage.check(
            format!("no EU user's e-mail address is on {region}'s disks"),
            seen.hits.is_empty() && seen.files > 0,
            format!("{} files, {:.1} MB searched; found in {places:?}", seen.files, mb(seen.bytes)),
        );
    }
    // Inside the EU the US cluster stands beside the EU's, and must hold none of its users either.
    let seen = scan(&world.directory(Region::EuFrankfurt).join("postgres-us"), &eu)?;
    stage.check(
        "none is in the US cluster's replica in eu-frankfurt",
        seen.hits.is_empty() && seen.files > 0,
        format!("{} files, {:.1} MB searched", seen.files, mb(seen.bytes)),
    );
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
    Ok(())
}

/// The addresses' local parts, unique by their 80 bits: found however the `@` is written.
fn needles(users: &[User], jurisdiction: Jurisdiction) -> Vec<String> {
    users
        .iter()
        .filter(|user| user.jurisdiction == jurisdiction)
        .map(|user| user.email.split('@').next().unwrap_or(&user.email).to_owned())
        .collect()
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
