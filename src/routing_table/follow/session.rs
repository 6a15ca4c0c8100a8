//! Following one primary for as long as it is one: listen, register, load, then changes as they are told and a poll behind.
//!
//! Invariants
//! - Listening comes before loading, so that nothing falls between.
//! - A poll reads what the poll before did not see, by that one's snapshot; what notifications miss or tell in another
//!   order than it happened, the poll mends.
//! - What was told before a question is applied before the answer's rows, what was told since after them: it may be newer than
//!   the answer's snapshot, and if it is older, the newer is told right behind it.
//! - Each answer says again what its server is; one that is no primary, or stands lower than was known, changes nothing.

mod presence;

use std::time::{Duration, Instant};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_postgres::types::Type;

use super::{
    Follower, Member,
    handle::Report,
    scout::{Sightings, answer_fault, ask},
    statements::{
        CHANGES, CHANGES_ROW, CHANNEL, CHANNEL_OUTSIDE, LISTEN, LISTEN_OUTSIDE, LOCAL, PAGE, PAGE_ROW,
        Standing, row, standing,
    },
};
use crate::{
    clock,
    domain::{fingerprint::Fingerprint, register::SubjectKey},
    postgres::{DatabaseFault, Limits, Subscription, Told},
    routing_table::{
        cursor::{Cursor, TooLow},
        row::{Row, RowFault, hash},
        writer::{Change, RegisterLoad},
    },
};

/// Of each statement that looks at few rows.
const DEADLINE: Duration = Duration::from_secs(2);
/// Of each page.
const PAGE_DEADLINE: Duration = Duration::from_secs(20);
/// Rows asked for at a time: what is held of a load beside the table.
const PAGE_ROWS: i64 = 20_000;
/// Notifications applied as one version.
const TOLD_AT_ONCE: usize = 1024;
/// Between two notices of rows that can't be understood.
const NOTICES: usize = 10;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("{0}")]
    Fault(#[from] DatabaseFault),
    #[error("it is a primary no more")]
    Demoted,
    #[error("another member stands higher")]
    Overtaken,
    #[error("{0}")]
    TooLow(#[from] TooLow),
    #[error("it is the register of `{0}`")]
    OfAnother(String),
    #[error(
        "its rows are hashed under other keys than this gateway's: compare register.subject_key and register.identifier_key"
    )]
    Keys,
    #[error(
        "this gateway's certificate was forgotten there: its subjects are refused until `residency-migrate pki rotate` has made \
         another"
    )]
    Forgotten,
    #[error("a page of it can't be told from the one before")]
    Unsorted,
    #[error("this gateway leaves")]
    Stopped,
}

/// One session.
pub(super) struct Session<'a> {
    follower: &'a mut Follower,
    place: usize,
    database: Subscription,
    heard_at: Instant,
    /// With which certificate the register knows this gateway.
    shown: Option<Fingerprint>,
}

impl<'a> Session<'a> {
    /// Connects to a member, listens, and makes sure that it is the one to follow.
    pub(super) async fn begin(
        follower: &'a mut Follower,
        place: usize,
        member: &Member,
    ) -> Result<Self, End> {
        let limits =
            Limits { connect_timeout: DEADLINE, statement_timeout: PAGE_DEADLINE, ..Limits::default() };
        let database = Subscription::connect(&member.url, limits).await?;
        let listen = if follower.settings.outside { LISTEN_OUTSIDE } else { LISTEN };
        database.run(&format!("{LOCAL}; {listen}"), DEADLINE).await?;
        let mut session = Self { follower, place, database, heard_at: clock::now(), shown: None };
        session.know_keys().await?;
        session.know_forgotten().await?;
        session.register().await?;
        Ok(session)
    }

    /// Reads what is new, then follows until something ends it.
    pub(super) async fn run(mut self, sightings: &mut watch::Receiver<Sightings>) -> End {
        let end = match self.catch_up().await {
            Ok(()) => match self.follow(sightings).await {
                Ok(end) | Err(end) => end,
            },
            Err(end) => end,
        };
        if matches!(end, End::Stopped) {
            self.leave().await;
        }
        end
    }

