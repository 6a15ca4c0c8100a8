//! The control API, as an app's own programs meet it: real certificates, real registers.

use http::Method;
use residency_loadtest::world::{Jurisdiction, Port, Region, World};
use serde_json::{Value, json};

use super::user::{PASSWORD, User, sent, unique};
use crate::harness::{Answer, Ask, Pki, eventually, holds};

/// A call of the program that belongs to a region's API.
async fn call(world: &World, at: Region, ask: &Ask) -> Answer {
    let program = Pki::at(world.directory(at).join("control"));
    let identity = format!("{at}.control.api");
    let to = world.address(at, Port::GatewayInternal);
    program.dial(to, at.name(), Some((&program, &identity))).await.expect("welcome").exchange(ask).await
}

fn assign(subject: &str, country: &str, identifiers: &[&str]) -> Ask {
    let body = json!({ "subject": subject, "country": country, "identifiers": identifiers });
    Ask::new("POST /v1/assign").body(body.to_string())
}

fn fresh(what: &str) -> String {
    format!("{what}-{:032x}", unique())
}

pub async fn a_subject_is_assigned_once_however_often_it_is_asked(world: &World) {
    let (subject, email) = (fresh("subject"), format!("{}@example.test", fresh("mail")));
    let ask = assign(&subject, "DE", &[&email]);
    // From two regions at once: the one register decides.
    let (here, there) =
        tokio::join!(call(world, Region::EuFrankfurt, &ask), call(world, Region::ApSingapore, &ask));
    let mut statuses = [here.status(), there.status()];
    statuses.sort_unstable();
    assert!(statuses == [200, 201] || statuses == [200, 200], "{here:?} {there:?}");
    for answer in [&here, &there, &call(world, Region::UsEast, &ask).await] {
        assert_eq!((&answer.json()["jurisdiction"], &answer.json()["generation"]), (&json!("eu"), &json!(1)));
    }
    let said = call(world, Region::UsEast, &Ask::new(&format!("GET /v1/subjects/{subject}"))).await.json();
    let row = json!({ "state": "home", "generation": 1, "toward": null, "claim_answers": true });
    assert_eq!(said["registers"], json!({ "us": "nothing", "eu": [row] }), "{said}");
    // Another identifier of the same subject.
    let more = assign(&subject, "FR", &[&email, &fresh("key")]);
    assert_eq!(call(world, Region::EuFrankfurt, &more).await.status(), 200);
}

