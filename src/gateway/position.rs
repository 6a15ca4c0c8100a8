//! Reading your own writes, where requests come and go (DESIGN §5).
//!
//! A request's positions are read and taken out of it first ([`Presented`]); once it is known whose data it is about they become
//! an [`OwnWrites`], which says where the request may be answered, waits for a replica, and learns the position of a write when
//! its answer's head is there. What the client then gets is kept with the exchange ([`Trace`]) and added to whatever answer it
//! comes to.
//!
//! Invariants
//! - A client's token never reaches an API, nor an API's header a client.
//! - A write that succeeded is answered with a position that covers it, or with a token that pins.
//! - Nothing waits without a bound, and nothing is locked where requests go.
//!
//! [`Positions`] belongs to the settings. Memories and the keepers of databases that stay are handed on by a reload.

mod own_writes;
mod presented;
mod token;
mod trace;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use own_writes::OwnWrites;
pub use presented::Presented;
pub use trace::Trace;

use super::Gateway;
use crate::config::{Config, PositionSettings};
use crate::domain::decide::Location;
use crate::domain::names::JurisdictionId;
use crate::domain::position::{Memory, Remembered, Requirement, Slot};
use crate::domain::register::Generation;
use crate::domain::replication_lag::LogPosition;
use crate::domain::topology::Mode;
use crate::postgres::{Database, DatabaseUrl, Limits, PositionKeeper, PositionSource, Questioned};
use token::TokenKey;

/// What one generation of settings knows of positions.
pub struct Positions {
    key: TokenKey,
    wait: Duration,
    remember: Duration,
    cookie: Option<Cookie>,
    /// By jurisdiction.
    places: Vec<Place>,
}

/// The cookie that browsers keep, but for its value.
struct Cookie {
    name: String,
    attributes: String,
}

struct Place {
    jurisdiction: String,
    observed: bool,
    memory: Arc<Memory>,
    database: Option<Watched>,
}

/// This region's database of a jurisdiction.
struct Watched {
    url: DatabaseUrl,
    source: PositionSource,
    /// Until it runs.
    keeper: Mutex<Option<PositionKeeper>>,
}

impl Positions {
    /// `None` without a key. What `previous` has already stays in use.
    pub fn new(config: &Config, previous: Option<&Self>) -> Option<Arc<Self>> {
        let PositionSettings { key, wait, remember, cookie, cookie_domain } = &config.position;
        let key = TokenKey::new(key.as_ref()?);
        let topology = &config.topology;
        let cookie = cookie.as_ref().map(|name| {
            let mut attributes = format!("; Path=/; Max-Age={}; HttpOnly; SameSite=Lax", remember.as_secs());
            if let Some(domain) = cookie_domain {
                attributes.push_str("; Domain=");
                attributes.push_str(domain);
            }
            Cookie { name: name.clone(), attributes }
        });
        let places = topology.jurisdictions().map(|jurisdiction| {
            let name = topology.jurisdiction_name(jurisdiction);
            let before = previous.and_then(|known| known.places.iter().find(|one| one.jurisdiction == name));
            let own = config.own_region().databases.iter().find(|(of, _)| *of == jurisdiction);
            Place {
                jurisdiction: name.to_owned(),
                observed: topology.mode(jurisdiction) == Mode::Observe,
                memory: before.map(|known| Arc::clone(&known.memory)).unwrap_or_default(),
                database: own
                    .and_then(|(_, url)| Watched::new(url, before.and_then(|known| known.database.as_ref()))),
            }
        });
        Some(Arc::new(Self { key, wait: *wait, remember: *remember, cookie, places: places.collect() }))
    }

    /// Starts what answers questions and what forgets, on the control plane. Keepers end with the last who may ask them, since
    /// requests that began with these settings may still do.
    pub fn attend(self: &Arc<Self>, gateway: &Arc<Gateway>, cancel: &CancellationToken) {
        for place in &self.places {
            let keeper = place
                .database
                .as_ref()
                .and_then(|watched| watched.keeper.lock().unwrap_or_else(PoisonError::into_inner).take());
            let Some(keeper) = keeper else { continue };
            let (gateway, jurisdiction) = (Arc::clone(gateway), place.jurisdiction.clone());
            tokio::task::spawn_local(keeper.run(move |questioned| {
                let result = match questioned {
                    Questioned::Primary => "primary",
                    Questioned::Replica => "replica",
                    Questioned::Failed => "failed",
                };
                gateway.metrics.control().position_asked(&jurisdiction, result);
            }));
        }
        let (positions, cancel) = (Arc::clone(self), cancel.clone());
        tokio::task::spawn_local(async move {
            cancel.run_until_cancelled(positions.forget_forever()).await;
        });
    }

    async fn forget_forever(&self) {
        loop {
            tokio::time::sleep(self.remember).await;
            self.places.iter().for_each(|place| place.memory.rotate());
        }
    }

    /// Where what is remembered of a subject lies. The same at all gateways with this key.
    pub fn slot(&self, subject: &[u8]) -> Slot {
        self.key.slot(subject)
    }

    /// What the request means for reading one's own writes; `None` when it is about nobody's data, or where nothing is
    /// enforced. `home` and `floor`: the generation of the subject's entry, and what the register asks of every database that serves
    /// this subject.
    pub fn own_writes(
        self: &Arc<Self>,
        presented: &Presented,
        location: Location,
        slot: Option<Slot>,
        home: Generation,
        floor: Option<LogPosition>,
    ) -> Option<Box<OwnWrites>> {
        let (Location::Jurisdiction(jurisdiction) | Location::Moving(jurisdiction)) = location else {
            return None;
        };
        let place = self.place(jurisdiction);
        if place.observed {
            return None;
        }
        let found = slot.map(|slot| place.memory.look(slot));
        let remembered = found.map(Remembered::requirement).unwrap_or_default();
        let (brought, why) = presented.requirement(&place.jurisdiction, place.system_identifier());
        let floor = floor.map_or(Requirement::Nothing, Requirement::Reached);
        let requirement = remembered.and(brought).and(floor);
        Some(Box::new(OwnWrites::new(
            Arc::clone(self),
            own_writes::Facts {
                jurisdiction,
                slot,
                found,
                requirement,
                why,
                generation: presented.generation().max(home),
            },
        )))
    }

    fn place(&self, jurisdiction: JurisdictionId) -> &Place {
        &self.places[jurisdiction.index()]
    }
}

impl Place {
    fn system_identifier(&self) -> Option<u64> {
        self.database.as_ref()?.source.system_identifier()
    }

    fn source(&self) -> Option<&PositionSource> {
        self.database.as_ref().map(|watched| &watched.source)
    }
}

impl Watched {
    /// `known` if it is the same database. `None` when it can't be opened: the monitor says why.
    fn new(url: &DatabaseUrl, known: Option<&Self>) -> Option<Self> {
        if let Some(known) = known.filter(|known| known.url == *url) {
            let (url, source) = (url.clone(), known.source.clone());
            // Whoever had it before has started it.
            return Some(Self { url, source, keeper: Mutex::new(None) });
        }
        let database = Database::open(url, Limits { connections: 1, ..Limits::default() }).ok()?;
        let (keeper, source) = PositionKeeper::new(database);
        Some(Self { url: url.clone(), source, keeper: Mutex::new(Some(keeper)) })
    }
}