    async fn follow(&mut self, sightings: &mut watch::Receiver<Sightings>) -> Result<End, End> {
        enum Event {
            Told(Option<Told>),
            Poll,
            Report(Report),
            Sighting,
            Stop,
        }
        let mut ticks = interval(self.follower.settings.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let asks = std::sync::Arc::clone(&self.follower.asks);
        let stop = self.follower.stop.clone();
        for report in self.follower.reported.clone() {
            self.report(report).await?;
        }
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => Event::Stop,
                told = self.database.told() => Event::Told(told),
                () = asks.bell.notified() => Event::Poll,
                report = self.follower.reports.recv() => report.map_or(Event::Stop, Event::Report),
                _ = ticks.tick() => Event::Poll,
                _ = sightings.changed() => Event::Sighting,
            };
            match event {
                Event::Told(None) => {
                    let reason = "the server closed the session";
                    return Err(answer_fault(&self.database, reason).into());
                }
                Event::Told(Some(told)) => {
                    if !self.hear(&told) {
                        self.poll().await?;
                    }
                }
                Event::Poll => {
                    self.poll().await?;
                    self.know_forgotten().await?;
                    self.heartbeat().await?;
                }
                Event::Report(report) => {
                    self.follower.remember(report);
                    self.report(report).await?;
                }
                Event::Sighting => {
                    if self
                        .follower
                        .best(&sightings.borrow_and_update())
                        .is_some_and(|best| best != self.place)
                    {
                        return Ok(End::Overtaken);
                    }
                }
                Event::Stop => return Ok(End::Stopped),
            }
        }
    }

    /// Goes on where the cursor is, if it is this server's; else loads everything.
    async fn catch_up(&mut self) -> Result<(), End> {
        let standing = ask(&self.database, DEADLINE).await?;
        self.admit(&standing)?;
        let goes_on = match &self.follower.progress.cursor {
            Some(cursor) => cursor.source == standing.cursor.source && cursor.xmin <= standing.cursor.xmin,
            None => false,
        };
        if goes_on { self.poll().await } else { self.load(standing).await }
    }

    /// Everything, page by page; then what changed meanwhile; and only then it takes the place of what was known.
    async fn load(&mut self, standing: Standing) -> Result<(), End> {
        let name = self.follower.name.clone();
        let known = self.follower.progress.cursor.as_ref().map(|cursor| cursor.source);
        let reason = match known {
            None => "first",
            Some(known) if known.system_identifier != standing.height.system_identifier => "cluster",
            Some(known) if known.timeline != standing.height.timeline => "timeline",
            Some(_) => "restart",
        };
        tracing::info!(jurisdiction = &*name, reason, "loading a register");
        let register = self.follower.settings.jurisdiction;
        let mut load = RegisterLoad::new(register, 0);
        let mut after: Vec<u8> = Vec::new();
        let mut notices = Notices::default();
        let outside = self.follower.settings.outside;
        loop {
            let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
                [(&after, Type::BYTEA), (&PAGE_ROWS, Type::INT8), (&outside, Type::BOOL)];
            let page = self.database.ask(PAGE, &parameters, PAGE_DEADLINE).await?;
            let mut seen = 0;
            let mut last: Option<Vec<u8>> = None;
            for answer in &page {
                let read = (|| Ok((answer.try_get(0)?, answer.try_get(1)?, row(answer, PAGE_ROW)?)))();
                let (count, end, row): (i64, _, _) = read.map_err(|error| self.unread(&error))?;
                (seen, last) = (count, end);
                let change = row.and_then(|row| self.change(&row, &mut notices));
                if let Some(Change { key, entry: Some(entry), .. }) = change
                    && !load.push(key, entry)
                {
                    return Err(End::Unsorted);
                }
            }
            match last {
                Some(last) if last > after => after = last,
                _ => break,
            }
            if seen < PAGE_ROWS {
                break;
            }
            if self.heard_at.elapsed() >= self.follower.settings.poll {
                self.heartbeat().await?;
            }
            if self.follower.stop.is_cancelled() {
                return Err(End::Stopped);
            }
        }
        let told = self.told_so_far(&mut notices).0;
        let begun = self.follower.asks.begun();
        let (standing, changes, asked_at) = self.changes(&standing.cursor, &mut notices).await?;
        let since = told.into_iter().chain(changes).chain(self.told_so_far(&mut notices).0).collect();
        let rows = load.len();
        self.follower.writer.reload(load, since).await;
        self.follower.metrics.control().register_reloaded(&name, reason);
        tracing::info!(jurisdiction = &*name, rows, "a register is loaded");
        self.applied(&standing, asked_at, begun);
        self.heartbeat().await
    }

    /// What earlier polls did not see.
    async fn poll(&mut self) -> Result<(), End> {
        let Some(cursor) = self.follower.progress.cursor.clone() else {
            let standing = ask(&self.database, DEADLINE).await?;
            self.admit(&standing)?;
            return self.load(standing).await;
        };
        let begun = self.follower.asks.begun();
        // Whatever was lost before this poll begins is in its answer.
        self.database.missed();
        let mut notices = Notices::default();
        let (before, _) = self.told_so_far(&mut notices);
        self.follower.apply(before);
        let (standing, mut changes, asked_at) = self.changes(&cursor, &mut notices).await?;
        changes.extend(self.told_so_far(&mut notices).0);
        self.follower.apply(changes);
        self.applied(&standing, asked_at, begun);
        Ok(())
    }

    /// The standing at the beginning, the rows since `cursor`, and when they were asked for.
    async fn changes(
        &mut self,
        cursor: &Cursor,
        notices: &mut Notices,
    ) -> Result<(Standing, Vec<Change>, Instant), End> {
        let asked_at = clock::now();
        let xmin = cursor.xmin.to_string();
        let outside = self.follower.settings.outside;
        let mut after: (String, Vec<u8>) = (xmin.clone(), Vec::new());
        let mut first: Option<Standing> = None;
        let mut changes = Vec::new();
        loop {
            let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 6] = [
                (&xmin, Type::TEXT),
                (&cursor.snapshot, Type::TEXT),
                (&after.0, Type::TEXT),
                (&after.1, Type::BYTEA),
                (&PAGE_ROWS, Type::INT8),
                (&outside, Type::BOOL),
            ];
            let page = self.database.ask(CHANGES, &parameters, PAGE_DEADLINE).await?;
            let Some(opening) = page.first() else {
                return Err(answer_fault(&self.database, "the jurisdiction's row is missing").into());
            };
            let standing = standing(opening).map_err(|error| self.unread(&error))?;
            self.admit(&standing)?;
            if standing.cursor.source != cursor.source {
                // Promoted or started anew between two statements of one session: impossible, or not what it says it is.
                return Err(End::Demoted);
            }
            let first = first.get_or_insert(standing);
            for answer in &page {
                let Some(row) = row(answer, CHANGES_ROW).map_err(|error| self.unread(&error))? else {
                    continue;
                };
                let by: String = answer.try_get(CHANGES_ROW + 11).map_err(|error| self.unread(&error))?;
                after = (by, hash(&row.hash).map(|SubjectKey(key)| key.to_vec()).unwrap_or_default());
                changes.extend(self.change(&row, notices));
            }
            let end = after.0.parse::<u64>().unwrap_or(u64::MAX);
            let busy = end >= first.cursor.xmax();
            if i64::try_from(page.len()).unwrap_or(i64::MAX) < PAGE_ROWS || busy {
                return Ok((first.clone(), changes, asked_at));
            }
        }
    }

    /// Applies a notification and those behind it. `false`: something can't be known without asking.
    fn hear(&mut self, told: &Told) -> bool {
        let mut notices = Notices::default();
        let mut changes = Vec::new();
        let mut whole = self.understand(told, &mut changes, &mut notices);
        let (more, understood) = self.told_so_far(&mut notices);
        whole &= understood;
        changes.extend(more);
        self.follower.apply(changes);
        whole && !self.database.missed()
    }

    fn told_so_far(&mut self, notices: &mut Notices) -> (Vec<Change>, bool) {
        let mut changes = Vec::new();
        let mut whole = true;
        for _ in 0..TOLD_AT_ONCE {
            let Some(told) = self.database.told_already() else { break };
            whole &= self.understand(&told, &mut changes, notices);
        }
        (changes, whole)
    }

    fn understand(&self, told: &Told, changes: &mut Vec<Change>, notices: &mut Notices) -> bool {
        if told.channel != CHANNEL && told.channel != CHANNEL_OUTSIDE {
            return false;
        }
        match serde_json::from_str::<Row>(&told.payload) {
            Ok(row) => changes.extend(self.change(&row, notices)),
            Err(_) => {
                self.refused(&RowFault::Malformed, notices);
                return false;
            }
        }
        true
    }

    fn change(&self, row: &Row, notices: &mut Notices) -> Option<Change> {
        let (change, fault) = self.follower.reading().change(row);
        if let Some(fault) = fault {
            self.refused(&fault, notices);
        }
        change
    }

    fn refused(&self, fault: &RowFault, notices: &mut Notices) {
        let name = &*self.follower.name;
        self.follower.metrics.control().register_row_refused(name, fault.label());
        notices.0 += 1;
        if notices.0 <= NOTICES {
            tracing::error!(jurisdiction = name, reason = %fault, "a row of a register is refused");
        }
    }

    /// Whether what a server says of itself may be believed.
    fn admit(&mut self, standing: &Standing) -> Result<(), End> {
        if standing.recovering {
            return Err(End::Demoted);
        }
        if standing.jurisdiction != *self.follower.name {
            return Err(End::OfAnother(standing.jurisdiction.clone()));
        }
        if let Some(known) = &self.follower.progress.height {
            known.admits(&standing.height)?;
        }
        self.follower.progress.height = Some(standing.height);
        Ok(())
    }

    /// An answer that was asked for at `asked_at` is in the table.
    fn applied(&mut self, standing: &Standing, asked_at: Instant, begun: u64) {
        self.follower.progress.cursor = Some(standing.cursor.clone());
        let region = &self.follower.settings.members[self.place].region;
        let (region, progress) = (std::sync::Arc::clone(region), self.follower.progress.clone());
        self.follower.view.send_modify(|view| {
            view.current_at = Some(asked_at);
            view.region = Some(region);
            view.height = progress.height;
            view.cursor = progress.cursor;
            view.fault = None;
            view.keys_differ = false;
            view.forgotten = false;
            view.alarm = None;
        });
        self.follower.alarmed = None;
        self.follower.asks.answered(begun);
    }

    fn unread(&self, error: &tokio_postgres::Error) -> DatabaseFault {
        answer_fault(&self.database, &error.to_string())
    }
}

/// How many rows were complained of since a poll or a load began.
#[derive(Default)]
struct Notices(usize);
