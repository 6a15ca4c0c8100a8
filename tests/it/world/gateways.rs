//! Gateways as registers know them.

use aws_lc_rs::digest;
use http::Method;
use residency_loadtest::world::{Call, Jurisdiction, Port, Region, World};
use serde_json::Value;

use super::shared::health_becomes;
use super::user::{User, sent};
use crate::harness::{Ask, Metrics, Pki, certificates, eventually, holds};

async fn counted(world: &World, at: Region, name: &str, labels: &[(&str, &str)]) -> f64 {
    let answer = sent(Call::new(world.address(at, Port::GatewayAdmin), Method::GET, "/metrics")).await;
    Metrics::parse(std::str::from_utf8(&answer.body).expect("UTF-8")).value(name, labels)
}

/// How many connections with a forgotten certificate were refused or closed.
async fn turned_away(world: &World, at: Region, result: &str) -> f64 {
    counted(world, at, "residency_forgotten_certificates_total", &[("result", result)]).await
}

pub async fn a_forgotten_gateway_is_let_in_nowhere_and_serves_nobody_there(world: &World) {
    let (at, home) = (Region::ApSingapore, Region::EuFrankfurt);
    let european = User::new(world, at, Jurisdiction::Eu).await;
    // Somebody who has written nothing that only the home has.
    let american =
        world.keys().signer().expect("a signer").token("someone", Jurisdiction::Us).expect("a token");
    let pki = Pki::at(world.directory(at).join("gateway/pki"));
    let leaf = &certificates(&pki.path().join("ap-singapore.crt"))[0];
    let digest = digest::digest(&digest::SHA256, leaf);
    let own = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let sql = world.sql(home, Jurisdiction::Eu).await.expect("a session");
    let known = "SELECT name, certificate FROM residency.gateway WHERE region = 'ap-singapore'";
    let row = sql.query_one(known, &[]).await.expect("it has registered");
    assert_eq!(row.get::<_, Option<String>>(1).as_deref(), Some(own.as_str()), "the certificate it shows");

    // A connection that is open when it happens, and the gateway's own.
    let to = world.address(home, Port::GatewayInternal);
    let ask = Ask::new("GET /whoami").header("residency-hop", "ap-singapore").token(&european.token);
    let mut open = pki.dial(to, home.name(), Some((&pki, "ap-singapore"))).await.expect("welcome");
    open.exchange(&ask).await.expect_ok();
    let name: String = row.get(0);
    let output = world
        .migrate(home, &["gateways", "forget", &name, "--jurisdiction", "eu", "--by", "a test"])
        .await
        .expect("it runs");
    assert!(output.status.success(), "{output:?}");
    eventually("open connections end", async || {
        let closed = turned_away(world, home, "closed").await;
        holds(closed >= 1.0, || format!("{closed} closed"))
    })
    .await;
    assert_eq!(open.head().await, None, "nothing more is said on it");
    let refused = turned_away(world, home, "refused").await;
    if let Ok(mut wire) = pki.dial(to, home.name(), Some((&pki, "ap-singapore"))).await {
        let _ = wire.try_send(ask.bytes()).await;
        assert_eq!(wire.head().await, None, "it is not let in any more");
    }
    assert!(turned_away(world, home, "refused").await > refused);
    // Other regions read this register, too.
    for other in [Region::UsEast, Region::EuNuremberg] {
        eventually(&format!("{other} refuses it"), async || {
            let to = world.address(other, Port::GatewayInternal);
            let Ok(mut wire) = pki.dial(to, other.name(), Some((&pki, "ap-singapore"))).await else {
                return Ok(());
            };
            let _ = wire.try_send(ask.bytes()).await;
            holds(wire.head().await.is_none(), || "it got an answer".to_owned())
        })
        .await;
    }
    // It knows, and serves none of this jurisdiction's subjects; others' as ever.
    let checks = health_becomes(world, at, "/health/full?jurisdiction=eu", (503, "fail")).await;
    let check = &checks["register-eu:staleness"][0];
    assert_eq!(check["status"], "fail", "{checks}");
    assert!(check["output"].as_str().is_some_and(|why| why.contains("forgotten")), "{checks}");
    let answer = sent(european.call(world, at, Method::GET, "/whoami")).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_deref()), (503, Some("gateway-forgotten")));
    eventually("others' reads are served here, as ever", async || {
        let answer = sent(world.call(at, Method::GET, "/whoami").bearer(&american)).await;
        let found = (answer.status.as_u16(), answer.header("residency-served-by").to_owned());
        holds(found == (200, at.name().to_owned()), || format!("{found:?}"))
    })
    .await;
    let labels = [("jurisdiction", "eu"), ("alarm", "forgotten")];
    assert!(counted(world, at, "residency_register_alarms_total", &labels).await >= 1.0);

    // Kept for a start without any database (`tests/it/hop/forgotten.rs`). Taken off the list it comes back by itself.
    let file = world.directory(home).join("gateway/register/forgotten-certificates");
    eventually("it is kept", async || {
        let kept = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        holds(kept.contains(&own), || kept)
    })
    .await;
    sql.batch_execute("DELETE FROM residency.forgotten_certificate").await.expect("the owner may");
    health_becomes(world, at, "/health/full", (200, "pass")).await;
    eventually("it is let in again", async || {
        let answer = sent(european.call(world, at, Method::GET, "/whoami")).await;
        let document = answer.json::<Value>();
        holds(answer.status == 200, || format!("{document:?}"))
    })
    .await;
}
