//! Reading one's own writes while replicas are late: with a token, with a cookie, with neither.

use http::Method;
use nix::sys::signal::Signal;
use residency_loadtest::world::{Answer, Call, Jurisdiction, Port, Region, Service, Sql, World};
use serde_json::Value;

use super::user::{User, sent};
use crate::harness::{Metrics, eventually, holds};

const TOKEN: &str = "residency-position";
/// The replicas of `us`.
const REPLICAS: [Region; 2] = [Region::EuFrankfurt, Region::ApSingapore];

/// The items of the user's orders, as this answer lists them.
fn items(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let document: Value = answer.json().expect("JSON");
    let orders = document["orders"].as_array().expect("a list");
    orders.iter().map(|order| order["item"].as_str().expect("a text").to_owned()).collect()
}

async fn metric(world: &World, at: Region, name: &str, labels: &[(&str, &str)]) -> f64 {
    let call = Call::new(world.address(at, Port::GatewayAdmin), Method::GET, "/metrics");
    Metrics::parse(std::str::from_utf8(&sent(call).await.body).expect("UTF-8")).value(name, labels)
}

/// With this a replica that is late is used all the same, so that it is the position that sends a read elsewhere.
const PATIENT: &str = "\n[health]\nlag_limit_ms = 60000\n";

/// Changes the configuration of all gateways, and waits until they have taken it.
async fn configure(world: &World, change: impl Fn(String) -> String) {
    let file = world.config().expect("this world has gateways");
    let mut before = Vec::new();
    for region in Region::ALL {
        before.push((region, metric(world, region, "residency_config_generation", &[]).await));
    }
    let text = std::fs::read_to_string(file).expect("it is there");
    std::fs::write(file, change(text)).expect("it is ours");
    for (region, generation) in before {
        world.signal(Service::Gateway(region), Signal::SIGHUP).expect("it runs");
        eventually(&format!("{region} has taken it"), async || {
            let now = metric(world, region, "residency_config_generation", &[]).await;
            holds(now > generation, || format!("generation {now}"))
        })
        .await;
    }
}

/// A user of `us` whom all replicas know, and all of these paused from now on.
async fn paused(world: &World) -> (User, Vec<Sql>) {
    // First of all: a gateway that was just reloaded has to see a replica come past a position of the primary's before it knows
    // how late that is.
    configure(world, |text| text + PATIENT).await;
    let user = User::new(world, Region::UsEast, Jurisdiction::Us).await;
    assert_eq!(user.order(world, Region::UsEast, "first").await.status, 201);
    for replica in REPLICAS {
        eventually(&format!("{replica}'s lag is known"), async || {
            world.caught_up(Jurisdiction::Us).await.map_err(|error| format!("{error:#}"))?;
            let answer = sent(reading(world, &user, replica)).await;
            let by = answer.header("residency-served-by").to_owned();
            holds(by == replica.name(), || by)
        })
        .await;
    }
    let mut sessions = Vec::new();
    for replica in REPLICAS {
        let sql = world.sql(replica, Jurisdiction::Us).await.expect("a session");
        sql.batch_execute("SELECT pg_wal_replay_pause()").await.expect("a standby can pause");
        sessions.push(sql);
    }
    (user, sessions)
}

async fn resume(world: &World, sessions: &[Sql]) {
    configure(world, |text| text.replace(PATIENT, "")).await;
    for sql in sessions {
        sql.batch_execute("SELECT pg_wal_replay_resume()").await.expect("it goes on");
    }
}

fn reading(world: &World, user: &User, at: Region) -> Call {
    user.call(world, at, Method::GET, "/orders")
}

