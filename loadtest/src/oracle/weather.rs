//! Calm and storm in turn: links fall silent, are reset and heal, gateways are killed, drained and reloaded, API
//! processes are killed, at moments that the seed decides.
//!
//! Invariants
//! - Every fault that begins ends, and a storm is over only when all its faults have ended and every gateway finds its
//!   world healthy again. Only then is it calm.
//! - No service has two faults at once; links may.
use std::{cell::Cell, fmt, rc::Rc, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use http::Method;
use nix::sys::signal::Signal;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    api::{Apis, Place},
    dice::Dice,
    sky::Sky,
};
use crate::world::{Call, Fault, Port, Region, Service, World};

const CALM: Duration = Duration::from_secs(4);
/// A gateway says that it is healthy one look before its neighbours know it.
pub(super) const SETTLE: Duration = Duration::from_millis(700);
/// How long healing may take: the longest silence, a standby that comes back, and a busy machine.
const RECOVERY: Duration = Duration::from_secs(45);
/// A drain's own deadline, and some more.
const DRAIN: Duration = Duration::from_secs(40);
/// Milliseconds into a storm at which its last fault begins.
const LAST_BEGINS_MS: usize = 5_000;
/// Keeps storms' chance apart from requests'.
const STORMS: u64 = 1 << 63;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Link(Region, Region, Fault),
    /// All links of a region.
    Isolation(Region, Fault),
    GatewayKilled(Region),
    GatewayDrained(Region),
    GatewayReloaded(Region),
    ApiKilled(Place),
    /// All of a region's API processes.
    ApiGone(Region),
}

/// A trouble with its time, from the storm's beginning.
#[derive(Clone, Copy, Debug)]
struct Event {
    begins: Duration,
    lasts: Duration,
    trouble: Trouble,
}

/// Makes the weather, until told to stop.
pub(super) struct Weather {
    pub(super) world: Rc<World>,
    pub(super) apis: Rc<Apis>,
    pub(super) sky: Arc<Sky>,
    pub(super) seed: u64,
    /// No storm begins any more.
    pub(super) over: Rc<Cell<bool>>,
    pub(super) say: Rc<dyn Fn(&str)>,
}

/// What the weather was.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    pub(super) storms: u64,
    pub(super) faults: u64,
    /// Storms after which everything was healthy again in time.
    pub(super) recovered: u64,
    /// The slowest recovery.
    pub(super) slowest: Duration,
    /// Why no fault could be made any more, or one not ended.
    pub(super) trouble: Option<String>,
}

impl Weather {
    /// Calm, storm, recovery, and again. When a fault can't be made or ended, the weather stays as it is from then on.
    pub(super) async fn run(&self) -> Past {
        let mut past = Past::default();
        if let Err(error) = self.change(&mut past).await {
            past.trouble = Some(format!("{error:#}"));
        }
        self.sky.set_calm(false);
        past
    }

    async fn change(&self, past: &mut Past) -> Result<()> {
        self.sky.set_calm(true);
        while self.rest(CALM).await {
            self.sky.set_calm(false);
            let events = storm(&mut Dice::new(self.seed, STORMS + past.storms));
            let names: Vec<_> = events.iter().map(|event| event.trouble.to_string()).collect();
            (self.say)(&format!("storm {}: {}", past.storms + 1, names.join(", ")));
            past.storms += 1;
            past.faults += events.len() as u64;
            self.endure(events).await?;
            self.world.heal_all();
            let healed = Instant::now();
            match recovered(&self.world, RECOVERY).await {
                Ok(()) => {
                    past.recovered += 1;
                    past.slowest = past.slowest.max(healed.elapsed());
                    sleep(SETTLE).await;
                    self.sky.set_calm(true);
                }
                Err(error) => past.trouble = Some(format!("{error:#}")),
            }
        }
        Ok(())
    }

    /// Waits. False when it is over.
    async fn rest(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.over.get() {
            sleep(Duration::from_millis(50)).await;
        }
        !self.over.get()
    }

    async fn endure(&self, events: Vec<Event>) -> Result<()> {
        let mut under_way = JoinSet::new();
        for Event { begins, lasts, trouble } in events {
            let (world, apis) = (Rc::clone(&self.world), Rc::clone(&self.apis));
            under_way.spawn_local(async move {
                sleep(begins).await;
                trouble.strike(&world, &apis).await?;
                sleep(lasts).await;
                trouble.end(&world, &apis).await
            });
        }
        while let Some(ended) = under_way.join_next().await {
            ended.context("a fault's task")?.context("a fault")?;
        }
        Ok(())
    }
}

/// The faults of one storm.
fn storm(dice: &mut Dice) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for _ in 0..dice.between(3..=7) {
        let trouble = trouble(dice);
        if let Some(service) = trouble.service()
            && events.iter().any(|event| event.trouble.service() == Some(service))
        {
            continue;
        }
        let lasts = if dice.chance(300) { dice.between(50..=600) } else { dice.between(600..=5_000) };
        let begins = dice.between(0..=LAST_BEGINS_MS);
        events.push(Event {
            begins: Duration::from_millis(begins as u64),
            lasts: Duration::from_millis(lasts as u64),
            trouble,
        });
    }
    events
}

