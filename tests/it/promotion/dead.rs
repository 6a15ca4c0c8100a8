//! A primary that is lost, with writes that nobody else has.

use residency_loadtest::world::{Fault, Jurisdiction, Region, Service, Sql, World};

use super::writer::{Writer, missing, table, write};
use super::{clusters, complaint, home, streams, value};

const US: Jurisdiction = Jurisdiction::Us;

/// A word after another in what the program said.
fn after<'a>(said: &'a str, word: &str) -> &'a str {
    let line = said.lines().rfind(|line| line.starts_with("lost: every write")).expect(said);
    line.split(word).nth(1).expect(line).split([' ', ',']).next().expect(line)
}

fn position(lsn: &str) -> u64 {
    let (high, low) = lsn.split_once('/').expect(lsn);
    let half = |digits| u64::from_str_radix(digits, 16).expect(lsn);
    (half(high) << 32) + half(low)
}

/// Looks again and again whether the server in `region` takes writes, until it recovers; how often it was looked.
async fn never_open(world: &World, region: Region) -> usize {
    let url = world
        .database_url(region, US, residency_loadtest::world::Role::Postgres)
        .replace("/app", "/postgres");
    let mut looks = 0;
    loop {
        if let Ok(session) = Sql::connect(&url).await {
            let open: bool =
                session.query_one("SELECT NOT pg_is_in_recovery()", &[]).await.expect("an answer").get(0);
            assert!(!open, "{region} is open");
            looks += 1;
            if looks > 20 {
                return looks;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_async_primary_that_dies_loses_what_promote_names_and_comes_back_rewound() {
    let world = clusters().await;
    table(&world, Region::UsEast, US).await;
    let writer = Writer::start(&world, Region::UsEast, US, 1_000_000).await;
    let session = world.sql(Region::UsEast, US).await.expect("a session");
    for id in 0..40 {
        write(&session, id).await.expect("the primary lives");
    }
    // Acknowledged here, and on their way to nobody.
    world.links().cut_off(&[Region::UsEast], Fault::Silence);
    let mut told = Vec::new();
    for id in 100..160 {
        told.push(write(&session, id).await.expect("the primary lives"));
    }
    told.extend(writer.stopped().await);
    let primary = Service::Postgres(Region::UsEast, US);
    world.kill(primary).await.expect("it was running");
    world.links().cut_off(&[Region::UsEast], Fault::Reset);

    let frankfurt = Region::EuFrankfurt;
    let to = ["promote", "--jurisdiction", "us", "--to", "eu-frankfurt"];
    let refused = complaint(&world, frankfurt, &to).await;
    assert!(
        refused.contains("no proof that the primary in us-east") && refused.contains("--assume-dead"),
        "{refused}"
    );
    let off = complaint(&world, frankfurt, &[&to[..], &["--confirm-off", "exit 3"]].concat()).await;
    assert!(off.contains("not proven to be off") && off.contains('3'), "{off}");
    assert_eq!(home(&world, frankfurt, US).await, "us-east 1");

    let said = world
        .promote(US, frankfurt, &["--assume-dead", "--by", "the night shift"])
        .await
        .expect("it promotes");
    assert!(said.contains("NONE (--assume-dead)"), "{said}");
    // Nothing is missing that was acknowledged before the point that was named, by position and by time.
    let (lsn, time) = (position(after(&said, "position ")), after(&said, "acknowledged after ").to_owned());
    let lost = missing(&world, frankfurt, US, &told).await;
    assert!(lost.len() >= 60, "the silent link let them through: {}", lost.len());
    let promised: Vec<_> = lost.iter().filter(|one| one.below <= lsn || one.at < time).collect();
    assert!(promised.is_empty(), "named {lsn}, {time}; {promised:?}");
    let act = "SELECT by || ' ' || (detail ->> 'proof') || ' ' || (detail -> 'lost' ->> 'after_commit') \
               FROM residency.act WHERE kind = 'promote'";
    assert_eq!(value(&world, frankfurt, US, act).await, format!("the night shift assume-dead {time}"));
    streams(&world, Region::ApSingapore, US).await;

    // It comes back: as a standby, its own tail gone, open for nobody at any moment.
    world.heal_all();
    let (came_back, looks) = tokio::join!(world.restart(primary), never_open(&world, Region::UsEast));
    came_back.expect("it comes back");
    assert!(looks > 0);
    streams(&world, Region::UsEast, US).await;
    world.caught_up(US).await.expect("all have everything");
    assert_eq!(missing(&world, Region::UsEast, US, &told).await.len(), lost.len());
    assert_eq!(home(&world, Region::UsEast, US).await, "eu-frankfurt 2");
    assert!(world.log(primary).expect("a log").contains("goes the way of eu-frankfurt"));

    // And who stood in for it goes back likewise, though it was stopped when it was promoted and a run that was cut off then
    // would have left it following nobody.
    world.promote(US, Region::UsEast, &[]).await.expect("it promotes");
    let url = world.database_url(frankfurt, US, residency_loadtest::world::Role::Postgres);
    let former = Sql::connect(&url.replace("/app", "/postgres")).await.expect("a session");
    former.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await.expect("valid");
    world.kill(Service::Postgres(frankfurt, US)).await.expect("it was running");
    world.restart(Service::Postgres(frankfurt, US)).await.expect("it comes back");
    streams(&world, frankfurt, US).await;
    world.stop().expect("nothing is left");
}

#[tokio::test]
async fn a_primary_that_crashed_opens_again_once_all_others_have_answered() {
    let world = clusters().await;
    table(&world, Region::UsEast, US).await;
    let (primary, standby) =
        (Service::Postgres(Region::UsEast, US), Service::Postgres(Region::ApSingapore, US));
    world.kill(standby).await.expect("it was running");
    world.kill(primary).await.expect("it was running");
    // One is silent, who may have been promoted: it waits, and opens when that one has answered.
    let standby_later = async {
        crate::harness::eventually("it waits", async || {
            let log = world.log(primary).map_err(|error| error.to_string())?;
            crate::harness::holds(log.contains("waiting for ap-singapore"), || log.clone())
        })
        .await;
        assert!(world.sql(Region::UsEast, US).await.is_err(), "it opened before all had answered");
        world.restart(standby).await.expect("it comes back");
    };
    let (opened, ()) = tokio::join!(world.restart(primary), standby_later);
    opened.expect("it opens");
    let session = world.sql(Region::UsEast, US).await.expect("a session");
    write(&session, 1).await.expect("it is the primary");
    streams(&world, Region::ApSingapore, US).await;
    world.stop().expect("nothing is left");
}
