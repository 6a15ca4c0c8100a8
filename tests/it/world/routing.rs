//! Where requests go, seen from every region.

use aws_lc_rs::digest;
use http::Method;
use residency_loadtest::world::{Call, Jurisdiction, Port, Region, World, scan};
use serde_json::{Value, json};

use super::user::{User, sent};
use crate::harness::{Ask, Pki, Wire, eventually, holds};

/// Who serves a read, and from which database, by the reference topology and its distances.
fn nearest_lawful(at: Region, jurisdiction: Jurisdiction) -> (Region, &'static str) {
    match (jurisdiction, at) {
        (Jurisdiction::Us, Region::UsEast) => (Region::UsEast, "us/primary"),
        (Jurisdiction::Us, Region::EuFrankfurt | Region::EuNuremberg) => (Region::EuFrankfurt, "us/replica"),
        (Jurisdiction::Us, Region::ApSingapore) => (Region::ApSingapore, "us/replica"),
        (Jurisdiction::Eu, Region::EuNuremberg) => (Region::EuNuremberg, "eu/replica"),
        (Jurisdiction::Eu, _) => (Region::EuFrankfurt, "eu/primary"),
    }
}

pub async fn an_eu_write_from_singapore_lands_in_frankfurts_primary(world: &World) {
    let user = User::new(world, Region::ApSingapore, Jurisdiction::Eu).await;
    let item = format!("tea for {}", user.id);
    let answer = user.order(world, Region::ApSingapore, &item).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("residency-served-by"), "eu-frankfurt");
    assert_eq!(answer.header("x-served-database"), "eu/primary");
    let rows = async |region, jurisdiction| -> (i64, bool) {
        let sql = world.sql(region, jurisdiction).await.expect("a session");
        let query = "SELECT count(*), pg_is_in_recovery() FROM orders WHERE item = $1";
        let row = sql.query_one(query, &[&item]).await.expect("a count");
        (row.get(0), row.get(1))
    };
    assert_eq!(rows(Region::EuFrankfurt, Jurisdiction::Eu).await, (1, false));
    assert_eq!(rows(Region::UsEast, Jurisdiction::Us).await, (0, false));
    // Acknowledged means that Nuremberg has flushed it; it shows there once it is replayed.
    world.caught_up(Jurisdiction::Eu).await.expect("the standby catches up");
    assert_eq!(rows(Region::EuNuremberg, Jurisdiction::Eu).await, (1, true));
}

pub async fn sign_ups_go_to_the_home_of_their_country_from_everywhere(world: &World) {
    for from in Region::ALL {
        for jurisdiction in Jurisdiction::ALL {
            // Asserts who served it.
            let user = User::new(world, from, jurisdiction).await;
            assert!(!user.id.is_empty());
        }
    }
    let nobody = json!({"email": "a@example.test", "password": "long enough", "name": "x"});
    let answer = sent(world.call(Region::ApSingapore, Method::POST, "/signup").json(&nobody)).await;
    assert_eq!(answer.problem().as_deref(), Some("country-missing"));
}

pub async fn reads_are_served_by_the_nearest_lawful_region(world: &World) {
    for jurisdiction in Jurisdiction::ALL {
        let user = User::new(world, jurisdiction.home(), jurisdiction).await;
        user.order(world, jurisdiction.home(), "tea").await;
        for at in Region::ALL {
            let (region, database) = nearest_lawful(at, jurisdiction);
            // A replica that is behind for a moment is passed over, which is right and not what this is about.
            eventually(&format!("{jurisdiction} read at {at}"), async || {
                let answer = user.orders(world, at).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                let (by, from) = (answer.header("residency-served-by"), answer.header("x-served-database"));
                let seen = answer.json::<Value>().expect("JSON")["orders"].as_array().map_or(0, Vec::len);
                holds((by, from, seen) == (region.name(), database, 1), || format!("{by} {from} {seen}"))
            })
            .await;
        }
    }
}

pub async fn a_search_is_a_read_by_its_route(world: &World) {
    let user = User::new(world, Region::UsEast, Jurisdiction::Us).await;
    eventually("the search is served nearby", async || {
        let call = user.call(world, Region::ApSingapore, Method::POST, "/search").json(&json!({"text": "x"}));
        let answer = sent(call).await;
        let served = (answer.status.as_u16(), answer.header("x-served-database").to_owned());
        holds(served == (200, "us/replica".to_owned()), || format!("{answer:?}"))
    })
    .await;
}