fn trouble(dice: &mut Dice) -> Trouble {
    let region = *dice.pick(&Region::ALL);
    let others: Vec<_> = Region::ALL.into_iter().filter(|other| *other != region).collect();
    let other = *dice.pick(&others);
    let fault = *dice.pick(&[Fault::Silence, Fault::Reset]);
    let process = if region == Region::EuNuremberg { 1 } else { *dice.pick(&[1, 2]) };
    dice.weighed(&[
        (34, Trouble::Link(region, other, fault)),
        (16, Trouble::Isolation(region, fault)),
        (16, Trouble::GatewayKilled(region)),
        (7, Trouble::GatewayDrained(region)),
        (7, Trouble::GatewayReloaded(region)),
        (14, Trouble::ApiKilled((region, process))),
        (6, Trouble::ApiGone(region)),
    ])
}

impl Trouble {
    /// The service that has it.
    fn service(self) -> Option<Service> {
        match self {
            Self::Link(..) | Self::Isolation(..) => None,
            Self::GatewayKilled(region) | Self::GatewayDrained(region) | Self::GatewayReloaded(region) => {
                Some(Service::Gateway(region))
            }
            // A region's processes count as one, since all may go.
            Self::ApiKilled((region, _)) | Self::ApiGone(region) => Some(Service::Api(region, 1)),
        }
    }

    async fn strike(self, world: &World, apis: &Apis) -> Result<()> {
        match self {
            Self::Link(a, b, fault) => world.links().between(a, b).fail(fault),
            Self::Isolation(region, fault) => world.links().cut_off(&[region], fault),
            Self::GatewayKilled(region) => world.kill(Service::Gateway(region)).await?,
            Self::GatewayDrained(region) => world.signal(Service::Gateway(region), Signal::SIGTERM)?,
            Self::GatewayReloaded(region) => world.signal(Service::Gateway(region), Signal::SIGHUP)?,
            Self::ApiKilled(place) => apis.kill(place),
            Self::ApiGone(region) => each_of(apis, region, |place| apis.kill(place)),
        }
        Ok(())
    }

    async fn end(self, world: &World, apis: &Apis) -> Result<()> {
        match self {
            Self::Link(a, b, _) => world.links().between(a, b).heal(),
            Self::Isolation(region, _) => {
                for other in Region::ALL.into_iter().filter(|other| *other != region) {
                    world.links().between(region, other).heal();
                }
            }
            Self::GatewayKilled(region) => world.restart(Service::Gateway(region)).await?,
            Self::GatewayDrained(region) => {
                let status = world.ended(Service::Gateway(region), DRAIN).await?;
                if !status.success() {
                    bail!("the gateway of {region} drained and ended with {status}");
                }
                world.restart(Service::Gateway(region)).await?;
            }
            Self::GatewayReloaded(_) => {}
            Self::ApiKilled(place) => apis.restart(place),
            Self::ApiGone(region) => each_of(apis, region, |place| apis.restart(place)),
        }
        Ok(())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(a, b, fault) => write!(formatter, "{fault:?} between {a} and {b}"),
            Self::Isolation(region, fault) => write!(formatter, "{fault:?} around {region}"),
            Self::GatewayKilled(region) => write!(formatter, "gateway of {region} killed"),
            Self::GatewayDrained(region) => write!(formatter, "gateway of {region} drained"),
            Self::GatewayReloaded(region) => write!(formatter, "gateway of {region} reloaded"),
            Self::ApiKilled((region, process)) => write!(formatter, "API {process} of {region} killed"),
            Self::ApiGone(region) => write!(formatter, "API of {region} gone"),
        }
    }
}

fn each_of(apis: &Apis, region: Region, act: impl Fn(Place)) {
    apis.places().filter(|(of, _)| *of == region).for_each(act);
}

/// Waits until every gateway finds everything it looks at healthy.
pub(super) async fn recovered(world: &World, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    for region in Region::ALL {
        loop {
            let admin = world.address(region, Port::GatewayAdmin);
            let look =
                timeout(Duration::from_secs(5), Call::new(admin, Method::GET, "/health/full").send()).await;
            let seen = match look {
                Ok(Ok(answer)) => {
                    let health: serde_json::Value = answer.json().unwrap_or_default();
                    // Before its first look around a gateway knows of no fault; that is not yet health.
                    let looked = health["checks"].as_object().is_some_and(|checks| !checks.is_empty());
                    if looked && health["status"] == "pass" {
                        break;
                    }
                    health.to_string()
                }
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "no answer".to_owned(),
            };
            if Instant::now() > deadline {
                bail!("{region} is not healthy after {patience:?}: {seen}");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storms_are_of_every_kind_and_give_no_service_two_faults() {
        let mut kinds = std::collections::BTreeSet::new();
        for number in 0..200 {
            let events = storm(&mut Dice::new(7, STORMS + number));
            assert!(!events.is_empty());
            for (index, event) in events.iter().enumerate() {
                let name = format!("{:?}", event.trouble);
                kinds.insert(name.split('(').next().unwrap_or_default().to_owned());
                let service = event.trouble.service();
                let again = events[index + 1..].iter().any(|other| other.trouble.service() == service);
                assert!(service.is_none() || !again, "{events:?}");
            }
        }
        assert_eq!(kinds.len(), 7);
    }
}
