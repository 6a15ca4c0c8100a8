//! Slots: which loopback addresses a world has, so that several worlds run at once on one machine.
//!
//! Invariants
//! - A slot belongs to whoever holds its lock port, for as long as the process lives: the kernel frees it.
//! - A claimed slot has every port of a world free.
use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{
    links::{link_port, linked},
    region::{Jurisdiction, Port, Region},
};

const LOCK_PORT: u16 = 20001;
const SLOTS: u8 = 100;
/// API processes that a region may have at most.
pub(crate) const API_PROCESSES: u8 = 4;
/// How long a previous owner's processes may take to die after it.
const VACATE: Duration = Duration::from_secs(5);

/// A claimed slot; free again when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    pub number: u8,
    _lock: TcpListener,
}

impl Slot {
    /// Claims `wanted`, or the first free one.
    pub(crate) fn claim(wanted: Option<u8>) -> Result<Self> {
        let range = wanted.map_or(0..SLOTS, |wanted| wanted..wanted.saturating_add(1));
        let mut why = String::new();
        for number in range.clone() {
            let Ok(lock) = TcpListener::bind((Ipv4Addr::new(127, 1, number, 1), LOCK_PORT)) else {
                why = format!("slot {number} belongs to another world");
                continue;
            };
            // The lock is ours, so what still holds a port is on its way out, or no world's.
            let patience = if wanted.is_some() { VACATE } else { VACATE / 5 };
            let addresses = [services(number), links(number)].concat();
            match vacated(&addresses, patience) {
                Ok(()) => return Ok(Self { number, _lock: lock }),
                Err(taken) => why = format!("{taken} is taken by a process that is no world's"),
            }
        }
        bail!("no slot of {range:?} is free: {why}; `ss -ltnp` names who listens")
    }
}

/// Every address a world's processes may listen on.
pub(crate) fn services(slot: u8) -> Vec<SocketAddr> {
    let mut ports =
        vec![Port::GatewayHttp, Port::GatewayHttps, Port::GatewayInternal, Port::GatewayAdmin, Port::Redis];
    ports.extend(Jurisdiction::ALL.map(Port::Postgres));
    ports.extend((1..=API_PROCESSES).map(Port::Api));
    Region::ALL.iter().flat_map(|region| ports.iter().map(|port| port.at(*region, slot))).collect()
}

/// Every address its links listen on.
fn links(slot: u8) -> Vec<SocketAddr> {
    let address = |(from, to, port): (Region, Region, Port)| (from.address(slot), link_port(to, port)).into();
    linked().into_iter().map(address).collect()
}

/// Waits until nothing listens on `addresses`; else the first that something does.
pub(crate) fn vacated(addresses: &[SocketAddr], patience: Duration) -> Result<(), SocketAddr> {
    let began = Instant::now();
    for &address in addresses {
        while let Err(error) = TcpListener::bind(address) {
            if error.kind() != ErrorKind::AddrInUse || began.elapsed() > patience {
                return Err(address);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Slot, links, services};

    #[test]
    fn no_two_things_share_an_address_and_all_stay_below_the_ephemeral_ports() {
        let all = [services(7), links(7)].concat();
        let distinct: BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|address| address.port() < 32768));
    }

    #[test]
    fn a_slot_has_one_owner_at_a_time() {
        let first = Slot::claim(None).expect("a slot is free");
        let error = Slot::claim(Some(first.number)).expect_err("it is owned");
        assert!(error.to_string().contains("belongs to another world"), "{error}");
        let second = Slot::claim(None).expect("another is free");
        assert_ne!(first.number, second.number);
    }
}
