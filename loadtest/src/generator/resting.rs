//! Connections that did one request and then rest: what a proxy keeps for them is what an idle client costs it.
//!
//! Never more than a given number of them is busy at a time, so buffers of busy connections count once, however many
//! connections rest in the end.
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::link::Link;
use super::{Manner, Rig, TICK, Tally};

/// All of one batch must have been answered within this time.
const BATCH_WITHIN: Duration = Duration::from_secs(5);

impl Rig {
    /// Lets what is in flight end and sends nothing more until the next [`Rig::drive`].
    pub fn rest(&mut self) -> Result<Tally> {
        self.going = false;
        let mut tally = Tally::new();
        self.settle(0..self.links.len(), &mut tally)?;
        Ok(tally)
    }

    /// Opens `connections` more beside those that rest. Each does one request.
    pub fn open_resting(&mut self, connections: usize, at_a_time: usize) -> Result<Tally> {
        let target = self.target.context("open_resting() before connect()")?;
        ensure!(matches!(self.manner, Manner::Plain), "connections rest without TLS");
        self.going = false;
        let mut tally = Tally::new();
        let end = self.links.len() + connections;
        while self.links.len() < end {
            let start = self.links.len();
            for slot in start..end.min(start + at_a_time) {
                let link = Link::open(target, slot, &self.manner, self.poll.registry())
                    .with_context(|| format!("connection {slot} to {target}"))?;
                self.links.push(link);
            }
            self.once(start..self.links.len(), &mut tally)?;
        }
        Ok(tally)
    }

    /// Lets every resting connection do one more request. What was closed meanwhile is a fault.
    pub fn wake(&mut self, at_a_time: usize) -> Result<Tally> {
        let mut tally = Tally::new();
        for start in (0..self.links.len()).step_by(at_a_time) {
            self.once(start..self.links.len().min(start + at_a_time), &mut tally)?;
        }
        Ok(tally)
    }

    fn once(&mut self, slots: std::ops::Range<usize>, tally: &mut Tally) -> Result<()> {
        for slot in slots.clone() {
            let request = self.next_request();
            if let Err(fault) = self.begin(slot, request, Instant::now()) {
                self.replace(slot, fault, tally);
            }
        }
        self.settle(slots, tally)
    }

    fn settle(&mut self, slots: std::ops::Range<usize>, tally: &mut Tally) -> Result<()> {
        let deadline = Instant::now() + BATCH_WITHIN;
        while !self.links[slots.clone()].iter().all(Link::is_idle) {
            if Instant::now() > deadline {
                bail!("connections do not come to rest within {BATCH_WITHIN:?}");
            }
            self.turn(TICK, tally)?;
        }
        Ok(())
    }
}
