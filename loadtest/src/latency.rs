//! `make bench-latency`: what users in four places wait for, with everything in us-east and with the regions.
//!
//! The same users do the same in both: a new connection with a full TLS handshake, then six requests one after the other,
//! writes among them ([`session`]). Both run at the same time, on the same machine, through the same gateways and API
//! processes, with the same links, in turn ([`Setup`]):
//!
//! - *everything in us-east*: all are users of `us`, and connect to us-east over their distance to it. The gateway there
//!   ends TLS and finds everything at home, so reads and writes are answered from the primary beside it, and no commit
//!   waits for another region. That is the plainest setup there is: with a bare TLS terminator in the gateway's place it
//!   would be faster by what the gateway adds, which is measured too and is a thousandth of the distance.
//! - *the regions*: each connects to the gateway of the nearest region. EU users are users of `eu`, whose commits wait for
//!   Nuremberg; users in Singapore are users of `us`, whose writes travel to us-east.
//!
//! Sessions begin at a constant rate, whatever becomes of those before them, and a session's first request counts from
//! the moment at which it was due. What the gateway itself adds is measured apart from all that, on loopback
//! ([`crate::peers::added`]).
//!
//! Absent by design: passwords. Checking one costs 40 ms of CPU time wherever it is done; the write that opens a session
//! stands for a log-in without it.
mod distribution;
mod picture;
mod plan;
mod report;
mod session;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, rc::Rc, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, sleep_until},
};

pub(crate) use self::distribution::{Distribution, Figures};
pub use self::report::Report;
use self::{
    plan::{Setup, Stream},
    report::Samples,
    session::{Door, User},
};
use crate::{
    peers::{self, Added},
    programs::Programs,
    world::{HOST, Jurisdiction, Port, World, round_trip},
};

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct Options {
    pub programs: Programs,
    /// How long sessions begin.
    pub span: Duration,
    /// Sessions that begin in a second, in each place and setup.
    pub rate: f64,
    /// Round trip from a user to the nearest region, in both setups.
    pub access: Duration,
    /// Users in each place and setup.
    pub users: usize,
    /// What the gateway adds is measured over so many rounds; none skips it.
    pub rounds: usize,
}

/// Sessions before the first that counts: connections between regions, pools and token caches fill.
const WARM_UP: Duration = Duration::from_secs(5);

/// Runs both parts. The world is gone when it returns.
pub async fn run(options: &Options, say: impl Fn(&str) + Clone + Send + Sync + 'static) -> Result<Report> {
    let samples = LocalSet::new().run_until(distances(options, say.clone())).await?;
    let added = if options.rounds > 0 { Some(added(options, &say)?) } else { None };
    Ok(Report::new(options, &samples, added))
}

/// What the gateway adds, on a thread of its own, which is pinned to a core.
fn added(options: &Options, say: &(impl Fn(&str) + Clone + Send + Sync + 'static)) -> Result<Added> {
    say("what the gateway itself adds");
    let (say, options) = (say.clone(), options.clone());
    let measuring = std::thread::spawn(move || {
        let options = peers::Options {
            rounds: options.rounds,
            span: Duration::from_secs(2),
            warm_up: Duration::from_millis(500),
            connections: 64,
            users: 2_000,
            scenarios: Vec::new(),
            only: Vec::new(),
            beside: None,
            idle_connections: 0,
            gateway: options.programs.gateway,
            proxy_core: 0,
            load_core: 1,
            haproxy_log: peers::LogPath::default(),
            directory: options.programs.target.join("bench/latency"),
        };
        peers::added(&options, &mut |line| say(line))
    });
    measuring.join().expect("it panicked, and said why").context("what the gateway adds")
}

async fn distances(options: &Options, say: impl Fn(&str) + Clone + Send + Sync + 'static) -> Result<Samples> {
    let world = World::builder()
        .gateway_bin(&options.programs.gateway)
        .migrate_bin(&options.programs.migrate)
        .root(options.programs.worlds())
        .https()
        .progress(say.clone())
        .start()
        .await?;
    say("users and their tokens");
    let certificate = world.certificate().context("a world with TLS has a certificate")?;
    let tls = session::trusting(certificate.der())?;
    let signer = world.keys().signer()?;
    let streams = Stream::all();
    let mut doors = Vec::new();
    for stream in &streams {
        let entry = stream.entry();
        let rtt = options.access + round_trip(stream.place, entry);
        let address = world.links().lay(stream.place, world.address(entry, Port::GatewayHttps), rtt)?;
        let users = (0..options.users)
            .map(|number| {
                let id = stream.user(number);
                Ok(User { token: signer.token(&id, stream.jurisdiction())?, id })
            })
            .collect::<Result<Vec<_>>>()?;
        enrol(&world, stream.jurisdiction(), &users).await?;
        doors.push(Rc::new(Door { address, tls: tls.clone(), host: HOST, users }));
    }

    let sessions = (options.rate * options.span.as_secs_f64()).round() as u64;
    let all = WARM_UP.mul_f64(options.rate).as_secs() + sessions;
    say(&format!(
        "{sessions} sessions in each of {} places, {} ms from the nearest region, in both setups in turn",
        streams.len() / Setup::ALL.len(),
        options.access.as_millis()
    ));
    let samples = Rc::new(RefCell::new(Samples::new(&streams)));
    let interval = Duration::from_secs_f64(1.0 / options.rate);
    let start = Instant::now() + interval;
    let mut under_way = JoinSet::new();
    for number in 0..all {
        for (index, door) in doors.iter().enumerate() {
            // The streams' sessions never begin together.
            let due =
                start + interval.mul_f64(number as f64) + interval.mul_f64(index as f64 / doors.len() as f64);
            sleep_until(due).await;
            let (door, samples) = (Rc::clone(door), Rc::clone(&samples));
            let counts = number >= all - sessions;
            under_way.spawn_local(async move {
                let seen = door.session(number, due).await;
                if counts {
                    samples.borrow_mut().add(index, seen);
                }
            });
        }
        while under_way.try_join_next().is_some() {}
    }
    under_way.join_all().await;
    let ended = world.stop();
    let mut samples = Rc::into_inner(samples).context("every session has ended")?.into_inner();
    samples.ended = ended.err().map(|error| format!("{error:#}"));
    Ok(samples)
}

/// Makes the users' rows.
async fn enrol(world: &World, jurisdiction: Jurisdiction, users: &[User]) -> Result<()> {
    let ids: Vec<_> = users.iter().map(|user| user.id.as_str()).collect();
    let sql = world.sql(jurisdiction.home(), jurisdiction).await?;
    sql.execute(
        "INSERT INTO users (id, email, password, name, country) \
         SELECT id, id || '@people.example', '-', 'A Person', $2 FROM unnest($1::text[]) AS id",
        &[&ids, &jurisdiction.country()],
    )
    .await
    .context("making users")?;
    Ok(())
}
