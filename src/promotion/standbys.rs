//! Standbys: stopped, so that they confirm nothing to an old primary, and let loose on the new one.
//!
//! A standby's own `primary_conninfo` lists every member and takes only the one that is writable, so it finds the new
//! primary by itself. Two things may stand in the way, and are seen to here: a receiver that waits for ever behind a silent
//! host (it is given the same list in another order), and a fenced former primary that is still running and looks writable
//! (likewise).

use std::{io::Write, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    PromotionFault, say,
    session::{Session, literal},
};
use crate::{
    clock,
    domain::{promotion::first_last, replication_lag::Timeline},
};

const STOPS: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
/// For connecting to one host of the list over half the world, three times over.
const ONE_HOST: Duration = Duration::from_secs(3);
const RELOAD: &str = "SELECT pg_reload_conf()";

/// A standby's receiver as it was before it was stopped.
pub(super) struct Stopped {
    pub(super) region: String,
    pub(super) conninfo: String,
}

/// Stops the receiver, and waits until it is gone.
pub(super) async fn detach(session: &Session) -> Result<Stopped, PromotionFault> {
    const DOING: &str = "stopping its receiver";
    // Sent one after the other without a wait between: while they travel nobody can write.
    let (conninfo, (), ()) = tokio::try_join!(
        conninfo(session),
        session.execute(DOING, "ALTER SYSTEM SET primary_conninfo = ''"),
        session.execute(DOING, RELOAD)
    )?;
    let deadline = Instant::from_std(clock::now() + STOPS);
    let gone = async {
        while session.value::<bool>(DOING, "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver)").await? {
            sleep(POLL).await;
        }
        Ok(())
    };
    timeout_at(deadline, gone).await.unwrap_or_else(|_| {
        Err(PromotionFault::Late {
            region: session.region.clone(),
            what: "its receiver has not stopped",
            seconds: STOPS.as_secs(),
            remedy: "look at the server's log there, and run the same command again",
        })
    })?;
    Ok(Stopped { region: session.region.clone(), conninfo })
}

/// Gives the standby the list back that its configuration has; `former` where it has none.
pub(super) async fn attach(session: &Session, former: Option<&str>) -> Result<(), PromotionFault> {
    const DOING: &str = "starting its receiver";
    session.execute(DOING, "ALTER SYSTEM RESET primary_conninfo").await?;
    session.execute(DOING, RELOAD).await?;
    // A new session would know the new value at once; this one has read the file when it next asks.
    sleep(POLL * 2).await;
    if let Some(former) = former.filter(|former| !former.is_empty())
        && conninfo(session).await?.is_empty()
    {
        set(session, DOING, former).await?;
    }
    Ok(())
}

/// Lets a standby follow the primary of `timeline`; says so, or says that it doesn't within `patience`.
pub(super) async fn follow(
    session: &Session,
    former: Option<&str>,
    timeline: Timeline,
    patience: Duration,
    out: &mut dyn Write,
) -> Result<(), PromotionFault> {
    let region = &session.region;
    if !streams(session, timeline).await? {
        attach(session, former).await?;
    }
    let end = Instant::from_std(clock::now() + patience);
    while Instant::now() < end {
        let turn = (Instant::now() + ONE_HOST).min(end);
        while Instant::now() < turn {
            if streams(session, timeline).await? {
                return say(out, format!("  {region} follows, on timeline {}", timeline.0));
            }
            sleep(POLL).await;
        }
        // The host it waits for may be silent, or a former primary.
        if let Some(turned) = first_last(&conninfo(session).await?) {
            set(session, "turning its list of members", &turned).await?;
        }
    }
    say(
        out,
        format!(
            "  {region} doesn't follow yet: its primary_conninfo must list all members with target_session_attrs=read-write; \
             if it does, restart its database (`primary check` rewinds it if it has gone another way)"
        ),
    )
}

async fn streams(session: &Session, timeline: Timeline) -> Result<bool, PromotionFault> {
    let timeline = i32::try_from(timeline.0).unwrap_or(i32::MAX);
    let rows = session
        .rows(
            "asking whom it follows",
            "SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming' AND received_tli >= $1",
            &[&timeline],
        )
        .await?;
    Ok(!rows.is_empty())
}

async fn conninfo(session: &Session) -> Result<String, PromotionFault> {
    session.value("reading primary_conninfo", "SELECT current_setting('primary_conninfo')").await
}

async fn set(session: &Session, doing: &'static str, conninfo: &str) -> Result<(), PromotionFault> {
    session.execute(doing, &format!("ALTER SYSTEM SET primary_conninfo = {}", literal(conninfo))).await?;
    session.execute(doing, RELOAD).await
}
