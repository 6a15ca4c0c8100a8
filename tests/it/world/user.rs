//! A user of the API behind the gateways.

use http::Method;
use residency_loadtest::world::{Answer, Call, Jurisdiction, Region, World};
use serde_json::{Value, json};

/// Signed up and logged in.
pub struct User {
    pub id: String,
    pub email: String,
    pub token: String,
}

pub const PASSWORD: &str = "correct horse battery staple";

impl User {
    /// A new one, through the gateway of `from`.
    pub async fn new(world: &World, from: Region, jurisdiction: Jurisdiction) -> Self {
        let billing = json!({"country": jurisdiction.country()});
        let email = format!("it-{:024x}@example.test", unique());
        let account = json!({"email": email, "password": PASSWORD, "name": "It", "billing": billing});
        let answer = sent(world.call(from, Method::POST, "/signup").json(&account)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.header("residency-served-by"), jurisdiction.home().name());
        assert_eq!(answer.header("x-served-database"), format!("{jurisdiction}/primary"));
        let id = answer.json::<Value>().expect("JSON")["id"].as_str().expect("an id").to_owned();
        let login = json!({"email": email, "password": PASSWORD, "billing": billing});
        let answer = sent(world.call(from, Method::POST, "/login").json(&login)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let token =
            answer.json::<Value>().expect("JSON")["access_token"].as_str().expect("a token").to_owned();
        Self { id, email, token }
    }

    /// A request of theirs at a region's gateway.
    pub fn call(&self, world: &World, at: Region, method: Method, path: &str) -> Call {
        world.call(at, method, path).bearer(&self.token)
    }

    pub async fn order(&self, world: &World, at: Region, item: &str) -> Answer {
        sent(self.call(world, at, Method::POST, "/orders").json(&json!({"item": item}))).await
    }

    pub async fn orders(&self, world: &World, at: Region) -> Answer {
        sent(self.call(world, at, Method::GET, "/orders")).await
    }
}

/// The answer; that there is one is what every test here takes for granted.
pub async fn sent(call: Call) -> Answer {
    call.send().await.expect("an answer")
}

/// Different for each caller of each process.
pub fn unique() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    u128::from(RandomState::new().hash_one(std::process::id()))
}