pub async fn a_call_is_refused_with_all_its_faults(world: &World) {
    let at = Region::UsEast;
    let ask =
        Ask::new("POST /v1/assign").body(r#"{"subject":7,"country":"Atlantis","identifiers":["",3],"x":1}"#);
    let answer = call(world, at, &ask).await;
    answer.expect_problem(422, "invalid-call");
    let pointers: Vec<_> = answer.json()["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|one| one["pointer"].clone())
        .collect();
    assert_eq!(pointers, ["/subject", "/country", "/identifiers/0", "/identifiers/1", "/x"].map(Value::from));
    call(world, at, &assign(&fresh("subject"), "ZZ", &[])).await.expect_problem(422, "country-unknown");
    call(world, at, &Ask::new("GET /v1/assign")).await.expect_problem(405, "method-not-allowed");
    call(world, at, &Ask::new("GET /v1/nothing")).await.expect_problem(404, "not-found");
    let large = Ask::new("POST /v1/assign").body("x".repeat(300_000));
    call(world, at, &large).await.expect_problem(413, "body-too-large");
}

pub async fn a_settled_subject_with_another_country_is_to_be_moved(world: &World) {
    let subject = fresh("subject");
    assert_eq!(call(world, Region::UsEast, &assign(&subject, "US", &[])).await.status(), 201);
    // Asked where the other register is; and again, which changes nothing.
    for at in [Region::EuFrankfurt, Region::UsEast] {
        let answer = call(world, at, &assign(&subject, "DE", &[])).await;
        answer.expect_problem(409, "move_required");
        let said = answer.json();
        assert_eq!(
            (&said["jurisdiction"], &said["required"], &said["generation"]),
            (&json!("us"), &json!("eu"), &json!(2))
        );
    }
    let answer =
        call(world, Region::EuNuremberg, &Ask::new(&format!("GET /v1/subjects/{subject}?claim=us"))).await;
    let said = answer.json();
    assert_eq!(said["registers"]["us"][0]["state"], "pending", "{said}");
    assert_eq!(said["registers"]["us"][0]["toward"], "eu", "{said}");
    assert_eq!((&said["registers"]["eu"], &said["claim"]), (&json!("nothing"), &json!("us")), "{said}");
    assert_eq!(
        (&said["write"]["region"], &said["read"]["region"]),
        (&json!("us-east"), &json!("eu-frankfurt")),
        "{said}"
    );
}

pub async fn an_identifier_is_one_subjects(world: &World) {
    let email = format!("{}@example.test", fresh("mail"));
    let first = assign(&fresh("subject"), "DE", &[&email]);
    assert_eq!(call(world, Region::EuFrankfurt, &first).await.status(), 201);
    let louder = email.to_uppercase();
    for (at, country) in [(Region::EuFrankfurt, "DE"), (Region::UsEast, "US"), (Region::ApSingapore, "FR")] {
        let answer = call(world, at, &assign(&fresh("subject"), country, &["other", &louder])).await;
        answer.expect_problem(409, "identifier-taken");
        assert_eq!(answer.json()["errors"][0]["pointer"], "/identifiers/1");
    }
}

/// Nothing but the address says whose login it is; the registers say where that one's account is.
pub async fn a_login_is_routed_by_its_address_from_everywhere(world: &World) {
    for jurisdiction in Jurisdiction::ALL {
        let user = User::new(world, Region::ApSingapore, jurisdiction).await;
        let login = json!({"email": user.email.to_uppercase(), "password": PASSWORD});
        for at in Region::ALL {
            eventually(&format!("{jurisdiction} logs in at {at}"), async || {
                let answer = sent(world.call(at, Method::POST, "/login").json(&login)).await;
                let seen = (answer.status.as_u16(), answer.header("x-served-database").to_owned());
                holds(seen == (200, format!("{jurisdiction}/primary")), || format!("{answer:?}"))
            })
            .await;
        }
    }
    // An address that nobody has is answered as a wrong password is.
    let login = json!({"email": format!("{}@example.test", fresh("nobody")), "password": PASSWORD});
    for at in Region::ALL {
        let answer = sent(world.call(at, Method::POST, "/login").json(&login)).await;
        assert_eq!(answer.status.as_u16(), 401, "{answer:?}");
        assert_eq!(
            answer.header("residency-served-by"),
            "us-east",
            "the route's own jurisdiction: {answer:?}"
        );
    }
    let said = call(world, Region::EuNuremberg, &Ask::new("GET /v1/table")).await.json();
    for jurisdiction in Jurisdiction::ALL {
        let register = &said["registers"][jurisdiction.name()];
        assert_eq!((&register["freshness"], &register["fault"]), (&json!("fresh"), &Value::Null), "{said}");
        assert!(register["entries"].as_u64() > Some(0), "{said}");
    }
}

/// What a crash of the API between the two leaves.
pub async fn an_assigned_subject_without_rows_is_harmless(world: &World) {
    let email = format!("{}@example.test", fresh("mail"));
    let lost = assign(&fresh("subject"), "DE", &[&email]);
    assert_eq!(call(world, Region::EuFrankfurt, &lost).await.status(), 201);
    let billing = json!({"country": "DE"});
    let login = json!({"email": email, "password": PASSWORD, "billing": billing});
    let answer = sent(world.call(Region::ApSingapore, Method::POST, "/login").json(&login)).await;
    assert_eq!(answer.json::<Value>().expect("JSON")["code"], "login-failed", "{answer:?}");
    let account = json!({"email": email, "password": PASSWORD, "name": "It", "billing": billing});
    let answer = sent(world.call(Region::ApSingapore, Method::POST, "/signup").json(&account)).await;
    assert_eq!(answer.json::<Value>().expect("JSON")["code"], "email-taken", "{answer:?}");
    // The same subject again is where it was.
    assert_eq!(call(world, Region::EuFrankfurt, &lost).await.status(), 200);
}

pub async fn only_programs_of_the_region_call(world: &World) {
    let at = Region::EuFrankfurt;
    let to = world.address(at, Port::GatewayInternal);
    let ask = assign(&fresh("subject"), "DE", &[]);
    let gateway = Pki::at(world.directory(at).join("gateway/pki"));
    let singapore = Pki::at(world.directory(Region::ApSingapore).join("gateway/pki"));
    for (pki, region) in [(&gateway, "eu-frankfurt"), (&singapore, "ap-singapore")] {
        let mut wire = pki.dial(to, at.name(), Some((pki, region))).await.expect("welcome");
        wire.exchange(&ask).await.expect_problem(404, "not-found");
    }
    // A program's certificate carries no hop, whatever the request says.
    let token = world.keys().signer().expect("a signer").token("someone", Jurisdiction::Eu).expect("a token");
    let hop = Ask::new("GET /whoami").header("residency-hop", "ap-singapore").token(&token);
    call(world, at, &hop).await.expect_problem(404, "not-found");
    // Another region's program, and one that somebody else's authority made.
    let elsewhere = Pki::at(world.directory(Region::UsEast).join("control"));
    let forged = Pki::init(&["eu-frankfurt"]);
    forged.run(&["pki", "issue", "--control", "--region", "eu-frankfurt", "--name", "api"]);
    for (pki, holder) in [(&elsewhere, "us-east.control.api"), (&forged, "eu-frankfurt.control.api")] {
        if let Ok(mut wire) = gateway.dial(to, at.name(), Some((pki, holder))).await {
            let _ = wire.try_send(ask.bytes()).await;
            assert_eq!(wire.head().await, None, "{holder} got an answer");
        }
    }
}

pub async fn a_jurisdiction_is_closed_to_writes_and_opened_as_an_act(world: &World) {
    let set = |read_only: bool| {
        let body = json!({ "read_only": read_only, "reason": "a disk is full" });
        Ask::new("PUT /v1/jurisdictions/eu/read-only").body(body.to_string())
    };
    let known = assign(&fresh("subject"), "DE", &[]);
    assert_eq!(call(world, Region::EuFrankfurt, &known).await.status(), 201);
    let answer = call(world, Region::UsEast, &set(true)).await;
    assert_eq!(answer.json(), json!({ "jurisdiction": "eu", "read_only": true, "changed": true }));
    let refused = call(world, Region::EuFrankfurt, &assign(&fresh("subject"), "DE", &[])).await;
    refused.expect_problem(503, "read-only");
    assert_eq!(call(world, Region::EuFrankfurt, &known).await.status(), 200, "nothing is left to write");
    assert_eq!(call(world, Region::UsEast, &set(true)).await.json()["changed"], false);
    assert_eq!(call(world, Region::EuFrankfurt, &set(false)).await.json()["changed"], true);
    let again = call(world, Region::EuFrankfurt, &assign(&fresh("subject"), "DE", &[])).await;
    assert_eq!(again.status(), 201);
    let sql = world.sql(Region::EuFrankfurt, Jurisdiction::Eu).await.expect("a session");
    let acts =
        "SELECT count(*) FROM residency.act WHERE kind = 'read-only' AND by LIKE 'api at %: a disk is full'";
    assert_eq!(sql.query_one(acts, &[]).await.expect("a count").get::<_, i64>(0), 2);
}
