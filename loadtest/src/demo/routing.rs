//! Where requests go: sign-ups and logins, writes, reads; from every region, for users of both jurisdictions.
use std::time::{Duration, Instant};

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};

use super::{
    stage::{Requests, Stage},
    user::{User, database_in, nearest_lawful},
};
use crate::world::{Answer, Call, Jurisdiction, Region, World};

/// A standby that has replayed everything shows it long before.
const SETTLED: Duration = Duration::from_secs(5);

/// A user of each jurisdiction in each region.
pub(super) async fn sign_up_and_log_in(world: &World, stage: &mut Stage) -> Result<Vec<User>> {
    stage.step("Nobody has a token yet: sign-ups go by the billing country, logins by the e-mail address in the registers");
    let mut users = Vec::new();
    let mut seen = Requests::new();
    let mut stray = Stray::default();
    for from in Region::ALL {
        for jurisdiction in Jurisdiction::ALL {
            let (user, answer) = User::sign_up(world, from, jurisdiction).await?;
            seen.add(from, jurisdiction.name(), "POST /signup", &answer);
            stray.watch(from, jurisdiction, jurisdiction.home(), &answer);
            users.push(user);
        }
    }
    stage.say(&seen);
    stage.check(
        "sign-ups from every region are served at the home of their country, by its primary",
        stray.none(),
        stray.detail(),
    );

    let mut seen = Requests::new();
    let mut stray = Stray::default();
    for user in &mut users {
        let from = user.from;
        let answer = user.log_in(world, from).await?;
        seen.add(from, user.jurisdiction.name(), "POST /login", &answer);
        stray.watch(from, user.jurisdiction, user.jurisdiction.home(), &answer);
    }
    stage.say(&seen);
    stage.check(
        "logins that name an e-mail address and no country are served at its user's home, by its primary",
        stray.none(),
        stray.detail(),
    );
    Ok(users)
}

/// Every user orders, from every region.
pub(super) async fn write(world: &World, stage: &mut Stage, users: &[User]) -> Result<()> {
    stage.step("Writes: the token's region claim decides, wherever the user is now");
    let mut seen = Requests::new();
    let mut stray = Stray::default();
    for from in Region::ALL {
        for user in users {
            let answer = user.order(world, from, &format!("tea from {from}")).await?;
            stray.expect(from, user.jurisdiction, answer.status == 201, &answer);
            stray.watch(from, user.jurisdiction, user.jurisdiction.home(), &answer);
            // All write; those who signed up here are shown.
            if user.from == from {
                seen.add(from, user.jurisdiction.name(), "POST /orders", &answer);
            }
        }
    }
    stage.say(&seen);
    stage.check("writes from every region are served at home, by the primary", stray.none(), stray.detail());
    Ok(())
}

/// Reads from every region, once the standbys have replayed the writes.
pub(super) async fn read(world: &World, stage: &mut Stage, users: &[User]) -> Result<()> {
    stage.step("Reads: the nearest region that may hold the user's data");
    for jurisdiction in Jurisdiction::ALL {
        world.caught_up(jurisdiction).await?;
    }
    let mut seen = Requests::new();
    let mut elsewhere = 0;
    let (mut stray, mut missing) = (Stray::default(), Stray::default());
    for from in Region::ALL {
        for user in users {
            let expected = nearest_lawful(from, user.jurisdiction);
            let shown = user.from == from;
            let orders = user.call(world, from, Method::GET, "/orders");
            let orders = from_nearest(&orders, expected, &mut elsewhere).await?;
            // POST, but a read by its route rule.
            let search = user.call(world, from, Method::POST, "/search").json(&json!({ "text": "tea" }));
            let search = from_nearest(&search, expected, &mut elsewhere).await?;
            for (request, answer) in [("GET /orders", &orders), ("POST /search", &search)] {
                stray.watch(from, user.jurisdiction, expected, answer);
                let count = answer.json::<Value>()?["orders"].as_array().map_or(0, Vec::len);
                missing.expect(from, user.jurisdiction, count == Region::ALL.len(), answer);
                if shown {
                    seen.add(from, user.jurisdiction.name(), request, answer);
                }
            }
        }
    }
    stage.say(&seen);
    stage.check(
        "reads are served by the nearest lawful region, from its replica unless it is the home",
        stray.none(),
        format!("{}; {elsewhere} reads before went elsewhere", stray.detail()),
    );
    stage.check("every user sees the same four orders from every region", missing.none(), missing.detail());
    Ok(())
}

/// Asks until that region answers, for as long as a replica may take to show that it has its user's own writes: one that can't
/// within `position.wait_ms` is passed over, as it should be, and every user has just written. Counts what others answered.
async fn from_nearest(call: &Call, expected: Region, elsewhere: &mut usize) -> Result<Answer> {
    let began = Instant::now();
    loop {
        let answer = call.clone().send().await?;
        if answer.header("residency-served-by") == expected.name() || began.elapsed() > SETTLED {
            return Ok(answer);
        }
        *elsewhere += 1;
    }
}

/// Answers that were not as they should be.
#[derive(Default)]
struct Stray {
    answers: usize,
    faults: Vec<String>,
}

impl Stray {
    /// The region and the database's own word for itself must be `expected`'s.
    fn watch(&mut self, from: Region, jurisdiction: Jurisdiction, expected: Region, answer: &Answer) {
        let right = answer.header("residency-served-by") == expected.name()
            && answer.header("x-served-database") == database_in(expected, jurisdiction);
        self.expect(from, jurisdiction, right, answer);
    }

    fn expect(&mut self, from: Region, jurisdiction: Jurisdiction, right: bool, answer: &Answer) {
        self.answers += 1;
        if !right {
            self.faults.push(format!(
                "{jurisdiction} user in {from}: {} by {:?} from {:?}",
                answer.status,
                answer.header("residency-served-by"),
                answer.header("x-served-database"),
            ));
        }
    }

    fn none(&self) -> bool {
        self.answers > 0 && self.faults.is_empty()
    }

    fn detail(&self) -> String {
        if self.faults.is_empty() {
            return format!("{} answers looked at", self.answers);
        }
        self.faults.join("; ")
    }
}