pub async fn forged_headers_move_nobody(world: &World) {
    let user = User::new(world, Region::ApSingapore, Jurisdiction::Eu).await;
    let forge = |mut call: Call| {
        for (name, value) in [
            ("residency-served-by", "ap-singapore"),
            ("residency-jurisdiction", "us"),
            ("residency-database", "replica"),
            ("residency-access", "read"),
            ("residency-subject", "somebody-else"),
            ("residency-hop", "eu-frankfurt"),
        ] {
            call = call.header(name, value);
        }
        call
    };
    let answer = sent(forge(user.call(world, Region::ApSingapore, Method::POST, "/whoami?database=1"))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let decision = answer.json::<Value>().expect("JSON")["residency"].clone();
    let expected = json!({
        "servedBy": "eu-frankfurt", "access": "write", "jurisdiction": "eu", "database": "primary", "subject": user.id,
    });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&decision[key], value, "{key}");
    }
    let anonymous = sent(forge(world.call(Region::ApSingapore, Method::GET, "/me"))).await;
    assert_eq!(anonymous.status, 401, "{anonymous:?}");
}

/// A gateway's own certificates, as a world lays them out.
fn certificates_of(world: &World, region: Region) -> Pki {
    Pki::at(world.directory(region).join("gateway/pki"))
}

pub async fn an_unlawful_hop_is_misdirected(world: &World) {
    let singapore = certificates_of(world, Region::ApSingapore);
    let signer = world.keys().signer().expect("a signer");
    let token = |jurisdiction| signer.token("someone", jurisdiction).expect("a token");
    let hop = |start: &str, jurisdiction| {
        Ask::new(start).header("residency-hop", "ap-singapore").token(&token(jurisdiction))
    };
    for (at, ask) in [
        (Region::EuNuremberg, hop("POST /orders", Jurisdiction::Us)),
        (Region::EuNuremberg, hop("POST /orders", Jurisdiction::Eu)),
        (Region::EuNuremberg, hop("GET /orders", Jurisdiction::Us)),
        (Region::EuFrankfurt, hop("POST /orders", Jurisdiction::Us)),
        (Region::UsEast, hop("GET /orders", Jurisdiction::Eu)),
        (Region::UsEast, hop("POST /orders", Jurisdiction::Eu)),
    ] {
        let to = world.address(at, Port::GatewayInternal);
        let mut wire =
            singapore.dial(to, at.name(), Some((&singapore, "ap-singapore"))).await.expect("welcome");
        wire.exchange(&ask).await.expect_problem(421, "misdirected");
    }
}

pub async fn an_internal_listener_serves_only_gateways(world: &World) {
    let stranger = Pki::init(&["ap-singapore"]);
    let trusted = certificates_of(world, Region::ApSingapore);
    let token = world.keys().signer().expect("a signer").token("someone", Jurisdiction::Eu).expect("a token");
    let ask = Ask::new("GET /whoami").header("residency-hop", "ap-singapore").token(&token);
    let to = world.address(Region::EuFrankfurt, Port::GatewayInternal);
    for identity in [None, Some((&stranger, "ap-singapore"))] {
        if let Ok(mut wire) = trusted.dial(to, "eu-frankfurt", identity).await {
            let _ = wire.try_send(ask.bytes()).await;
            assert_eq!(wire.head().await, None, "a stranger got an answer");
        }
    }
    let mut wire = Wire::connect(to).await;
    wire.send(ask.bytes()).await;
    assert_eq!(wire.head().await, None);
    let mut wire = trusted.dial(to, "eu-frankfurt", Some((&trusted, "ap-singapore"))).await.expect("welcome");
    wire.exchange(&ask).await.expect_ok();
    wire.exchange(&Ask::new("GET /whoami").token(&token)).await.expect_problem(404, "not-found");
}

