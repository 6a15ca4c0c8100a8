//! Forgotten certificates where no register can be asked: what was known when the gateway stopped still holds.

use std::fmt::Write as _;
use std::path::Path;

use aws_lc_rs::digest;

use super::Plan;
use crate::harness::{Ask, Gateway, Key, Pki, Upstream, certificates, vacant};

fn sha256(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes).as_ref().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

/// What a gateway has on disk after the register of `eu` has forgotten these.
fn list(directory: &Path, pki: &Pki, regions: &[&str]) {
    let mut text = "residency forgotten certificates 1\n".to_owned();
    for region in regions {
        let leaf = &certificates(&pki.path().join(format!("{region}.crt")))[0];
        writeln!(text, "{} eu", sha256(leaf)).expect("a string takes all");
    }
    let sum = sha256(text.as_bytes());
    std::fs::write(directory.join("forgotten-certificates"), format!("{text}sha256 {sum}\n"))
        .expect("written");
}

/// Frankfurt's gateway, before a register that does not answer.
async fn start(plan: &Plan, pki: &Pki, forgotten: &[&str]) -> Gateway {
    let setup = plan.setup("frankfurt");
    list(setup.directory.path(), pki, forgotten);
    let piece = format!(
        "[jurisdictions.eu]\nregister = {{ frankfurt = 'postgres://gateway@{}/app' }}\n\
         [register]\nsubject_key = 'env:SUBJECT_KEY'\nidentifier_key = 'env:IDENTIFIER_KEY'\nsnapshot = 'dir:{}'\n",
        vacant(),
        setup.directory.path().display()
    );
    let setup = setup
        .env("SUBJECT_KEY", "a key of subjects that has 32 bytes or more")
        .env("IDENTIFIER_KEY", "a key of identifiers with 32 bytes or more");
    setup.with(&piece).start().await
}

#[tokio::test]
async fn who_was_forgotten_stays_so_over_a_restart_without_any_database() {
    let pki = Pki::init(&["east", "frankfurt"]);
    let (east_api, frankfurt_api) = (Upstream::mirror(), Upstream::mirror());
    let plan = Plan::new(east_api.address, frankfurt_api.address, &pki);
    let own = Ask::new("GET /orders").token(&Key::usual().token("me", "eu"));
    let hop = Ask::new("GET /orders").header("residency-hop", "east").token(&Key::usual().token("me", "us"));
    let refused = ("residency_forgotten_certificates_total", [("result", "refused")]);
    for (forgotten, lets_in, serves) in
        [(&[][..], true, true), (&["east"], false, true), (&["east", "frankfurt"], false, false)]
    {
        let gateway = start(&plan, &pki, forgotten).await;
        let wire = pki.dial(plan.frankfurt, "frankfurt", Some((&pki, "east"))).await;
        match wire {
            Ok(mut wire) if lets_in => wire.exchange(&hop).await.expect_ok(),
            Ok(mut wire) => {
                let _ = wire.try_send(hop.bytes()).await;
                assert_eq!(wire.head().await, None, "{forgotten:?}: it got an answer");
            }
            Err(error) => assert!(!lets_in, "{error}"),
        }
        let turned_away = gateway.metrics().await.value(refused.0, &refused.1);
        assert_eq!(turned_away > 0.0, !lets_in, "{forgotten:?}");
        let answer = gateway.send(&own).await;
        if serves {
            answer.expect_ok();
        } else {
            answer.expect_problem(503, "gateway-forgotten");
        }
    }
}
