//! The users: who they are, through which region they come in, and what each has been told.
//!
//! A user asks one thing at a time and brings along the position that the last answer carried, as a good client does. So
//! whatever a user's write was told before a read began, that read must show.
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result};
use http::HeaderValue;
use tokio::time::Instant;

use crate::world::{Jurisdiction, Region, Signer, World};

/// Acknowledged orders that a list must show; far fewer than a list has.
const REMEMBERED: usize = 8;

/// One user.
pub(super) struct User {
    pub(super) id: String,
    pub(super) bearer: HeaderValue,
    pub(super) position: RefCell<Option<HeaderValue>>,
    /// The latest orders that were acknowledged.
    acknowledged: RefCell<VecDeque<String>>,
    /// When the latest order was placed, or may have been.
    pub(super) wrote: Cell<Option<Duration>>,
    orders: Cell<u32>,
}

/// Users of one jurisdiction who come in through one region, and requests that wait for one of them to have time.
pub(super) struct Pool {
    pub(super) place: Region,
    pub(super) jurisdiction: Jurisdiction,
    /// Of all arrivals.
    weight: u32,
    pub(super) free: RefCell<Vec<Rc<User>>>,
    pub(super) waiting: RefCell<VecDeque<Arrival>>,
}

/// A request that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) due: Instant,
    pub(super) writes: bool,
}

/// Everybody.
pub(super) struct Crowd {
    pub(super) pools: Vec<Rc<Pool>>,
    /// What every order of a jurisdiction carries, and nothing else in the world does.
    pub(super) needles: [(Jurisdiction, String); 2],
}

impl Crowd {
    /// Where users of either jurisdiction come in, and how many in a hundred. Most are at home; some travel.
    const PLACES: [(Region, Jurisdiction, u32); 8] = [
        (Region::UsEast, Jurisdiction::Us, 18),
        (Region::UsEast, Jurisdiction::Eu, 6),
        (Region::EuFrankfurt, Jurisdiction::Us, 10),
        (Region::EuFrankfurt, Jurisdiction::Eu, 20),
        (Region::EuNuremberg, Jurisdiction::Us, 6),
        (Region::EuNuremberg, Jurisdiction::Eu, 14),
        (Region::ApSingapore, Jurisdiction::Us, 18),
        (Region::ApSingapore, Jurisdiction::Eu, 8),
    ];

    /// `users` in each place and jurisdiction, with their tokens.
    pub(super) fn new(users: usize, signer: &Signer) -> Result<Self> {
        let mut pools = Vec::new();
        for (place, jurisdiction, weight) in Self::PLACES {
            let free = (0..users)
                .map(|number| User::new(format!("{jurisdiction}-{place}-{number:05}"), jurisdiction, signer))
                .collect::<Result<Vec<_>>>()?;
            let (free, waiting) = (RefCell::new(free), RefCell::default());
            pools.push(Rc::new(Pool { place, jurisdiction, weight, free, waiting }));
        }
        let needles = Jurisdiction::ALL.map(|jurisdiction| {
            (jurisdiction, format!("only-in-{jurisdiction}-{:032x}", rand::random::<u128>()))
        });
        Ok(Self { pools, needles })
    }

    /// Makes the users' rows.
    pub(super) async fn enrol(&self, world: &World) -> Result<()> {
        for pool in &self.pools {
            let ids: Vec<String> = pool.free.borrow().iter().map(|user| user.id.clone()).collect();
            let sql = world.sql(pool.jurisdiction.home(), pool.jurisdiction).await?;
            sql.execute(
                "INSERT INTO users (id, email, password, name, country) \
                 SELECT id, id || '@people.example', '-', 'A Person', $2 FROM unnest($1::text[]) AS id",
                &[&ids, &pool.jurisdiction.country()],
            )
            .await
            .context("making users")?;
        }
        Ok(())
    }

    /// The pool that an arrival with that lot (any number) belongs to.
    pub(super) fn pool(&self, lot: u32) -> &Rc<Pool> {
        let all: u32 = self.pools.iter().map(|pool| pool.weight).sum();
        let mut left = lot % all;
        for pool in &self.pools {
            match left.checked_sub(pool.weight) {
                Some(less) => left = less,
                None => return pool,
            }
        }
        unreachable!("a remainder is less than the sum")
    }

    pub(super) fn needle(&self, of: Jurisdiction) -> &str {
        let found = self.needles.iter().find(|(jurisdiction, _)| *jurisdiction == of);
        found.map_or("", |(_, needle)| needle)
    }
}

/// Whose data a user's is, by the id; the API's own log of deliveries has nothing else.
pub(super) fn jurisdiction_of(user: &str) -> Option<Jurisdiction> {
    let name = user.split('-').next()?;
    Jurisdiction::ALL.into_iter().find(|jurisdiction| jurisdiction.name() == name)
}

impl User {
    fn new(id: String, jurisdiction: Jurisdiction, signer: &Signer) -> Result<Rc<Self>> {
        let bearer = HeaderValue::try_from(format!("Bearer {}", signer.token(&id, jurisdiction)?))?;
        Ok(Rc::new(Self {
            id,
            bearer,
            position: RefCell::default(),
            acknowledged: RefCell::default(),
            wrote: Cell::default(),
            orders: Cell::new(0),
        }))
    }

    /// The name of the next order; no other order of anybody has it.
    pub(super) fn next_order(&self) -> (u32, String) {
        let number = self.orders.get();
        self.orders.set(number + 1);
        (number, format!("{}/{number}", self.id))
    }

    pub(super) fn acknowledge(&self, order: String) {
        let mut acknowledged = self.acknowledged.borrow_mut();
        acknowledged.push_back(order);
        if acknowledged.len() > REMEMBERED {
            acknowledged.pop_front();
        }
    }

    /// What a read that begins now must show.
    pub(super) fn expects(&self) -> Vec<String> {
        self.acknowledged.borrow().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd() -> Crowd {
        let pools = Crowd::PLACES.map(|(place, jurisdiction, weight)| {
            let (free, waiting) = (RefCell::default(), RefCell::default());
            Rc::new(Pool { place, jurisdiction, weight, free, waiting })
        });
        Crowd { pools: pools.into(), needles: Jurisdiction::ALL.map(|of| (of, of.to_string())) }
    }

    #[test]
    fn arrivals_are_shared_out_by_weight_and_every_region_has_users_of_both_jurisdictions() {
        let crowd = crowd();
        let mut seen = std::collections::BTreeMap::<_, u32>::new();
        for lot in 0..1_000 {
            let pool = crowd.pool(lot);
            *seen.entry((pool.place, pool.jurisdiction)).or_default() += 1;
        }
        assert_eq!(seen.len(), 8);
        for (place, jurisdiction, weight) in Crowd::PLACES {
            assert_eq!(seen[&(place, jurisdiction)], weight * 10, "{place} {jurisdiction}");
        }
    }

    #[test]
    fn a_user_id_tells_its_jurisdiction() {
        for (id, jurisdiction) in [
            ("eu-us-east-00001", Some(Jurisdiction::Eu)),
            ("us-eu-frankfurt-1", Some(Jurisdiction::Us)),
            ("ap-1", None),
        ] {
            assert_eq!(jurisdiction_of(id), jurisdiction, "{id}");
        }
    }
}
