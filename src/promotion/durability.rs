//! `residency-migrate durability`: for whom commits wait, changed by name and on record.
//!
//! The row never promises more than holds: it is written before commits stop waiting, and after they have begun to. A
//! standby that is away doesn't hear of it, so it is told of here, and a promotion doesn't take the word of a standby that
//! has not streamed since its server started.

use std::{io::Write, time::Duration};

use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    PromotionFault, SetDurability,
    cluster::Members,
    lock, row, say,
    session::{Session, literal},
};
use crate::{
    config::ClusterSettings,
    domain::{
        promotion::{Row, durability_name, synchronous_standby_names},
        topology::Durability,
    },
};

const POLL: Duration = Duration::from_millis(50);
/// For a standby to confirm what changes nothing.
const CONFIRMED: Duration = Duration::from_secs(15);
const LOOKS: usize = 60;
const STREAMING: &str = "SELECT application_name, sync_state FROM pg_stat_replication WHERE state = 'streaming' \
     ORDER BY application_name";
const CURRENT: &str = "SELECT current_setting('synchronous_standby_names')";

/// Shows it (`None`), or changes it.
pub(super) async fn run(
    settings: ClusterSettings,
    wanted: Option<Durability>,
    arguments: &SetDurability,
    out: &mut dyn Write,
) -> Result<(), PromotionFault> {
    let jurisdiction = settings.jurisdiction.clone();
    let members = Members::connect(settings).await;
    if wanted.is_some() {
        lock::take(&members).await?;
    }
    let cluster = members.look().await;
    let Some((region, primary)) = cluster.primary() else {
        let heard: Vec<_> = cluster
            .members
            .iter()
            .map(|member| match &member.answer {
                Ok(_) => format!("{} is a standby", member.region),
                Err(why) => format!("{}: {why}", member.region),
            })
            .collect();
        return Err(PromotionFault::NoPrimary { jurisdiction, members: heard.join("; ") });
    };
    let session = members.at(region)?;
    let Some(row) = primary.row.clone() else {
        let why = if primary.open {
            "the register has no row; run `residency-migrate schema apply`"
        } else {
            "a promotion has closed the database; run it again to finish"
        };
        return Err(PromotionFault::Durability(format!("{region}: {why}")));
    };
    let streaming = streaming(session).await?;
    match wanted {
        None => show(session, &row, &streaming, out).await,
        Some(Durability::Async) => {
            let heard: Vec<_> = streaming.iter().map(|(name, _)| name.as_str()).collect();
            let unheard: Vec<_> =
                row.synchronous.iter().filter(|standby| !heard.contains(&standby.as_str())).collect();
            relax(session, &jurisdiction, row.clone(), arguments).await?;
            say(out, format!("{jurisdiction}: commits at {region} wait for no standby"))?;
            for standby in unheard {
                say(
                    out,
                    format!(
                        "{standby} doesn't stream and so doesn't know: until it does, promoting it may lose what is \
                         written from now on"
                    ),
                )?;
            }
            Ok(())
        }
        Some(Durability::Remote) => {
            let standbys: Vec<_> = members
                .settings
                .members
                .iter()
                .map(|(member, _)| member.clone())
                .filter(|member| member != region)
                .collect();
            if !streaming.iter().any(|(name, _)| standbys.contains(name)) {
                return Err(PromotionFault::Durability(format!(
                    "no standby of {region} streams ({} are members): each write would wait. Start one, and see it with \
                     `durability show`",
                    standbys.join(", ")
                )));
            }
            restore(session, &jurisdiction, row, standbys, arguments).await?;
            say(out, format!("{jurisdiction}: commits at {region} wait until a standby has flushed them"))
        }
    }
}

/// The row first, without waiting for whoever is away, nor for who tells something and waits for them; then the setting.
async fn relax(
    session: &Session,
    jurisdiction: &str,
    row: Row,
    arguments: &SetDurability,
) -> Result<(), PromotionFault> {
    let relaxed = Row { durability: Durability::Async, synchronous: Vec::new(), ..row };
    write(session, jurisdiction, &relaxed, arguments).await?;
    set_synchronous(session, &[]).await?;
    row::tell(session).await
}

