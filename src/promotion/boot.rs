//! `primary check`: what a database's unit runs before its server.
//!
//! Success means that the server may be started: as what it was, or as the standby that this has made of it. Failure means
//! that it may not be. Others are asked again until all have answered or the wait is over; a directory that was a primary's
//! and can't be sure starts as a standby, never open. That can be mended by `promote`; two primaries can't.

use std::{io::Write, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Check, PromotionFault,
    data_directory::{ControlFile, DataDirectory},
    lock, rewind, say,
    session::Session,
};
use crate::{
    clock,
    config::ClusterSettings,
    domain::{
        promotion::{BootVerdict, Peer, beginning_with, boot, is_list},
        replication_lag::Lsn,
    },
    postgres::DatabaseUrl,
};

const AGAIN: Duration = Duration::from_millis(300);
const QUESTION: Duration = Duration::from_secs(6);

/// Checks, and prepares the directory for its server's start.
pub(super) async fn check(
    settings: ClusterSettings,
    arguments: &Check,
    out: &mut dyn Write,
) -> Result<(), PromotionFault> {
    let directory = DataDirectory::new(
        &arguments.data_dir,
        arguments.pg_bin.as_deref(),
        arguments.config_file.as_deref(),
    );
    if !settings.members.iter().any(|(region, _)| *region == arguments.region) {
        let (what, jurisdiction) = (format!("is no member in {}", arguments.region), &settings.jurisdiction);
        return Err(
            directory.fault(what, format!("correct --region, or jurisdictions.{jurisdiction}.register"))
        );
    }
    let peers: Vec<_> =
        settings.members.iter().filter(|(region, _)| *region != arguments.region).cloned().collect();
    let control = directory.control_file()?;
    let mut own = directory.own(control);
    // Whatever it was: half rewound it can only become a standby.
    own.standby |= rewind::is_under_way(&directory);
    let patience = Instant::from_std(clock::now() + Duration::from_secs(arguments.wait_s));
    let mut last = None;
    loop {
        let heard =
            join_all(peers.iter().map(|(region, url)| ask(region, url, &settings.jurisdiction))).await;
        let patient = Instant::now() < patience;
        match boot(own, &heard, patient, arguments.assume_latest) {
            BootVerdict::Open => {
                assumed(&directory, arguments, &peers, &heard)?;
                let timeline = own.timeline.0;
                return say(
                    out,
                    format!("{} may open as the primary, on timeline {timeline}", arguments.region),
                );
            }
            BootVerdict::Standby { primary, why } => {
                let primary = primary.map(|index| &peers[index]);
                return become_standby(&directory, control, primary, why, arguments, peers.len(), out).await;
            }
            BootVerdict::Wait(silent) => {
                let names: Vec<_> = silent.iter().map(|&index| peers[index].0.as_str()).collect();
                let line = format!("waiting for {}", names.join(", "));
                if last.as_ref() != Some(&line) {
                    say(out, &line)?;
                    last = Some(line);
                }
                sleep(AGAIN).await;
            }
        }
    }
}

/// Asks one other member.
async fn ask(region: &str, url: &DatabaseUrl, jurisdiction: &str) -> Peer {
    let asked = async {
        let session = Session::open(region, url).await.ok()?;
        let answer = session.answer(jurisdiction).await.ok()?;
        let timeline = answer.has.timeline;
        if !answer.recovering {
            return Some(Peer::Primary { timeline, generation: answer.row().map(|row| row.generation) });
        }
        let promoting = session.value("asking for a promotion's lock", lock::HELD).await.ok()?;
        Some(Peer::Standby { timeline, promoting })
    };
    timeout(QUESTION, asked).await.ok().flatten().unwrap_or(Peer::Silent)
}

/// Opening although somebody is silent is recorded, for the register to take over.
fn assumed(
    directory: &DataDirectory,
    arguments: &Check,
    peers: &[(String, DatabaseUrl)],
    heard: &[Peer],
) -> Result<(), PromotionFault> {
    let silent: Vec<_> = peers
        .iter()
        .zip(heard)
        .filter(|(_, heard)| **heard == Peer::Silent)
        .map(|((region, _), _)| region.as_str())
        .collect();
    if silent.is_empty() {
        return Ok(());
    }
    let at = jiff::Timestamp::try_from(clock::wall()).map(|at| at.to_string()).unwrap_or_default();
    let detail = json!({ "region": arguments.region, "silent": silent, "at": at });
    directory.record(&json!({ "kind": "assume-latest", "by": "primary check", "detail": detail }))
}

