//! Open-loop load: requests begin at a constant rate, whatever becomes of those before them.
//!
//! A request's latency counts from the moment at which it was due, so a request that had to wait for a free connection,
//! or for a loop that was late, has waited (no coordinated omission). The loop spins, since a sleep would be late by more
//! than what is measured; so this thread needs a core of its own.
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{FAULTS_BEFORE_GIVING_UP, Fault, Rig, STUCK_AFTER, Tally};

/// When requests are due.
#[derive(Clone, Copy, Debug)]
struct Pace {
    start: Instant,
    interval: Duration,
    requests: u64,
}

impl Pace {
    fn new(start: Instant, rate: f64, span: Duration) -> Self {
        Self {
            start,
            interval: Duration::from_secs_f64(1.0 / rate),
            requests: (rate * span.as_secs_f64()).round() as u64,
        }
    }

    /// When request `number` is due; none after the last.
    fn due(&self, number: u64) -> Option<Instant> {
        let after = Duration::from_secs_f64(self.interval.as_secs_f64() * number as f64);
        (number < self.requests).then(|| self.start + after)
    }
}

impl Rig {
    /// Begins `rate` requests a second for `span`, and waits for the last answer. HTTP/1.1 connections only, so that one
    /// that waits holds nothing up but itself.
    pub fn pace(&mut self, rate: f64, span: Duration) -> Result<Tally> {
        ensure!(rate > 0.0, "a rate is more than nothing");
        if self.links.is_empty() {
            bail!("pace() before connect()");
        }
        self.going = false;
        let mut tally = Tally::new();
        let start = Instant::now();
        let pace = Pace::new(start, rate, span);
        let patience = start + span + STUCK_AFTER;
        let (mut begun, mut slot) = (0, 0);
        let mut now = start;
        while tally.faults() < FAULTS_BEFORE_GIVING_UP {
            while let Some(due) = pace.due(begun).filter(|due| *due <= now) {
                let Some(idle) = self.next_idle(slot) else { break };
                slot = idle + 1;
                begun += 1;
                let request = self.next_request();
                if let Err(fault) = self.begin(idle, request, due) {
                    self.replace(idle, fault, &mut tally);
                }
            }
            let over = pace.due(begun).is_none() && self.links.iter().all(super::link::Link::is_idle);
            if over || now > patience {
                break;
            }
            self.turn(Duration::ZERO, &mut tally)?;
            now = Instant::now();
        }
        let stuck = self.links.iter().filter(|link| !link.is_idle()).count() as u64 + pace.requests - begun;
        (0..stuck).for_each(|_| tally.fault(Fault::Stuck));
        tally.finish(span.max(now.duration_since(start)));
        Ok(tally)
    }

    /// The first connection without a request, from `from` on and round.
    fn next_idle(&self, from: usize) -> Option<usize> {
        let count = self.links.len();
        (0..count).map(|step| (from + step) % count).find(|slot| self.links[*slot].is_idle())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::{Manner, Workload};

    #[test]
    fn requests_are_due_at_even_distances_and_none_is_left_out() {
        let start = Instant::now();
        let pace = Pace::new(start, 4_000.0, Duration::from_millis(500));
        assert_eq!(pace.due(0), Some(start));
        assert_eq!(pace.due(1_000).map(|due| due - start), Some(Duration::from_millis(250)));
        assert!(pace.due(1_999).is_some());
        assert_eq!(pace.due(2_000), None);
    }

    #[test]
    fn every_request_is_begun_and_answered_and_its_wait_for_a_connection_counts() {
        let workload =
            Workload::new(vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()], "HTTP/1.1 200 OK\r\n", b"here you are");
        let mut rig = Rig::new(workload).expect("a rig");
        let origin = rig.origin_address();
        rig.connect(origin, 1, Manner::Plain).expect("a connection");
        // So many that one connection can't keep up: the last ones wait for all before them.
        let tally = rig.pace(1_000_000.0, Duration::from_millis(2)).expect("a run");
        assert_eq!((tally.requests(), tally.faults()), (2_000, 0));
        // The last was due after 2 ms and answered at the end of it all.
        let waited = tally.span().saturating_sub(Duration::from_millis(2)).as_secs_f64() * 1e6;
        assert!(tally.latency_us(1.0) > waited / 2.0, "waiting did not count: {tally:?}");
        assert_eq!(rig.origin_count().requests, 2_000);
    }
}
