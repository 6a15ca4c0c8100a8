//! The demo's users, and what they ask.
use anyhow::{Context, Result, ensure};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::world::{Answer, Call, Jurisdiction, Region, World};

const PASSWORD: &str = "correct horse battery staple";

/// A user of the API. The e-mail address occurs nowhere else, so a scan for it means this user.
pub(super) struct User {
    pub jurisdiction: Jurisdiction,
    /// Where the user signed up.
    pub from: Region,
    pub email: String,
    pub id: String,
    pub token: String,
}

#[derive(Deserialize)]
struct SignedUp {
    id: String,
    jurisdiction: String,
}

#[derive(Deserialize)]
struct LoggedIn {
    access_token: String,
}

impl User {
    /// A new user who signs up in `from`. Answers the user, without a token yet, and the gateway's answer.
    pub(super) async fn sign_up(
        world: &World,
        from: Region,
        jurisdiction: Jurisdiction,
    ) -> Result<(Self, Answer)> {
        let email = format!("{jurisdiction}-{:020x}@people.example", rand::random::<u64>());
        let body = json!({
            "email": email, "password": PASSWORD, "name": "A Person",
            "billing": {"country": jurisdiction.country()},
        });
        let answer = world.call(from, Method::POST, "/signup").json(&body).send().await?;
        let signed_up: SignedUp = expect(&answer, StatusCode::CREATED)
            .and_then(|()| answer.json())
            .with_context(|| format!("signing up in {from}"))?;
        ensure!(signed_up.jurisdiction == jurisdiction.name(), "signed up as {}", signed_up.jurisdiction);
        Ok((Self { jurisdiction, from, email, id: signed_up.id, token: String::new() }, answer))
    }

    /// Logs in from `from`, and keeps the token.
    pub(super) async fn log_in(&mut self, world: &World, from: Region) -> Result<Answer> {
        // No country: the gateways know whose the address is.
        let body = json!({ "email": self.email, "password": PASSWORD });
        let answer = world.call(from, Method::POST, "/login").json(&body).send().await?;
        let logged_in: LoggedIn = expect(&answer, StatusCode::OK)
            .and_then(|()| answer.json())
            .with_context(|| format!("logging in from {from}"))?;
        self.token = logged_in.access_token;
        Ok(answer)
    }

    /// A request of this user in `from`.
    pub(super) fn call(&self, world: &World, from: Region, method: Method, path: &str) -> Call {
        world.call(from, method, path).bearer(&self.token)
    }

    /// Orders `item`.
    pub(super) async fn order(&self, world: &World, from: Region, item: &str) -> Result<Answer> {
        let body = json!({ "item": item, "note": format!("for {}", self.email) });
        self.call(world, from, Method::POST, "/orders").json(&body).send().await
    }
}

fn expect(answer: &Answer, status: StatusCode) -> Result<()> {
    let body = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == status, "expected {status}, got {} with {body}", answer.status);
    Ok(())
}

/// Where a read of that jurisdiction's data is served when asked in `from` and all is well: here if it may lie here, else
/// the least distant region where it may.
pub(super) fn nearest_lawful(from: Region, jurisdiction: Jurisdiction) -> Region {
    let mut lawful: Vec<_> =
        Region::ALL.into_iter().filter(|region| region.databases().contains(&jurisdiction)).collect();
    lawful.sort_by_key(|region| crate::world::round_trip(from, *region));
    lawful[0]
}

/// `eu/primary` or `eu/replica`: what the database of a region says it is.
pub(super) fn database_in(region: Region, jurisdiction: Jurisdiction) -> String {
    let role = if region == jurisdiction.home() { "primary" } else { "replica" };
    format!("{jurisdiction}/{role}")
}
