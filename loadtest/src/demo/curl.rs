//! What stays after the show: lines to paste into a shell while the world is up.
use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::{attacks::find, stage::Stage, user::User};
use crate::world::{Jurisdiction, Port, Region, World};

pub(super) fn invite(world: &World, stage: &mut Stage, users: &[User], directory: &Path) -> Result<()> {
    stage.step("Yours: the world stays up until Ctrl-C. Each region's gateway has an address of its own");
    for region in Region::ALL {
        stage.say(&format!("  {:13} {}", region.name(), world.gateway_url(region)));
    }
    for jurisdiction in Jurisdiction::ALL {
        let user = find(users, jurisdiction.home(), jurisdiction)?;
        let file = directory.join(format!("{jurisdiction}.token"));
        fs::write(&file, &user.token).with_context(|| format!("writing {}", file.display()))?;
    }
    let singapore = world.gateway_url(Region::ApSingapore);
    let nuremberg = world.gateway_url(Region::EuNuremberg);
    let admin = world.address(Region::ApSingapore, Port::GatewayAdmin);
    let bearer = |jurisdiction: &str| {
        let file = directory.join(format!("{jurisdiction}.token"));
        format!("-H \"Authorization: Bearer $(cat '{}')\"", file.display())
    };
    let json = "-H 'Content-Type: application/json'";
    let (eu, us) = (bearer("eu"), bearer("us"));
    stage.say("\n  An EU user's write and reads, asked in Singapore and in Nuremberg, a US user's read in Singapore:");
    for line in [
        format!("curl -i {singapore}/orders {eu} {json} -d '{{\"item\":\"coffee\"}}'"),
        format!("curl -i {singapore}/orders {eu}"),
        format!("curl -i {nuremberg}/orders {eu}"),
        format!("curl -i {singapore}/orders {us}"),
    ] {
        stage.say(&format!("  {line}"));
    }
    stage.say("\n  What the API is told about a request; a sign-up by country, a login by e-mail address; health and metrics:");
    for line in [
        format!("curl -s '{singapore}/whoami?database=1' {eu}"),
        format!(
            "curl -i {singapore}/signup {json} -d '{{\"email\":\"you@example.org\",\"password\":\"a long password\",\
             \"name\":\"You\",\"billing\":{{\"country\":\"FR\"}}}}'"
        ),
        format!(
            "curl -i {nuremberg}/login {json} -d '{{\"email\":\"you@example.org\",\"password\":\"a long password\"}}'"
        ),
        format!("curl -s 'http://{admin}/health/full'"),
        format!("curl -s 'http://{admin}/metrics'"),
    ] {
        stage.say(&format!("  {line}"));
    }
    stage.say(&format!("\n  Logs and data of every region: {}", world.root().display()));
    Ok(())
}