async fn become_standby(
    directory: &DataDirectory,
    control: ControlFile,
    primary: Option<&(String, DatabaseUrl)>,
    why: &str,
    arguments: &Check,
    others: usize,
    out: &mut dyn Write,
) -> Result<(), PromotionFault> {
    let was_standby = directory.is_standby();
    // A standby that a promotion has stopped stays so over a restart: it might confirm commits of the old primary.
    if !was_standby {
        // Before the mark: should this be cut off, the next run still knows that it was no standby. And before its
        // configuration is put aside, which is what it has in the end.
        directory.forget_promotion()?;
        if primary.is_some() {
            rewind::begin(directory)?;
        }
    }
    // Whatever fails below, this doesn't open.
    directory.make_standby()?;
    if let Some((region, url)) = primary {
        let parted = rewind::is_under_way(directory)
            || !was_standby
            // Not known is no reason not to start: a standby that has parted streams nothing, and opens nothing.
            || has_parted(region, url, control).await.unwrap_or(false);
        if parted {
            // Until its first checkpoint a new primary's control file tells the old timeline, and `pg_rewind` believes it.
            Session::open(region, url).await?.execute("making a checkpoint", "CHECKPOINT").await?;
            let source = url.with_database("postgres", "residency-migrate");
            rewind::rewind(directory, &source)?;
            say(out, format!("{} goes the way of {region}: what it alone had is gone", arguments.region))?;
        }
    }
    let conninfo = directory.setting("primary_conninfo")?;
    if !is_list(&conninfo, others) {
        let remedy = "set it in postgresql.conf: all members as hosts, target_session_attrs=read-write (docs/RUNBOOK.md)";
        if conninfo.is_empty() && was_standby {
            let line = "was stopped by a promotion that has not ended, or has no primary_conninfo: it follows nobody until \
                        `promote` is run again";
            return say(out, format!("{} starts as a standby; it {line}", arguments.region));
        }
        if conninfo.is_empty() {
            return Err(directory.fault("has no primary_conninfo, and is to be a standby", remedy));
        }
        say(
            out,
            format!(
                "primary_conninfo doesn't list all members: after a promotion this standby may follow nobody; {remedy}"
            ),
        )?;
    }
    // A silent host, or a former primary that still runs, would come first.
    let address =
        primary.map(|(_, url)| url.address()).and_then(|address| address.split('/').next()?.rsplit_once(':'));
    if let Some(turned) = address.and_then(|(host, port)| beginning_with(&conninfo, host, port)) {
        directory.set_conninfo(&turned)?;
    }
    let follows = primary.map_or("nobody yet", |(region, _)| region.as_str());
    say(out, format!("{} starts as a standby ({why}), following {follows}", arguments.region))
}

/// A standby that has replayed more of an older timeline than the primary's has of it.
async fn has_parted(region: &str, url: &DatabaseUrl, control: ControlFile) -> Result<bool, PromotionFault> {
    let session = Session::open(region, url).await?;
    let history = "SELECT pg_read_file('pg_wal/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) || '.history', \
         0, 1048576, true)";
    let history: Option<String> = session.value("reading its timeline's history", history).await?;
    Ok(history.is_some_and(|history| parted(&history, control)))
}

/// In a timeline's history each line is a former timeline and where it was left.
fn parted(history: &str, control: ControlFile) -> bool {
    history.lines().any(|line| {
        let mut words = line.split_whitespace();
        let timeline = words.next().and_then(|word| word.parse::<u32>().ok());
        let left = words.next().and_then(|word| word.parse::<Lsn>().ok());
        timeline == Some(control.timeline.0) && left.is_some_and(|left| control.reached > left)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::replication_lag::Timeline;

    #[test]
    fn a_standby_beyond_the_fork_has_parted() {
        let history =
            "1\t0/3000060\tno recovery target specified\n\n2\t0/5000000\tno recovery target specified\n";
        for (timeline, reached, expected) in [
            (1, 0x300_0060, false),
            (1, 0x300_0061, true),
            (2, 0x500_0000, false),
            (2, 0x500_0001, true),
            (3, u64::MAX, false),
        ] {
            let control = ControlFile { timeline: Timeline(timeline), reached: Lsn(reached) };
            assert_eq!(parted(history, control), expected, "{control:?}");
        }
    }
}
