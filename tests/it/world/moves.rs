//! What a move finds in the registers while gateways hold its subject's writes: real databases, an edge and a home in two regions.

use residency_loadtest::world::{Jurisdiction, Region, Service, Sql, World};
use tokio_postgres::types::Type;

use super::shared::{health_becomes, metric};
use super::user::{User, unique};
use crate::harness::{eventually, holds};

const EU: (Region, Jurisdiction) = (Region::EuFrankfurt, Jurisdiction::Eu);

/// How many of the registered gateways have said that they hold, and that nothing is under way any more.
async fn reported(sql: &Sql, attempt: &str) -> (i64, i64, i64) {
    let query = "SELECT (SELECT count(*) FROM residency.gateway WHERE NOT forgotten), count(held_at), count(drained_at)
                 FROM residency.gateway_report WHERE move_id = $1::text::uuid AND attempt = 1";
    let rows = sql.query_typed(query, &[(&attempt, Type::TEXT)]).await.expect("an answer");
    (rows[0].get(0), rows[0].get(1), rows[0].get(2))
}

pub async fn every_gateway_reports_held_and_then_drained(world: &World) {
    let sql = world.sql(EU.0, EU.1).await.expect("a session");
    let locking = world.sql(EU.0, EU.1).await.expect("another session");
    let user = User::new(world, EU.0, EU.1).await;
    let newest = "SELECT hash FROM residency.register WHERE kind = 1 ORDER BY changed_at DESC LIMIT 1";
    let subject: Vec<u8> = sql.query_one(newest, &[]).await.expect("they are registered").get(0);
    let move_id = format!("00000000-0000-4000-8000-{:012x}", unique() & 0xffff_ffff_ffff);
    // A write under way: it waits for a lock that somebody else has.
    locking.batch_execute("BEGIN; LOCK TABLE orders IN SHARE MODE").await.expect("it is locked");
    let under_way = user.order(world, Region::ApSingapore, "under way");
    let look = async {
        eventually("the write waits in the database", async || {
            let query = "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND NOT granted";
            let waiting: i64 = sql.query_one(query, &[]).await.expect("an answer").get(0);
            holds(waiting == 1, || format!("{waiting} wait"))
        })
        .await;
        let closing =
            "UPDATE residency.register SET state = 'closing', generation = generation + 1, toward = 'us',
                       move_id = $2::text::uuid, attempt = 1, claim_answers = false WHERE hash = $1";
        let changed = sql.execute_typed(closing, &[(&subject, Type::BYTEA), (&move_id, Type::TEXT)]).await;
        assert_eq!(changed.expect("it is written"), 1);
        // The two that have it under way, where it arrived and at its home, hold; they have not drained.
        eventually("all hold, and all but two have drained", async || {
            let (all, held, drained) = reported(&sql, &move_id).await;
            holds(all >= 4 && held == all && drained == all - 2, || format!("{all} {held} {drained}"))
        })
        .await;
        assert_eq!(user.orders(world, Region::ApSingapore).await.status, 200, "reads go on");
        locking.batch_execute("ROLLBACK").await.expect("it is free");
    };
    let (answer, ()) = tokio::join!(under_way, look);
    assert_eq!(answer.status, 201, "{answer:?}");
    eventually("all have drained", async || {
        let (all, held, drained) = reported(&sql, &move_id).await;
        holds(held == all && drained == all, || format!("{all} {held} {drained}"))
    })
    .await;
    // A write that comes now waits, and goes when the move is given up.
    let held = user.order(world, Region::ApSingapore, "held");
    let give_up = async {
        eventually("it waits", async || {
            let waiting = metric(world, Region::ApSingapore, "residency_holds_waiting").await;
            holds(waiting > 0.5, || format!("{waiting} wait"))
        })
        .await;
        let home = "UPDATE residency.register SET state = 'home', generation = generation + 1, toward = NULL,
                    move_id = NULL WHERE hash = $1";
        sql.execute_typed(home, &[(&subject, Type::BYTEA)]).await.expect("it is written");
    };
    let (answer, ()) = tokio::join!(held, give_up);
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// The keys of registers are no secret that each gateway may choose.
pub async fn a_gateway_with_other_keys_than_the_registers_does_not_start(world: &World) {
    let gateway = Service::Gateway(Region::ApSingapore);
    world.kill(gateway).await.expect("it is killed");
    let other = [("REGISTER_SUBJECT_KEY", "another key of subjects that has 32 bytes or more")];
    let fault = world.restart_with(gateway, &other).await.expect_err("it does not serve");
    let said = format!("{fault:#}");
    let remedy = "set the same secrets as at the other gateways";
    assert!(said.contains("register.subject_key") && said.contains(remedy), "{said}");
    world.restart(gateway).await.expect("it comes back");
    health_becomes(world, Region::ApSingapore, "/health/full", (200, "pass")).await;
}