pub async fn bodies_cross_regions_unchanged(world: &World) {
    let user = User::new(world, Region::EuFrankfurt, Jurisdiction::Eu).await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    let wanted = digest::digest(&digest::SHA256, &body);
    let mut wire = Wire::connect(world.address(Region::ApSingapore, Port::GatewayHttp)).await;
    let answer = wire.exchange(&Ask::new("POST /upload").token(&user.token).body(body.clone())).await;
    assert_eq!(answer.status(), 201, "{answer:?}");
    let sha256 = answer.json()["sha256"].as_str().expect("a digest").to_owned();
    let pairs = sha256.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    let bytes: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect();
    assert_eq!((bytes.as_slice(), &answer.json()["bytes"]), (wanted.as_ref(), &json!(body.len())));
    let answer = wire.exchange(&Ask::new("GET /download?bytes=3000000").token(&user.token)).await;
    answer.expect_ok();
    assert_eq!(answer.body.len(), 3_000_000);
    assert!(
        answer.body.iter().enumerate().all(|(index, byte)| *byte == (index % 256) as u8),
        "the API's own pattern"
    );
    assert_eq!(answer.head.get("residency-served-by"), Some("eu-frankfurt"));
    // A refusal before the body is read comes through as well.
    let nobody = world.keys().signer().expect("a signer").token("nobody", Jurisdiction::Eu).expect("a token");
    let answer = wire.exchange(&Ask::new("POST /upload").token(&nobody).body("x")).await;
    assert_eq!(answer.status(), 404);
}

pub async fn explain_agrees_with_what_happens(world: &World) {
    let user = User::new(world, Region::UsEast, Jurisdiction::Eu).await;
    let config = world.config().expect("it has gateways");
    for at in Region::ALL {
        for method in [Method::GET, Method::POST] {
            let mut explain = world.gateway_command(at);
            explain.args([
                "explain",
                "--method",
                method.as_str(),
                "--path",
                "/whoami",
                "--token",
                &user.token,
            ]);
            let output = explain.arg("--config").arg(config).output().expect("it starts");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let answer = sent(user.call(world, at, method.clone(), "/whoami")).await;
            let region = answer.header("residency-served-by");
            assert!(
                said.contains(&format!("forward to {region} (")),
                "{method} at {at} went to {region}:\n{said}"
            );
        }
    }
}

pub async fn eu_addresses_are_on_no_disk_outside_the_eu(world: &World) {
    let mut needles = Vec::new();
    for from in [Region::ApSingapore, Region::UsEast] {
        let user = User::new(world, from, Jurisdiction::Eu).await;
        user.order(world, from, "tea").await;
        sent(user.call(world, from, Method::GET, "/me")).await;
        // The local part alone, however the rest is written.
        needles.push(user.email.split('@').next().expect("a local part").to_owned());
    }
    for jurisdiction in Jurisdiction::ALL {
        world.caught_up(jurisdiction).await.expect("the standbys catch up");
    }
    world.flush_to_disk().await.expect("everything is written");
    for region in Region::ALL {
        let seen = scan(&world.directory(region), &needles).expect("a scan");
        assert_eq!(seen.hits.is_empty(), !region.in_eu(), "{region}: {:?}", seen.hits);
        // The gateways themselves write down nothing of it, wherever they are.
        let seen = scan(&world.directory(region).join("gateway"), &needles).expect("a scan");
        assert!(seen.hits.is_empty() && seen.files > 0, "{region}: {:?}", seen.hits);
    }
}

pub async fn a_withdrawn_keys_token_is_refused_everywhere(world: &World) {
    let old = world.keys().active().expect("a key");
    let user = User::new(world, Region::ApSingapore, Jurisdiction::Eu).await;
    for at in Region::ALL {
        assert_eq!(user.orders(world, at).await.status, 200, "{at}");
    }
    world.rotate_keys().await.expect("a new key");
    world.withdraw_key(&old).await.expect("the old one goes");
    for at in Region::ALL {
        let refused = eventually(&format!("{at} refuses it"), async || {
            let answer = user.orders(world, at).await;
            if answer.status == 200 { Err("still taken".to_owned()) } else { Ok(answer) }
        })
        .await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_deref()),
            (401, Some("token-invalid")),
            "{at}"
        );
    }
    let again = User::new(world, Region::ApSingapore, Jurisdiction::Eu).await;
    for at in Region::ALL {
        assert_eq!(again.orders(world, at).await.status, 200, "{at}");
    }
}