/// The setting first; then the row, whose commit is the first that waits.
async fn restore(
    session: &Session,
    jurisdiction: &str,
    row: Row,
    standbys: Vec<String>,
    arguments: &SetDurability,
) -> Result<(), PromotionFault> {
    let before = set_synchronous(session, &standbys).await?;
    // One that streams may still be catching up, or about to break: a commit that changes nothing tells.
    let probe = session.application().await?;
    let confirmed =
        timeout(CONFIRMED, probe.batch_execute("SELECT pg_logical_emit_message(true, 'residency', 'probe')"));
    if !matches!(confirmed.await, Ok(Ok(()))) {
        restore_synchronous(session, &before).await?;
        let seconds = CONFIRMED.as_secs();
        let why =
            format!("no standby has confirmed a commit within {seconds} s; look at its log, and try again");
        return Err(PromotionFault::Durability(why));
    }
    let restored = Row { durability: Durability::Remote, synchronous: standbys, ..row };
    write(session, jurisdiction, &restored, arguments).await
}

async fn write(
    session: &Session,
    jurisdiction: &str,
    row: &Row,
    arguments: &SetDurability,
) -> Result<(), PromotionFault> {
    let mut application = session.application().await?;
    if row.durability == Durability::Async {
        let local = "SET synchronous_commit = local; SET residency.tell_later = 'on'";
        session.told("writing the register's row", application.batch_execute(local).await)?;
    }
    row::adopt_acts(session, &application).await?;
    let account = row::Account {
        kind: "durability",
        by: arguments.by.as_deref(),
        detail: json!({ "durability": durability_name(row.durability), "synchronous": row.synchronous,
            "reason": arguments.reason, "at": session.region }),
    };
    row::changed(session, &mut application, jurisdiction, row, account).await.map(drop)
}

async fn show(
    session: &Session,
    row: &Row,
    streaming: &[(String, String)],
    out: &mut dyn Write,
) -> Result<(), PromotionFault> {
    let setting: String = session.value("reading synchronous_standby_names", CURRENT).await?;
    say(out, format!("primary: {}, generation {}", session.region, row.generation.0))?;
    say(out, format!("durability: {}", durability_name(row.durability)))?;
    say(out, format!("synchronous_standby_names: `{setting}`"))?;
    let matching = synchronous_standby_names(&row.synchronous);
    if setting != matching && (row.durability == Durability::Remote) == setting.is_empty() {
        say(
            out,
            format!(
                "they differ: the register means `{matching}`; run `durability` again to make them agree"
            ),
        )?;
    }
    for (name, state) in streaming {
        say(out, format!("standby {name}: streaming, {state}"))?;
    }
    if streaming.is_empty() {
        say(out, "no standby streams")?;
    }
    Ok(())
}

async fn streaming(session: &Session) -> Result<Vec<(String, String)>, PromotionFault> {
    let rows = session.rows("asking for its standbys", STREAMING, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Sets for whom commits wait, and sees that it holds; what it was before.
pub(super) async fn set_synchronous(
    session: &Session,
    standbys: &[String],
) -> Result<String, PromotionFault> {
    let before = session.value("reading synchronous_standby_names", CURRENT).await?;
    restore_synchronous(session, &synchronous_standby_names(standbys)).await?;
    Ok(before)
}

/// Sets it to a value read before.
pub(super) async fn restore_synchronous(session: &Session, value: &str) -> Result<(), PromotionFault> {
    const DOING: &str = "setting synchronous_standby_names";
    let set = format!("ALTER SYSTEM SET synchronous_standby_names = {}", literal(value));
    session.execute(DOING, &set).await?;
    session.execute(DOING, "SELECT pg_reload_conf()").await?;
    let mut found = String::new();
    for _ in 0..LOOKS {
        found = session.value(DOING, CURRENT).await?;
        if found == value {
            return Ok(());
        }
        sleep(POLL).await;
    }
    Err(PromotionFault::Overridden {
        region: session.region.clone(),
        setting: "synchronous_standby_names",
        found,
    })
}
