//! Whether a contender does what it is charged for, and what it is compared for.
//!
//! Over TLS each check has a connection of its own on which the certificate is verified in full and the handshake
//! must be a full one with the terms of [`crate::generator::TERMS`] and the protocol asked for, so `h2` is `h2`.
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::contender::{Contender, Load, Upstream};
use super::gateway;
use super::scene::Scene;
use crate::generator::{Exchange, Trust};

pub(super) const EXCHANGE_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn prove(contender: &Contender, scene: &mut Scene, listen: SocketAddr) -> Result<()> {
    let load = contender.load;
    let manner = scene.manner(load, Trust::Verified)?;
    // A second time, because a first handshake is always full.
    for _ in 0..2 {
        let request = scene.good(load);
        let good = scene.rig.exchange(listen, &request, &manner, EXCHANGE_WITHIN).context("a good token")?;
        ensure!(good.answer.status == 200, "a good token got {}", good.answer.status);
        ensure!(good.answer.body == scene.answer(load), "a good token got another body than the upstream's");
        reached(contender, &good)?;
    }
    let request = scene.forged();
    let forged =
        scene.rig.exchange(listen, &request, &manner, EXCHANGE_WITHIN).context("a stranger's token")?;
    let verifies = contender.program.verifies();
    let expected = if verifies { 401 } else { 200 };
    ensure!(
        forged.answer.status == expected && forged.upstream_saw.is_none() == verifies,
        "a stranger's token got {} instead of {expected}",
        forged.answer.status
    );
    Ok(())
}

/// Whether the request came to the upstream as it should: the way it should, and with what the gateway adds.
fn reached(contender: &Contender, exchange: &Exchange) -> Result<()> {
    let seen = exchange.upstream_saw.as_ref().context("a good token's request did not reach the upstream")?;
    ensure!(
        seen.over_unix == (contender.upstream == Upstream::Unix),
        "the request came over the wrong one of the upstream's sockets"
    );
    let head = seen.head.to_ascii_lowercase();
    let (line, fields) = head.split_once("\r\n").context("a request of one line")?;
    ensure!(line.ends_with(" http/1.1"), "the upstream saw {line:?}");
    if !contender.program.is_ours() {
        return Ok(());
    }
    let access = if contender.load == Load::Uploads { "write" } else { "read" };
    for expected in [
        format!("residency-served-by: {}", gateway::REGION),
        format!("residency-access: {access}"),
        "residency-jurisdiction: us".to_owned(),
        "residency-subject: usr_".to_owned(),
        "x-forwarded-for: 127.0.0.1".to_owned(),
    ] {
        ensure!(fields.contains(&expected), "the upstream saw no {expected:?} in {head:?}");
    }
    // Header fields of HTTP/2 answers are not decoded.
    ensure!(
        contender.load == Load::Http2
            || exchange.answer.header("residency-served-by") == Some(gateway::REGION),
        "the answer does not say who served it: {:?}",
        exchange.answer.head
    );
    Ok(())
}