pub async fn a_write_is_read_back_from_wherever_it_has_arrived(world: &World) {
    let (user, sessions) = paused(world).await;
    let written = user.order(world, Region::UsEast, "second").await;
    assert_eq!(written.status, 201);
    let token = written.header(TOKEN).to_owned();
    assert!(!token.is_empty() && token.len() <= 120, "{token}");
    let cookie = written.header("set-cookie").to_owned();
    assert!(cookie.starts_with(&format!("residency_position={token}; Path=/; ")), "{cookie}");
    let cookie = cookie.split(';').next().expect("a first part").to_owned();

    for at in REPLICAS {
        // Nothing told this edge, and its replica is late: so positions are what helps.
        eventually(&format!("{at} serves what it has"), async || {
            let unaware = sent(reading(world, &user, at)).await;
            let found = (items(&unaware), unaware.header("residency-served-by").to_owned());
            holds(found == (vec!["first".into()], at.name().to_owned()), || format!("{found:?}"))
        })
        .await;
        for call in [
            reading(world, &user, at).header(TOKEN, &token),
            reading(world, &user, at).header("cookie", &format!("a=b; {cookie}")),
        ] {
            let answer = sent(call).await;
            assert_eq!(items(&answer), ["second", "first"], "{at}");
            assert_eq!(answer.header("residency-served-by"), "us-east");
        }
        assert!(metric(world, at, "residency_position_waits_total", &[("outcome", "behind")]).await > 0.0);
    }
    // An edge without a replica of its own asks the next region's, which says that it is behind.
    // One that finds the region worse off than its home for a moment goes to the home at once, which is right and not what this
    // is about.
    let waits = async || metric(world, Region::EuFrankfurt, "residency_position_waits_total", &[]).await;
    eventually("frankfurt is asked by nuremberg", async || {
        let before = waits().await;
        let over_hop = sent(reading(world, &user, Region::EuNuremberg).header(TOKEN, &token)).await;
        assert_eq!(items(&over_hop), ["second", "first"]);
        assert_eq!(over_hop.header("residency-served-by"), "us-east");
        assert!(over_hop.header("residency-behind").is_empty());
        let after = waits().await;
        holds(after > before, || format!("{before} waits, then {after}"))
    })
    .await;

    // The replicas are used again as soon as they have it.
    resume(world, &sessions).await;
    for at in REPLICAS {
        eventually(&format!("{at} has it"), async || {
            let answer = sent(reading(world, &user, at).header(TOKEN, &token)).await;
            assert_eq!(items(&answer), ["second", "first"]);
            let by = answer.header("residency-served-by").to_owned();
            holds(by == at.name(), || by)
        })
        .await;
    }
}

pub async fn an_edge_remembers_who_keeps_no_token(world: &World) {
    let (user, sessions) = paused(world).await;
    let at = Region::ApSingapore;
    assert_eq!(user.order(world, at, "second").await.status, 201);
    for _ in 0..3 {
        let answer = sent(reading(world, &user, at)).await;
        assert_eq!(
            (items(&answer), answer.header("residency-served-by")),
            (vec!["second".into(), "first".into()], "us-east")
        );
    }
    // Others know nothing of it.
    eventually("frankfurt serves what it has", async || {
        let other = sent(reading(world, &user, Region::EuFrankfurt)).await;
        let found = (items(&other), other.header("residency-served-by").to_owned());
        holds(found == (vec!["first".into()], "eu-frankfurt".to_owned()), || format!("{found:?}"))
    })
    .await;
    resume(world, &sessions).await;
}

pub async fn a_token_that_does_not_verify_goes_home_and_comes_back_whole(world: &World) {
    let (user, sessions) = paused(world).await;
    let written = user.order(world, Region::UsEast, "second").await;
    let token = written.header(TOKEN).to_owned();
    let at = Region::EuFrankfurt;
    let mut tampered = token.clone().into_bytes();
    tampered[10] = if tampered[10] == b'A' { b'B' } else { b'A' };
    let tampered = String::from_utf8(tampered).expect("base64");
    for (brought, fault) in [(tampered.as_str(), "signature"), ("no token", "malformed")] {
        let count = async || metric(world, at, "residency_position_faults_total", &[("fault", fault)]).await;
        let before = count().await;
        let answer = sent(reading(world, &user, at).header(TOKEN, brought)).await;
        assert_eq!((items(&answer).len(), answer.header("residency-served-by")), (2, "us-east"), "{fault}");
        assert!(count().await > before, "{fault} is counted");
        // The home knows of nothing under way: what the client keeps now is good again, and no pin.
        let fresh = answer.header(TOKEN).to_owned();
        assert!(!fresh.is_empty() && fresh != brought);
        let again = sent(reading(world, &user, at).header(TOKEN, &fresh)).await;
        assert_eq!(
            (items(&again).len(), again.header(TOKEN)),
            (2, ""),
            "a position, and behind it the home again"
        );
    }
    // Another jurisdiction's says nothing of this one.
    let eu = User::new(world, Region::EuFrankfurt, Jurisdiction::Eu).await;
    let foreign = eu.order(world, Region::EuFrankfurt, "tea").await.header(TOKEN).to_owned();
    let answer = sent(reading(world, &user, Region::ApSingapore).header(TOKEN, &foreign)).await;
    assert_eq!((items(&answer).len(), answer.header("residency-served-by")), (2, "us-east"));
    // Of two the higher counts.
    let older = sent(reading(world, &user, at).header(TOKEN, "x")).await.header(TOKEN).to_owned();
    let newer = user.order(world, Region::UsEast, "third").await.header(TOKEN).to_owned();
    for (header, cookie) in [(&older, &newer), (&newer, &older)] {
        let call = reading(world, &user, Region::ApSingapore).header(TOKEN, header);
        let answer = sent(call.header("cookie", &format!("residency_position={cookie}"))).await;
        assert_eq!(items(&answer), ["third", "second", "first"]);
    }
    resume(world, &sessions).await;
}

pub async fn nobody_is_shown_an_older_state_while_the_home_is_away(world: &World) {
    let (user, sessions) = paused(world).await;
    let stranger = User::new(world, Region::UsEast, Jurisdiction::Us).await;
    let token = user.order(world, Region::UsEast, "second").await.header(TOKEN).to_owned();
    world.isolate(Region::UsEast);
    for at in [Region::ApSingapore, Region::EuFrankfurt, Region::EuNuremberg] {
        eventually(&format!("{at} refuses"), async || {
            let answer = sent(reading(world, &user, at).header(TOKEN, &token)).await;
            assert_ne!(answer.status, 200, "an older state");
            let retry = answer.header("retry-after").to_owned();
            let found = (answer.status.as_u16(), answer.problem().unwrap_or_default());
            holds(found == (503, "position-unavailable".to_owned()) && retry == "1", || format!("{answer:?}"))
        })
        .await;
        // Who has written nothing reads on.
        let answer = sent(reading(world, &stranger, at)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    world.heal_all();
    resume(world, &sessions).await;
    eventually("it is there", async || {
        let answer = sent(reading(world, &user, Region::ApSingapore).header(TOKEN, &token)).await;
        holds(answer.status == 200, || format!("{answer:?}"))?;
        assert_eq!(items(&answer), ["second", "first"]);
        Ok(())
    })
    .await;
}

pub async fn a_replica_that_hears_nothing_is_not_read_by_who_has_written(world: &World) {
    let user = User::new(world, Region::UsEast, Jurisdiction::Us).await;
    assert_eq!(user.order(world, Region::UsEast, "first").await.status, 201);
    world.caught_up(Jurisdiction::Us).await.expect("the standbys catch up");
    // The log comes no further, and neither does anything else between the two.
    world.links().between(Region::ApSingapore, Region::UsEast).silence();
    let token = user.order(world, Region::EuFrankfurt, "second").await.header(TOKEN).to_owned();
    let replica = world.sql(Region::ApSingapore, Jurisdiction::Us).await.expect("a session");
    let row = replica.query_one("SELECT count(*) FROM orders WHERE user_id::text = $1", &[&user.id]).await;
    assert_eq!(row.expect("a count").get::<_, i64>(0), 1, "the silence works");
    // The next replica that has it serves; the home could not even be asked.
    eventually("frankfurt has it", async || {
        let answer = sent(reading(world, &user, Region::ApSingapore).header(TOKEN, &token)).await;
        holds(answer.status == 200, || format!("{answer:?}"))?;
        assert_eq!(items(&answer), ["second", "first"]);
        let by = answer.header("residency-served-by").to_owned();
        holds(by == "eu-frankfurt", || by)
    })
    .await;
    world.heal_all();
}
